//! The language of HAProxy: sections of lines, words with quotes and escapes. Called by `haproxy::import`.

use std::{cell::Cell, rc::Rc};

use super::super::{
    Unreadable,
    report::{Outcome, Place, Report, is_secret},
};

/// Lines of the file.
const MOST: usize = 100_000;

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) place: Place,
    told: Cell<bool>,
}

impl Line {
    /// The word at `at`, or nothing.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// It begins with these words.
    pub(super) fn is(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len() && self.words.iter().zip(words).all(|(one, other)| one == other)
    }

    /// What stands behind `name`.
    pub(super) fn after(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == name)?;
        self.words.get(at + 1).map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word == name)
    }

    /// All words, one behind the other.
    pub(super) fn value(&self) -> String {
        self.words.join(" ")
    }

    /// As it was written, without passwords.
    pub(super) fn text(&self) -> String {
        let secret =
            |word: &str| ["password", "insecure-password"].contains(&word) || word == "auth" && self.is(&["stats"]);
        let quoted = |word: &String| match word.is_empty() || word.contains(' ') {
            true => format!("\"{word}\""),
            false => word.clone(),
        };
        // The value of a header, or what one is compared to.
        let mut value = false;
        let mut out = Vec::new();
        for (at, word) in self.words.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |before| self.word(before));
            let named = before.ends_with("-header") && is_secret(word);
            let asked = ["hdr(", "cook(", "urlp(", "url_param("].iter().find_map(|fetch| word.split(fetch).nth(1));
            let asked = asked.is_some_and(|name| is_secret(name.split([')', ',']).next().unwrap_or_default()));
            value &= !["if", "unless", "}", "or", "||"].contains(&word.as_str());
            out.push(match secret(before) || value && !word.starts_with('-') {
                true => "***".to_owned(),
                false => quoted(word),
            });
            value |= named || asked;
        }
        out.join(" ")
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.get()
    }

    /// Says in `report` what became of it.
    pub(super) fn tell(&self, report: &mut Report, outcome: Outcome, note: impl Into<String>) {
        self.told.set(true);
        report.add(outcome, &self.place, &self.text(), note);
    }

    pub(super) fn converted(&self, report: &mut Report) {
        self.tell(report, Outcome::Converted, "");
    }

    pub(super) fn approximated(&self, report: &mut Report, note: impl Into<String>) {
        self.tell(report, Outcome::Approximated, note);
    }

    pub(super) fn unsupported(&self, report: &mut Report, note: impl Into<String>) {
        self.tell(report, Outcome::Unsupported, note);
    }
}

/// `global`, `defaults`, `frontend` and so on.
#[derive(Debug)]
pub(super) struct Section {
    /// Its first line.
    pub(super) head: Line,
    pub(super) lines: Vec<Line>,
}

impl Section {
    pub(super) fn kind(&self) -> &str {
        self.head.word(0)
    }

    pub(super) fn name(&self) -> &str {
        match self.head.word(1) {
            "from" => "",
            name => name,
        }
    }
}

/// What begins a section.
pub(in crate::import) const SECTIONS: [&str; 19] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "resolvers",
    "mailers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
    "log-profile",
    "acme",
];

/// The sections of `text`.
pub(super) fn read(text: &str, file: &Rc<str>) -> Result<Vec<Section>, Unreadable> {
    let mut sections: Vec<Section> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let wrong = |why: &str| Unreadable { place: format!("{file}:{number}"), why: why.to_owned() };
        if at >= MOST {
            return Err(wrong(&format!("there are more than {MOST} lines")));
        }
        let words = words(line.trim_start_matches('\u{feff}')).map_err(wrong)?;
        let Some(first) = words.first() else { continue };
        let place = Place { file: file.clone(), line: number };
        let section = SECTIONS.contains(&first.as_str());
        let line = Line { words, place, told: Cell::new(false) };
        match sections.last_mut() {
            _ if section => sections.push(Section { head: line, lines: Vec::new() }),
            Some(last) => last.lines.push(line),
            None => return Err(wrong("this stands in no section, such as `global` or `frontend`")),
        }
    }
    Ok(sections)
}

/// The words of a line, without its comment.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => break,
            letter if letter.is_whitespace() => words.extend(word.take()),
            '\\' => {
                let word = word.get_or_insert_default();
                match letters.next() {
                    Some(escaped @ (' ' | '#' | '\\' | '"' | '\'')) => word.push(escaped),
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some(other) => word.extend(['\\', other]),
                    None => return Err("the line ends with a backslash"),
                }
            }
            quote @ ('"' | '\'') => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        None => return Err("a quote is not closed"),
                        Some(letter) if letter == quote => break,
                        Some('\\') if quote == '"' => match letters.next() {
                            Some(escaped @ ('\\' | '"' | '\'' | '$' | ' ' | '#')) => word.push(escaped),
                            Some('n') => word.push('\n'),
                            Some('r') => word.push('\r'),
                            Some('t') => word.push('\t'),
                            Some(other) => word.extend(['\\', other]),
                            None => return Err("a quote is not closed"),
                        },
                        Some(letter) => word.push(letter),
                    }
                }
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_words_and_sections() {
        let text = "global # x\n  log /dev/log 'a b'\n\ndefaults d from e\n  x \"y \\\"z\" a\\ b \\.c # no\n";
        let sections = read(text, &"h.cfg".into()).unwrap();
        assert_eq!(
            sections.iter().map(|one| (one.kind(), one.name())).collect::<Vec<_>>(),
            [("global", ""), ("defaults", "d")]
        );
        assert_eq!(sections[0].lines[0].words, ["log", "/dev/log", "a b"]);
        assert_eq!(sections[1].lines[0].words, ["x", "y \"z", "a b", "\\.c"]);
        assert_eq!(sections[1].lines[0].place.line, 5);
        let secret = read("userlist u\n user a insecure-password b\n", &"h.cfg".into()).unwrap();
        assert_eq!(secret[0].lines[0].text(), "user a insecure-password ***");
        for (text, line) in [("x", 1), ("global\n a \"b", 2), ("global\n a\\", 2)] {
            assert_eq!(read(text, &"h.cfg".into()).unwrap_err().place, format!("h.cfg:{line}"));
        }
    }
}
