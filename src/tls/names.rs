//! Which certificate a name gets. Hot path for handshakes.

use crate::config::tls::{LONGEST_NAME, host_names};
use arc_swap::ArcSwap;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{collections::HashMap, sync::Arc};

/// The certificates of a listener, by the names that they are for. Immutable.
#[derive(Debug)]
pub(super) struct Names {
    /// As in the file.
    pairs: Vec<Arc<CertifiedKey>>,
    exact: Table,
    /// By what stands behind `*.`: it is for one label more, no more and no less (RFC 6125 section 6.4.3).
    wildcard: Table,
    /// For clients that send no name, or one that is not here.
    default: Box<[usize]>,
}

/// Places of certificates, those with the keys that are cheaper to sign with first.
type Table = HashMap<Box<[u8]>, Box<[usize]>>;

impl Names {
    /// Of `pairs`, at least one; the first is the default.
    pub(super) fn new(pairs: Vec<Arc<CertifiedKey>>) -> Self {
        let names: Vec<Vec<String>> = pairs.iter().map(|pair| names_of(pair)).collect();
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, Vec<usize>>::new());
        for (place, name) in names.iter().enumerate().flat_map(|(place, names)| names.iter().map(move |n| (place, n))) {
            let (table, name) =
                name.strip_prefix("*.").map_or((&mut exact, name.as_str()), |rest| (&mut wildcard, rest));
            let places = table.entry(name).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let ordered = |mut places: Vec<usize>| {
            places.sort_by_key(|place| cost(&pairs[*place]));
            places.into_boxed_slice()
        };
        let table = |table: HashMap<&str, Vec<usize>>| {
            table.into_iter().map(|(name, places)| (name.as_bytes().into(), ordered(places))).collect()
        };
        let (exact, wildcard) = (table(exact), table(wildcard));
        // With the default goes whatever else is for the same names, with another kind of key.
        let first = names.first().map(Vec::as_slice).unwrap_or_default();
        let twins =
            (1..pairs.len()).filter(|place| !first.is_empty() && first.iter().all(|n| names[*place].contains(n)));
        let default = ordered([0].into_iter().chain(twins).collect());
        Self { pairs, exact, wildcard, default }
    }

    /// The places of the certificates for `name`, in whatever case.
    fn find(&self, name: &[u8]) -> Option<&[usize]> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut lower = [0; LONGEST_NAME];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let of_wildcard = || {
            let dot = memchr::memchr(b'.', lower)?;
            (dot > 0).then(|| self.wildcard.get(&lower[dot + 1..])).flatten()
        };
        self.exact.get(&*lower).or_else(of_wildcard).map(|places| &**places)
    }

    /// The certificate for a client that asks for `name` and can verify signatures by `schemes`: the first that fits, else
    /// the first.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let places = name.and_then(|name| self.find(name.as_bytes())).unwrap_or(&self.default);
        let fits = |place: &&usize| self.pairs[**place].key.choose_scheme(schemes).is_some();
        let place = if places.len() > 1 { places.iter().find(fits).or(places.first()) } else { places.first() };
        self.pairs.get(*place?)
    }

    /// `host` has another certificate than `name`, which has one of its own.
    pub(super) fn differ(&self, name: &[u8], host: &[u8]) -> bool {
        let Some(shown) = self.find(name) else { return false };
        let asked = self.find(host).unwrap_or(&self.default);
        !shown.iter().any(|place| asked.contains(place))
    }

    /// The certificates, as in the file.
    pub(super) fn pairs(&self) -> &[Arc<CertifiedKey>] {
        &self.pairs
    }

    /// The same with another certificate at `place`.
    fn with(&self, place: usize, pair: &Arc<CertifiedKey>) -> Self {
        let mut pairs = self.pairs.clone();
        if let Some(old) = pairs.get_mut(place) {
            *old = Arc::clone(pair);
        }
        Self::new(pairs)
    }
}

fn names_of(pair: &CertifiedKey) -> Vec<String> {
    pair.cert.first().map(|certificate| host_names(certificate)).unwrap_or_default()
}

/// Signing with RSA takes ten times as long as with any other kind of key.
fn cost(pair: &CertifiedKey) -> u8 {
    match pair.key.algorithm() {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::RSA => 2,
        _ => 1,
    }
}

/// Today's certificates of a listener.
#[derive(Debug)]
pub(super) struct Shown(ArcSwap<Names>);

impl Shown {
    pub(super) fn new(names: Names) -> Self {
        Self(ArcSwap::from_pointee(names))
    }

    /// As they are now.
    pub(super) fn names(&self) -> arc_swap::Guard<Arc<Names>> {
        self.0.load()
    }

