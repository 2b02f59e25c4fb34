//! `if` at a location: routes before it for those whom it singles out, and behind it for those whom it does not let through.
//! Called by `route`.

use super::{
    super::{
        draft::{End, close},
        report::Outcome,
        text,
        toml::Value,
    },
    Import,
    condition::{Condition, Test, empty},
    flow::{Action, Flow},
    listen::Door,
    order::hosts_first,
    route::{Draft, Spot},
};

/// What the `if`s of a place come to.
pub(super) struct Guarded<'d> {
    /// Routes that go first.
    pub(super) before: Vec<Draft>,
    /// For those that the main route does not take, the last one first.
    pub(super) after: Vec<Draft>,
    /// What becomes of all that come to the main route.
    pub(super) always: Option<Action>,
    /// Those that routes cannot ask for, and why.
    unsaid: Vec<(Action, &'static str)>,
    /// A plain GET comes past all of them, by one of these.
    pub(super) certain: bool,
    pub(super) doors: Vec<&'d Door>,
}

const HOSTS: &str = "a host is asked for by a server, not by one of its locations";
const TWICE: &str = "a route asks for one thing of a header or method, and for one line of a header";

impl<'a> Import<'a> {
    /// The `if`s of the server and the location at `main`.
    pub(super) fn guarded<'d>(
        &mut self,
        main: &mut Draft,
        outer: &Flow<'a>,
        inner: &Flow<'a>,
        spot: &Spot<'d>,
    ) -> Guarded<'d> {
        let mut made = Guarded {
            before: Vec::new(),
            after: Vec::new(),
            always: None,
            unsaid: Vec::new(),
            certain: true,
            doors: spot.doors.clone(),
        };
        // A host that one location alone asks for would go before all others of any host.
        let (alone, with): (Vec<_>, Vec<_>) =
            inner.guards.iter().partition(|(one, _)| one.negated && matches!(one.test, Test::Host(_)));
        made.unsaid.extend(alone.into_iter().map(|(_, action)| (action.clone(), HOSTS)));
        let guards = hosts_first(outer.guards.iter().chain(with).cloned().flat_map(empty).collect());
        for (condition, action) in guards {
            match &condition.test {
                Test::Key(key, _) if key == &["method"] => made.certain &= condition.negated == is_get(&condition),
                Test::Key(..) => made.certain = false,
                Test::Host(host) => made.certain &= condition.negated == (*host == spot.sample),
                test => made.doors.retain(|door| test.fits(door) == Some(condition.negated)),
            }
            match self.branch_at(main, &condition, &action, spot) {
                Branch::Before(route) => made.before.push(route),
                Branch::After(first, route) => {
                    made.before.extend(first);
                    made.after.push(route);
                }
                Branch::Always => {
                    made.always = Some(action);
                    break;
                }
                Branch::Never => {}
                Branch::Unsaid => made.unsaid.push((action, TWICE)),
            }
        }
        made.after.reverse();
        made
    }

    /// Closes `main` where it may be for those whom an `if` that cannot be asked for keeps out.
    pub(super) fn unsaid(&mut self, main: &mut Draft, guarded: &Guarded<'_>) {
        for (action, why) in &guarded.unsaid {
            if action.status < 400 && *why == HOSTS {
                self.draft.report.add(Outcome::Unsupported, &action.place, "if ($host …)", *why);
                continue;
            }
            let what = if *why == HOSTS { "if ($host …)" } else { "if" };
            let note = format!("{why}; its requests get 503 until you decide");
            self.draft.report.add(Outcome::Closed, &action.place, what, note);
            close(&mut main.table, &action.place, what);
            main.end = End::Status(503);
        }
    }

    /// The same under another name.
    fn twin(&mut self, route: &Draft) -> Draft {
        let name = self.draft.route_names.fresh(&format!("{} if", route.name.trim_end_matches(" if")));
        let mut table = route.table.clone();
        table.set(&["name"], name.as_str(), None);
        Draft { table, end: route.end.clone(), name, hosted: route.hosted }
    }

    /// One `if`, at `main`.
    fn branch_at(&mut self, main: &mut Draft, condition: &Condition, action: &Action, spot: &Spot<'_>) -> Branch {
        let mut other = self.twin(main);
        other.end = End::Status(action.status);
        action.write(&mut other.table);
        match &condition.test {
            test @ (Test::Tls(_) | Test::Port(_)) => {
                let wanted = |door: &&&Door| test.fits(door) != Some(condition.negated);
                let doors: Vec<_> = spot.doors.iter().filter(wanted).map(|door| door.name.as_str()).collect();
                match doors.len() {
                    0 => return Branch::Never,
                    count if count == spot.doors.len() => return Branch::Always,
                    _ => other.table.set(&["listener"], Value::words(doors), None),
                }
                Branch::Before(other)
            }
            Test::Host(host) => {
                // An `if` before this one has let one host through.
                let one = main.table.value(&["host"]).filter(|_| main.hosted);
                let takes =
                    |known: &String| known == host || known.strip_prefix('*').is_some_and(|end| host.ends_with(end));
                let possible = match one {
                    Some(one) => *one == host.as_str().into(),
                    None => spot.hosts.is_empty() || spot.hosts.iter().any(takes),
                };
                match (possible, condition.negated) {
                    (false, true) => Branch::Always,
                    (false, false) => Branch::Never,
                    (true, true) if one.is_some() => Branch::Never,
                    (true, false) => {
                        other.table.set(&["host"], host.as_str(), None);
                        Branch::Before(other)
                    }
                    (true, true) => {
                        main.table.set(&["host"], host.as_str(), None);
                        main.hosted = true;
                        Branch::After(None, other)
                    }
                }
            }
            Test::Key(key, value) => self.keyed(main, other, (key, value), condition.negated, action),
        }
    }

    /// One that asks for a key of a route.
    fn keyed(
        &mut self,
        main: &mut Draft,
        mut other: Draft,
        (key, value): (&[String], &Value),
        negated: bool,
        action: &Action,
    ) -> Branch {
        let path: Vec<_> = key.iter().map(String::as_str).collect();
        let known = main.table.value(&path).is_some();
        if !negated {
            // Of those that one before lets through, or not: who is refused is refused either way.
            if known && action.status < 400 {
                return Branch::Unsaid;
            }
            other.table.set(&path, value.clone(), None);
            return Branch::Before(other);
        }
        let first = differs(key, value).map(|differs| {
            let mut first = self.twin(&other);
            first.table.set(&path, differs, None);
            first
        });
        if known {
            return first.map_or(Branch::Unsaid, Branch::Before);
        }
        // nginx looks at all lines of a header together, ours at each.
        if first.is_none() && path[0] == "header" && !is_of_any_line(value) {
            return Branch::Unsaid;
        }
        main.table.set(&path, value.clone(), None);
        Branch::After(first, other)
    }
}

