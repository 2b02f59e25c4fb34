//! The language of nginx: directives with words, blocks in braces, quotes, comments, includes. Called by `nginx::import`.

use std::{cell::Cell, rc::Rc};

use super::super::{
    Unreadable,
    files::Files,
    report::{Outcome, Place, Report, is_secret},
};

/// Blocks in blocks, and files in files.
const DEEPEST: usize = 48;
/// Directives of all files.
const MOST: usize = 100_000;

/// One directive.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) words: Vec<String>,
    /// What is in its braces.
    pub(super) block: Option<Vec<Directive>>,
    pub(super) place: Place,
    /// Something has been said of it in the report.
    told: Cell<bool>,
}

impl Directive {
    /// The word at `at`, or nothing.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// As it was written, without credentials.
    pub(super) fn text(&self) -> String {
        let asked = self.word(0).trim_start_matches(['(', '$']);
        let asked = ["http_", "cookie_", "arg_"].iter().find_map(|kind| asked.strip_prefix(kind));
        // From which word on.
        let hidden = match self.name.as_str() {
            "secure_link_md5" | "secure_link_secret" => Some(0),
            "if" if asked.is_some_and(is_secret) => Some(2),
            name if name.ends_with("_header") && is_secret(self.word(0)) => Some(1),
            _ => None,
        };
        let mut text = self.name.clone();
        for (at, word) in self.words.iter().enumerate() {
            text.push(' ');
            if hidden.is_some_and(|first| at >= first) {
                text.push_str("***");
                continue;
            }
            match word.is_empty() || word.contains([' ', ';', '{']) {
                true => text.extend(["\"", word, "\""]),
                false => text.push_str(word),
            }
        }
        text
    }

    /// What is in its braces.
    pub(super) fn inside(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Whether something has been said of it.
    pub(super) fn is_told(&self) -> bool {
        self.told.get()
    }

    /// Says in `report` what became of it.
    pub(super) fn tell(&self, report: &mut Report, outcome: Outcome, note: impl Into<String>) {
        self.told.set(true);
        report.add(outcome, &self.place, &self.text(), note);
    }

    /// It means the same here.
    pub(super) fn converted(&self, report: &mut Report) {
        self.tell(report, Outcome::Converted, "");
    }

    /// What it means here is a little different.
    pub(super) fn approximated(&self, report: &mut Report, note: impl Into<String>) {
        self.tell(report, Outcome::Approximated, note);
    }

    /// Nothing of it is here.
    pub(super) fn unsupported(&self, report: &mut Report, note: impl Into<String>) {
        self.tell(report, Outcome::Unsupported, note);
    }
}

/// Reads `text` of the main file, and what it includes; files that are not there are told in `report`.
pub(super) fn read(text: &str, files: &mut Files, report: &mut Report) -> Result<Vec<Directive>, Unreadable> {
    let file = files.title();
    let mut reader = Reader { files, report, left: MOST };
    reader.file(text, &file, 0)
}

struct Reader<'a> {
    files: &'a mut Files,
    report: &'a mut Report,
    left: usize,
}

