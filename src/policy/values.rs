//! What templates say, filled in: the variables of PRODUCT.md's "Templates". Called by the policies that have one. Hot
//! path.
//!
//! `{host}` is the name alone, in lower case, as nginx's `$host`. `{path}`, `{path_and_query}` and `{query}` are what the
//! client asked for, normalised: a rewrite does not change them. `{query}` has no `?`. What does not apply is empty.

use crate::{
    config::{Piece, Template, Variable},
    http::{Head, Span},
    policy::request,
};
use std::{io::Write, net::IpAddr};

/// What the request's head does not say. Everything is optional: what is not known yet is empty in a template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The scheme is `https`.
    pub secure: bool,
    /// The believed address of the client.
    pub client: Option<IpAddr>,
    /// Where the request id is in the request's head.
    pub request_id: Span,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The pool's name.
    pub pool: Option<&'a str>,
    /// The backend's name.
    pub backend: Option<&'a str>,
    /// `TLSv1.3`, for example.
    pub tls_version: Option<&'a str>,
    /// The name that the client's handshake asked for.
    pub sni: Option<&'a str>,
}

/// All that a template can say of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The request.
    pub request: &'a Head,
    /// What else is known.
    pub facts: Facts<'a>,
}

/// What a value is put into: it must not be able to leave its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A field value, or plain text.
    Text,
    /// HTML: `& < > " '` become references.
    Html,
    /// A string of JSON: `"` and `\` are escaped.
    Json,
}

/// Appends `template`, filled in, to `out`. Its own text stands as it is written; of what the request says, controls are
/// left out: the guard refuses them, and no field of ours shall depend on that.
pub fn render(template: &Template, values: &Values<'_>, out: &mut Vec<u8>) {
    render_into(template, values, Place::Text, out);
}

pub(super) fn render_into(template: &Template, values: &Values<'_>, place: Place, out: &mut Vec<u8>) {
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable(variable) => {
                let start = out.len();
                values.write(*variable, out);
                keep_inside(place, start, out);
            }
        }
    }
}

/// A control of ASCII, TAB and DEL among them.
pub(super) fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

impl Values<'_> {
    fn write(&self, variable: Variable, out: &mut Vec<u8>) {
        let (head, facts) = (self.request, &self.facts);
        let asked = head.received;
        let text = match variable {
            Variable::Host => {
                let start = out.len();
                out.extend_from_slice(request::host(head.text(asked.authority)));
                return out[start..].make_ascii_lowercase();
            }
            Variable::ClientIp => {
                if let Some(client) = facts.client {
                    let _ = write!(out, "{}", client.to_canonical());
                }
                return;
            }
            Variable::PathAndQuery => {
                out.extend_from_slice(head.text(asked.path));
                head.text(asked.query)
            }
            Variable::Path => head.text(asked.path),
            Variable::Query => head.text(asked.query).strip_prefix(b"?").unwrap_or_default(),
            Variable::RequestId => head.text(facts.request_id),
            Variable::Scheme => if facts.secure { "https" } else { "http" }.as_bytes(),
            Variable::Route => facts.route.unwrap_or_default().as_bytes(),
            Variable::Pool => facts.pool.unwrap_or_default().as_bytes(),
            Variable::Backend => facts.backend.unwrap_or_default().as_bytes(),
            Variable::TlsVersion => facts.tls_version.unwrap_or_default().as_bytes(),
            Variable::Sni => facts.sni.unwrap_or_default().as_bytes(),
        };
        out.extend_from_slice(text);
    }
}

