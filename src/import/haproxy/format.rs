//! Log formats as templates, and edits of paths. Called by `rules`. Pure.

use super::super::text;

/// `%[path,regsub(^/api,)]` takes a prefix off.
pub(super) fn strip(text: &str) -> Option<Vec<(&'static str, String)>> {
    let inner = text.strip_prefix("%[path,regsub(")?.strip_suffix(")]")?;
    let (regex, to) = inner.split_once(',')?;
    let prefix = regex.strip_prefix('^')?.trim_end_matches('/');
    let whole = text::is_path(prefix) && ["", "/"].contains(&to);
    whole.then(|| vec![("strip_prefix", prefix.to_owned())])
}

/// `\1` as the crate `regex` has it.
pub(super) fn groups(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(digit) if digit.is_ascii_digit() => out.extend(["${", &digit.to_string(), "}"]),
                Some(other) => out.push(other),
                None => return None,
            },
            '$' => out.push_str("$$"),
            '%' => return None,
            letter => out.push(letter),
        }
    }
    Some(out)
}

/// A log format as a template of ours; else what ours do not have.
pub(super) fn format(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&text::literal(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (what, after) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(|| "an open bracket".to_owned())?,
            None => {
                let end = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len()).min(2);
                rest.split_at(end)
            }
        };
        let lower = what.to_ascii_lowercase();
        let first = lower.split(',').next().unwrap_or_default().trim_start_matches("req.");
        let ours = match first {
            "src" | "ci" => "{client_ip}",
            "hdr(host)" | "fhdr(host)" => "{host}",
            "path" | "hp" => "{path}",
            "pathq" | "url" | "capture.uri" | "capture.req.uri" | "hu" => "{path_and_query}",
            "query" => "{query}",
            "ssl_fc_sni" => "{sni}",
            "ssl_fc_protocol" => "{tls_version}",
            "unique-id" | "uuid()" | "id" => "{request_id}",
            "ssl_fc" if lower.contains("iif(https,http)") => "{scheme}",
            "be_name" => "{pool}",
            "srv_name" => "{backend}",
            _ => return Err(format!("%[{what}]")),
        };
        out.push_str(ours);
        rest = after;
    }
    out.push_str(&text::literal(rest));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_templates() {
        assert_eq!(
            format("https://%[req.hdr(Host),lower]%[capture.req.uri]").as_deref(),
            Ok("https://{host}{path_and_query}")
        );
        assert_eq!(format("100%% {x} %ci").as_deref(), Ok("100% {{x}} {client_ip}"));
        assert_eq!(format("%[var(txn.a)]"), Err("%[var(txn.a)]".into()));
        assert_eq!(groups("/x\\1y$").as_deref(), Some("/x${1}y$$"));
        assert_eq!(strip("%[path,regsub(^/api,)]").unwrap(), [("strip_prefix", "/api".to_owned())]);
    }
}
