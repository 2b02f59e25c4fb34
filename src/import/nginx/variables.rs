//! Variables of nginx: what they are in our templates, keys and predicates. Used by all of `nginx`. Pure.

use std::collections::BTreeMap;

use super::super::text;

/// What `set` has given names to, in one server.
pub(super) type Constants = BTreeMap<String, String>;

/// A piece of text with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// Without its `$`.
    Variable(&'a str),
}

/// `text` in its pieces.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let behind = &rest[at + 1..];
        let (name, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(inner) => inner,
            None => {
                let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                let end = behind.find(|letter| !word(letter)).unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        if name.is_empty() {
            pieces.push(Piece::Text(&rest[..=at]));
            rest = behind;
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        pieces.push(Piece::Variable(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// `text` with the values of what `set` has named: once, so that it ends.
pub(super) fn expand(text: &str, constants: &Constants) -> String {
    const LONGEST: usize = 16 << 10;
    let mut out = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(name) => match constants.get(name).filter(|value| value.len() + out.len() < LONGEST) {
                Some(value) => out.push_str(value),
                None => out.extend(["${", name, "}"]),
            },
        }
    }
    out
}

/// `text` as a template of ours; else the variable that ours do not have.
pub(super) fn template(text: &str, server: &str) -> Result<String, String> {
    let mut out = String::new();
    let text = text.replace("${is_args}", "$is_args").replace("${args}", "$args");
    for (theirs, ours) in [("$uri$is_args$args", "$request_uri"), ("${uri}$is_args$args", "$request_uri")] {
        if text.contains(theirs) {
            return template(&text.replace(theirs, ours), server);
        }
    }
    for piece in pieces(&text) {
        match piece {
            Piece::Text(text) => out.push_str(&text::literal(text)),
            Piece::Variable("server_name") => out.push_str(&text::literal(server)),
            Piece::Variable(name) => match variable(name) {
                Some(ours) => out.push_str(ours),
                None => return Err(format!("${name}")),
            },
        }
    }
    Ok(out)
}

fn variable(name: &str) -> Option<&'static str> {
    Some(match name {
        "host" | "http_host" => "{host}",
        "remote_addr" | "binary_remote_addr" | "proxy_add_x_forwarded_for" => "{client_ip}",
        "request_uri" => "{path_and_query}",
        "uri" | "document_uri" => "{path}",
        "args" | "query_string" => "{query}",
        "scheme" => "{scheme}",
        "request_id" => "{request_id}",
        "ssl_protocol" => "{tls_version}",
        "ssl_server_name" => "{sni}",
        "upstream_addr" => "{backend}",
        _ => return None,
    })
}

/// A key of ours that requests are told apart by, for limits; `true`: it is only nearly the same.
pub(super) fn limit_key(text: &str) -> Option<(String, bool)> {
    let variable = match pieces(text).as_slice() {
        [Piece::Variable(name)] => *name,
        [Piece::Text(_)] => return Some(("global".to_owned(), false)),
        _ => return None,
    };
    if let Some(key) = named(variable) {
        return Some((key, false));
    }
    Some(match variable {
        "remote_addr" | "binary_remote_addr" => ("client_ip".to_owned(), false),
        "uri" | "document_uri" => ("path".to_owned(), false),
        "request_uri" => ("path".to_owned(), true),
        // Routes are of one server each.
        "server_name" | "host" | "http_host" => ("route".to_owned(), true),
        _ => return None,
    })
}

/// The same for a pool's hash.
pub(super) fn hash_key(text: &str) -> Option<(String, bool)> {
    let all = pieces(text);
    let variables: Vec<_> = all
        .iter()
        .filter_map(|piece| match piece {
            Piece::Variable(name) => Some(*name),
            Piece::Text(_) => None,
        })
        .collect();
    let exact = all.len() == 1;
    // What several say together: the one that tells requests apart best.
    for name in &variables {
        if let Some(key) = named(name).or_else(|| name.strip_prefix("arg_").map(|name| format!("query:{name}"))) {
            return Some((key, !exact));
        }
    }
    let has = |names: &[&str]| variables.iter().any(|name| names.contains(name));
    if has(&["request_uri", "uri", "document_uri"]) {
        return Some(("path".to_owned(), !exact || has(&["request_uri"])));
    }
    if has(&["remote_addr", "binary_remote_addr"]) {
        return Some(("client_ip".to_owned(), !exact));
    }
    has(&["host", "http_host"]).then(|| ("host".to_owned(), !exact))
}

/// `http_NAME` and `cookie_NAME`.
fn named(variable: &str) -> Option<String> {
    if let Some(name) = variable.strip_prefix("cookie_") {
        return Some(format!("cookie:{name}"));
    }
    variable
        .strip_prefix("http_")
        .filter(|name| *name != "host")
        .map(|name| format!("header:{}", name.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_ours() {
        for (theirs, ours) in [
            ("https://$host$request_uri", "https://{host}{path_and_query}"),
            ("https://${server_name}/a{b}", "https://a.example/a{{b}}"),
            ("/x$is_args$args", "$is_args"),
            ("https://$host$uri$is_args$args", "https://{host}{path_and_query}"),
            ("$", "$"),
            ("a$b", "$b"),
        ] {
            let read = template(theirs, "a.example");
            assert_eq!(read.unwrap_or_else(|why| why), ours, "{theirs}");
        }
        let constants = Constants::from([("up".to_owned(), "http://a".to_owned())]);
        assert_eq!(expand("$up/x$host", &constants), "http://a/x${host}");
    }

    #[test]
    fn keys_are_ours() {
        assert_eq!(limit_key("$binary_remote_addr"), Some(("client_ip".into(), false)));
        assert_eq!(limit_key("$http_x_api_key"), Some(("header:x-api-key".into(), false)));
        assert_eq!(limit_key("$remote_addr$uri"), None);
        assert_eq!(hash_key("$scheme$proxy_host$request_uri"), Some(("path".into(), true)));
        assert_eq!(hash_key("$arg_id"), Some(("query:id".into(), false)));
    }
}
