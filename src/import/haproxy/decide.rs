//! From rules, of which the first that fits decides, to routes, of which the most special one does. Called by `frontend`. Pure.
//!
//! What is negated becomes a route that goes first: `if !a` lets through what is `a`, and its further way is written before.
//! A rule that edits splits the way in two. Where a route would overtake one that stands before it, all paths are written as
//! expressions, which are asked in the order of the file; and rules for any host are repeated for each host that is named
//! behind them.

use std::borrow::Cow;

use super::{
    acl::{Literal, Terms, Test},
    predicate::{Conjunction, Joined, Judge, Key, Predicate, Way, is_below},
};

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act<E, A> {
    /// The way ends.
    End(A),
    /// Something is changed, and the way goes on.
    Edit(E),
    /// The rules of this phase end.
    Allow,
    /// The rules of that list follow.
    Goto(usize),
}

/// One rule of a list.
#[derive(Clone, Debug)]
pub(super) struct Rule<E, A> {
    pub(super) terms: Terms,
    pub(super) act: Act<E, A>,
    /// Its kind: `Allow` passes over those of its own.
    pub(super) phase: u8,
    /// Its place in a list of the caller's.
    pub(super) origin: usize,
}

/// One way through the rules.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf<E, A> {
    pub(super) when: Conjunction,
    pub(super) edits: Vec<E>,
    pub(super) end: A,
    pub(super) origin: usize,
}

/// Ways from one frontend, and steps to find them.
const MOST_LEAVES: usize = 1_000;
const MOST_STEPS: usize = 50_000;
const DEEPEST: usize = 200;
/// Edits on all ways together.
const MOST_EDITS: usize = 500_000;

/// Acts by acts.
type Instead<E, A> = fn(&Act<E, A>) -> Option<Act<E, A>>;

/// What acts and edits mean.
pub(super) struct Meaning<E, A> {
    /// What stands for an act that protects, where it is not known exactly for whom it is; `None`: it does not.
    pub(super) instead: Instead<E, A>,
    /// It sends elsewhere: for nearly the same requests it opens nothing.
    pub(super) redirects: fn(&A) -> bool,
    /// It is what a path leads to, where a path alone leads to it: it keeps nobody out.
    pub(super) serves: fn(&A) -> bool,
    /// Rules behind this edit see something else at the key than what the client has sent.
    pub(super) changes: fn(&E, &Key) -> bool,
    /// What stands for an edit that is not made, though theirs would be.
    pub(super) hidden: fn(&E) -> E,
}

/// Walks lists of rules.
pub(super) struct Walk<'r, E, A> {
    pub(super) lists: &'r [Vec<Rule<E, A>>],
    judge: &'r Judge,
    pub(super) leaves: Vec<Leaf<E, A>>,
    /// Rules that our routes cannot ask for together with what stands before.
    pub(super) beyond: Vec<usize>,
    /// Of these, rules in whose place there is nothing.
    pub(super) lost: Vec<usize>,
    meaning: &'r Meaning<E, A>,
    /// For each list its last rule that keeps somebody out.
    gates: Vec<Option<usize>>,
    steps: usize,
    /// Edits of all leaves.
    edits: usize,
    depth: usize,
}

/// There are too many ways.
#[derive(Debug, PartialEq)]
pub(super) struct TooMany;

