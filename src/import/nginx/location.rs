//! The locations of a server: which of them nginx would choose for a path, and how our routes come to the same choice.
//! Called by `nginx::servers`. Pure.
//!
//! nginx takes an exact location, else the longest prefix if that says `^~`, else the first expression that is found, else
//! the longest prefix. Ours take prefixes before expressions; so where a server has expressions, its plain prefixes become
//! expressions too, behind those, the longest first.

use regex::Regex;

use super::{super::text, read::Directive, scope::Scope};

/// How a location is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `=`
    Exact,
    /// `^~`
    Stop,
    Prefix,
    /// `~`, and `~*` with `(?i)` in front.
    Regex,
    /// `@name`
    Named,
}

/// One location.
#[derive(Clone, Debug)]
pub(super) struct Location<'a> {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) directive: &'a Directive,
    pub(super) scope: Scope<'a>,
    /// An expression within another location.
    pub(super) nested: bool,
}

/// Those in `scope`, and those in them; expressions within others first, as nginx asks them first.
pub(super) fn all<'a>(scope: &Scope<'a>) -> Vec<Location<'a>> {
    let mut found = Vec::new();
    collect(scope, None, &mut found);
    found
}

fn collect<'a>(scope: &Scope<'a>, outer: Option<&str>, found: &mut Vec<Location<'a>>) {
    for directive in scope.own().iter().filter(|one| one.name == "location") {
        let (kind, written) = match (directive.word(0), directive.word(1)) {
            ("=", path) => (Kind::Exact, path.to_owned()),
            ("^~", path) => (Kind::Stop, path.to_owned()),
            ("~", regex) => (Kind::Regex, regex.to_owned()),
            ("~*", regex) => (Kind::Regex, format!("(?i){regex}")),
            (name, _) if name.starts_with('@') => (Kind::Named, name.to_owned()),
            // The marks may stand at the word itself.
            (word, _) if word.starts_with("~*") => (Kind::Regex, format!("(?i){}", &word[2..])),
            (word, _) if word.starts_with('~') => (Kind::Regex, word[1..].to_owned()),
            (word, _) if word.starts_with("^~") => (Kind::Stop, word[2..].to_owned()),
            (word, _) if word.starts_with('=') => (Kind::Exact, word[1..].to_owned()),
            (path, _) => (Kind::Prefix, path.to_owned()),
        };
        let nested = outer.is_some() && kind == Kind::Regex;
        let text = match outer.filter(|_| nested) {
            Some(outer) => below(outer, &written),
            None if kind == Kind::Regex => regex(&written),
            None => written,
        };
        let inside = scope.within(directive.inside());
        collect(&inside, Some(if kind == Kind::Regex { outer.unwrap_or("/") } else { &text }), found);
        found.push(Location { kind, text, directive, scope: inside, nested });
    }
}

/// What PCRE takes and ours does not know, where it means nothing else: `\/`.
pub(super) fn regex(theirs: &str) -> String {
    theirs.replace("\\/", "/").replace("(?<", "(?P<").replace("(?P<=", "(?<=").replace("(?P<!", "(?<!")
}

/// `inner` where the path begins with `outer`; an expression that does not compile where one cannot say so, which is told as
/// all others are.
fn below(outer: &str, inner: &str) -> String {
    const NEVER: &str = "(?!";
    let (flags, bare) = inner.strip_prefix("(?i)").map_or(("", inner), |bare| ("(?i)", bare));
    let bare = regex(bare);
    let whole = format!("{flags}{bare}");
    if bare.starts_with('^') || outer == "/" {
        return whole;
    }
    let front = ::regex::escape(outer);
    // It is in every path there.
    if Regex::new(&whole).is_ok_and(|regex| regex.is_match(outer)) {
        return format!("^{front}");
    }
    let [first, outside] = [text::first_letters(&bare), outer.to_owned()].map(|text| text.to_ascii_lowercase());
    let Some(letter) = first.chars().next() else { return NEVER.to_owned() };
    // What is found may begin with the last slash of what is outside, and nowhere else in it.
    let slash = letter == '/' && outside.ends_with('/');
    let end = outside.len() - usize::from(slash);
    let may_begin = |at: usize| outside[at..].starts_with(&first) || first.starts_with(&outside[at..]);
    let inside = outside[..end].char_indices().filter(|(_, other)| *other == letter).any(|(at, _)| may_begin(at));
    match (inside, slash) {
        (true, _) => NEVER.to_owned(),
        (false, true) => format!("{flags}^(?-i:{})(?:/.*)?(?:{bare})", ::regex::escape(&outer[..outer.len() - 1])),
        (false, false) => format!("{flags}^(?-i:{front}).*(?:{bare})"),
    }
}

