//! A file of API keys, `NAME:SHA256-HEX` a line. Called by `read::auth`, and by control when the file changes.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

/// A file that is longer has another purpose.
const MAX_FILE: u64 = 64 << 20;
const MAX_NAME: usize = 255;
const MAKE_ONE: &str = "`printf %s \"$KEY\" | sha256sum` makes the number";

/// Names of keys, by the keys' digests. Digests are looked up in a table and not compared one by one: how long that takes
/// tells at most of bits of a digest, to which nobody finds a key.
#[derive(Default, PartialEq, Eq)]
pub struct ApiKeys {
    by_digest: HashMap<[u8; 32], Arc<str>>,
}

impl ApiKeys {
    /// What stands in such a file.
    ///
    /// # Errors
    /// A sentence for people, with the number of a line and nothing of the line itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut keys = Self::default();
        for (number, line) in super::lines(bytes) {
            let at = |why: &str| format!("line {number}: {why}");
            let wrong = || at(&format!("wanted NAME:SHA256-HEX, with 64 digits; {MAKE_ONE}"));
            let text = str::from_utf8(line).map_err(|_| wrong())?;
            let (name, digits) = text.rsplit_once(':').ok_or_else(wrong)?;
            if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(at("a key's name has 1 to 255 visible letters of ASCII: backends get it in a header"));
            }
            let digest = digest(digits.trim()).ok_or_else(wrong)?;
            if digest == EMPTY {
                return Err(at("it is the digest of nothing at all"));
            }
            if keys.by_digest.insert(digest, name.into()).is_some() {
                return Err(at("its key stands there twice"));
            }
        }
        if keys.by_digest.is_empty() {
            return Err(format!("there is no key in it, wanted NAME:SHA256-HEX a line; {MAKE_ONE}"));
        }
        Ok(keys)
    }

    /// Whose key has the SHA-256 `digest`.
    pub fn find(&self, digest: &[u8; 32]) -> Option<&str> {
        self.by_digest.get(digest).map(|name| &**name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_digest.len()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.count())
    }
}

/// The keys in the file at `path`.
///
/// # Errors
/// A sentence for people: the file cannot be read, or a line of it. It has nothing of the line itself.
pub fn api_keys(path: &Path) -> Result<ApiKeys, String> {
    ApiKeys::parse(&super::read(path, MAX_FILE)?)
}

/// SHA-256 of no bytes: what a script makes of a variable that is not set.
const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

fn digest(digits: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if digits.len() != 2 * digest.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_found() {
        let (one, two) = ("01".repeat(32), "Ab".repeat(32));
        let keys = ApiKeys::parse(format!("# mobile\nann:{one}\n\nann:{two}\r\n").as_bytes()).unwrap();
        assert_eq!(
            (keys.find(&[1; 32]), keys.find(&[0xab; 32]), keys.find(&[2; 32])),
            (Some("ann"), Some("ann"), None)
        );
        assert_eq!(keys.count(), 2);
    }

    #[test]
    fn lines_are_refused_by_number_and_never_shown() {
        let one = "01".repeat(32);
        let empty: String = EMPTY.iter().map(|byte| format!("{byte:02x}")).collect();
        for (file, told) in [
            ("ann:hunter2".to_owned(), "line 1: wanted NAME:SHA256-HEX"),
            (format!("\n{one}"), "line 2: wanted NAME"),
            (format!("ann:{}é1", &one[3..]), "line 1: wanted NAME"),
            (format!("a b:{one}"), "line 1: a key's name"),
            (format!(":{one}"), "line 1: a key's name"),
            (format!("ann:{one}\nbob:{one}"), "line 2: its key stands there twice"),
            (format!("ann:{empty}"), "digest of nothing"),
            (String::new(), "no key in it"),
        ] {
            let why = ApiKeys::parse(file.as_bytes()).unwrap_err();
            assert!(why.contains(told), "{file}: {why}");
            assert!(!why.contains("hunter2") && !why.contains(&one), "{why}");
        }
    }
}
