//! What became of each directive of the file that was imported: what people read on stderr, and tools as JSON.
//!
//! Filled by both readers; `cli::import` writes it.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use serde::Serialize;

/// A line of a file that was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// As it is told to people: the path from the folder of the main file, where that is possible.
    pub(super) file: Rc<str>,
    /// From 1.
    pub(super) line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What became of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It could not be converted and protects something: what it stood for is refused instead of open.
    Closed,
    /// Nothing of it is in the result.
    Unsupported,
    /// Something like it is in the result; the note says what is different.
    Approximated,
    /// It means the same, or there is nothing that would have to be written.
    Converted,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Closed, Self::Unsupported, Self::Approximated, Self::Converted];

    fn word(self) -> &'static str {
        match self {
            Self::Closed => "NOT SUPPORTED, CLOSED",
            Self::Unsupported => "not supported",
            Self::Approximated => "approximated",
            Self::Converted => "converted",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Entry {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it stands.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// As it was written, shortened.
    pub directive: String,
    /// What is different, or what to do; may be empty.
    pub note: String,
}

/// All of them, each once, the worst first and then in the order of the files.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    entries: BTreeSet<Entry>,
    /// Hashes of all entries, so that each is counted once.
    #[serde(skip)]
    seen: HashSet<u64>,
    /// By outcome.
    #[serde(skip)]
    counts: [usize; Outcome::ALL.len()],
    /// Something has found no room.
    #[serde(skip)]
    cut: bool,
}

/// Where there are more entries, the least of them are counted alone: a report is for people.
const MOST: usize = 20_000;

impl Report {
    pub(super) fn add(&mut self, outcome: Outcome, place: &Place, directive: &str, note: impl Into<String>) {
        let (file, line) = (place.file.to_string(), place.line);
        let entry = Entry { outcome, file, line, directive: shortened(directive), note: note.into() };
        let mut hasher = DefaultHasher::new();
        entry.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        self.counts[outcome as usize] += 1;
        self.entries.insert(entry);
        if self.entries.len() > MOST {
            self.entries.pop_last();
        }
    }

    /// Not all of it is in the result, which has its bounds.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    /// All that could be converted has found room in the result.
    pub fn is_whole(&self) -> bool {
        !self.cut
    }

    /// What became of each directive; of very many the worst.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The same without what is converted.
    pub fn brief(&self) -> Brief<'_> {
        Brief(self)
    }

    /// How many of them there are.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.counts[outcome as usize]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Outcome::Converted)
    }
}

/// A report without what is converted.
#[derive(Debug)]
pub struct Brief<'r>(&'r Report);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, Outcome::Approximated)
    }
}

impl Report {
    /// Lines of what has become `least` or worse, and how many there are of all.
    fn write(&self, f: &mut fmt::Formatter<'_>, least: Outcome) -> fmt::Result {
        for entry in self.entries.iter().filter(|entry| entry.outcome <= least) {
            let Entry { outcome, file, line, directive, note } = entry;
            write!(f, "{file}:{line}: {}: `{directive}`", outcome.word())?;
            if !note.is_empty() {
                write!(f, ": {note}")?;
            }
            writeln!(f)?;
        }
        let counts = Outcome::ALL.map(|outcome| (self.count(outcome), outcome));
        let said: Vec<_> = counts.iter().rev().map(|(count, outcome)| format!("{count} {}", outcome.word())).collect();
        let more = if self.counts.iter().sum::<usize>() > self.entries.len() {
            "; the least of them are not listed"
        } else {
            ""
        };
        let hidden = if least < Outcome::Converted && self.count(Outcome::Converted) > 0 {
            " (--verbose lists them)"
        } else {
            ""
        };
        writeln!(f, "{}{more}", said.join(", ").replacen(" converted", &format!(" converted{hidden}"), 1))
    }
}

/// What stands under this name, of a header, cookie or parameter, is nobody else's business.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let within = ["authorization", "cookie", "token", "secret", "passw", "api-key", "apikey", "credential", "session"];
    let last = ["key", "pass", "auth", "pwd"];
    within.iter().any(|word| name.contains(word)) || last.iter().any(|word| name.rsplit('-').next() == Some(*word))
}

/// `text` on one line, of a length that people read.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_each_is_told_once() {
        let mut report = Report::default();
        let place = |line| Place { file: "a.conf".into(), line };
        report.add(Outcome::Converted, &place(1), "listen 80", "");
        report.add(Outcome::Closed, &place(9), "auth_jwt \"x\"", "requests get 503");
        report.add(Outcome::Converted, &place(1), "listen 80", "");
        assert_eq!(
            report.to_string(),
            "a.conf:9: NOT SUPPORTED, CLOSED: `auth_jwt \"x\"`: requests get 503\na.conf:1: converted: `listen 80`\n\
             1 converted, 0 approximated, 0 not supported, 1 NOT SUPPORTED, CLOSED\n"
        );
        report.add(Outcome::Unsupported, &place(2), &"\u{1b}é".repeat(200), "");
        let entry = report.entries().find(|entry| entry.line == 2).unwrap();
        assert!(entry.directive.chars().count() == 121 && !entry.directive.contains('\u{1b}'));
    }

    #[test]
    fn a_full_report_keeps_the_worst_and_counts_all() {
        let mut report = Report::default();
        let place = |line| Place { file: "a.conf".into(), line };
        let most = u32::try_from(MOST).unwrap();
        (0..most + 5).for_each(|line| report.add(Outcome::Converted, &place(line), "x", ""));
        report.add(Outcome::Closed, &place(most + 5), "deny all", "requests get 503");
        report.add(Outcome::Unsupported, &place(most + 6), "gzip on", "");
        // Said again, where it is kept and where it is not.
        report.add(Outcome::Closed, &place(most + 5), "deny all", "requests get 503");
        report.add(Outcome::Converted, &place(most + 4), "x", "");
        let told: Vec<_> = report.entries().take(3).map(|entry| (entry.outcome, entry.line)).collect();
        assert_eq!(told, [(Outcome::Closed, most + 5), (Outcome::Unsupported, most + 6), (Outcome::Converted, 0)]);
        assert_eq!(report.entries().count(), MOST);
        let counts = [Outcome::Closed, Outcome::Unsupported, Outcome::Converted].map(|one| report.count(one));
        assert_eq!(counts, [1, 1, MOST + 5]);
        let said = "20005 converted, 0 approximated, 1 not supported, 1 NOT SUPPORTED, CLOSED; the least of them are not listed";
        assert!(report.to_string().ends_with(&format!("{said}\n")));
    }

    #[test]
    fn names_of_secrets() {
        let secret = ["Authorization", "X-Api-Key", "x_key", "X-Pass", "session_id", "auth", "access_token"];
        assert!(secret.iter().all(|name| is_secret(name)));
        assert!(["host", "user-agent", "x-forwarded-for", "keyboard", "beta"].iter().all(|name| !is_secret(name)));
    }
}
