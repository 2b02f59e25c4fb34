//! Answers of ours that a route asks for: `redirect`, `respond`, and a listener's `redirect_to_https`. Called by `proxy`,
//! which adds `Date` and what else all our answers say, frames the body, and sends both.

use super::{
    Values,
    request::host,
    values::{self, Place},
};
use crate::{
    config::{Piece, Respond, Template, Variable},
    http::{Head, Name},
};
use std::io::Write;

/// Makes the head of a redirect to `to` in `head`; there is no body. `scratch` is where the place is written. False: it
/// needs a host, and the request named none (HTTP/1.0); nothing is made.
pub fn redirect(to: &Template, status: u16, values: &Values<'_>, head: &mut Head, scratch: &mut Vec<u8>) -> bool {
    let request = values.request;
    if to.has(Variable::Host) && host(request.text(request.received.authority)).is_empty() {
        return false;
    }
    scratch.clear();
    values::render(to, values, scratch);
    // A path of the client's that begins with `//` must not become another host (RFC 3986 section 4.2).
    let meant = matches!(to.pieces.first(), Some(Piece::Text(text)) if text.starts_with("//"));
    if scratch.starts_with(b"//") && !meant {
        scratch.splice(..0, *b"/.");
    }
    redirect_to(status, scratch, head);
    true
}