impl<'r, E: Clone + PartialEq, A: Clone + PartialEq> Walk<'r, E, A> {
    pub(super) fn new(lists: &'r [Vec<Rule<E, A>>], judge: &'r Judge, meaning: &'r Meaning<E, A>) -> Self {
        let (leaves, beyond, lost, gates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut walk = Self { lists, judge, leaves, beyond, lost, meaning, gates, steps: 0, edits: 0, depth: 0 };
        let refuses = |rule: &Rule<E, A>| matches!(&rule.act, Act::End(end) if walk.refuses(end));
        let gate = |rule: &Rule<E, A>| match rule.act {
            Act::Goto(list) => lists[list].iter().any(refuses),
            _ => refuses(rule),
        };
        walk.gates = lists.iter().map(|list| list.iter().rposition(gate)).collect();
        walk
    }

    /// What stands for `act` where it is not known exactly for whom it is; what leads to an end that protects does so too.
    pub(super) fn instead(&self, act: &Act<E, A>) -> Option<Act<E, A>> {
        let Act::Goto(list) = act else { return (self.meaning.instead)(act) };
        let ends = self.lists[*list].iter().filter(|rule| matches!(rule.act, Act::End(_)));
        ends.into_iter().find_map(|rule| (self.meaning.instead)(&rule.act))
    }

    /// Somebody is kept out, and not only sent elsewhere.
    fn refuses(&self, end: &A) -> bool {
        (self.meaning.instead)(&Act::End(end.clone())).is_some() && !(self.meaning.redirects)(end)
    }

    /// `literals` of a rule behind `edits`: unknown is what asks for something that they have changed, and, with `strict`,
    /// what is not compared as theirs is.
    fn seen<'l>(&self, literals: &'l [Literal], edits: &[E], strict: bool) -> Cow<'l, [Literal]> {
        let changed = |key: &Key| edits.iter().any(|edit| (self.meaning.changes)(edit, key));
        let hidden = |literal: &Literal| match &literal.test {
            Test::Any(predicates) => {
                predicates.iter().any(|one| strict && matches!(one.key, Key::Query(_)) || changed(&one.key))
            }
            _ => false,
        };
        if !literals.iter().any(hidden) {
            return Cow::Borrowed(literals);
        }
        let unknown = |one: &Literal| match hidden(one) {
            true => Literal { test: Test::Unknown, negated: one.negated },
            false => one.clone(),
        };
        Cow::Owned(literals.iter().map(unknown).collect())
    }

    fn leaf(&mut self, when: Conjunction, edits: &[E], end: &A, origin: usize) {
        self.edits += edits.len();
        self.leaves.push(Leaf { when, edits: edits.to_vec(), end: end.clone(), origin });
    }

    /// All ways from the beginning of `list`.
    pub(super) fn from(&mut self, list: usize) -> Result<(), TooMany> {
        self.walk((list, 0, 0), &Conjunction::default(), Vec::new())
    }

    /// The ways from a list, its rule and its term on, for requests that are like `when`.
    fn walk(&mut self, start: (usize, usize, usize), when: &Conjunction, mut edits: Vec<E>) -> Result<(), TooMany> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(TooMany);
        }
        let (list, first, mut term) = start;
        let lists = self.lists;
        'rules: for (at, rule) in lists[list].iter().enumerate().skip(first) {
            for (number, literals) in rule.terms.iter().enumerate().skip(term) {
                // Edits go along with each step.
                self.steps += 1 + edits.len() / 16;
                let full = self.leaves.len() > MOST_LEAVES || self.edits > MOST_EDITS;
                if self.steps > MOST_STEPS || full || self.judge.is_spent() {
                    return Err(TooMany);
                }
                let instead = self.instead(&rule.act).or_else(|| match &rule.act {
                    Act::Edit(edit) => Some(Act::Edit((self.meaning.hidden)(edit))),
                    _ => None,
                });
                let nearly = match &rule.act {
                    Act::Edit(_) => true,
                    Act::End(end) => (self.meaning.redirects)(end),
                    Act::Allow | Act::Goto(_) => false,
                };
                let gate = self.gates[list].is_some_and(|last| last >= at);
                let by_path = literals.iter().all(|one| !one.negated && one.is_of(&Key::Path));
                let literals = self.seen(literals, &edits, gate && !nearly);
                let known = matches!(literals, Cow::Borrowed(_));
                if !known && by_path && matches!(&rule.act, Act::End(end) if (self.meaning.serves)(end)) {
                    self.lost.push(rule.origin);
                    continue;
                }
                let Some((cases, others)) = cases(when, &literals, self.judge).filter(|_| known) else {
                    self.beyond.push(rule.origin);
                    let end = match instead {
                        Some(Act::End(end)) => end,
                        Some(Act::Edit(edit)) => {
                            edits.push(edit);
                            continue;
                        }
                        _ => continue,
                    };
                    for case in wider(when, &literals, self.judge) {
                        let all = case == *when;
                        self.leaf(case, &edits, &end, rule.origin);
                        if all {
                            self.depth -= 1;
                            return Ok(());
                        }
                    }
                    continue;
                };
                // Who would be let in by it, and should not, cannot be told apart.
                let unclear = |case: &Conjunction| {
                    others.iter().any(|other| matches!(case.with(other, self.judge), Joined::Beyond))
                };
                if !matches!((&rule.act, &instead), (Act::End(_), Some(_))) && cases.iter().any(unclear) {
                    self.beyond.push(rule.origin);
                    match instead {
                        Some(Act::Edit(edit)) => edits.push(edit),
                        Some(Act::End(end)) => {
                            for when in cases {
                                self.leaf(when, &edits, &end, rule.origin);
                            }
                        }
                        _ => {}
                    }
                    continue;
                }
                for case in cases {
                    for other in &others {
                        match case.with(other, self.judge) {
                            Joined::Fine(narrow) => self.walk((list, at, number + 1), &narrow, edits.clone())?,
                            Joined::Never => {}
                            Joined::Beyond => self.beyond.push(rule.origin),
                        }
                    }
                    let all = case == *when;
                    match &rule.act {
                        Act::End(end) => self.leaf(case, &edits, end, rule.origin),
                        Act::Edit(edit) if all => {
                            edits.push(edit.clone());
                            term = 0;
                            continue 'rules;
                        }
                        Act::Edit(edit) => {
                            let more = edits.iter().cloned().chain([edit.clone()]).collect();
                            self.walk((list, at + 1, 0), &case, more)?;
                        }
                        Act::Allow => {
                            let rest = lists[list][at..].iter().take_while(|other| other.phase == rule.phase);
                            let next = at + rest.count();
                            self.walk((list, next, 0), &case, edits.clone())?;
                        }
                        Act::Goto(other) => self.walk((*other, 0, 0), &case, edits.clone())?,
                    }
                    if all {
                        self.depth -= 1;
                        return Ok(());
                    }
                }
            }
            term = 0;
        }
        self.depth -= 1;
        Ok(())
    }
}