    /// Handshakes from now on get `pair` where they got what is at `place`.
    pub(super) fn replace(&self, place: usize, pair: &Arc<CertifiedKey>) {
        self.0.rcu(|names| names.with(place, pair));
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Ca, params, rsa};
    use rcgen::{DnType, SanType};

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
    const BOTH: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

    fn chosen(names: &Names, name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
        let pair = names.choose(name, schemes).unwrap();
        names.pairs.iter().position(|other| Arc::ptr_eq(other, pair)).unwrap()
    }

    #[test]
    fn names_are_those_of_the_san_and_the_common_name_only_without_one() {
        let ca = Ca::new();
        let names = |params| host_names(&ca.issue(params).cert[0]);
        let mut with = params(&["A.example", "*.B.example", "bad name", "f*.example", "*"]);
        with.distinguished_name.push(DnType::CommonName, "common.example");
        assert_eq!(names(with), ["a.example", "*.b.example"]);
        let mut without = params(&[]);
        without.distinguished_name.push(DnType::CommonName, "Common.example");
        assert_eq!(names(without.clone()), ["common.example"]);
        without.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        assert!(names(without).is_empty(), "there is a SAN, though without host names");
        assert!(host_names(b"no certificate").is_empty());
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_a_wildcard_is_for_one_label() {
        let ca = Ca::new();
        let of = |names: &[&str]| Arc::new(ca.issue(params(names)));
        let names = Names::new(vec![of(&["d.example"]), of(&["*.a.example"]), of(&["x.a.example", "A.example"])]);
        for (name, place) in [
            ("d.example", 0),
            ("x.a.example", 2),
            ("X.A.example.", 2),
            ("y.a.example", 1),
            ("a.example", 2),
            ("y.x.a.example", 0),
            (".a.example", 0),
            ("unknown.example", 0),
            ("", 0),
        ] {
            assert_eq!(chosen(&names, Some(name), ECDSA), place, "{name}");
        }
        assert_eq!(chosen(&names, Some(&"a".repeat(300)), ECDSA), 0);
        assert_eq!(chosen(&names, None, ECDSA), 0);
    }

    #[test]
    fn of_two_kinds_of_key_the_client_gets_the_one_that_it_can_verify_and_ecdsa_if_both() {
        let ca = Ca::new();
        let other = Arc::new(ca.issue(params(&["other.example"])));
        let (with_rsa, with_ecdsa) =
            (Arc::new(ca.issue_with(params(&["a.example"]), &rsa())), Arc::new(ca.issue(params(&["a.example"]))));
        let names = Names::new(vec![Arc::clone(&with_rsa), Arc::clone(&with_ecdsa), Arc::clone(&other)]);
        for (name, schemes, place) in [
            (Some("a.example"), RSA, 0),
            (Some("a.example"), ECDSA, 1),
            (Some("a.example"), BOTH, 1),
            (None, RSA, 0),
            (None, BOTH, 1),
            (Some("other.example"), RSA, 2),
        ] {
            assert_eq!(chosen(&names, name, schemes), place, "{name:?} {schemes:?}");
        }
        let names = Names::new(vec![other, with_rsa, with_ecdsa]);
        assert_eq!(chosen(&names, None, RSA), 0, "the first is the default, and has no twin");
    }

    #[test]
    fn names_differ_only_by_their_certificates() {
        let ca = Ca::new();
        let of = |names: &[&str]| Arc::new(ca.issue(params(names)));
        let names = Names::new(vec![of(&["a.example", "b.example"]), of(&["c.example", "*.c.example"])]);
        for (name, host, differ) in [
            ("a.example", "b.example", false),
            ("a.example", "c.example", true),
            ("c.example", "a.example", true),
            ("x.c.example", "y.c.example", false),
            ("unknown.example", "c.example", false),
            ("a.example", "unknown.example", false),
            ("c.example", "unknown.example", true),
        ] {
            assert_eq!(names.differ(name.as_bytes(), host.as_bytes()), differ, "{name} {host}");
        }
    }

    #[test]
    fn a_certificate_is_replaced_and_its_names_with_it() {
        let ca = Ca::new();
        let of = |names: &[&str]| Arc::new(ca.issue(params(names)));
        let shown = Shown::new(Names::new(vec![of(&["a.example"]), of(&["b.example"])]));
        shown.replace(1, &of(&["c.example"]));
        shown.replace(7, &of(&["d.example"]));
        let names = shown.names();
        assert_eq!(names.find(b"c.example"), Some(&[1][..]));
        assert_eq!((names.find(b"b.example"), names.find(b"d.example"), names.pairs().len()), (None, None, 2));
    }
}
