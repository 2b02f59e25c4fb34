//! The locations of a server: which of them nginx would choose for a path, and how our routes come to the same choice.
//! Called by `nginx::servers`. Pure.
//!
//! nginx takes an exact location, else the longest prefix if that says `^~`, else the first expression that is found, else
//! the longest prefix; and it looks within the prefix, in the same way, before it looks for an expression beside it. Ours
//! take prefixes before expressions; so where a server has expressions, its plain prefixes become expressions too, behind
//! those, the longest first.

use std::{collections::HashMap, rc::Rc};

use regex::bytes::Regex;

use super::{super::text, gates, read::Directive, scope::Scope};

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
    /// The locations that it stands in, the outermost first.
    outer: Vec<&'a Directive>,
    /// Compiled, if it is an expression that ours take.
    regex: Option<Rc<Regex>>,
}

impl<'a> Location<'a> {
    /// All paths of a server, in its own block.
    pub(super) fn whole(directive: &'a Directive, scope: &Scope<'a>) -> Self {
        Self {
            kind: Kind::Prefix,
            text: "/".to_owned(),
            directive,
            scope: scope.clone(),
            outer: Vec::new(),
            regex: None,
        }
    }

    /// An expression that ours take.
    pub(super) fn is_compiled(&self) -> bool {
        self.regex.is_some()
    }

    fn is_found(&self, path: &str) -> bool {
        self.regex.as_ref().is_some_and(|regex| regex.is_match(path.as_bytes()))
    }
}

/// Those in `scope`, and those in them, which stand first.
pub(super) fn all<'a>(scope: &Scope<'a>) -> Vec<Location<'a>> {
    let mut found = Vec::new();
    collect(scope, &[], Some(""), &mut found);
    found
}

/// `prefix`: what paths begin with in the locations `outer`; `None`: they are in an expression.
fn collect<'a>(scope: &Scope<'a>, outer: &[&'a Directive], prefix: Option<&str>, found: &mut Vec<Location<'a>>) {
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
        let text = match (kind, prefix) {
            (Kind::Regex, Some("")) => regex(&written),
            (Kind::Regex, Some(prefix)) => match below(prefix, &written) {
                Below::Said(said) => said,
                Below::Nowhere | Below::Beyond => NEVER.to_owned(),
            },
            // What is found in both is not one expression.
            (Kind::Regex, None) => NEVER.to_owned(),
            _ => written,
        };
        let inside = scope.within(directive.inside());
        let within: Vec<_> = outer.iter().copied().chain([directive]).collect();
        collect(&inside, &within, (kind != Kind::Regex).then_some(text.as_str()), found);
        let regex = (kind == Kind::Regex).then(|| text::compiled(&text)).flatten().map(Rc::new);
        found.push(Location { kind, text, directive, scope: inside, outer: outer.to_vec(), regex });
    }
}

/// An expression that does not compile.
const NEVER: &str = "(?!";

/// What PCRE takes and ours does not know, where it means nothing else: `\/`.
pub(super) fn regex(theirs: &str) -> String {
    theirs.replace("\\/", "/").replace("(?<", "(?P<").replace("(?P<=", "(?<=").replace("(?P<!", "(?<!")
}

/// An expression, asked for where paths begin with a prefix.
#[derive(Debug, PartialEq)]
enum Below {
    /// This one says so.
    Said(String),
    /// It is found nowhere there.
    Nowhere,
    /// One expression cannot say so.
    Beyond,
}

