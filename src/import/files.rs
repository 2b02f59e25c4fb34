//! The files that are read: bounded in number and size, told by short names. Used by both readers.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::Unreadable;

/// Bytes of all files together.
const MOST_BYTES: u64 = 16 << 20;
/// Files.
const MOST_FILES: usize = 2_000;

/// What may still be read.
#[derive(Debug)]
pub(super) struct Files {
    main: PathBuf,
    left: u64,
    read: usize,
}

impl Files {
    /// `main` and what it includes.
    pub(super) fn new(main: &Path) -> Self {
        Self { main: main.to_owned(), left: MOST_BYTES, read: 0 }
    }

    /// The folder of the main file, at which relative paths start.
    pub(super) fn folder(&self) -> &Path {
        self.main.parent().unwrap_or(Path::new(""))
    }

    /// The main file's name.
    pub(super) fn title(&self) -> Rc<str> {
        self.shown(&self.main)
    }

    /// The main file's text.
    pub(super) fn main(&mut self) -> Result<String, Unreadable> {
        let path = self.main.clone();
        self.read(&path)
    }

    /// The text of the file at `path`. What is not UTF-8 is replaced: it stands in comments.
    pub(super) fn read(&mut self, path: &Path) -> Result<String, Unreadable> {
        let wrong = |why: String| Unreadable { place: self.shown(path).to_string(), why };
        if self.read >= MOST_FILES {
            return Err(wrong(format!("more than {MOST_FILES} files are included")));
        }
        let unread = |error: std::io::Error| wrong(format!("it cannot be read: {error}"));
        // Before it is opened, which would wait for somebody at the other end of a pipe.
        if !fs::metadata(path).map_err(unread)?.is_file() {
            return Err(wrong("it cannot be read: it is not a file".to_owned()));
        }
        let mut bytes = Vec::new();
        fs::File::open(path).map_err(unread)?.take(self.left + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() as u64 > self.left {
            return Err(wrong(format!("with what it includes it is larger than {} MiB", MOST_BYTES >> 20)));
        }
        self.left -= bytes.len() as u64;
        self.read += 1;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `path` as people are told of it: from the main file's folder where it is below.
    pub(super) fn shown(&self, path: &Path) -> Rc<str> {
        path.strip_prefix(self.folder()).unwrap_or(path).to_string_lossy().into()
    }

    /// The path of `text`, which may be relative to the main file's folder.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.folder().join(text)
    }

    /// The files that `pattern` means, sorted; one without `*`, `?` and `[` means itself, there or not.
    pub(super) fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        let whole = self.path(pattern);
        let Some(whole) = whole.to_str().filter(|whole| whole.contains(['*', '?', '['])) else { return vec![whole] };
        let mut found = BTreeSet::from([PathBuf::from(if whole.starts_with('/') { "/" } else { "" })]);
        for part in whole.split('/').filter(|part| !part.is_empty()) {
            found = found.iter().flat_map(|folder| below(folder, part)).take(MOST_FILES).collect();
        }
        found.into_iter().filter(|path| path.is_file()).collect()
    }
}

/// What is called `pattern` in `folder`.
fn below(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![folder.join(pattern)];
    }
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let fits = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        // As glob(7) has it.
        (pattern.starts_with('.') || !name.starts_with('.')) && matches(pattern.as_bytes(), name.as_bytes())
    };
    names.filter(fits).map(|name| folder.join(name)).collect()
}

/// glob(7) within one name: time is bounded by the product of the lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where to go on from after the last `*`, if what follows does not fit.
    let mut again: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at) {
            Some(b'*') => {
                again = Some((at + 1, seen));
                at += 1;
                continue;
            }
            None if seen == name.len() => return true,
            Some(&token) => name.get(seen).and_then(|&byte| one(token, &pattern[at..], byte)),
            None => None,
        };
        match (step, again) {
            (Some(length), _) => (at, seen) = (at + length, seen + 1),
            (None, Some((from, begin))) if begin < name.len() => {
                again = Some((from, begin + 1));
                (at, seen) = (from, begin + 1);
            }
            (None, _) => return false,
        }
    }
}

/// The length of the token at the start of `rest`, if it matches `byte`.
fn one(token: u8, rest: &[u8], byte: u8) -> Option<usize> {
    match token {
        b'?' => Some(1),
        b'[' => {
            let negated = matches!(rest.get(1), Some(b'!' | b'^'));
            let start = 1 + usize::from(negated);
            // A `]` that comes first is one of the set.
            let end = start + 1 + rest.get(start + 1..)?.iter().position(|&byte| byte == b']')?;
            let set = &rest[start..end];
            let range = |at: usize| set.get(at + 1) == Some(&b'-') && set.get(at + 2).is_some();
            let mut at = 0;
            let mut found = false;
            while at < set.len() {
                let last = if range(at) { set[at + 2] } else { set[at] };
                found |= (set[at]..=last).contains(&byte);
                at += if range(at) { 3 } else { 1 };
            }
            (found != negated).then_some(end + 1)
        }
        token => (token == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_bounded_and_a_file() {
        let folder = std::env::temp_dir().join(format!("evenkeel-import-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (small, large) = (folder.join("small"), folder.join("large"));
        fs::write(&small, "x").unwrap();
        fs::File::create(&large).unwrap().set_len(MOST_BYTES).unwrap();
        let mut files = Files::new(&large);
        assert_eq!(files.main().map(|text| text.len() as u64), Ok(MOST_BYTES));
        assert!(files.read(&small).unwrap_err().why.contains("larger than 16 MiB"), "all of them together");
        let mut files = Files::new(&small);
        assert!((0..MOST_FILES).all(|_| files.main().is_ok()));
        assert!(files.main().unwrap_err().why.starts_with("more than 2000 files"));
        let device = Files::new(Path::new("/dev/null")).main().unwrap_err();
        assert!(device.why.ends_with("it is not a file"), "{device}");
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn pipes_are_not_read() {
        let path = std::env::temp_dir().join(format!("evenkeel-import-pipe-{}", std::process::id()));
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let said = Files::new(&path).main().unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(said.why.ends_with("it is not a file"), "{}", said.why);
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[0-9]*-[!x].c", "10-y.c", true),
            ("[0-9]*-[!x].c", "10-x.c", false),
            ("[]a]", "]", true),
            ("[a", "[a", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXcXb", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
        let bad = "a*".repeat(200) + "b";
        assert!(!matches(bad.as_bytes(), "a".repeat(2000).as_bytes()), "and soon");
    }
}
