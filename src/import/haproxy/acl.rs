//! ACLs and conditions: what stands behind `if` and `unless`, as predicates. Called by `rules`.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use super::{
    super::{files::Files, report, text},
    counter::{Rate, counter},
    predicate::{Key, Predicate, Way},
    read::Line,
    ways::{paths, values, ways},
};

/// One test: any of the predicates. None of them: never true.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// True for all requests.
    Always,
    /// One of these holds.
    Any(Vec<Predicate>),
    /// More requests than so many in that time: a limit.
    Rate(Rate),
    /// It cannot be asked for: taken for true, whichever way round it is meant, by what refuses.
    Unknown,
}

/// A test, or its opposite.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    pub(super) test: Test,
    pub(super) negated: bool,
}

impl Literal {
    /// It asks for nothing else.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        matches!(&self.test, Test::Any(predicates) if predicates.iter().all(|one| one.key == *key))
    }
}

/// Why a condition cannot be asked for by a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Beyond {
    pub(super) what: String,
    /// It counts, and is no question of who somebody is.
    pub(super) counts: bool,
}

fn beyond(what: impl Into<String>) -> Beyond {
    Beyond { what: what.into(), counts: false }
}

/// One of several; each all of several.
pub(super) type Terms = Vec<Vec<Literal>>;

/// A listener of ours, as conditions see it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
    /// Nobody comes in.
    pub(super) shut: bool,
}

/// What a condition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Whom it takes passes by what refuses: better too few.
    In,
    /// Whom it takes is refused: better too many.
    Out,
    Neither,
}

/// The ACLs of a frontend or backend.
pub(super) struct Acls<'a> {
    named: BTreeMap<&'a str, Vec<&'a Line>>,
    used: RefCell<Vec<&'a str>>,
    pub(super) places: Vec<Place>,
    files: &'a Files,
    /// What is not told just as theirs is told is beyond.
    exact: Cell<bool>,
    side: Cell<Side>,
    /// Of what is like the test at hand, better too much.
    more: Cell<bool>,
    /// The test at hand is of listeners with TLS alone, beside what it says.
    with_tls: Cell<bool>,
}

impl<'a> Acls<'a> {
    /// Of `lines`; requests come by `places`.
    pub(super) fn new(lines: &[&'a Line], places: Vec<Place>, files: &'a Files) -> Self {
        let mut named: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.word(0) == "acl") {
            named.entry(line.word(1)).or_default().push(line);
        }
        Self {
            named,
            used: RefCell::default(),
            places,
            files,
            exact: Cell::new(true),
            side: Cell::new(Side::Out),
            more: Cell::new(true),
            with_tls: Cell::new(false),
        }
    }