/// `inner` where the path begins with `outer`.
fn below(outer: &str, inner: &str) -> Below {
    let (flags, bare) = inner.strip_prefix("(?i)").map_or(("", inner), |bare| ("(?i)", bare));
    let bare = regex(bare);
    let whole = format!("{flags}{bare}");
    if outer == "/" {
        return Below::Said(whole);
    }
    let lower = outer.to_ascii_lowercase();
    if let Some(anchored) = bare.strip_prefix('^') {
        let first = text::first_letters(anchored).to_ascii_lowercase();
        let rest = anchored
            .get(outer.len()..)
            .filter(|rest| anchored[..anchored.len() - rest.len()].eq_ignore_ascii_case(outer));
        return match rest {
            _ if text::has_ways(anchored) => Below::Beyond,
            _ if flags.is_empty() && text::first_letters(anchored).starts_with(outer) => Below::Said(whole),
            // The prefix is of one case whatever the expression is of.
            Some(rest) if first.starts_with(&lower) => {
                Below::Said(format!("{flags}^(?-i:{}){rest}", ::regex::escape(outer)))
            }
            _ if !first.starts_with(&lower) && !lower.starts_with(&first) => Below::Nowhere,
            _ => Below::Beyond,
        };
    }
    let front = ::regex::escape(outer);
    // It is in every path there.
    if text::compiled(&whole).is_some_and(|regex| regex.is_match(outer.as_bytes())) && !bare.ends_with('$') {
        return Below::Said(format!("^{front}"));
    }
    let first = text::first_letters(&bare).to_ascii_lowercase();
    let Some(letter) = first.chars().next().filter(|_| !text::has_ways(&bare)) else { return Below::Beyond };
    // What is found may begin with the last slash of what is outside, and nowhere else in it.
    let slash = letter == '/' && lower.ends_with('/');
    let end = lower.len() - usize::from(slash);
    let may_begin = |at: usize| lower[at..].starts_with(&first) || first.starts_with(&lower[at..]);
    let inside = lower[..end].char_indices().filter(|(_, other)| *other == letter).any(|(at, _)| may_begin(at));
    match (inside, slash) {
        (true, _) => Below::Beyond,
        (false, true) => {
            Below::Said(format!("{flags}^(?-i:{})(?:/.*)?(?:{bare})", ::regex::escape(&outer[..outer.len() - 1])))
        }
        (false, false) => Below::Said(format!("{flags}^(?-i:{front}).*(?:{bare})")),
    }
}

/// Locations by where they stand, to be asked for many paths.
pub(super) struct Choice<'l, 'a> {
    within: HashMap<Option<*const Directive>, Inside<'l, 'a>>,
}

/// Those in one place.
#[derive(Default)]
struct Inside<'l, 'a> {
    exact: HashMap<&'l str, &'l Location<'a>>,
    prefixes: HashMap<&'l str, &'l Location<'a>>,
    /// Bytes of the longest prefix.
    longest: usize,
    regexes: Vec<&'l Location<'a>>,
}

impl<'l, 'a> Inside<'l, 'a> {
    fn add(&mut self, one: &'l Location<'a>) {
        match one.kind {
            Kind::Exact => {
                self.exact.entry(&one.text).or_insert(one);
            }
            Kind::Prefix | Kind::Stop => {
                self.longest = self.longest.max(one.text.len());
                self.prefixes.insert(&one.text, one);
            }
            Kind::Regex => self.regexes.push(one),
            Kind::Named => {}
        }
    }

    /// The one with the longest prefix of `path`.
    fn longest(&self, path: &str) -> Option<&'l Location<'a>> {
        let ends = (0..=path.len().min(self.longest)).rev();
        ends.filter_map(|end| path.get(..end)).find_map(|prefix| self.prefixes.get(prefix).copied())
    }
}

impl<'l, 'a> Choice<'l, 'a> {
    pub(super) fn new(locations: &'l [Location<'a>]) -> Self {
        let mut within: HashMap<_, Inside<'l, 'a>> = HashMap::new();
        for one in locations {
            within.entry(one.outer.last().map(|outer| std::ptr::from_ref(*outer))).or_default().add(one);
        }
        Self { within }
    }

    /// The one that nginx chooses for `path`.
    pub(super) fn choose(&self, path: &str) -> Option<&'l Location<'a>> {
        self.within(None, path).map(|(found, _)| found)
    }

    /// The one among those in `outer`, and whether nothing beside `outer` is asked for then.
    fn within(&self, outer: Option<&Location<'a>>, path: &str) -> Option<(&'l Location<'a>, bool)> {
        let here = self.within.get(&outer.map(|outer| std::ptr::from_ref(outer.directive)))?;
        if let Some(exact) = here.exact.get(path) {
            return Some((exact, true));
        }
        let longest = here.longest(path);
        let mut best = None;
        if let Some(longest) = longest {
            let (found, last) = self.within(Some(longest), path).unwrap_or((longest, false));
            if last {
                return Some((found, true));
            }
            best = Some((found, false));
        }
        if longest.is_none_or(|longest| longest.kind != Kind::Stop)
            && let Some(regex) = here.regexes.iter().find(|one| one.is_found(path))
        {
            let (found, _) = self.within(Some(regex), path).unwrap_or((regex, true));
            return Some((found, true));
        }
        best
    }

    /// A path that nginx brings to `location`, to be asked in a test; `None`: none is found by simple means.
    pub(super) fn sample(&self, location: &Location<'_>) -> Option<String> {
        let is_it = |path: &String| {
            let chosen = || self.choose(path).is_some_and(|one| std::ptr::eq(one.directive, location.directive));
            text::is_path(path) && !path.contains("//") && chosen()
        };
        let base = match location.kind {
            Kind::Named => return None,
            Kind::Regex => return simple(&location.text).into_iter().find(is_it),
            Kind::Exact => return text::is_path(&location.text).then(|| location.text.clone()),
            Kind::Prefix | Kind::Stop => location.text.clone(),
        };
        let tries = ["", "x", "/x", "test-of-import"].map(|end| format!("{base}{end}"));
        tries.into_iter().find(is_it)
    }
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