/// The one that nginx chooses for `path`.
pub(super) fn choose<'l, 'a>(locations: &'l [Location<'a>], path: &str) -> Option<&'l Location<'a>> {
    let of = |kind| locations.iter().filter(move |one: &&Location<'a>| one.kind == kind);
    if let Some(exact) = of(Kind::Exact).find(|one| one.text == path) {
        return Some(exact);
    }
    let prefixes = locations.iter().filter(|one| matches!(one.kind, Kind::Prefix | Kind::Stop));
    let longest = prefixes.filter(|one| path.starts_with(&one.text)).max_by_key(|one| one.text.len());
    if let Some(stop) = longest.filter(|one| one.kind == Kind::Stop) {
        return Some(stop);
    }
    let found = |one: &&Location<'a>| Regex::new(&one.text).is_ok_and(|regex| regex.is_match(path));
    let mut expressions: Vec<_> = of(Kind::Regex).collect();
    expressions.sort_by_key(|one| !one.nested);
    expressions.into_iter().find(found).or(longest)
}

/// How the path of a route is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Any.
    All,
    Exact(String),
    /// `"/a/*"`: with `/a` itself.
    Below(String),
    Prefix(String),
    Regex(String),
}

/// The order in which routes of `locations` are written, each with its path. `ordered`: prefixes stand behind expressions.
pub(super) fn order<'l, 'a>(locations: &'l [Location<'a>], ordered: bool) -> Vec<(&'l Location<'a>, Path)> {
    let mut routes: Vec<(usize, usize, &Location<'a>, Path)> = Vec::new();
    for (at, one) in locations.iter().enumerate() {
        let backwards = usize::MAX - one.text.len();
        let (rank, place, path) = match one.kind {
            Kind::Named => continue,
            Kind::Exact => (0, at, Path::Exact(one.text.clone())),
            Kind::Stop => (1, backwards, Path::Prefix(one.text.clone())),
            Kind::Regex if one.nested => (2, at, Path::Regex(one.text.clone())),
            Kind::Regex => (3, at, Path::Regex(one.text.clone())),
            Kind::Prefix if one.text == "/" => (5, 0, Path::All),
            Kind::Prefix if ordered => (4, backwards, Path::Regex(format!("^{}", ::regex::escape(&one.text)))),
            Kind::Prefix => (4, backwards, Path::Prefix(one.text.clone())),
        };
        routes.push((rank, place, one, path));
    }
    routes.sort_by_key(|(rank, place, ..)| (*rank, *place));
    routes.into_iter().map(|(.., one, path)| (one, path)).collect()
}

/// A path that nginx brings to `location`, to be asked in a test; `None`: none is found by simple means.
pub(super) fn sample(locations: &[Location<'_>], location: &Location<'_>) -> Option<String> {
    let base = match location.kind {
        Kind::Named => return None,
        Kind::Regex => return simple(&location.text).into_iter().find(|path| is_it(locations, location, path)),
        Kind::Exact => return text::is_path(&location.text).then(|| location.text.clone()),
        Kind::Prefix | Kind::Stop => location.text.clone(),
    };
    let tries = ["", "x", "/x", "test-of-import"].map(|end| format!("{base}{end}"));
    tries.into_iter().find(|path| is_it(locations, location, path))
}

fn is_it(locations: &[Location<'_>], location: &Location<'_>, path: &str) -> bool {
    text::is_path(path) && choose(locations, path).is_some_and(|one| std::ptr::eq(one.directive, location.directive))
}

/// Paths that an expression may be found in, guessed by its letters: `\.(css|js)$` is in `/x.css`.
fn simple(regex: &str) -> Vec<String> {
    let bare = regex.trim_start_matches("(?i)").replace("(?-i:", "(").replace("(?:", "(");
    let (anchored, bare) = bare.strip_prefix('^').map_or((false, bare.as_str()), |bare| (true, bare));
    let mut out = String::new();
    let mut letters = bare.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('d') => out.push('1'),
                Some('w') => out.push('a'),
                Some(letter) => out.push(letter),
                None => {}
            },
            '(' | ')' | '?' | '*' | '+' | '$' => {}
            // The first of several ways.
            '|' => {
                for skipped in letters.by_ref() {
                    if skipped == ')' {
                        break;
                    }
                }
            }
            '.' => out.push('x'),
            '[' => {
                out.push(letters.next().filter(|first| *first != '^').unwrap_or('1'));
                for skipped in letters.by_ref() {
                    if skipped == ']' {
                        break;
                    }
                }
            }
            letter => out.push(letter),
        }
    }
    match anchored {
        true => vec![out.clone(), format!("{out}x"), format!("{out}/x")],
        false => vec![format!("/x{out}"), out.clone(), format!("/{out}"), format!("/x{out}x")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{files::Files, nginx::read, report::Report};

    #[test]
    fn expressions_within_a_location_are_found_where_nginx_finds_them() {
        for (outer, inner, found, not) in [
            ("/files/", "/private/", "/files/private/x", "/private/files/"),
            ("/files/", "\\.php$", "/files/a.php", "/b.php"),
            ("/a", "(?i)/SECRET", "/abc/secret", "/a"),
            ("/a/b/", "/b/", "/a/b/c", "/a/c"),
        ] {
            let regex = Regex::new(&below(outer, inner)).unwrap();
            assert!(regex.is_match(found) && !regex.is_match(not), "{outer} {inner}: {regex}");
        }
        assert!(Regex::new(&below("/a/b/", "/b/c")).is_err() && Regex::new(&below("/a/", "(x|y)")).is_err());
    }

    #[test]
    fn the_choice_is_that_of_nginx() {
        // The example of its manual.
        let text = "location = / { a; } location / { b; } location /documents/ { c; } location ^~ /images/ { d; }\
                    location ~* \\.(gif|jpg|jpeg)$ { e; } location /x/ { location ~ \\.php$ { f; } g; }";
        let mut files = Files::new(std::path::Path::new("x"));
        let read = read::read(text, &mut files, &mut Report::default()).unwrap();
        let locations = all(&Scope::default().within(&read));
        let chosen = |path: &str| {
            let inside = choose(&locations, path).unwrap().directive.inside();
            inside.iter().find(|one| one.name != "location").unwrap().name.clone()
        };
        for (path, name) in [
            ("/", "a"),
            ("/index.html", "b"),
            ("/documents/document.html", "c"),
            ("/images/1.gif", "d"),
            ("/documents/1.JPG", "e"),
            ("/x/1.php", "f"),
            ("/1.php", "b"),
            ("/x/1", "g"),
        ] {
            assert_eq!(chosen(path), name, "{path}");
        }
        let samples: Vec<_> = locations.iter().map(|one| sample(&locations, one)).collect();
        let samples: Vec<_> = samples.iter().map(|path| path.as_deref().unwrap()).collect();
        assert_eq!(samples, ["/", "/x", "/documents/", "/images/", "/x.gif", "/x/x.php", "/x/"]);
    }
}
