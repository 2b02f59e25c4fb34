//! A file of users and hashes of their passwords, as `htpasswd -B` and argon2 tools write it. Called by `read::auth`, and by
//! control when the file changes.

use std::{collections::HashMap, fmt, path::Path, str::FromStr};

use argon2::password_hash::phc;

/// A file that is longer has another purpose.
const MAX_FILE: u64 = 16 << 20;
/// `2^16` rounds take seconds: one request would hold a core for as long.
const MAX_COST: u32 = 16;
/// Kibibytes and rounds of argon2, alike.
const MAX_MEMORY: u32 = 256 << 10;
const MAX_WORK: u64 = 1 << 20;

/// Users, by their names.
#[derive(Default, PartialEq, Eq)]
pub struct Users {
    by_name: HashMap<Box<[u8]>, usize>,
    hashes: Vec<PasswordHash>,
}

/// A hash of a password, in the words of its file; known to be one. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// `$2y$…`, `$2b$…` or `$2a$…`
    Bcrypt(Box<str>),
    /// `$argon2id$…`, `$argon2i$…` or `$argon2d$…`
    Argon2(Box<str>),
}

impl Users {
    /// What stands in such a file.
    ///
    /// # Errors
    /// A sentence for people, with the number of a line and nothing of the line itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut users = Self::default();
        for (number, line) in super::lines(bytes) {
            let at = |why: String| format!("line {number}: {why}");
            let line = str::from_utf8(line).map_err(|_| at("it is not UTF-8".into()))?;
            let Some((name, hash)) = line.split_once(':') else {
                return Err(at("wanted NAME:HASH; `htpasswd -nB NAME` makes such a line".into()));
            };
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(at("a user has a name, without control characters".into()));
            }
            let hash = PasswordHash::parse(hash.trim())
                .map_err(|why| at(format!("found {why}: `htpasswd -nB NAME` makes a good line")))?;
            if users.by_name.insert(name.as_bytes().into(), users.hashes.len()).is_some() {
                return Err(at("its user stands there twice".into()));
            }
            users.hashes.push(hash);
        }
        if users.hashes.is_empty() {
            return Err("there is no user in it: `htpasswd -nB NAME` makes a line".into());
        }
        Ok(users)
    }

    /// The hash of the user `name`.
    pub fn find(&self, name: &[u8]) -> Option<&PasswordHash> {
        self.by_name.get(name).map(|place| &self.hashes[*place])
    }

    /// Some user's hash: the same for the same `number`. There is one at least.
    pub fn some(&self, number: u64) -> Option<&PasswordHash> {
        let place = number % u64::try_from(self.hashes.len().max(1)).unwrap_or(u64::MAX);
        self.hashes.get(usize::try_from(place).unwrap_or_default())
    }

    /// Some hashes take far longer than others: the time of a refusal tells something of who is there.
    pub fn costs_differ(&self) -> bool {
        let of = |bcrypt: bool| {
            let alike = self.hashes.iter().filter(move |hash| matches!(hash, PasswordHash::Bcrypt(_)) == bcrypt);
            let work = alike.map(PasswordHash::work);
            Some((work.clone().min()?, work.max()?))
        };
        let (bcrypt, argon2) = (of(true), of(false));
        bcrypt.is_some() && argon2.is_some() || bcrypt.or(argon2).is_some_and(|(least, most)| most / 4 >= least)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }
}

impl PasswordHash {
    /// As it stands in the file.
    pub fn expose(&self) -> &str {
        match self {
            Self::Bcrypt(text) | Self::Argon2(text) => text,
        }
    }

