//! TOML as people would write it: a comment with the source line at each table and key, keys in a stable order, nothing
//! that is a default. Used by both readers.

use std::{
    collections::HashMap,
    fmt::{self, Write},
};

use super::report::Place;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<Value>),
    /// Inline.
    Table(Vec<(String, Value)>),
}

impl Value {
    /// A list of texts; one alone stands without brackets.
    pub(super) fn words<T: Into<Self>>(words: impl IntoIterator<Item = T>) -> Self {
        let mut words: Vec<Self> = words.into_iter().map(Into::into).collect();
        match words.len() {
            1 => words.remove(0),
            _ => Self::List(words),
        }
    }

    /// It is a text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An inline table of these.
    pub(super) fn table<const N: usize>(pairs: [(&str, Self); N]) -> Self {
        Self::Table(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Flag(yes)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(yes) => write!(f, "{yes}"),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_string).collect();
                let line = values.join(", ");
                match line.len() {
                    0..=WIDE => write!(f, "[{line}]"),
                    _ => write!(f, "[\n  {},\n]", values.join(",\n  ")),
                }
            }
            Self::Table(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{} = {value}", key(name))).collect();
                write!(f, "{{ {} }}", pairs.join(", "))
            }
        }
    }
}

/// A list that is longer has a line for each element.
const WIDE: usize = 90;

/// One part of a key.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A basic string; a literal one where it saves backslashes.
fn quoted(text: &str) -> String {
    let plain = |letter: char| !letter.is_control() && letter != '\'';
    if text.contains(['\\', '"']) && text.chars().all(plain) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// A table with its keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    /// `[server]`, `[[route]]`
    head: String,
    /// Comments above it.
    comments: Vec<String>,
    /// Dotted path, value, and a comment behind it.
    keys: Vec<(Vec<String>, Value, Option<String>)>,
    /// Where each path stands in `keys`.
    places: HashMap<Vec<String>, usize>,
}

impl Table {
    /// `[a.b]`
    pub(super) fn new(path: &[&str]) -> Self {
        let path: Vec<_> = path.iter().map(|name| key(name)).collect();
        Self { head: format!("[{}]", path.join(".")), comments: Vec::new(), keys: Vec::new(), places: HashMap::new() }
    }

    /// `[[name]]`
    pub(super) fn element(name: &str) -> Self {
        Self { head: format!("[[{}]]", key(name)), comments: Vec::new(), keys: Vec::new(), places: HashMap::new() }
    }

    /// Says above it where it is from, or what is to be known of it.
    pub(super) fn comment(&mut self, text: impl fmt::Display) {
        let line: String =
            text.to_string().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        if !self.comments.contains(&line) {
            self.comments.push(line);
        }
    }

    /// `path`, dotted, is `value`, as `place` says; what was there before goes.
    pub(super) fn set(&mut self, path: &[&str], value: impl Into<Value>, place: Option<&Place>) {
        let path: Vec<String> = path.iter().map(|&name| name.to_owned()).collect();
        let comment = place.map(Place::to_string);
        match self.places.get(&path) {
            Some(at) => (self.keys[*at].1, self.keys[*at].2) = (value.into(), comment),
            None => {
                self.places.insert(path.clone(), self.keys.len());
                self.keys.push((path, value.into(), comment));
            }
        }
    }

    pub(super) fn remove(&mut self, path: &[&str]) {
        if self.at(path).is_some() {
            self.retain(|known| *known != path);
        }
    }

    /// Takes away all that stands below `name`.
    pub(super) fn drop_under(&mut self, name: &str) {
        self.retain(|known| known.first().is_none_or(|first| first != name));
    }

    fn retain(&mut self, kept: impl Fn(&Vec<String>) -> bool) {
        self.keys.retain(|(known, ..)| kept(known));
        self.places = self.keys.iter().enumerate().map(|(at, (path, ..))| (path.clone(), at)).collect();
    }

    fn at(&self, path: &[&str]) -> Option<usize> {
        let path: Vec<String> = path.iter().map(|&name| name.to_owned()).collect();
        self.places.get(&path).copied()
    }

    pub(super) fn value(&self, path: &[&str]) -> Option<&Value> {
        self.at(path).map(|at| &self.keys[at].1)
    }

    /// Takes away the comments that begin with `text`.
    pub(super) fn forget(&mut self, text: &str) {
        self.comments.retain(|comment| !comment.starts_with(text));
    }

    /// The same under another name.
    pub(super) fn renamed(&self, path: &[&str]) -> Self {
        Self { head: Self::new(path).head, ..self.clone() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Both mean the same, whatever their comments say.
    pub(super) fn same(&self, other: &Self) -> bool {
        let mut both = self.keys.iter().zip(&other.keys);
        self.keys.len() == other.keys.len() && both.all(|(one, two)| one.0 == two.0 && one.1 == two.1)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comment in &self.comments {
            writeln!(f, "# {comment}")?;
        }
        writeln!(f, "{}", self.head)?;
        for (path, value, comment) in &self.keys {
            let path: Vec<_> = path.iter().map(|name| key(name)).collect();
            write!(f, "{} = {value}", path.join("."))?;
            match comment {
                Some(comment) => writeln!(f, "  # {comment}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_toml_reads() {
        let mut table = Table::new(&["pool", "a.b"]);
        let odd = ["a\"b", "a\\b", "it's \\ \"", "\u{1}\n\r\tä", "^/(a|b)\\.c$", "\u{7f}"];
        table.comment("x.conf:1 \n odd");
        for (at, text) in odd.iter().enumerate() {
            table.set(&["k", &at.to_string(), text], *text, Some(&Place { file: "x.conf".into(), line: 7 }));
        }
        table.set(&["list"], Value::words(odd.iter().map(|text| text.repeat(9))), None);
        table.set(&["inline"], Value::table([("a b", true.into()), ("c", 7.into())]), None);
        let read: toml::Table = toml::from_str(&table.to_string()).unwrap();
        let read = read["pool"]["a.b"].as_table().unwrap();
        for (at, text) in odd.iter().enumerate() {
            assert_eq!(read["k"][&at.to_string()][*text].as_str(), Some(*text));
        }
        assert_eq!(read["list"].as_array().unwrap().len(), odd.len());
        assert_eq!(read["inline"]["c"].as_integer(), Some(7));
    }
}
