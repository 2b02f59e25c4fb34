//! Certificates that change on disk: is a file another one than before, is what is in it whole, and does it end soon. No
//! clock of its own, no thread: control calls it on its blocking pool.

use crate::config;
use rustls::sign::CertifiedKey;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How often it is said.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Which file a path leads to, behind all links, and of which state. The time of the change of the inode tells of what
/// hides behind a modification time that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of the file at `path`.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub fn of(path: &Path) -> Result<Self, io::ErrorKind> {
        let data = fs::metadata(path).map_err(|error| error.kind())?;
        Ok(Self {
            file: (data.dev(), data.ino()),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

/// Both files of a pair.
type Stamps = [Result<Stamp, io::ErrorKind>; 2];

/// A certificate and its key on disk.
#[derive(Debug)]
pub struct Watched {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// What was in force when it was last found whole; `None` = not looked at yet.
    seen: Option<Stamps>,
    /// The state that was refused, and why.
    refused: Option<(Stamps, String)>,
    /// When its end was last spoken of, and as what.
    said: Option<(SystemTime, Expiry)>,
}

/// What a look has shown.
#[derive(Debug)]
pub enum Look {
    /// What is in force is what is on disk.
    Same,
    /// Another pair, and whole.
    Changed(Box<CertifiedKey>),
    /// It cannot be used; said for the first time.
    Refused(String),
    /// It cannot be used, as it could not before.
    StillRefused,
}

/// How far a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Far enough.
    Far,
    /// In so many days, 14 at most.
    Soon(u64),
    /// It is over.
    Over,
}

impl Watched {
    /// The files of `certificate`. The first look reads them: they may have changed since the configuration was read.
    pub fn new(certificate: &config::Certificate) -> Self {
        let (cert, key) = (certificate.cert.clone(), certificate.key.clone());
        Self { cert, key, seen: None, refused: None, said: None }
    }

    /// What has been said of the same files by `before` is not said again.
    pub fn follow(&mut self, before: &Self) {
        if (&before.cert, &before.key) == (&self.cert, &self.key) {
            self.refused.clone_from(&before.refused);
            self.said = before.said;
        }
    }

    /// Looks whether the files hold another pair than `current`, and reads them by `load` if they may. What was refused is
    /// read again each time, until it is whole.
    pub fn look(
        &mut self,
        current: &CertifiedKey,
        load: impl FnOnce(&Path, &Path) -> Result<CertifiedKey, String>,
    ) -> Look {
        let now = self.stamps();
        if self.seen == Some(now) {
            self.refused = None;
            return Look::Same;
        }
        match load(&self.cert, &self.key) {
            Err(why) => self.refuse(now, why),
            // Somebody writes it at this moment: the next look tells.
            Ok(_) if self.stamps() != now => Look::Same,
            Ok(pair) => {
                self.seen = Some(now);
                self.refused = None;
                if pair.cert == current.cert { Look::Same } else { Look::Changed(Box::new(pair)) }
            }
        }
    }

    fn refuse(&mut self, now: Stamps, why: String) -> Look {
        let refused = Some((now, why.clone()));
        if refused == self.refused {
            return Look::StillRefused;
        }
        self.refused = refused;
        Look::Refused(why)
    }

    fn stamps(&self) -> Stamps {
        [Stamp::of(&self.cert), Stamp::of(&self.key)]
    }

    /// What is to be said now of a certificate that ends then: at most once a day, and when it becomes worse.
    pub fn speak(&mut self, not_after: SystemTime, now: SystemTime) -> Option<Expiry> {
        let expiry = Expiry::of(not_after, now);
        if expiry == Expiry::Far {
            self.said = None;
            return None;
        }
        let before = self.said.filter(|(at, said)| {
            let lately = now.duration_since(*at).is_ok_and(|since| since < AGAIN);
            lately && (*said == Expiry::Over) == (expiry == Expiry::Over)
        });
        if before.is_none() {
            self.said = Some((now, expiry));
        }
        before.is_none().then_some(expiry)
    }
}

impl Expiry {
    /// Of what ends then.
    pub fn of(not_after: SystemTime, now: SystemTime) -> Self {
        match not_after.duration_since(now) {
            Err(_) => Self::Over,
            Ok(left) if left > config::tls::ENDS_SOON => Self::Far,
            Ok(left) => Self::Soon(left.as_secs() / (24 * 60 * 60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Ca, Folder, params};
    use std::os::unix::fs::symlink;

    fn pair(ca: &Ca) -> CertifiedKey {
        ca.issue(params(&["a.example"]))
    }

    /// A pair by its number in both files, `current` in force.
    fn look(watched: &mut Watched, pairs: &[CertifiedKey], current: usize) -> Look {
        watched.look(&pairs[current], |cert, key| {
            let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
            let (cert, key) = (read(cert)?, read(key)?);
            if cert != key {
                return Err("they do not match".into());
            }
            Ok(pairs[cert.parse::<usize>().map_err(|error| error.to_string())?].clone())
        })
    }

    fn watched(folder: &Path) -> Watched {
        let (cert, key) = (folder.join("cert"), folder.join("key"));
        Watched { cert, key, seen: None, refused: None, said: None }
    }

    #[test]
    fn a_pair_is_taken_when_it_is_whole_and_refused_once_a_state() {
        let (folder, ca) = (Folder::new(), Ca::new());
        let pairs = [pair(&ca), pair(&ca), pair(&ca)];
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("cert", "0");
        write("key", "0");
        let mut watched = watched(folder.path());
        assert!(matches!(look(&mut watched, &pairs, 0), Look::Same));
        let unread = watched.look(&pairs[0], |_, _| panic!("nothing has changed"));
        assert!(matches!(unread, Look::Same));
        write("cert", "10");
        assert!(matches!(look(&mut watched, &pairs, 0), Look::Refused(_)));
        assert!(matches!(look(&mut watched, &pairs, 0), Look::StillRefused));
        write("cert", "1");
        assert!(matches!(look(&mut watched, &pairs, 0), Look::Refused(_)), "another state");
        write("key", "1");
        let Look::Changed(taken) = look(&mut watched, &pairs, 0) else { panic!("it is whole") };
        assert_eq!(taken.cert, pairs[1].cert);
        assert!(matches!(look(&mut watched, &pairs, 1), Look::Same));
        fs::remove_file(folder.path().join("key")).unwrap();
        assert!(matches!(look(&mut watched, &pairs, 1), Look::Refused(_)));
        assert!(matches!(look(&mut watched, &pairs, 1), Look::StillRefused));
    }

    #[test]
    fn a_link_that_is_swapped_far_up_the_path_is_seen() {
        let (folder, ca) = (Folder::new(), Ca::new());
        let pairs = [pair(&ca), pair(&ca)];
        for number in ["0", "1"] {
            fs::create_dir(folder.path().join(number)).unwrap();
            for name in ["cert", "key"] {
                fs::write(folder.path().join(number).join(name), number).unwrap();
            }
        }
        // As Kubernetes does: cert -> data/cert, data -> 0.
        let inside = |name: &str| folder.path().join(name);
        symlink("0", inside("data")).unwrap();
        for name in ["cert", "key"] {
            symlink(Path::new("data").join(name), inside(name)).unwrap();
        }
        let mut watched = watched(folder.path());
        assert!(matches!(look(&mut watched, &pairs, 0), Look::Same));
        symlink("1", inside("next")).unwrap();
        fs::rename(inside("next"), inside("data")).unwrap();
        assert!(matches!(look(&mut watched, &pairs, 0), Look::Changed(_)));
    }

    #[test]
    fn an_end_is_spoken_of_14_days_ahead_once_a_day_and_when_it_has_come() {
        let day = Duration::from_secs(24 * 60 * 60);
        let end = SystemTime::UNIX_EPOCH + 1000 * day;
        let mut watched = watched(Path::new("/"));
        for (before, spoken) in [
            (15.0, None),
            (13.9, Some(Expiry::Soon(13))),
            (13.5, None),
            (12.8, Some(Expiry::Soon(12))),
            (0.5, Some(Expiry::Soon(0))),
            (-0.1, Some(Expiry::Over)),
            (-0.5, None),
            (-1.2, Some(Expiry::Over)),
            (90.0, None),
            (14.0, Some(Expiry::Soon(14))),
        ] {
            let now = if before < 0.0 { end + day.mul_f64(-before) } else { end - day.mul_f64(before) };
            assert_eq!(watched.speak(end, now), spoken, "{before} days before");
        }
    }
}