    /// How much work it is, to be compared with others of its kind.
    fn work(&self) -> u64 {
        match self {
            Self::Bcrypt(text) => bcrypt::HashParts::from_str(text).map_or(0, |parts| 1 << parts.get_cost().min(63)),
            Self::Argon2(text) => {
                let params = phc::PasswordHash::new(text).ok().and_then(|hash| argon2::Params::try_from(&hash).ok());
                params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.get(..4) {
            Some("$2y$" | "$2b$" | "$2a$") => bcrypt(text).map(Self::Bcrypt),
            _ if text.starts_with("$argon2") => argon2(text).map(Self::Argon2),
            _ => Err(format!("{}, wanted bcrypt or argon2", kind(text))),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.count())
    }
}

/// The users in the file at `path`.
///
/// # Errors
/// A sentence for people: the file cannot be read, or a line of it. It has nothing of the line itself.
pub fn users(path: &Path) -> Result<Users, String> {
    Users::parse(&super::read(path, MAX_FILE)?)
}

fn bcrypt(text: &str) -> Result<Box<str>, String> {
    let parts = bcrypt::HashParts::from_str(text).map_err(|_| "a hash of bcrypt that is not whole".to_owned())?;
    match parts.get_cost() {
        4..=MAX_COST => Ok(text.into()),
        cost => Err(format!("a hash of bcrypt with cost {cost}, wanted 4 to {MAX_COST}")),
    }
}

fn argon2(text: &str) -> Result<Box<str>, String> {
    let broken = || "a hash of argon2 that is not whole".to_owned();
    let hash = phc::PasswordHash::new(text).map_err(|_| broken())?;
    let params = argon2::Params::try_from(&hash).map_err(|_| broken())?;
    let known = argon2::Algorithm::try_from(hash.algorithm.as_str()).is_ok();
    if !known || hash.salt.is_none() || hash.hash.is_none() {
        return Err(broken());
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > MAX_MEMORY || work > MAX_WORK {
        return Err(format!(
            "a hash of argon2 that is too dear, wanted m up to {MAX_MEMORY}, and m times t up to {MAX_WORK}"
        ));
    }
    Ok(text.into())
}

/// What a hash is that is none of ours.
fn kind(text: &str) -> &'static str {
    const KINDS: [(&str, &str); 12] = [
        ("$apr1$", "an MD5 hash"),
        ("$1$", "an MD5 hash"),
        ("{MD5}", "an MD5 hash"),
        ("{SMD5}", "an MD5 hash"),
        ("{SHA}", "an SHA-1 hash"),
        ("{SSHA}", "an SHA-1 hash"),
        ("$5$", "a hash of SHA-crypt"),
        ("$6$", "a hash of SHA-crypt"),
        ("$2x$", "a hash of a bcrypt that was broken"),
        ("$y$", "a hash of yescrypt"),
        ("$7$", "a hash of scrypt"),
        ("{PLAIN}", "a plain password"),
    ];
    let known = KINDS.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, kind)| *kind);
    known.unwrap_or("a plain password, or a hash of DES")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu";
    const ARGON2: &str = "$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQ$J9tOdAkBX8CH6jJSJeXgLA";

    #[test]
    fn users_are_read_and_found() {
        let users =
            Users::parse(format!("# a note\n\nann:{BCRYPT}\r\n  bob:{ARGON2}  \n\"ü z\":{BCRYPT}").as_bytes()).unwrap();
        assert_eq!(users.count(), 3);
        assert_eq!(users.find(b"ann"), Some(&PasswordHash::Bcrypt(BCRYPT.into())));
        assert_eq!(users.find(b"bob"), Some(&PasswordHash::Argon2(ARGON2.into())));
        assert!(users.find("\"ü z\"".as_bytes()).is_some() && users.find(b"Ann").is_none());
        assert_eq!(users.some(4), users.find(b"bob"));
        assert!(!format!("{users:?} {:?}", users.some(0)).contains("$2y"));
    }

    #[test]
    fn hashes_are_to_take_equally_long() {
        let (dearer, dear) = (BCRYPT.replace("$04$", "$05$"), BCRYPT.replace("$04$", "$06$"));
        let argon = ARGON2.replace("t=2", "t=8");
        for (one, two, differ) in [
            (BCRYPT, BCRYPT, false),
            (BCRYPT, &dearer, false),
            (BCRYPT, &dear, true),
            (&dear, BCRYPT, true),
            (BCRYPT, ARGON2, true),
            (ARGON2, ARGON2, false),
            (ARGON2, &argon, true),
        ] {
            let users = Users::parse(format!("ann:{one}\nbob:{two}").as_bytes()).unwrap();
            assert_eq!(users.costs_differ(), differ, "{one} {two}");
        }
    }

    #[test]
    fn lines_are_refused_by_number_and_never_shown() {
        let dear = ARGON2.replace("m=16,t=2", "m=262144,t=5");
        let costly = BCRYPT.replace("$04$", "$17$");
        let twice = format!("ann:{BCRYPT}\nann:{ARGON2}");
        for (file, told) in [
            ("ann:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", "line 1: found an MD5 hash"),
            ("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 1: found an SHA-1 hash"),
            ("\nann:$6$salt$abc", "line 2: found a hash of SHA-crypt"),
            ("ann:$2x$05$abc", "line 1: found a hash of a bcrypt that was broken"),
            ("ann:hunter2", "line 1: found a plain password"),
            ("ann:$2y$05$abc", "line 1: found a hash of bcrypt that is not whole"),
            ("ann:$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQ", "line 1: found a hash of argon2 that is not whole"),
            ("ann:$argon2x$v=19$m=16,t=2,p=1$c29tZXNhbHQ$J9tOdAkBX8CH6jJSJeXgLA", "argon2 that is not whole"),
            (&format!("ann:{dear}"), "too dear"),
            (&format!("ann:{costly}"), "with cost 17"),
            ("hunter2", "line 1: wanted NAME:HASH"),
            (&format!(":{BCRYPT}"), "line 1: a user has a name"),
            (&twice, "line 2: its user stands there twice"),
            ("# nobody\n", "there is no user"),
        ] {
            let why = Users::parse(file.as_bytes()).unwrap_err();
            assert!(why.contains(told), "{file}: {why}");
            assert!(!why.contains("hunter2") && !why.contains("$2y"), "{why}");
        }
        assert!(Users::parse(b"ann:\xff").unwrap_err().contains("UTF-8"));
    }
}