/// Requests like `when` for which all `literals` that are not negated hold, and the predicates that must not; `None`: our
/// routes cannot ask for that.
fn cases(when: &Conjunction, literals: &[Literal], judge: &Judge) -> Option<(Vec<Conjunction>, Vec<Predicate>)> {
    const MOST: usize = 256;
    let mut cases = vec![when.clone()];
    let mut others = Vec::new();
    for literal in literals {
        match (&literal.test, literal.negated) {
            (Test::Always, false) | (Test::Unknown, _) => {}
            (Test::Always, true) => cases.clear(),
            (Test::Any(predicates), true) => others.extend(predicates.iter().cloned()),
            (Test::Any(predicates), false) => {
                let mut next = Vec::new();
                for predicate in predicates {
                    for case in &cases {
                        match case.with(predicate, judge) {
                            Joined::Fine(fine) => next.push(fine),
                            Joined::Never => {}
                            Joined::Beyond => return None,
                        }
                    }
                }
                cases = next;
            }
            // Limits have been taken out.
            (Test::Rate(_), _) => return None,
        }
        if cases.len() > MOST || others.len() > MOST {
            return None;
        }
    }
    Some((cases, others))
}

/// The same, with what cannot be asked for left out.
fn wider(when: &Conjunction, literals: &[Literal], judge: &Judge) -> Vec<Conjunction> {
    let mut known = vec![when.clone()];
    for literal in literals.iter().filter(|literal| !literal.negated) {
        let narrow = |case: &Conjunction| cases(case, std::slice::from_ref(literal), judge).map(|(cases, _)| cases);
        let next: Option<Vec<_>> = known.iter().map(narrow).collect();
        known = next.map_or(known, |next| next.concat());
    }
    known
}

