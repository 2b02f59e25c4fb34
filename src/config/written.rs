//! The files of a configuration, as they were read: what a rollback reads again, and what people recognise in a diff.
//!
//! Kept beside the meaning by `Config`; the hash tells whether a file has changed since.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use toml::de::DeTable;

use super::{
    files, include,
    leaves::Leaves,
    problem::{Problems, Source},
    report::{Findings, Report},
};

/// The main file first, then those that it includes, in the order that they were read.
#[derive(Clone, Default)]
pub struct Written(pub(super) Vec<Arc<Source>>);

/// What two configurations mean is compared by what they mean, not by how they are written.
impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files().map(|(path, _)| path)).finish()
    }
}

impl Written {
    /// The file at `path` and those that it includes, whatever they say. What is included and cannot be read is left out.
    ///
    /// # Errors
    /// The file itself cannot be read.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let main =
            files::source(path, 0).map_err(|problem| Problems::new(path, vec![*problem]).expect("there is one"))?;
        let findings = Findings::default();
        let (table, _) = DeTable::parse_recoverable(&main.text);
        let (included, _) = include::sources(Report::new(&main, &findings), table.get_ref());
        Ok(Self([vec![Arc::clone(&main)], included].concat()))
    }

    /// Files that were kept somewhere: their paths and texts, the main one first.
    pub fn of(files: impl IntoIterator<Item = (PathBuf, String)>) -> Self {
        let source = |(order, (path, text)): (usize, (PathBuf, String))| Arc::new(Source::new(&path, order, &text));
        Self(files.into_iter().enumerate().map(source).collect())
    }

    /// Their paths and texts.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|source| (&*source.file, &*source.text))
    }

    /// SHA-256 of names and texts, in hex: another one, another configuration as written.
    pub fn hash(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        for (path, text) in self.files() {
            for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is written, by table.
    pub fn leaves(&self) -> Leaves {
        Leaves::of(self.0.iter().map(|source| &*source.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_names_and_texts_apart() {
        let hash = |files: &[(&str, &str)]| Written::of(files.iter().map(|(p, t)| (p.into(), (*t).to_owned()))).hash();
        let one = hash(&[("a", "b"), ("c", "d")]);
        assert_eq!(one, hash(&[("a", "b"), ("c", "d")]));
        assert_eq!(one.len(), 64);
        for other in
            [&[("a", "b")][..], &[("a", "bc"), ("", "d")], &[("a", "b"), ("c", "e")], &[("c", "d"), ("a", "b")]]
        {
            assert_ne!(one, hash(other), "{other:?}");
        }
    }
}