/// Makes what stands in `out` from `start` on harmless in `place`.
fn keep_inside(place: Place, start: usize, out: &mut Vec<u8>) {
    let special = |byte: u8| {
        is_control(byte)
            || match place {
                Place::Text => false,
                Place::Html => matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\''),
                Place::Json => matches!(byte, b'"' | b'\\'),
            }
    };
    let Some(first) = out[start..].iter().position(|&byte| special(byte)) else { return };
    let tail = out.split_off(start + first);
    for byte in tail {
        match (place, byte) {
            (_, byte) if is_control(byte) => {}
            (Place::Html, b'&') => out.extend_from_slice(b"&amp;"),
            (Place::Html, b'<') => out.extend_from_slice(b"&lt;"),
            (Place::Html, b'>') => out.extend_from_slice(b"&gt;"),
            (Place::Html, b'"') => out.extend_from_slice(b"&quot;"),
            (Place::Html, b'\'') => out.extend_from_slice(b"&#39;"),
            (Place::Json, b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;

    fn filled(text: &str, request: &Head, facts: Facts<'_>) -> String {
        let mut out = Vec::new();
        render(&Template::parse(text).unwrap(), &Values { request, facts }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_variable_says_what_it_should() {
        let mut head = test_head("GET /a/./%62?c=d HTTP/1.1\nHost: WWW.Example.com.:8443");
        let request_id = head.note(b"id-1");
        let facts = Facts {
            secure: true,
            client: Some("::ffff:192.0.2.1".parse().unwrap()),
            request_id,
            route: Some("r"),
            pool: Some("p"),
            backend: Some("b"),
            tls_version: Some("TLSv1.3"),
            sni: Some("www.example.com"),
        };
        for (text, wanted) in [
            ("{host}", "www.example.com"),
            ("{path}", "/a/b"),
            ("{path_and_query}", "/a/b?c=d"),
            ("{query}", "c=d"),
            ("{scheme}", "https"),
            ("{client_ip}", "192.0.2.1"),
            ("{request_id}", "id-1"),
            ("{route}{pool}{backend}", "rpb"),
            ("{tls_version}", "TLSv1.3"),
            ("{sni}", "www.example.com"),
            ("{{{host}}}", "{www.example.com}"),
            ("", ""),
        ] {
            assert_eq!(filled(text, &head, facts), wanted, "{text}");
        }
        head.set_path(b"/rewritten");
        assert_eq!(filled("{path_and_query}", &head, facts), "/a/b?c=d", "what the client asked for");
    }

    #[test]
    fn what_does_not_apply_is_empty() {
        let head = test_head("GET / HTTP/1.0");
        for variable in Variable::ALL.map(|(word, _)| word) {
            let wanted = match variable {
                "path" | "path_and_query" => "/",
                "scheme" => "http",
                _ => "",
            };
            assert_eq!(filled(&format!("{{{variable}}}"), &head, Facts::default()), wanted, "{variable}");
        }
        let head = test_head("GET /? HTTP/1.1\nHost: [2001:DB8::1]:80");
        assert_eq!(filled("{host} {path_and_query} {query}.", &head, Facts::default()), "[2001:db8::1] /? .");
    }

    #[test]
    fn controls_and_marks_do_not_leave_their_place() {
        // No guard lets these through: a head that was made without one.
        let mut head = Head::default();
        head.received.path = head.note(b"/a\r\nSet-Cookie: x=1\0\t\x7f<script>\"&'\\");
        let mut out = Vec::new();
        let values = Values { request: &head, facts: Facts::default() };
        for (place, wanted) in [
            (Place::Text, r#"/aSet-Cookie: x=1<script>"&'\"#),
            (Place::Html, r"/aSet-Cookie: x=1&lt;script&gt;&quot;&amp;&#39;\"),
            (Place::Json, r#"/aSet-Cookie: x=1<script>\"&'\\"#),
        ] {
            out.clear();
            render_into(&Template::parse("{path}").unwrap(), &values, place, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), wanted, "{place:?}");
        }
        out.clear();
        render(&Template::parse("a\nb").unwrap(), &values, &mut out);
        assert_eq!(out, b"a\nb", "the operator's text stands as it is written");
    }

    #[test]
    fn long_values_are_whole() {
        let path = format!("/{}", "x".repeat(8000));
        let head = test_head(&format!("GET {path} HTTP/1.1\nHost: a"));
        assert_eq!(filled("{path}{path}", &head, Facts::default()), path.repeat(2));
    }
}
