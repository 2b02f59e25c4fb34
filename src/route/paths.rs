//! The paths of one host, sorted: a search finds the last text that is not behind the path, and all texts that the path
//! begins with are that one or its parents. Called by `Hosts`. Hot path.

use super::rule::Rule;
use crate::config::{self, PathMatch};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::{ControlFlow, Range},
};

/// One route at one host and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    rule: u32,
    /// The path goes on with `/`, or ends here.
    whole_segments: bool,
    /// The route asks for nothing but host and path: its rule need not be read.
    pub(super) plain: bool,
}

impl Place {
    fn new(rule: usize, whole_segments: bool, plain: bool) -> Self {
        let rule = u32::try_from(rule).expect("a file of 64 MiB has fewer routes");
        Self { rule, whole_segments, plain }
    }

    /// Where the route stands.
    pub(super) fn rule(self) -> usize {
        self.rule as usize
    }
}

/// How a place's path fits a request's. In order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is the path.
    Whole,
    /// The path begins with so many bytes.
    Prefix(u32),
    /// An expression is found in it.
    Regex,
    /// It asks for none.
    Any,
}

/// Places by path.
#[derive(Debug)]
pub(super) struct Paths {
    /// All texts, one behind the other.
    text: Box<[u8]>,
    /// In the order of their texts.
    entries: Box<[Entry]>,
    /// In the order in which they are tried, for each text.
    places: Box<[Place]>,
    /// Places of routes with an expression, in the order of the file.
    regexes: Box<[Place]>,
    /// Places of routes without a path.
    rest: Box<[Place]>,
}

/// A text that paths are compared to.
#[derive(Debug)]
struct Entry {
    text: Range<u32>,
    /// The longest other entry that this one begins with; its own number if there is none.
    parent: u32,
    /// Places for this very path, then those for what begins with it.
    exact: u32,
    prefix: u32,
    end: u32,
}

impl Paths {
    /// The routes that have a place here; some more than once.
    pub(super) fn rules(&self) -> impl Iterator<Item = usize> {
        self.places.iter().chain(&self.regexes).chain(&self.rest).map(|place| place.rule())
    }

    /// Shows `visit` the places that match `path`, the best first.
    pub(super) fn visit<B>(
        &self,
        path: &[u8],
        rules: &[Rule],
        mut visit: impl FnMut(Place, Fit) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if path.is_empty() {
            // CONNECT's: no path that a route asks for is it.
            return self.rest.iter().try_for_each(|place| visit(*place, Fit::Any));
        }
        let behind = self.entries.partition_point(|entry| self.text(entry) <= path);
        if let Some(mut at) = behind.checked_sub(1) {
            let entry = &self.entries[at];
            if self.text(entry) == path {
                self.places(entry.exact..entry.prefix).iter().try_for_each(|place| visit(*place, Fit::Whole))?;
            }
            loop {
                let entry = &self.entries[at];
                self.visit_prefix(entry, path, &mut visit)?;
                if entry.parent as usize == at {
                    break;
                }
                at = entry.parent as usize;
            }
        }
        for place in &self.regexes {
            if rules[place.rule()].path_is_found(path) {
                visit(*place, Fit::Regex)?;
            }
        }
        self.rest.iter().try_for_each(|place| visit(*place, Fit::Any))
    }

    fn visit_prefix<B>(
        &self,
        entry: &Entry,
        path: &[u8],
        visit: &mut impl FnMut(Place, Fit) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let fit = Fit::Prefix(entry.text.end - entry.text.start);
        let Some(rest) = path.strip_prefix(self.text(entry)) else { return ControlFlow::Continue(()) };
        let at_segment = matches!(rest.first(), None | Some(b'/'));
        let mut places = self.places(entry.prefix..entry.end).iter();
        places.try_for_each(|place| match at_segment || !place.whole_segments {
            true => visit(*place, fit),
            false => ControlFlow::Continue(()),
        })
    }

    fn text(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.text.start as usize..entry.text.end as usize]
    }

    fn places(&self, range: Range<u32>) -> &[Place] {
        &self.places[range.start as usize..range.end as usize]
    }
}

/// Collects the places of one host.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Exact places and prefixes, by text.
    texts: BTreeMap<Box<[u8]>, [Vec<Place>; 2]>,
    regexes: BTreeSet<usize>,
    rest: Vec<Place>,
}

impl Builder {
    /// Adds the route at `place`. They come in the order of the file.
    pub(super) fn add(&mut self, place: usize, route: &config::Route, rule: &Rule) {
        let plain = rule.predicates() == 0;
        if route.paths.is_empty() {
            self.rest.push(Place::new(place, false, plain));
        }
        for path in &route.paths {
            let (text, kind, whole_segments) = match path {
                PathMatch::Exact(text) => (text, 0, false),
                PathMatch::Below(text) => (text, 1, true),
                PathMatch::Prefix(text) => (text, 1, false),
                PathMatch::Regex(_) => {
                    self.regexes.insert(place);
                    continue;
                }
            };
            let places = self.texts.entry(text.as_bytes().into()).or_default();
            places[kind].push(Place::new(place, whole_segments, plain));
        }
    }

    /// All of them, ready to be searched.
    pub(super) fn build(mut self, rules: &[Rule]) -> Paths {
        // The sort is stable: the order of the file decides between equals.
        let sort = |places: &mut Vec<Place>| places.sort_by_key(|place| Reverse(rules[place.rule()].predicates()));
        let (mut text, mut entries, mut places) = (Vec::new(), Vec::<Entry>::new(), Vec::new());
        let mut open: Vec<(usize, Box<[u8]>)> = Vec::new();
        for (number, (path, [mut exact, mut prefix])) in self.texts.into_iter().enumerate() {
            sort(&mut exact);
            sort(&mut prefix);
            let start = offset(&text);
            text.extend_from_slice(&path);
            let first = offset(&places);
            places.append(&mut exact);
            let middle = offset(&places);
            places.append(&mut prefix);
            while open.pop_if(|(_, parent)| !path.starts_with(parent)).is_some() {}
            let parent = open.last().map_or(number, |(parent, _)| *parent);
            open.push((number, path));
            entries.push(Entry {
                text: start..offset(&text),
                parent: u32::try_from(parent).expect("a file of 64 MiB has fewer paths"),
                exact: first,
                prefix: middle,
                end: offset(&places),
            });
        }
        sort(&mut self.rest);
        let regexes = self.regexes.into_iter().map(|rule| Place::new(rule, false, rules[rule].predicates() == 0));
        Paths {
            text: text.into(),
            entries: entries.into(),
            places: places.into(),
            regexes: regexes.collect(),
            rest: self.rest.into(),
        }
    }
}

fn offset<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("a file of 64 MiB holds fewer")
}