/// Where an `if` leads.
enum Branch {
    /// A route that goes first.
    Before(Draft),
    /// One for those that the main route does not take, and one that goes first.
    After(Option<Draft>, Draft),
    Always,
    Never,
    /// Routes cannot say so.
    Unsaid,
}

/// A value that is not that text; the field may stand several times, of which a route asks for one. `None`: it cannot.
pub(super) fn differs(key: &[String], value: &Value) -> Option<Value> {
    let regex = match value {
        Value::Text(text) if key.first().is_some_and(|kind| kind == "header") => text::other(text, false)?,
        Value::Table(pairs) => match pairs.as_slice() {
            [(kind, Value::Text(regex))] if kind == "regex" => {
                let text =
                    regex.strip_prefix('^').filter(|text| text::first_letters(text) == text.replace('\\', ""))?;
                text::other(&text::first_letters(text), true)?
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Value::table([("regex", regex.into())]))
}

/// What is true of one line of a header is true of all of them together.
fn is_of_any_line(value: &Value) -> bool {
    match value {
        Value::Table(pairs) => pairs.iter().all(|(kind, value)| match value {
            Value::Text(regex) => kind == "regex" && !regex.replace("\\$", "").replace("[^", "").contains(['^', '$']),
            _ => kind == "absent",
        }),
        _ => false,
    }
}

fn is_get(condition: &Condition) -> bool {
    match &condition.test {
        Test::Key(_, Value::Text(method)) => method == "GET",
        Test::Key(_, Value::List(methods)) => methods.contains(&"GET".into()),
        _ => false,
    }
}