/// The leaves in the order in which they are written, each with the conjunction that its route has; and whether paths have
/// to be written as expressions.
pub(super) fn arrange<E, A>(leaves: &[Leaf<E, A>], judge: &Judge) -> (Vec<(usize, Conjunction)>, bool) {
    let mut routes: Vec<(usize, Conjunction)> = Vec::new();
    for (at, leaf) in leaves.iter().enumerate() {
        let later: Vec<String> = leaves[at + 1..].iter().flat_map(|later| later.when.hosts()).collect();
        let own = leaf.when.hosts();
        let mut hosts = own.clone();
        let within = |host: &String| own.is_empty() || own.iter().any(|wild| is_below(host, wild));
        hosts.extend(later.into_iter().filter(within));
        let mut seen = std::collections::BTreeSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        if !hosts.is_empty() {
            routes.push((at, leaf.when.at(&hosts)));
        }
        if own.is_empty() {
            routes.push((at, leaf.when.clone()));
        }
    }
    let mut seen: Vec<Conjunction> = Vec::new();
    routes.retain(|(_, when)| {
        let fresh = !seen.iter().any(|earlier| earlier.covers(when, judge));
        seen.push(when.clone());
        fresh
    });
    let both =
        |one: &Conjunction, other: &Conjunction| one.ways(&Key::Host).is_empty() == other.ways(&Key::Host).is_empty();
    let ordered = routes.iter().enumerate().any(|(at, (_, when))| {
        routes[..at].iter().any(|(_, earlier)| both(when, earlier) && when.overtakes(earlier, judge))
    });
    (routes, ordered)
}

