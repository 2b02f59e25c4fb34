//! What is in force at a location and refuses somebody, wherever it is written. Used by `nginx` and `route`. Pure.

use std::collections::BTreeSet;

use super::{
    known,
    location::{Kind, Location},
    pass,
    read::Directive,
    scope::Scope,
};

/// The directives that refuse: places with the same ones refuse the same.
pub(super) type Gates = BTreeSet<*const Directive>;

/// Those of `one`, and of the named location among `all` that it comes to.
pub(super) fn gates(one: &Location<'_>, all: &[Location<'_>]) -> Gates {
    let mut found = own(one);
    found.extend(pass::named(one, all).map(own).unwrap_or_default());
    found
}

/// It refuses somebody.
pub(super) fn shields(one: &Location<'_>) -> bool {
    !own(one).is_empty()
}

/// Some of `all` are protected otherwise than others: how a path is written may lead from one to another.
pub(super) fn differ(all: &[Location<'_>]) -> bool {
    let mut every = all.iter().filter(|one| one.kind != Kind::Named).map(|one| gates(one, all));
    let first = every.next();
    every.any(|other| first.as_ref().is_some_and(|first| *first != other))
}

/// Somebody may be refused by `one`, or by what is in it.
pub(super) fn refuses(one: &Directive) -> bool {
    let name = one.name.as_str();
    match name {
        "return" => one.word(0).parse::<u64>().is_ok_and(|status| status >= 400),
        "if" => one.inside().iter().any(refuses),
        _ => known::protects(name) && one.word(0) != "off",
    }
}

/// Those of `one` alone.
pub(super) fn own(one: &Location<'_>) -> Gates {
    let mut found = inherited(&one.scope);
    let here = |inside: &&Directive| ["return", "if"].contains(&inside.name.as_str()) && refuses(inside);
    found.extend(one.scope.own().iter().filter(here).map(std::ptr::from_ref));
    let internal = one.scope.gates().iter().find(|(_, gate)| gate.name == "internal");
    found.extend(internal.filter(|_| !is_page(one)).map(|(_, internal)| std::ptr::from_ref(*internal)));
    found
}

/// What those inside have from those outside.
fn inherited(scope: &Scope<'_>) -> Gates {
    const REPLACED: [&str; 6] = ["allow", "deny", "auth_basic", "auth_basic_user_file", "auth_request", "internal"];
    let on = |one: &&Directive| one.word(0) != "off";
    // Of the innermost block that has one of them.
    let of = |names: &[&str]| -> Vec<&Directive> {
        let all = || scope.gates().iter().filter(|(_, one)| names.contains(&one.name.as_str()));
        let innermost = all().map(|(level, _)| *level).max();
        all().filter(|(level, _)| Some(*level) == innermost).map(|(_, one)| *one).collect()
    };
    let mut found = of(&["allow", "deny"]);
    if found.iter().all(|rule| rule.name == "allow") {
        found.clear();
    }
    if let Some(basic) = of(&["auth_basic"]).last().filter(|one| on(one)) {
        found.extend([*basic].into_iter().chain(of(&["auth_basic_user_file"])));
    }
    found.extend(of(&["auth_request"]).into_iter().filter(on));
    let rest = scope.gates().iter().map(|(_, one)| *one).filter(on);
    found.extend(rest.filter(|one| !REPLACED.contains(&one.name.as_str())));
    found.into_iter().map(std::ptr::from_ref).collect()
}

/// A page that nginx shows of its own for errors, as a file: nothing of a backend is behind it.
fn is_page(one: &Location<'_>) -> bool {
    let shown = |page: &Directive| page.words.last().is_some_and(|uri| *uri == one.text);
    one.kind == Kind::Exact && !one.scope.has("proxy_pass") && one.scope.every("error_page").into_iter().any(shown)
}