/// How the paths of a server are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Prefixes as they are: nothing else is there.
    Plain,
    /// Plain prefixes as expressions, behind those that nginx asks first.
    Ordered,
    /// Those with `^~` as well: something is asked for before them.
    Strict,
}

/// A route's location and path.
type Written<'l, 'a> = (&'l Location<'a>, Path);

/// The order in which routes of `locations` are written, each with its path; and those whose expressions beside them would
/// have to be asked first, which cannot be said.
pub(super) fn order<'l, 'a>(
    locations: &'l [Location<'a>],
    style: Style,
) -> (Vec<Written<'l, 'a>>, Vec<(&'l Location<'a>, &'l Location<'a>)>) {
    let mut within: HashMap<_, Vec<_>> = HashMap::new();
    for one in locations {
        within.entry(one.outer.last().map(|outer| std::ptr::from_ref(*outer))).or_default().push(one);
    }
    let mut order = Order { within, missed: Vec::new(), strict: style == Style::Strict };
    let exact = locations.iter().filter(|one| one.kind == Kind::Exact);
    let mut routes: Vec<_> = exact.map(|one| (one, Path::Exact(one.text.clone()))).collect();
    let (first, last) = order.walk(None);
    let Order { missed, strict, .. } = order;
    let regex = |one: &Location<'a>| Path::Regex(format!("^{}", ::regex::escape(&one.text)));
    let mut stops = Vec::new();
    let mut rest = Vec::new();
    for (one, said) in first.into_iter().chain(last.into_iter().map(|one| (one, None))) {
        match (one.kind, said) {
            (_, Some(said)) => rest.push((one, Path::Regex(said))),
            (Kind::Stop, _) if strict => rest.push((one, regex(one))),
            (Kind::Stop, _) => stops.push((one, Path::Prefix(one.text.clone()))),
            (_, _) if one.text == "/" && one.outer.is_empty() => rest.push((one, Path::All)),
            (_, _) if style == Style::Plain => rest.push((one, Path::Prefix(one.text.clone()))),
            (_, _) => rest.push((one, regex(one))),
        }
    }
    stops.sort_by_key(|(one, _)| usize::MAX - one.text.len());
    routes.extend(stops.into_iter().chain(rest));
    (routes, missed)
}

struct Order<'l, 'a> {
    /// By where they stand.
    within: HashMap<Option<*const Directive>, Vec<&'l Location<'a>>>,
    missed: Vec<(&'l Location<'a>, &'l Location<'a>)>,
    strict: bool,
}

