//! What a route changes: fields of the request and of the response, and the path.

use regex::bytes::Regex;

use super::super::super::{
    HeaderRules, Rewrite, Template, field, keys, path,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// The rules at `key` of `route`, for the headers whose names `editable` takes.
pub(super) fn headers(route: &Section<'_>, key: &str, editable: Editable) -> HeaderRules {
    let Some(section) = route.section(key, &keys::HEADER_RULES) else { return HeaderRules::default() };
    HeaderRules {
        set: named(&section, "set", false, editable),
        add: named(&section, "add", true, editable),
        remove: section.list("remove", |field| editable(values::text(field, "the name of a header")?)),
    }
}

/// Gives a header's name in lower case, if rules may edit it.
type Editable = fn(&str) -> Result<String, Wrong>;

/// Names and values; `many` values of a name are possible where they stand beside each other.
fn named(rules: &Section<'_>, key: &str, many: bool, editable: Editable) -> Vec<(String, Template)> {
    let Some(table) = rules.field(key) else { return Vec::new() };
    if !table.value().is_table() {
        let help = format!("write {key} = {{ x-env = \"prod\" }}");
        table.wrong(values::wanted(table.value(), "a table of names and values").help(help));
    }
    let mut seen: Vec<(String, Field<'_>)> = Vec::new();
    let mut rules = Vec::new();
    for (written, field) in table.entries() {
        let name = match editable(written) {
            Ok(name) => name,
            Err(wrong) => {
                field.wrong_name(wrong);
                continue;
            }
        };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            field.clash(Wrong::new(format!("`{name}` stands here twice")).help("keep one of them"), first);
        }
        let values = field.list();
        if values.len() != 1 && !many {
            let wrong = values::wanted(field.value(), "one value");
            field.wrong(wrong.help("`add` takes several; an empty one is taken away by `remove`"));
        }
        rules.extend(values.iter().filter_map(|value| Some((name.clone(), value.read(field::template)?))));
        seen.push((name, field));
    }
    rules
}

/// `rewrite`: by prefixes or by an expression.
pub(super) fn rewrite(field: &Field<'_>) -> Option<Rewrite> {
    let section = field.section(&keys::REWRITE)?;
    let strip = section.field("strip_prefix").map(|field| field.read(prefix));
    let add = section.field("add_prefix").map(|field| field.read(prefix));
    let regex = section.field("regex").map(|field| (field.read(values::regex), field));
    let replacement = section.field("replacement");
    let by_prefix = section.field("strip_prefix").or_else(|| section.field("add_prefix"));
    match (by_prefix, regex.as_ref().map(|(_, field)| field).or(replacement.as_ref())) {
        (Some(_), None) => {
            let (strip, add) = (strip.unwrap_or(Some(String::new())), add.unwrap_or(Some(String::new())));
            Some(Rewrite::Prefix { strip: strip?, add: add? })
        }
        (None, Some(_)) => by_regex(&section, regex, replacement),
        (Some(first), Some(second)) => {
            let wrong = Wrong::new("a path is rewritten in one way");
            second.clash(wrong.help("keep `strip_prefix` and `add_prefix`, or `regex` and `replacement`"), &first);
            None
        }
        (None, None) => {
            if !section.meant(keys::REWRITE.known) {
                let wrong = Wrong::new("found a table that says nothing, wanted how the path is rewritten");
                field.wrong(wrong.help(format!("write {}", keys::REWRITE.example)));
            }
            None
        }
    }
}

/// A prefix without the `/` at its end.
fn prefix(field: &Field<'_>) -> Result<String, Wrong> {
    let text = values::text(field, "the beginning of a path")?;
    path::normal(text)?;
    if text.contains('*') {
        return Err(values::wanted(field.value(), "a path without `*`").help("what is behind the prefix stays"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn by_regex(
    section: &Section<'_>,
    regex: Option<(Option<Regex>, Field<'_>)>,
    replacement: Option<Field<'_>>,
) -> Option<Rewrite> {
    let Some((regex, _)) = regex else {
        section.missing("regex", Wrong::new("`replacement` wants a `regex`: what is replaced"));
        return None;
    };
    let Some(replacement) = replacement else {
        section
            .missing("replacement", Wrong::new("`regex` wants a `replacement`").help("write \"/new/$1\", for example"));
        return None;
    };
    let regex = regex?;
    let replacement = replacement.read(|field| {
        let text = values::text(field, "the path to put there")?;
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#\\".contains(&byte)) {
            return Err(values::wanted(field.value(), "a piece of a path as it is sent")
                .help("the query stays as it is; other letters are written as `%` and two digits"));
        }
        match groups(text).into_iter().find(|group| !has(&regex, group)) {
            None => Ok(text.to_owned()),
            Some(group) => Err(unknown_group(field, &group, &regex)),
        }
    })?;
    Some(Rewrite::Regex { regex: regex.as_str().to_owned(), replacement })
}

/// A group that there is not would be replaced by nothing, without a word.
fn unknown_group(field: &Field<'_>, group: &str, regex: &Regex) -> Wrong {
    let wrong = Wrong::new(format!(
        "found {}, and the regex has no group `{group}`",
        quoted(field.value().as_str().unwrap_or_default())
    ));
    let digits = group.len() - group.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    if digits > 0 && digits < group.len() && has(regex, &group[..digits]) {
        let (number, rest) = group.split_at(digits);
        return wrong.help(format!("write ${{{number}}}{rest} for group {number} with {rest} behind it"));
    }
    let count = regex.captures_len() - 1;
    wrong.help(format!("it has {count} of them; `$0` is the whole match, and `$$` a dollar"))
}

fn has(regex: &Regex, group: &str) -> bool {
    match group.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|name| name == group),
    }
}

/// The groups that `replacement` names, as the crate `regex` reads it.
fn groups(replacement: &str) -> Vec<String> {
    let mut groups = Vec::new();
    let mut rest = replacement;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((group, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            groups.push(group.to_owned());
            rest = after;
        } else {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
            if end > 0 {
                groups.push(rest[..end].to_owned());
            }
            rest = &rest[end..];
        }
    }
    groups
}
