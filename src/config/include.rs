//! `include`: which files are read beside the main one, in which order.
//!
//! Called by `Config::parse` before anything is read: what they hold counts as if it stood in the main file.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::DeTable;

use super::{
    files,
    problem::{Problem, Source},
    report::{Report, Wrong},
    section::Field,
    units::quoted,
    values,
};

/// What is read when `include` is not written.
const DEFAULT: &str = "conf.d/*.toml";
/// More files than this are a slip in a pattern.
const MAX_FILES: usize = 10_000;

/// The files that `table` of the main file includes: its patterns in order, the files of each in lexical order, each
/// file once and the main file not at all; and whether that is all of them. What cannot be read is reported.
pub(super) fn sources(main: Report<'_>, table: &DeTable<'_>) -> (Vec<Arc<Source>>, bool) {
    let mut files = Files { main, seen: BTreeSet::new(), sources: Vec::new(), order: 0, complete: true };
    files.seen.extend(fs::canonicalize(&main.source.file));
    let Some(field) = Field::of(table, "include", main) else {
        files.by_default();
        return files.done();
    };
    for pattern in field.list() {
        if let Some(text) = pattern.read(|field| values::text(field, "the path of a file, or a pattern")) {
            files.pattern(&pattern, text);
        }
    }
    files.done()
}

struct Files<'a> {
    main: Report<'a>,
    seen: BTreeSet<PathBuf>,
    sources: Vec<Arc<Source>>,
    order: usize,
    complete: bool,
}

impl Files<'_> {
    fn done(self) -> (Vec<Arc<Source>>, bool) {
        (self.sources, self.complete)
    }

    /// No such folder is fine.
    fn by_default(&mut self) {
        let (folder, name) = split(&self.main, DEFAULT);
        match matching(&folder, name.as_bytes()) {
            Ok(paths) => paths.iter().for_each(|path| self.read(path)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => self.unreadable(&folder, &error),
        }
    }

    fn pattern(&mut self, field: &Field<'_>, text: &str) {
        if text == DEFAULT {
            return self.by_default();
        }
        let (folder, name) = split(&self.main, text);
        let wrong = |what: &str| Wrong::new(format!("found {}, wanted {what}", quoted(text)));
        if text.contains('\0') || name.is_empty() {
            field.wrong(wrong("the path of a file, or a pattern").help("write \"conf.d/*.toml\", for example"));
        } else if folder.as_os_str().as_bytes().contains(&b'*') {
            field.wrong(wrong("`*` in the name of the file alone").help("name each folder in an element of its own"));
        } else if !name.contains('*') {
            let path = folder.join(name);
            match files::check(&path) {
                Ok(()) => self.read(&path),
                Err(error) => {
                    self.complete = false;
                    field.wrong(Wrong::new(format!("{} cannot be read: {error}", quoted(text))));
                }
            }
        } else {
            self.matches(field, &folder, name, text);
        }
    }

    fn matches(&mut self, field: &Field<'_>, folder: &Path, name: &str, text: &str) {
        match matching(folder, name.as_bytes()) {
            Ok(paths) if paths.len() + self.sources.len() > MAX_FILES => {
                field.wrong(Wrong::new(format!("{} names more than {MAX_FILES} files", quoted(text))));
            }
            Ok(paths) if !paths.is_empty() => paths.iter().for_each(|path| self.read(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.unreadable(folder, &error),
            _ => field.warn(
                Wrong::new(format!("no file is called {}", quoted(text)))
                    .help(format!("it was looked for in {}", quoted(&folder.to_string_lossy()))),
            ),
        }
    }

    fn read(&mut self, path: &Path) {
        let known = fs::canonicalize(path).is_ok_and(|path| !self.seen.insert(path));
        if known {
            return;
        }
        self.order += 1;
        match files::source(path, self.order) {
            Ok(source) => self.sources.push(source),
            Err(problem) => self.failed(*problem),
        }
    }

    fn failed(&mut self, problem: Problem) {
        self.complete = false;
        self.main.push(problem);
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.order += 1;
        self.failed(Problem::unreadable(path, self.order, error));
    }
}

/// The folder that `pattern` looks in, and the name that it wants there.
fn split<'p>(main: &Report<'_>, pattern: &'p str) -> (PathBuf, &'p str) {
    let (folder, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let folder = if folder.is_empty() { "/" } else { folder };
    let beside = super::folder(&main.source.file);
    match (folder, beside.as_os_str().is_empty()) {
        (".", false) => (beside, name),
        _ => (beside.join(folder), name),
    }
}

/// The files of `folder` whose name is like `pattern`, in lexical order, without folders, pipes and devices; as in a
/// shell, `*` stands for no leading dot.
fn matching(folder: &Path, pattern: &[u8]) -> io::Result<Vec<PathBuf>> {
    let mut names: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().into_vec();
        let hidden = name.starts_with(b".") && !pattern.starts_with(b".");
        if !hidden && like(&name, pattern) {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    let readable = |path: &PathBuf| fs::metadata(path).map_or(true, |found| found.is_file());
    Ok(names.into_iter().map(|name| folder.join(name)).filter(readable).collect())
}

/// `name` is like `pattern`, in which `*` stands for any number of bytes.
fn like(name: &[u8], pattern: &[u8]) -> bool {
    let mut pieces = pattern.split(|&byte| byte == b'*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = memchr::memmem::find(rest, piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn a_star_stands_for_any_number_of_bytes() {
        for (name, pattern, wanted) in [
            ("a.toml", "*.toml", true),
            (".toml", "*.toml", true),
            ("a.toml~", "*.toml", false),
            ("a.toml", "a.toml", true),
            ("ab.toml", "a.toml", false),
            ("10-a-x.toml", "10-*-*.toml", true),
            ("10-a.toml", "10-*-*.toml", false),
            ("aa", "a*a", true),
            ("a", "a*a", false),
            ("anything", "*", true),
            ("abcabd", "*ab*abd", true),
            ("xaby", "*ab*ab*", false),
        ] {
            assert_eq!(like(name.as_bytes(), pattern.as_bytes()), wanted, "{name} {pattern}");
        }
    }
}