impl<'l, 'a> Order<'l, 'a> {
    /// Those in `outer`: what is asked for before expressions beside it, each with its expression where it is one; and behind
    /// them.
    #[allow(clippy::type_complexity, reason = "two lists")]
    fn walk(
        &mut self,
        outer: Option<&'l Location<'a>>,
    ) -> (Vec<(&'l Location<'a>, Option<String>)>, Vec<&'l Location<'a>>) {
        let outer = outer.map(|outer| std::ptr::from_ref(outer.directive));
        let Some(here) = self.within.remove(&outer) else { return (Vec::new(), Vec::new()) };
        let of = |kinds: &'static [Kind]| here.iter().copied().filter(move |one| kinds.contains(&one.kind));
        let mut prefixes: Vec<_> = of(&[Kind::Prefix, Kind::Stop]).collect();
        prefixes.sort_by_key(|one| usize::MAX - one.text.len());
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            let (inner_first, inner_last) = self.walk(Some(prefix));
            let stop = prefix.kind == Kind::Stop;
            if stop || !inner_first.is_empty() {
                // Longer ones go first, and within them the expressions beside this one.
                let (longer, others): (Vec<_>, Vec<_>) =
                    last.into_iter().partition(|one: &&Location<'a>| one.text.starts_with(&prefix.text));
                last = others;
                self.strict |= stop && !(longer.is_empty() && inner_first.is_empty());
                for one in longer {
                    for regex in of(&[Kind::Regex]) {
                        match below(&one.text, &regex.text) {
                            Below::Said(said) => first.push((regex, Some(said))),
                            Below::Nowhere => {}
                            Below::Beyond => self.missed.push((one, regex)),
                        }
                    }
                    first.push((one, None));
                }
            }
            first.extend(inner_first);
            if stop {
                first.extend(inner_last.into_iter().chain([prefix]).map(|one| (one, None)));
            } else {
                last.extend(inner_last.into_iter().chain([prefix]));
            }
        }
        for regex in of(&[Kind::Regex]) {
            first.extend(self.walk(Some(regex)).0);
            first.push((regex, Some(regex.text.clone())));
        }
        (first, last)
    }
}

/// A path in which `regex` was found, and that is `to` now, may lead to one of `locations` that protects, and did not before.
pub(super) fn leads_in(locations: &[Location<'_>], regex: &str, to: &str) -> bool {
    let to = to.split('$').next().unwrap_or_default();
    let from = regex.strip_prefix('^').map(text::first_letters).unwrap_or_default();
    let meet = |prefix: &str| prefix.starts_with(to) || to.starts_with(prefix);
    let letters = |anchored: &str| text::first_letters(anchored.strip_prefix("(?-i:").unwrap_or(anchored));
    let apart = gates::differ(locations);
    locations.iter().filter(|one| apart && gates::shields(one)).any(|one| match one.kind {
        Kind::Named => false,
        Kind::Regex => match one.text.trim_start_matches("(?i)").strip_prefix('^') {
            Some(anchored) => meet(&letters(anchored)),
            // What is found in the new path is found in the old one, but for what is written here.
            None => one.is_found(to),
        },
        Kind::Exact | Kind::Stop | Kind::Prefix => one.text != "/" && meet(&one.text) && !from.starts_with(&one.text),
    })
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
            let Below::Said(regex) = below(outer, inner) else { panic!("{outer} {inner}") };
            let regex = Regex::new(&regex).unwrap();
            assert!(regex.is_match(found.as_bytes()) && !regex.is_match(not.as_bytes()), "{outer} {inner}: {regex}");
        }
        assert_eq!(below("/a/", "^/b"), Below::Nowhere);
        for (outer, inner) in
            [("/a/b/", "/b/c"), ("/a/", "(x|y)"), ("/a/", "^/(a|b)/x"), ("/a/", "^/a/x|y"), ("/a/", "x|/y")]
        {
            assert_eq!(below(outer, inner), Below::Beyond, "{outer} {inner}");
        }
    }

    #[test]
    fn the_choice_is_that_of_nginx() {
        // The example of its manual.
        let text = "location = / { a; } location / { b; } location /documents/ { c; } location ^~ /images/ { d; }\
                    location ~* \\.(gif|jpg|jpeg)$ { e; } location /x/ { location ~ \\.php$ { f; } g; }";
        let mut files = Files::new(std::path::Path::new("x"));
        let read = read::read(text, &mut files, &mut Report::default()).unwrap();
        let locations = all(&Scope::default().within(&read));
        let choice = Choice::new(&locations);
        let chosen = |path: &str| {
            let inside = choice.choose(path).unwrap().directive.inside();
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
        let samples: Vec<_> = locations.iter().map(|one| choice.sample(one)).collect();
        let samples: Vec<_> = samples.iter().map(|path| path.as_deref().unwrap()).collect();
        assert_eq!(samples, ["/", "/x", "/documents/", "/images/", "/x.gif", "/x/x.php", "/x/"]);
    }
}