    /// The lines of ACLs that a condition has named.
    pub(super) fn used(&self) -> Vec<&'a Line> {
        self.used.borrow().iter().filter_map(|name| self.named.get(name)).flatten().copied().collect()
    }

    /// What stands behind `if` or `unless` in `words`; none of them: always. `exact`: nearly is not enough.
    pub(super) fn condition(&self, words: &[String], exact: bool, side: Side) -> Result<Terms, Beyond> {
        self.exact.set(exact);
        self.side.set(side);
        let at = words.iter().position(|word| word == "if" || word == "unless");
        let Some(at) = at else { return Ok(vec![Vec::new()]) };
        let terms = self.terms(&words[at..], false)?;
        if words[at] == "if" {
            return Ok(terms);
        }
        opposite(&terms).ok_or_else(|| beyond("the opposite of this condition has too many cases"))
    }

    /// The same, with what cannot be asked for left out, so that more requests are like that.
    pub(super) fn wider(&self, words: &[String]) -> Terms {
        let all = || vec![Vec::new()];
        let Some(at) = words.iter().position(|word| word == "if" || word == "unless") else { return all() };
        let Ok(terms) = self.terms(&words[at..], true) else { return all() };
        if words[at] == "if" { terms } else { opposite(&terms).unwrap_or_else(all) }
    }

    /// What stands behind the first of `words`, which is `if` or `unless`.
    fn terms(&self, words: &[String], lenient: bool) -> Result<Terms, Beyond> {
        const MOST: usize = 64;
        let mut terms = vec![Vec::new()];
        let Some((first, mut rest)) = words.split_first() else { return Ok(terms) };
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            if word == "or" || word == "||" {
                terms.push(Vec::new());
                continue;
            }
            let bare = word.trim_start_matches('!');
            let negated = (word.len() - bare.len()) % 2 == 1;
            self.with_tls.set(false);
            self.more.set((self.side.get() == Side::Out) != ((first == "unless") != negated));
            let test = match bare {
                "" => {
                    // `! name`
                    let Some((next, after)) = rest.split_first() else { return Err(beyond("`!` stands alone")) };
                    rest = after;
                    if next == "{" { self.inline(&mut rest)? } else { self.named(next) }
                }
                "{" => self.inline(&mut rest)?,
                name => self.named(name),
            };
            let test = match test {
                Ok(_) if self.with_tls.get() && negated && self.is_strict() => {
                    Err(beyond("ssl_fc_sni where there is no TLS"))
                }
                test => test,
            };
            let test = match test {
                Err(_) | Ok(Test::Rate(_)) if lenient => Test::Unknown,
                test => test?,
            };
            if let Some(term) = terms.last_mut() {
                let tls = self.with_tls.take() && !negated;
                term.extend(tls.then(|| Literal { test: self.by(|place| place.tls), negated: false }));
                term.push(Literal { test, negated });
            }
            if terms.iter().map(Vec::len).sum::<usize>() > MOST {
                return Err(beyond("this condition has too many parts"));
            }
        }
        Ok(terms)
    }

    /// `{ … }`, of which `rest` begins behind the brace.
    fn inline(&self, rest: &mut &[String]) -> Result<Result<Test, Beyond>, Beyond> {
        let Some(end) = rest.iter().position(|word| word == "}") else { return Err(beyond("a brace is not closed")) };
        let test = self.test(&rest[..end]);
        *rest = &rest[end + 1..];
        Ok(test)
    }

    fn named(&self, name: &str) -> Result<Test, Beyond> {
        let Some((name, lines)) = self.named.get_key_value(name) else { return builtin(name) };
        self.used.borrow_mut().push(name);
        let mut any = Vec::new();
        for line in lines {
            match self.test(line.words.get(2..).unwrap_or_default())? {
                Test::Always => return Ok(Test::Always),
                Test::Any(more) => any.extend(more),
                Test::Rate(rate) if lines.len() == 1 => return Ok(Test::Rate(rate)),
                Test::Rate(_) | Test::Unknown => return Err(beyond(format!("{name} counts among other things"))),
            }
        }
        // One of several: it need not be with TLS.
        if lines.len() > 1 && self.with_tls.take() && self.is_strict() {
            return Err(beyond(format!("{name} with ssl_fc_sni where there is no TLS")));
        }
        Ok(Test::Any(any))
    }

    /// A fetch, its flags, and patterns.
    fn test(&self, words: &[String]) -> Result<Test, Beyond> {
        let Some((fetch, rest)) = words.split_first() else { return Err(beyond("an empty test")) };
        let mut flags = Flags::default();
        let mut patterns: Vec<String> = Vec::new();
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-i" => flags.any_case = true,
                "-m" => flags.method = words.next().cloned(),
                "-f" => patterns.extend(self.file(words.next().map_or("", String::as_str), fetch)?),
                "-n" | "-u" => {}
                "-M" => return Err(beyond(format!("{fetch} with a map"))),
                "--" => {
                    patterns.extend(words.by_ref().cloned());
                }
                _ => patterns.push(word.clone()),
            }
        }
        self.fetch(fetch, &flags, &patterns)
    }

    /// Patterns that stand in a file, one a line.
    fn file(&self, name: &str, fetch: &str) -> Result<Vec<String>, Beyond> {
        const LARGEST: u64 = 1 << 20;
        let path = self.files.path(name);
        let small = std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
        let text = small.then(|| std::fs::read_to_string(&path).ok()).flatten();
        let text = text.ok_or_else(|| beyond(format!("{fetch} with the file {name}, which cannot be read")))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(lines.map(str::to_owned).collect())
    }

    fn fetch(&self, fetch: &str, flags: &Flags, patterns: &[String]) -> Result<Test, Beyond> {
        let whole = [fetch, &patterns.join(" ")].join(" ");
        let mut parts = fetch.split(',');
        let name = parts.next().unwrap_or_default();
        let mut flags = flags.clone();
        let (mut decoded, mut cut) = (false, false);
        for converter in parts {
            match converter {
                "lower" => flags.any_case = true,
                "url_dec" => decoded = true,
                "field(1,:)" | "host_only" | "word(1,:)" | "field(1" | ":)" | "word(1" => cut = true,
                _ => return Err(beyond(whole)),
            }
        }
        let (name, argument) = match name.split_once('(') {
            Some((name, rest)) => (name, rest.trim_end_matches(')')),
            None => (name, ""),
        };
        let name = name.strip_prefix("req.").unwrap_or(name);
        let (stem, suffix) = split(name);
        let how = flags.method.clone().unwrap_or_else(|| suffix.to_owned());
        let argument_lower = argument.to_ascii_lowercase();
        let whole = if report::is_secret(&argument_lower) { format!("{fetch} ***") } else { whole };
        let is_host = ["hdr", "fhdr"].contains(&stem) && argument_lower.split(',').next() == Some("host");
        let list = ["src", "method", "dst_port", "ssl_fc"].contains(&name);
        let plain = flags.method.as_deref().is_none_or(|method| ["str", "ip", "int", "bool"].contains(&method));
        if cut && !is_host || list && !plain {
            return Err(beyond(whole));
        }
        // Others than paths are not compared as they were sent.
        if decoded && !["path", "url", "url_param", "urlp"].contains(&stem) {
            return Err(beyond(whole));
        }
        match stem {
            // The query is part of it, which cannot be asked of a path.
            "url" if !["", "str", "beg"].contains(&how.as_str()) || patterns.iter().any(|one| one.contains('?')) => {
                Err(beyond(whole))
            }
            "path" | "url" => {
                let ways = paths(&how, patterns, flags.any_case, decoded).ok_or_else(|| beyond(whole.as_str()))?;
                Ok(any(Key::Path, ways))
            }
            _ if is_host => hosts(&how, patterns, &whole, self.exact.get()),
            // Where there is no TLS there is none.
            "ssl_fc_sni" | "ssl_fc_has_sni" if !self.places.iter().any(|place| place.tls) => Ok(Test::Any(Vec::new())),
            // Host may be another one.
            "ssl_fc_sni" if !self.exact.get() => {
                self.with_tls.set(!self.places.iter().all(|place| place.tls));
                hosts(&how, patterns, &whole, false)
            }
            "hdr" if text::is_token(&argument_lower) && (self.exact.get() || self.by_values()) => {
                let more = self.more.get();
                let ways = values(&how, patterns, flags.any_case, more).ok_or_else(|| beyond(whole.as_str()))?;
                Ok(any(Key::Header(argument_lower), ways))
            }
            "hdr" | "fhdr" if text::is_token(&argument_lower) => {
                let ways = ways(&how, patterns, flags.any_case).ok_or_else(|| beyond(whole.as_str()))?;
                Ok(any(Key::Header(argument_lower), ways))
            }
            "hdr_cnt" if patterns == ["eq", "0"] || patterns == ["0"] => {
                Ok(any(Key::Header(argument_lower), vec![Way::Absent]))
            }
            "hdr_cnt" if patterns == ["gt", "0"] || patterns == ["ge", "1"] => {
                Ok(any(Key::Header(argument_lower), vec![Way::Present]))
            }
            "cook" if text::is_token(argument) => {
                let ways = ways(&how, patterns, flags.any_case).ok_or_else(|| beyond(whole.as_str()))?;
                Ok(any(Key::Cookie(argument.to_owned()), ways))
            }
            "url_param" | "urlp" if !argument.is_empty() => {
                let ways = ways(&how, patterns, flags.any_case).ok_or_else(|| beyond(whole.as_str()))?;
                Ok(any(Key::Query(argument.to_owned()), ways))
            }
            "src" if suffix.is_empty() => {
                let nets: Option<Vec<_>> = patterns.iter().map(|one| text::network(one).map(Way::Is)).collect();
                nets.map(|nets| any(Key::Client, nets)).ok_or_else(|| beyond(whole))
            }
            "method" => {
                let known = |one: &String| text::is_token(one) && *one == one.to_ascii_uppercase();
                let fine = patterns.iter().all(known);
                let ways = patterns.iter().map(|one| Way::Is(one.to_ascii_uppercase())).collect();
                if fine { Ok(any(Key::Method, ways)) } else { Err(beyond(whole)) }
            }
            "ssl_fc" if patterns.is_empty() || patterns == ["1"] => Ok(self.by(|place| place.tls)),
            "ssl_fc_has_sni" if !self.exact.get() && (patterns.is_empty() || patterns == ["1"]) => {
                Ok(self.by(|place| place.tls))
            }
            "dst_port" => {
                let numbers: Vec<_> = patterns.iter().filter(|one| *one != "eq").collect();
                let ports: Option<Vec<u16>> = numbers.iter().map(|one| one.parse().ok()).collect();
                let ports = ports.filter(|ports| !ports.is_empty()).ok_or_else(|| beyond(whole))?;
                Ok(self.by(|place| place.port.is_some_and(|port| ports.contains(&port))))
            }
            "always_true" => Ok(Test::Always),
            "always_false" => Ok(Test::Any(Vec::new())),
            _ => counter(name, argument, patterns).map(Test::Rate).ok_or_else(|| beyond(whole)),
        }
    }

    /// A header is compared value by value though nearly is enough: whole, it is found too rarely.
    fn by_values(&self) -> bool {
        match self.side.get() {
            Side::Out => true,
            Side::In => self.more.get(),
            Side::Neither => false,
        }
    }

    /// More than what is like the test at hand is not as good.
    fn is_strict(&self) -> bool {
        self.side.get() != Side::Neither && !self.more.get()
    }

    /// The listeners that are like that.
    fn by(&self, fits: impl Fn(&Place) -> bool) -> Test {
        let names: Vec<_> =
            self.places.iter().filter(|place| fits(place)).map(|place| Way::Is(place.name.clone())).collect();
        match names.len() {
            0 => Test::Any(Vec::new()),
            count if count == self.places.len() => Test::Always,
            _ => any(Key::Listener, names),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Flags {
    any_case: bool,
    method: Option<String>,
}

fn any(key: Key, ways: Vec<Way>) -> Test {
    if ways.is_empty() {
        return Test::Any(Vec::new());
    }
    Test::Any(vec![Predicate { key, ways }])
}

/// The name of a fetch, and how it compares by its name.
fn split(name: &str) -> (&str, &str) {
    for suffix in ["beg", "end", "sub", "reg", "dir", "dom", "len"] {
        if let Some(stem) = name.strip_suffix(suffix).and_then(|stem| stem.strip_suffix('_')) {
            return (stem, suffix);
        }
    }
    (name, "")
}

/// `exact`: names that are only nearly those are beyond.
fn hosts(how: &str, patterns: &[String], whole: &str, exact: bool) -> Result<Test, Beyond> {
    let mut found = Vec::new();
    for pattern in patterns {
        let lower = pattern.to_ascii_lowercase();
        let bare = text::split_port(&lower).map_or(lower.as_str(), |(host, _)| host);
        let below = |domain: &str| format!("*.{}", domain.trim_start_matches('.'));
        let names = match how {
            "" | "str" => vec![bare.to_owned()],
            "end" if bare.starts_with('.') => vec![below(bare)],
            // `example.com` is also the end of `badexample.com`, which is hardly meant.
            "end" | "dom" if !exact => vec![bare.trim_start_matches('.').to_owned(), below(bare)],
            "reg" => vec![wildcard(bare).filter(|_| !exact || !bare.contains("[^.]")).ok_or_else(|| beyond(whole))?],
            _ => return Err(beyond(whole)),
        };
        for name in names {
            if !text::is_match(&name) {
                return Err(beyond(whole));
            }
            found.push(Way::Is(name));
        }
    }
    if how == "found" {
        return Ok(Test::Always);
    }
    Ok(any(Key::Host, found))
}

/// `\.example\.com$` as a host of ours.
fn wildcard(regex: &str) -> Option<String> {
    let bare = regex.trim_start_matches("(?i)");
    let (anchored, bare) = bare.strip_prefix('^').map_or((false, bare), |bare| (true, bare));
    let bare = bare.strip_suffix('$')?;
    let (wild, bare) = match ["[^.]+\\.", ".+\\.", "(.+)\\.", "(.*)\\.", ".*\\.", "[^.]*\\."]
        .iter()
        .find_map(|front| bare.strip_prefix(front))
    {
        Some(rest) => (true, rest),
        None => match bare.strip_prefix("\\.") {
            Some(rest) if !anchored => (true, rest),
            _ => (false, bare),
        },
    };
    let name = bare.replace("\\.", ".");
    let plain = !bare.replace("\\.", "").contains(['.', '\\', '(', '[', '*', '+', '?', '|']);
    (plain && (wild || anchored)).then(|| if wild { format!("*.{name}") } else { name })
}

/// The path is that one.
pub(super) fn path_is(path: &str) -> Literal {
    let ways = if text::is_path(path) { vec![Way::Is(path.to_owned())] } else { Vec::new() };
    Literal { test: any(Key::Path, ways), negated: false }
}

fn builtin(name: &str) -> Result<Test, Beyond> {
    let methods = |names: &[&str]| Ok(any(Key::Method, names.iter().map(|&name| Way::Is(name.to_owned())).collect()));
    match name {
        "TRUE" | "HTTP" | "REQ_CONTENT" | "WAIT_END" => Ok(Test::Always),
        "FALSE" => Ok(Test::Any(Vec::new())),
        "METH_GET" => methods(&["GET", "HEAD"]),
        "LOCALHOST" => Ok(any(Key::Client, vec![Way::Is("127.0.0.0/8".to_owned()), Way::Is("::1".to_owned())])),
        name if name.starts_with("METH_") => methods(&[&name[5..]]),
        name => Err(beyond(format!("there is no ACL {name}"))),
    }
}

/// Not one of `terms` holds.
fn opposite(terms: &Terms) -> Option<Terms> {
    const MOST: usize = 64;
    let mut all: Terms = vec![Vec::new()];
    for term in terms {
        let mut next = Vec::new();
        for known in &all {
            for literal in term {
                let mut longer = known.clone();
                longer.push(Literal { test: literal.test.clone(), negated: !literal.negated });
                next.push(longer);
            }
        }
        if next.len() > MOST {
            return None;
        }
        all = next;
    }
    Some(all)
}