impl Reader<'_> {
    fn file(&mut self, text: &str, file: &Rc<str>, depth: usize) -> Result<Vec<Directive>, Unreadable> {
        let mut tokens = Tokens { rest: text, line: 1, file };
        let directives = self.block(&mut tokens, depth, false)?;
        Ok(directives)
    }

    /// Directives up to the end of the file, or of the block.
    fn block(&mut self, tokens: &mut Tokens<'_>, depth: usize, inner: bool) -> Result<Vec<Directive>, Unreadable> {
        if depth > DEEPEST {
            return Err(tokens.wrong(format!("blocks or includes are nested more than {DEEPEST} deep")));
        }
        let mut directives = Vec::new();
        loop {
            let (name, line) = match tokens.next()? {
                (Token::Word(word), line) => (word, line),
                (Token::Close, _) if inner => return Ok(directives),
                (Token::Close, _) => return Err(tokens.wrong("a `}` closes nothing")),
                (Token::End, _) if inner => return Err(tokens.wrong("the file ends in a block: a `}` is missing")),
                (Token::End, _) => return Ok(directives),
                (Token::Open | Token::Stop, _) => return Err(tokens.wrong("a directive has no name")),
            };
            self.left = match self.left.checked_sub(1) {
                Some(left) => left,
                None => return Err(tokens.wrong(format!("there are more than {MOST} directives"))),
            };
            let place = Place { file: tokens.file.clone(), line };
            let directive = self.rest(tokens, name, place, depth)?;
            if directive.name == "include" && directive.block.is_none() {
                if !self.include(&directive, &mut directives, depth)? {
                    directives.push(directive);
                }
            } else {
                directives.push(directive);
            }
        }
    }

    /// What stands behind a name.
    fn rest(
        &mut self,
        tokens: &mut Tokens<'_>,
        name: String,
        place: Place,
        depth: usize,
    ) -> Result<Directive, Unreadable> {
        let mut words = Vec::new();
        let block = loop {
            match tokens.next()?.0 {
                Token::Word(word) => words.push(word),
                Token::Stop => break None,
                Token::Open if name.ends_with("_by_lua_block") => {
                    tokens.skip_code()?;
                    break Some(Vec::new());
                }
                Token::Open => break Some(self.block(tokens, depth + 1, true)?),
                Token::Close | Token::End => {
                    return Err(
                        tokens.wrong(format!("a `;` or a block is missing behind `{name}` of line {}", place.line))
                    );
                }
            }
        };
        Ok(Directive { name, words, block, place, told: Cell::new(false) })
    }

    /// Puts what is included `into` the block; `false`: it is not there, and nobody knows what it says.
    fn include(&mut self, include: &Directive, into: &mut Vec<Directive>, depth: usize) -> Result<bool, Unreadable> {
        let pattern = include.word(0);
        // What stands there says nothing about proxying.
        if pattern.ends_with("mime.types") {
            include.converted(self.report);
            return Ok(true);
        }
        let found = self.files.matching(pattern);
        if found.is_empty() {
            include.approximated(self.report, "no file has such a name here");
            return Ok(true);
        }
        for path in found {
            match self.files.read(&path) {
                Ok(text) => {
                    let file = self.files.shown(&path);
                    into.extend(self.file(&text, &file, depth + 1)?);
                }
                Err(unreadable) if path.exists() => return Err(unreadable),
                // They come with nginx, and say what backends are told.
                Err(unreadable) if ["_params", "fastcgi.conf"].iter().any(|end| pattern.ends_with(end)) => {
                    let note = format!("{}: what it says is missing here", unreadable.why);
                    include.unsupported(self.report, note);
                    return Ok(true);
                }
                Err(_) => return Ok(false),
            }
        }
        include.converted(self.report);
        Ok(true)
    }
}

/// A piece of the language.
enum Token {
    Word(String),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    Stop,
    End,
}

struct Tokens<'a> {
    rest: &'a str,
    line: u32,
    file: &'a Rc<str>,
}

