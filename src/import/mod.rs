//! `evenkeel import`: reads the configuration of nginx or HAProxy, and writes one of ours that does the same, with a report
//! of what could not be converted. Called by `cli::import`, which has the result checked.
//!
//! - `nginx`, `haproxy`: a reader, and what its directives mean · `draft`, `toml`: the file that is written
//! - `report`: what became of each directive · `files`: what is read, within bounds · `text`: addresses, times, sizes
//!
//! **Nothing is dropped in silence**: each directive marks itself when it is converted, and what is left unmarked at the end
//! is told as not supported. **Nothing is opened**: where something that protects (deny, auth) cannot be converted, the route
//! answers 503 instead.

mod draft;
mod files;
mod haproxy;
mod nginx;
mod report;
mod text;
mod toml;

#[cfg(test)]
mod fuzz;

pub use self::report::{Entry, Outcome, Report};

use self::files::Files;
use std::{fmt, path::Path};

/// Whose configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// nginx: blocks in braces.
    Nginx,
    /// HAProxy: sections with lines.
    Haproxy,
}

/// A configuration of ours, and how it came to be.
#[derive(Debug)]
pub struct Imported {
    /// TOML.
    pub toml: String,
    /// What became of each directive.
    pub report: Report,
}

/// Why nothing could be imported.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file, and the line if there is one.
    pub place: String,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Reads the file at `path`, and what it includes; without `from` it is found out whose it is.
///
/// # Errors
/// It cannot be read, or is no such configuration.
pub fn import(path: &Path, from: Option<From>) -> Result<Imported, Unreadable> {
    let mut files = Files::new(path);
    let text = files.main()?;
    let from = match from.or_else(|| guess(&text)) {
        Some(from) => from,
        None => {
            let why = "nothing in it says whether it is of nginx or of HAProxy: write --from nginx or --from haproxy";
            return Err(Unreadable { place: files.shown(path).to_string(), why: why.to_owned() });
        }
    };
    match from {
        From::Nginx => nginx::import(&text, &mut files),
        From::Haproxy => haproxy::import(&text, &files),
    }
}

/// By the first line that is of one of the two alone.
fn guess(text: &str) -> Option<From> {
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let first = line.split_whitespace().next().unwrap_or_default();
        if line.ends_with(['{', ';', '}']) {
            return Some(From::Nginx);
        }
        if haproxy::SECTIONS.contains(&first) {
            return Some(From::Haproxy);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_it_is_is_seen() {
        assert_eq!(guess("# a { b }\n\nuser www;\n"), Some(From::Nginx));
        assert_eq!(guess("server {\n"), Some(From::Nginx));
        assert_eq!(guess("upstream web\n{\n"), Some(From::Nginx));
        assert_eq!(guess("# a;\n  global # here\n  daemon\n"), Some(From::Haproxy));
        assert_eq!(guess("listen stats\n  bind :80\n"), Some(From::Haproxy));
        assert_eq!(guess("listen 80;\n"), Some(From::Nginx));
        assert_eq!(guess("hello\nworld\n"), None);
    }
}