/// Makes the head of a redirect to `location` in `head`; there is no body. What may not stand in a URI is encoded, or
/// left out if it is a control.
pub fn redirect_to(status: u16, location: &[u8], head: &mut Head) {
    begin(status, head);
    if location.iter().all(u8::is_ascii_graphic) {
        head.add_pieces(b"Location", Name::Other, &[location]);
        return;
    }
    let mut encoded = Vec::with_capacity(location.len() + 16);
    for &byte in location.trim_ascii() {
        match byte {
            byte if byte.is_ascii_graphic() => encoded.push(byte),
            byte if values::is_control(byte) => {}
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    head.add_pieces(b"Location", Name::Other, &[&encoded]);
}

/// Makes the head of an answer that has nothing but it in `head`.
pub fn empty(status: u16, head: &mut Head) {
    begin(status, head);
}

/// Writes where `request` finds the same over https to `out`: the standard port of the host that it asked for. False:
/// it named no host, and there is no such place.
pub fn https_location(request: &Head, out: &mut Vec<u8>) -> bool {
    out.clear();
    let asked = request.received;
    let host = host(request.text(asked.authority));
    if host.is_empty() {
        return false;
    }
    out.extend_from_slice(b"https://");
    out.extend_from_slice(host);
    out.make_ascii_lowercase();
    // `*` and CONNECT's are no paths.
    if request.text(asked.path).starts_with(b"/") {
        out.extend_from_slice(request.text(asked.path));
        out.extend_from_slice(request.text(asked.query));
    }
    true
}

/// Makes the answer of `respond` in `head` and `body`; the body is there for HEAD too, so that whoever frames it can say
/// how long it would be. In HTML and JSON, what the request says is escaped.
pub fn respond(respond: &Respond, values: &Values<'_>, head: &mut Head, body: &mut Vec<u8>) {
    body.clear();
    begin(respond.status, head);
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: these have none.
    if !matches!(respond.status, 204 | 205 | 304) {
        values::render_into(&respond.body, values, place(&respond.content_type), body);
    }
    if !body.is_empty() {
        head.add(Name::ContentType, respond.content_type.as_bytes());
    }
}

fn begin(status: u16, head: &mut Head) {
    let code = http::StatusCode::from_u16(status).ok();
    head.begin_answer(status, code.and_then(|code| code.canonical_reason()).unwrap_or_default());
}

/// What values stand in, in a body of that type.
fn place(content_type: &str) -> Place {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let is = |end: &str| {
        kind.len() >= end.len() && kind.as_bytes()[kind.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    match () {
        () if is("html") || is("xml") => Place::Html,
        () if is("json") => Place::Json,
        () => Place::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::Start,
        policy::{Facts, test_head, test_lines},
    };

    fn redirected(to: &str, request: &str) -> String {
        let request = test_head(request);
        let mut head = test_head("GET /old HTTP/1.1\nHost: old\nX-Old: 1");
        let values = Values { request: &request, facts: Facts::default() };
        if !redirect(&Template::parse(to).unwrap(), 308, &values, &mut head, &mut b"left".to_vec()) {
            return "no host".into();
        }
        assert_eq!(head.status(), 308);
        test_lines(&head)
    }

    #[test]
    fn redirects_say_where() {
        let get = "GET /a%2Fb?c=d HTTP/1.1\nHost: Example.com:80";
        for (to, wanted) in [
            ("https://{host}{path_and_query}", "https://example.com/a%2Fb?c=d"),
            ("https://new.example{path}", "https://new.example/a%2Fb"),
            ("/x?was={path}&{query}", "/x?was=/a%2Fb&c=d"),
            ("//cdn.example{path}", "//cdn.example/a%2Fb"),
            ("/caf\u{e9} x", "/caf%C3%A9%20x"),
            ("/a\r\nSet-Cookie: x", "/aSet-Cookie:%20x"),
            ("/{{}}", "/{}"),
        ] {
            assert_eq!(redirected(to, get), format!("Location: {wanted}\n"), "{to}");
        }
        assert_eq!(redirected("http://{host}/", "GET / HTTP/1.0"), "no host");
        assert_eq!(redirected("{path}x", "GET / HTTP/1.0"), "Location: /x\n");
    }

    #[test]
    fn a_path_does_not_become_a_host() {
        let get = "GET //evil.example/x HTTP/1.1\nHost: a";
        assert_eq!(redirected("{path}", get), "Location: /.//evil.example/x\n");
        assert_eq!(redirected("/{path}", "GET /x HTTP/1.1\nHost: a"), "Location: /.//x\n");
        assert_eq!(redirected("https://{host}{path}", get), "Location: https://a//evil.example/x\n");
    }

    #[test]
    fn a_request_finds_itself_over_https() {
        for (request, wanted) in [
            ("GET /a/../b?c HTTP/1.1\nHost: Example.com:8080", Some("https://example.com/b?c")),
            ("GET / HTTP/1.1\nHost: [2001:DB8::1]:80", Some("https://[2001:db8::1]/")),
            ("GET http://other.example/x HTTP/1.1\nHost: a", Some("https://other.example/x")),
            ("OPTIONS * HTTP/1.1\nHost: a.", Some("https://a")),
            ("GET / HTTP/1.0", None),
        ] {
            let mut out = b"left".to_vec();
            let found = https_location(&test_head(request), &mut out);
            assert_eq!(found.then(|| String::from_utf8(out).unwrap()).as_deref(), wanted, "{request}");
        }
        let mut head = Head::default();
        redirect_to(308, b"https://a/", &mut head);
        assert_eq!(test_lines(&head), "Location: https://a/\n");
        let Start::Response(308, reason) = head.start() else { panic!("{:?}", head.start()) };
        assert_eq!(head.text(reason), b"Permanent Redirect");
    }

    fn answered(status: u16, body: &str, content_type: &str, method: &str) -> (String, String) {
        let request = test_head(&format!("{method} /<a>\"&b HTTP/1.1\nHost: a"));
        let answer = Respond { status, body: Template::parse(body).unwrap(), content_type: content_type.into() };
        let (mut head, mut out) = (Head::default(), b"left".to_vec());
        let values = Values { request: &request, facts: Facts::default() };
        respond(&answer, &values, &mut head, &mut out);
        assert_eq!(head.status(), status);
        (test_lines(&head), String::from_utf8(out).unwrap())
    }

    #[test]
    fn answers_have_their_body() {
        let text = |lines: &str, body: &str| (format!("Content-Type: {lines}\n"), body.to_owned());
        assert_eq!(answered(200, "ok\n", "text/plain", "GET"), text("text/plain", "ok\n"));
        assert_eq!(answered(503, "{path}", "text/plain", "GET"), text("text/plain", "/<a>\"&b"));
        let html = "Text/HTML; charset=utf-8";
        assert_eq!(answered(200, "<p>{path}", html, "GET"), text(html, "<p>/&lt;a&gt;&quot;&amp;b"));
        let json = "application/problem+json";
        assert_eq!(answered(200, "{{\"p\":\"{path}\"}}", json, "GET"), text(json, "{\"p\":\"/<a>\\\"&b\"}"));
        assert_eq!(answered(200, "", "text/plain", "GET"), (String::new(), String::new()));
        assert_eq!(answered(204, "ok", "text/plain", "GET"), (String::new(), String::new()));
        assert_eq!(answered(299, "ok", "a/b", "HEAD"), text("a/b", "ok"));
    }
}