impl Tokens<'_> {
    fn wrong(&self, why: impl Into<String>) -> Unreadable {
        Unreadable { place: format!("{}:{}", self.file, self.line), why: why.into() }
    }

    fn bump(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        self.line += u32::from(letter == '\n');
        Some(letter)
    }

    /// The next token, and the line that it begins in.
    fn next(&mut self) -> Result<(Token, u32), Unreadable> {
        loop {
            match self.rest.chars().next() {
                Some(letter) if letter.is_whitespace() || letter == '\u{feff}' => {
                    self.bump();
                }
                Some('#') => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                _ => break,
            }
        }
        let line = self.line;
        let token = match self.rest.chars().next() {
            None => Token::End,
            Some(mark @ ('{' | '}' | ';')) => {
                self.bump();
                match mark {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::Stop,
                }
            }
            Some(quote @ ('"' | '\'')) => {
                self.bump();
                Token::Word(self.quoted(quote)?)
            }
            Some(_) => Token::Word(self.bare()),
        };
        Ok((token, line))
    }

    /// Up to the closing quote. A backslash takes the special meaning of quotes and itself alone; before all others it stays,
    /// as expressions have them.
    fn quoted(&mut self, quote: char) -> Result<String, Unreadable> {
        let mut word = String::new();
        loop {
            match self.bump() {
                None => return Err(self.wrong("the file ends within quotes")),
                Some('\\') => self.escape(&mut word),
                Some(letter) if letter == quote => return Ok(word),
                Some(letter) => word.push(letter),
            }
        }
    }

    fn escape(&mut self, word: &mut String) {
        match self.rest.chars().next() {
            Some(letter @ ('"' | '\'' | '\\')) => {
                self.bump();
                word.push(letter);
            }
            Some(letter @ ('t' | 'r' | 'n')) => {
                self.bump();
                word.push(match letter {
                    't' => '\t',
                    'r' => '\r',
                    _ => '\n',
                });
            }
            _ => word.push('\\'),
        }
    }

    /// Up to white space or a mark; `${` is no mark.
    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.rest.chars().next() {
            match letter {
                '\\' => {
                    self.bump();
                    // An escaped mark is a letter of the word.
                    match self.rest.chars().next() {
                        Some(mark @ ('{' | '}' | ';' | '#')) => {
                            self.bump();
                            word.extend(['\\', mark]);
                        }
                        Some(blank) if blank.is_whitespace() => {
                            self.bump();
                            word.extend(['\\', blank]);
                        }
                        _ => self.escape(&mut word),
                    }
                }
                '{' if word.ends_with('$') => {
                    while let Some(letter) = self.bump() {
                        word.push(letter);
                        if letter == '}' {
                            break;
                        }
                    }
                }
                letter if letter.is_whitespace() || "{;".contains(letter) => break,
                letter => {
                    self.bump();
                    word.push(letter);
                }
            }
        }
        word
    }

    /// Lua up to the brace that closes its block: it is not read.
    fn skip_code(&mut self) -> Result<(), Unreadable> {
        let mut depth = 1;
        while let Some(letter) = self.bump() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                '"' | '\'' => {
                    while let Some(inner) = self.bump() {
                        if inner == '\\' {
                            self.bump();
                        } else if inner == letter || inner == '\n' {
                            break;
                        }
                    }
                }
                '-' if self.rest.starts_with('-') => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.wrong("the file ends in a block of Lua"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<Vec<Directive>, Unreadable> {
        read(text, &mut Files::new(Path::new("nginx.conf")), &mut Report::default())
    }

    #[test]
    fn words_quotes_blocks_and_lines() {
        let text = "a 1 'b c' \"d\\\"e\"; # no; \nlocation ~ \\.php$ {\n  set $x ${y}z;\n  if ($a ~ \"\\d{2}\") { return 404; }\n}";
        let read = parse(text).unwrap();
        assert_eq!(read[0].words, ["1", "b c", "d\"e"]);
        assert_eq!((read[1].text(), read[1].place.line), ("location ~ \\.php$".into(), 2));
        assert_eq!(read[1].inside()[0].words, ["$x", "${y}z"]);
        assert_eq!(read[1].inside()[1].words, ["($a", "~", "\\d{2}", ")"].map(str::to_owned));
        assert_eq!(read[1].inside()[1].place.line, 4);
    }

    #[test]
    fn lua_is_passed_over() {
        let read = parse("content_by_lua_block { if x then return \"}\" end -- }\n t = {} } b;").unwrap();
        assert_eq!((read.len(), read[1].name.as_str()), (2, "b"));
    }

    #[test]
    fn what_is_no_such_file_is_told_with_its_line() {
        for (text, place) in
            [("a;\n}", 2), ("a {\n b;", 2), ("a \n b", 2), ("a 'b;\n", 2), (";", 1), ("a_by_lua_block {", 1)]
        {
            let wrong = parse(text).unwrap_err();
            assert_eq!(wrong.place, format!("nginx.conf:{place}"), "{text}: {wrong}");
        }
        let deep = "a {".repeat(100) + &"}".repeat(100);
        assert!(parse(&deep).unwrap_err().why.contains("deep"));
    }
}