/// A GET of a path on a host and a listener, without headers of its own, is like `when`.
pub(super) fn holds(when: &Conjunction, judge: &Judge, host: &str, path: &str, listener: &str) -> bool {
    let is = |text: &str, way: &Way| match way {
        Way::Is(other) => text == other,
        Way::Begins(prefix) => text.starts_with(prefix.as_str()),
        Way::Regex(regex) => judge.is_found(regex, text) == Some(true),
        Way::Present => true,
        Way::Absent => false,
    };
    when.every(|key, ways| {
        ways.iter().any(|way| match (key, way) {
            (Key::Host, Way::Is(name)) => name == host || is_below(host, name),
            (Key::Path, way) => is(path, way),
            (Key::Listener, way) => is(listener, way),
            (Key::Method, way) => is("GET", way),
            (_, way) => *way == Way::Absent,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(key: Key, way: Way, negated: bool) -> Literal {
        Literal { test: Test::Any(vec![Predicate { key, ways: vec![way] }]), negated }
    }

    fn rule(terms: Terms, act: Act<&'static str, &'static str>) -> Rule<&'static str, &'static str> {
        Rule { terms, act, phase: 0, origin: 0 }
    }

    const NOTHING: Meaning<&str, &str> = Meaning {
        instead: |_| None,
        redirects: |_| false,
        serves: |_| false,
        changes: |_, _| false,
        hidden: |edit| *edit,
    };

    /// What the leaves say of a request, the first that holds.
    fn end<'l>(
        leaves: &'l [Leaf<&'static str, &'static str>],
        host: &str,
        path: &str,
    ) -> (&'static str, &'l [&'static str]) {
        let leaf = leaves.iter().find(|leaf| holds(&leaf.when, &Judge::default(), host, path, "http")).unwrap();
        (leaf.end, &leaf.edits)
    }

    #[test]
    fn negations_and_edits_split_the_way() {
        let api = || Way::Begins("/api".into());
        let list = vec![
            rule(vec![vec![literal(Key::Path, api(), true)]], Act::Edit("not-api")),
            rule(
                vec![vec![literal(Key::Host, Way::Is("a.example".into()), false), literal(Key::Path, api(), true)]],
                Act::End("a"),
            ),
            rule(vec![vec![literal(Key::Path, api(), false)]], Act::End("api")),
            rule(vec![vec![]], Act::End("rest")),
        ];
        let lists = [list];
        let judge = Judge::default();
        let mut walk = Walk::new(&lists, &judge, &NOTHING);
        walk.from(0).unwrap();
        assert_eq!(end(&walk.leaves, "a.example", "/"), ("a", &["not-api"][..]));
        assert_eq!(end(&walk.leaves, "a.example", "/api"), ("api", &[][..]));
        assert_eq!(end(&walk.leaves, "b.example", "/x"), ("rest", &["not-api"][..]));
        assert!(walk.beyond.is_empty());
    }

    #[test]
    fn rules_for_any_host_are_repeated_for_hosts_behind_them() {
        let list = vec![
            rule(vec![vec![literal(Key::Path, Way::Begins("/api".into()), false)]], Act::End("api")),
            rule(vec![vec![literal(Key::Host, Way::Is("a.example".into()), false)]], Act::End("a")),
            rule(vec![vec![]], Act::End("rest")),
        ];
        let lists = [list];
        let judge = Judge::default();
        let mut walk = Walk::new(&lists, &judge, &NOTHING);
        walk.from(0).unwrap();
        let (routes, ordered) = arrange(&walk.leaves, &judge);
        let said: Vec<_> = routes.iter().map(|(at, when)| (walk.leaves[*at].end, when.hosts().join(" "))).collect();
        let expected = [("api", "a.example"), ("api", ""), ("a", "a.example"), ("rest", "")];
        assert_eq!(said, expected.map(|(end, host)| (end, host.to_owned())));
        assert!(!ordered);
    }

    #[test]
    fn one_header_may_have_two_values() {
        let header = |value: &str, negated| literal(Key::Header("x".into()), Way::Is(value.into()), negated);
        let instead = |act: &Act<_, &'static str>| (*act == Act::End("refused")).then_some(Act::End("closed"));
        let refused = Meaning { instead, ..NOTHING };
        let list = |act| {
            let path = literal(Key::Path, Way::Begins("/a".into()), false);
            vec![
                rule(vec![vec![path, header("1", false), header("2", act == Act::End("in"))]], act),
                rule(vec![vec![]], Act::End("rest")),
            ]
        };
        let judge = Judge::default();
        let lists = [list(Act::End("refused"))];
        let mut walk = Walk::new(&lists, &judge, &refused);
        walk.from(0).unwrap();
        let ends: Vec<_> =
            walk.leaves.iter().map(|leaf| (leaf.end, leaf.when.ways(&Key::Header("x".into())).len())).collect();
        assert_eq!(ends, [("closed", 1), ("rest", 0)], "for one of the values");
        assert_eq!(walk.beyond, [0]);
        let lists = [list(Act::End("in"))];
        let mut walk = Walk::new(&lists, &judge, &refused);
        walk.from(0).unwrap();
        assert_eq!(
            walk.leaves.iter().map(|leaf| leaf.end).collect::<Vec<_>>(),
            ["rest"],
            "nobody is let in by mistake"
        );
    }

    #[test]
    fn too_many_ways_are_too_many() {
        let header = |number: usize| literal(Key::Header(format!("x{number}")), Way::Present, false);
        let mut list: Vec<_> = (0..30).map(|number| rule(vec![vec![header(number)]], Act::Edit("x"))).collect();
        list.push(rule(vec![vec![]], Act::End("rest")));
        let lists = [list];
        assert_eq!(Walk::new(&lists, &Judge::default(), &NOTHING).from(0), Err(TooMany));
    }
}
