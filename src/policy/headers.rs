//! Edits of fields: `request_headers` and `response_headers`. Called by `proxy`. Hot path.
//!
//! Done in the order remove, set, add. A rule whose value turns out empty sends no field, as in nginx and Envoy; `set`
//! has then still removed what the client sent.

use super::{FieldName, Values, values, values::Facts};
use crate::{
    config::{HeaderRules, Piece, Template},
    http::Head,
};

/// The edits of one direction of a route.
#[derive(Debug, Default)]
pub struct Headers {
    remove: Vec<FieldName>,
    set: Vec<(FieldName, Value)>,
    add: Vec<(FieldName, Value)>,
}

/// A field's value: most do not depend on the exchange.
#[derive(Debug)]
enum Value {
    Text(Box<[u8]>),
    Template(Template),
}

impl Value {
    fn new(template: &Template) -> Self {
        let mut text = Vec::new();
        for piece in &template.pieces {
            match piece {
                Piece::Text(piece) => text.extend_from_slice(piece.as_bytes()),
                Piece::Variable(_) => return Self::Template(template.clone()),
            }
        }
        Self::Text(clean(&mut text).into())
    }

    fn add(
        &self,
        name: &FieldName,
        head: &mut Head,
        written: &mut Vec<u8>,
        fill: impl FnOnce(&Head, &Template, &mut Vec<u8>),
    ) {
        let value = match self {
            Self::Text(text) => text,
            Self::Template(template) => {
                written.clear();
                fill(head, template, written);
                clean(written)
            }
        };
        if !value.is_empty() {
            name.add(head, value);
        }
    }
}

/// No control stands in a field value, and no blank at its ends (RFC 9110 section 5.5).
fn clean(value: &mut Vec<u8>) -> &[u8] {
    value.retain(|&byte| !values::is_control(byte));
    value.trim_ascii()
}

impl Headers {
    /// What `rules` say.
    pub fn new(rules: &HeaderRules) -> Self {
        let pairs = |pairs: &[(String, Template)]| {
            pairs.iter().map(|(name, value)| (FieldName::new(name), Value::new(value))).collect()
        };
        Self {
            remove: rules.remove.iter().map(|name| FieldName::new(name)).collect(),
            set: pairs(&rules.set),
            add: pairs(&rules.add),
        }
    }

    /// Nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Edits the request itself. `scratch` is where values are written.
    pub fn apply_to_request(&self, request: &mut Head, facts: &Facts<'_>, scratch: &mut Vec<u8>) {
        self.edit(request, scratch, |request, template, out| {
            values::render(template, &Values { request, facts: *facts }, out);
        });
    }

    /// Edits `head`, which is not the request that `values` speak of: its response. `scratch` is where values are
    /// written.
    pub fn apply(&self, head: &mut Head, values: &Values<'_>, scratch: &mut Vec<u8>) {
        self.edit(head, scratch, |_, template, out| values::render(template, values, out));
    }

    fn edit(&self, head: &mut Head, scratch: &mut Vec<u8>, fill: impl Fn(&Head, &Template, &mut Vec<u8>)) {
        for name in &self.remove {
            name.remove(head);
        }
        for (name, value) in &self.set {
            name.remove(head);
            value.add(name, head, scratch, &fill);
        }
        for (name, value) in &self.add {
            value.add(name, head, scratch, &fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{test_head, test_lines};

    fn rules(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> Headers {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), Template::parse(text).unwrap())).collect()
        };
        let remove = remove.iter().map(|name| (*name).to_owned()).collect();
        Headers::new(&HeaderRules { set: pairs(set), add: pairs(add), remove })
    }

    fn edited(headers: &Headers, request: &str) -> String {
        let mut head = test_head(request);
        headers.apply_to_request(&mut head, &Facts { route: Some("r"), ..Facts::default() }, &mut b"left".to_vec());
        test_lines(&head)
    }

    #[test]
    fn remove_then_set_then_add() {
        let headers = rules(
            &[("x-env", "prod"), ("user-agent", "{route}: {path}"), ("x-gone", "back")],
            &[("x-more", "2"), ("accept", "b"), ("x-env", "too")],
            &["x-debug", "cookie", "x-gone", "x-more"],
        );
        let request = "GET /a HTTP/1.1\nHost: a\nX-Env: 1\nx-env: 2\nUser-Agent: curl\nX-Debug: 1\nCookie: a=b\n\
                       X-More: 1\nX-Gone: 1\nAccept: a\nX-Stays: 1";
        let wanted =
            "Accept: a\nX-Stays: 1\nx-env: prod\nuser-agent: r: /a\nx-gone: back\nx-more: 2\naccept: b\nx-env: too\n";
        assert_eq!(edited(&headers, request), wanted);
        assert!(!headers.is_empty());
    }

    #[test]
    fn no_rules_change_nothing() {
        let headers = rules(&[], &[], &[]);
        assert!(headers.is_empty());
        assert_eq!(edited(&headers, "GET / HTTP/1.1\nHost: a\nX-A: 1"), "X-A: 1\n");
    }

    #[test]
    fn an_empty_value_sends_no_field() {
        let headers = rules(&[("x-sni", "{sni}"), ("x-empty", "")], &[("x-query", " {query} ")], &[]);
        assert_eq!(edited(&headers, "GET / HTTP/1.1\nHost: a\nX-Sni: forged\nX-Empty: 1"), "");
        assert_eq!(edited(&headers, "GET /?q HTTP/1.1\nHost: a"), "x-query: q\n");
    }

    #[test]
    fn no_value_makes_a_second_line() {
        let headers = rules(&[("x-path", "{path}\r\nx-a: 1"), ("x-text", "a\r\nb\0\tc")], &[], &[]);
        let mut request = test_head("GET / HTTP/1.1\nHost: a");
        request.received.path = request.note(b"/\r\nx-forged: 1\r\n\r\n\0");
        headers.apply_to_request(&mut request, &Facts::default(), &mut Vec::new());
        assert_eq!(test_lines(&request), "x-path: /x-forged: 1x-a: 1\nx-text: abc\n");
    }

    #[test]
    fn responses_speak_of_their_request() {
        let request = test_head("GET /a?b HTTP/1.1\nHost: Example.org:80");
        let mut response = Head::default();
        response.begin_answer(200, "OK");
        response.add_pieces(b"X-Host", crate::http::Name::Other, &[b"backend"]);
        let headers = rules(&[("x-host", "{host}"), ("x-asked", "{path_and_query}")], &[], &["server"]);
        headers.apply(&mut response, &Values { request: &request, facts: Facts::default() }, &mut Vec::new());
        assert_eq!(test_lines(&response), "x-host: example.org\nx-asked: /a?b\n");
    }
}
