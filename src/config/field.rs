//! Field names and values as operators write them, and which fields no rule may touch. Used by `read`.

use toml::de::DeValue;

use super::{Template, report::Wrong, section::Field, units::quoted, values};

/// Fields that frame, route, or are ours: PRODUCT.md section 8 says what becomes of them. In lower case.
const OURS: [&str; 21] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "proxy-status",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-client-cert-fingerprint",
    "x-client-cert-subject",
    "x-client-cert-verified",
    "x-real-ip",
    "x-request-id",
];
/// Those among them that a message does not carry any more when routes look at it. In lower case.
const LIFTED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `text` is a token (RFC 9110 section 5.6.2): a method, a field's name, a cookie's name.
pub(crate) fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(token)
}

/// `name`, in lower case, is of a field that no rule may touch: evenkeel writes it, or frames messages with it.
pub(crate) fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || name.starts_with("x-forwarded-")
}

/// `name`, in lower case, is of a field that a message does not carry any more when routes look at it.
pub(crate) fn is_lifted(name: &str) -> bool {
    LIFTED.contains(&name)
}

/// A field's name in lower case.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    if is_token(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let wrong = Wrong::new(format!("found {}, wanted the name of a header", quoted(text)));
    Err(match text.trim_end_matches(':').trim() {
        close if close != text && is_token(close) => wrong.help(format!("write it as {}", quoted(close))),
        _ => wrong.help("it is made of letters, digits and any of !#$%&'*+-.^_`|~"),
    })
}

/// The name, in lower case, of a field that a rule may edit.
pub(super) fn editable(text: &str) -> Result<String, Wrong> {
    let name = name(text)?;
    if !is_ours(&name) {
        return Ok(name);
    }
    let wrong = Wrong::new(format!("`{text}` is not for rules: evenkeel writes it, or frames messages with it"));
    Err(wrong.help(match name.as_str() {
        "host" => "`pass_host` of a pool says what its backends get".to_owned(),
        "upgrade" | "connection" => "`upgrade` of a route says what is allowed".to_owned(),
        "forwarded" => "`forwarded` of [server] turns it on".to_owned(),
        "via" | "proxy-status" => "`via` of [server] is our name in it".to_owned(),
        _ if name.starts_with("x-client-cert-") => {
            "`client_ca` of a listener's tls says whose certificates are believed; these headers tell of them"
                .to_owned()
        }
        _ if name.starts_with('x') => {
            "`trusted_proxies` of [server] says whose is believed; use a name of your own for anything else".to_owned()
        }
        _ => "take the rule out".to_owned(),
    }))
}

/// The name, in lower case, of a field of a response that a rule may edit. Its X-Request-Id is not ours: we send that to
/// backends.
pub(super) fn editable_in_response(text: &str) -> Result<String, Wrong> {
    if text.eq_ignore_ascii_case("x-request-id") { name(text) } else { editable(text) }
}

/// The name, in lower case, of a field that a route can match.
pub(super) fn matchable(text: &str) -> Result<String, Wrong> {
    let name = name(text)?;
    if !is_lifted(&name) {
        return Ok(name);
    }
    let wrong = Wrong::new(format!("`{text}` cannot be matched: it is about one connection, or frames the message"));
    Err(match name.as_str() {
        "host" => wrong.help("write `host = \"…\"` in the route"),
        _ => wrong.help("match a header that the client sends end to end"),
    })
}

/// A value with variables.
pub(super) fn template(field: &Field<'_>) -> Result<Template, Wrong> {
    parse(field, value(field)?)
}

/// A value as it is.
pub(super) fn value<'a>(field: &Field<'a>) -> Result<&'a str, Wrong> {
    const WHAT: &str = "the value of a header: text without control characters";
    let text = values::text(field, WHAT)?;
    let control = |letter: char| letter != '\t' && letter.is_control();
    if !text.chars().any(control) {
        return Ok(text);
    }
    Err(values::wanted(field.value(), WHAT).help("a header is one line: no CR, no LF, no NUL"))
}

/// `text`, which stands in `field`, as text with variables.
pub(super) fn parse(field: &Field<'_>, text: &str) -> Result<Template, Wrong> {
    Template::parse(text).map_err(|why| values::wanted(field.value(), "text with variables").help(why))
}

/// A method, which is case-sensitive (RFC 9110 section 9.1) and in practice in capitals.
pub(super) fn method(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "a method, such as \"GET\"";
    let text = values::text(field, WHAT)?;
    let wrong = values::wanted(field.value(), WHAT);
    if text == "*" || text.eq_ignore_ascii_case("any") || text.eq_ignore_ascii_case("all") {
        return Err(wrong.help("for any method, leave it out"));
    }
    if !is_token(text) {
        return Err(match field.value() {
            DeValue::String(text) if text.contains([',', ' ', '|']) => wrong.help("write [\"GET\", \"HEAD\"]"),
            _ => wrong,
        });
    }
    let upper = text.to_ascii_uppercase();
    if upper == text { Ok(upper) } else { Err(wrong.help(format!("methods are in capitals: write \"{upper}\""))) }
}
