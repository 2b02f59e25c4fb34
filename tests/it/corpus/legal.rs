//! Requests that are odd but legal: they go through, once, as one clean request.

use self::See::{Body, Field, Line, No, Trailer};
use crate::support::{Backend, Client, Evenkeel, Reply, Request, Setup, in_front_of};

/// What the backend must have seen.
pub(super) enum See {
    /// This request line.
    Line(&'static str),
    /// This field, once, with this value.
    Field(&'static str, &'static str),
    /// No field of this name.
    No(&'static str),
    /// This body.
    Body(&'static str),
    /// This trailer.
    Trailer(&'static str, &'static str),
}

/// Name, request, and what the backend must have seen.
type Row = (&'static str, &'static [u8], &'static [See]);

const ROWS: &[Row] = &[
    // The request line.
    ("plain", b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a HTTP/1.1"), Field("host", "test"), Body("")]),
    ("one blank line first", b"\r\nGET /a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a HTTP/1.1")]),
    ("lower-case method", b"get /a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("get /a HTTP/1.1")]),
    ("unknown method", b"BREW /a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("BREW /a HTTP/1.1")]),
    ("method of all token marks", b"!#$%&'*+-.^_`|~9 /a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("!#$%&'*+-.^_`|~9 /a HTTP/1.1")]),
    ("lax marks in the path", b"GET /\"<>^`{|} HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /\"<>^`{|} HTTP/1.1")]),
    ("lax marks in the query", b"GET /a?\"<>^`{|} HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a?\"<>^`{|} HTTP/1.1")]),
    ("all sub-delims", b"GET /!$&'()*+,;=:@-._~ HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /!$&'()*+,;=:@-._~ HTTP/1.1")]),
    ("escaped space", b"GET /a%20b HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a%20b HTTP/1.1")]),
    ("escaped UTF-8", b"GET /%C3%A9 HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /%C3%A9 HTTP/1.1")]),
    ("escaped slash", b"GET /a%2Fb HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a%2Fb HTTP/1.1")]),
    ("empty query", b"GET /a? HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a? HTTP/1.1")]),
    ("query with question marks", b"GET /a?b?c=/../d HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a?b?c=/../d HTTP/1.1")]),
    ("colon in the path", b"GET /http://x/ HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /http://x/ HTTP/1.1")]),
    ("two slashes first", b"GET //a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET //a HTTP/1.1")]),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("OPTIONS * HTTP/1.1"), Field("host", "test")]),
    ("absolute target", b"GET http://test/a?b HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a?b HTTP/1.1"), Field("host", "test")]),
    ("absolute target with port", b"GET http://test:81/a HTTP/1.1\r\nHost: test:81\r\n\r\n", &[Line("GET /a HTTP/1.1"), Field("host", "test:81")]),
    ("absolute target against Host", b"GET http://right/a HTTP/1.1\r\nHost: wrong\r\n\r\n", &[Line("GET /a HTTP/1.1"), Field("host", "right"), Field("x-forwarded-host", "right")]),
    ("absolute target without path", b"GET http://test HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET / HTTP/1.1")]),
    ("absolute target with query alone", b"GET http://test?a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /?a HTTP/1.1")]),
    ("absolute target for all of the server", b"OPTIONS http://test HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("OPTIONS * HTTP/1.1")]),
    ("scheme in upper case", b"GET HTTP://test/a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("GET /a HTTP/1.1")]),
    ("absolute target on HTTP/1.0", b"GET http://test/a HTTP/1.0\r\n\r\n", &[Line("GET /a HTTP/1.1"), Field("host", "test")]),
    ("HTTP/1.0 without Host", b"GET /a HTTP/1.0\r\n\r\n", &[Line("GET /a HTTP/1.1")]),
    // Host.
    ("Host with port", b"GET /a HTTP/1.1\r\nHost: test:8080\r\n\r\n", &[Field("host", "test:8080")]),
    ("Host is IPv4", b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", &[Field("host", "127.0.0.1:80")]),
    ("Host is IPv6", b"GET /a HTTP/1.1\r\nHost: [::1]\r\n\r\n", &[Field("host", "[::1]")]),
    ("Host is IPv6 with port", b"GET /a HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", &[Field("host", "[2001:db8::1]:80")]),
    ("Host with underscore", b"GET /a HTTP/1.1\r\nHost: a_b.test\r\n\r\n", &[Field("host", "a_b.test")]),
    ("Host in another case", b"GET /a HTTP/1.1\r\nhOsT: test\r\n\r\n", &[Field("host", "test")]),
    ("Host last", b"GET /a HTTP/1.1\r\nX-A: b\r\nHost: test\r\n\r\n", &[Field("host", "test"), Field("x-a", "b")]),
    ("Host without space", b"GET /a HTTP/1.1\r\nHost:test\r\n\r\n", &[Field("host", "test")]),
    ("Host between blanks", b"GET /a HTTP/1.1\r\nHost: \t test \t \r\n\r\n", &[Field("host", "test")]),
    // Fields.
    ("tab in a value", b"GET /a HTTP/1.1\r\nHost: test\r\nX-A: b\tc\r\n\r\n", &[Field("x-a", "b\tc")]),
    ("obs-text in a value", b"GET /a HTTP/1.1\r\nHost: test\r\nX-A: \x80\xe9\xff\r\n\r\n", &[Field("x-a", "\u{80}\u{e9}\u{ff}")]),
    ("empty value", b"GET /a HTTP/1.1\r\nHost: test\r\nX-A:\r\n\r\n", &[Field("x-a", "")]),
    ("colons in a value", b"GET /a HTTP/1.1\r\nHost: test\r\nX-A: :b:c\r\n\r\n", &[Field("x-a", ":b:c")]),
    ("name of all token marks", b"GET /a HTTP/1.1\r\nHost: test\r\n!#$%&'*+-.^`|~9: b\r\n\r\n", &[Field("!#$%&'*+-.^`|~9", "b")]),
    ("underscore in a name is dropped", b"GET /a HTTP/1.1\r\nHost: test\r\nX_A: b\r\n\r\n", &[No("x_a")]),
    ("an obfuscated coding with underscore is dropped", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nok", &[No("transfer_encoding"), No("transfer-encoding"), Body("ok")]),
    ("Content-Length in a value", b"GET /a HTTP/1.1\r\nHost: test\r\nX-A: Content-Length: 5\r\n\r\n", &[Field("x-a", "Content-Length: 5"), No("content-length")]),
    ("Connection with an empty member", b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: , keep-alive,\r\n\r\n", &[Line("GET /a HTTP/1.1")]),
    ("Connection names a field that is not there", b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: x-none\r\n\r\n", &[Line("GET /a HTTP/1.1")]),
    // Bodies.
    ("GET with a body", b"GET /a HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok", &[Body("ok")]),
    ("POST without a body", b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", &[Field("content-length", "0"), Body("")]),
    ("POST without framing", b"POST /a HTTP/1.1\r\nHost: test\r\n\r\n", &[Line("POST /a HTTP/1.1"), Body("")]),
    ("length with blanks", b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: \t2 \t\r\n\r\nok", &[Body("ok")]),
    ("chunked", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("Chunked in mixed case", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: cHuNkEd\r\n\r\n2\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("chunked with blanks", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: \t chunked \t\r\n\r\n2\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("chunked and empty", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[Body("")]),
    ("chunked GET", b"GET /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("sizes in both cases", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", &[Body("01234567890123456789")]),
    ("sizes with leading zeros", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nok\r\n000\r\n\r\n", &[Body("ok")]),
    ("extension", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("extension without value", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nok\r\n0;b\r\n\r\n", &[Body("ok")]),
    ("quoted extension", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b;c=\\\"d\"\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("two extensions", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=d\r\nok\r\n0\r\n\r\n", &[Body("ok")]),
    ("chunks that look like chunks", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n", &[Body("0\r\n\r\n")]),
    ("trailer", b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", &[Body("ok"), Trailer("x-sum", "1")]),
    ("body that looks like a request", b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 36\r\n\r\nGET /b HTTP/1.1\r\nHost: other\r\nX: y\r\n", &[Body("GET /b HTTP/1.1\r\nHost: other\r\nX: y\r\n")]),
    ("expectation in mixed case", b"POST /a HTTP/1.1\r\nHost: test\r\nExpect: 100-CONTINUE\r\nContent-Length: 2\r\n\r\nok", &[Body("ok")]),
    ("expectation on HTTP/1.0 is ignored", b"POST /a HTTP/1.0\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", &[Body("ok")]),
    // Upgrades that are not passed.
    ("upgrade to h2c", b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", &[No("upgrade"), No("http2-settings"), Line("GET /a HTTP/1.1")]),
    ("settings of HTTP/2 that Connection does not name", b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", &[No("upgrade"), No("http2-settings")]),
    ("upgrade to something else", b"GET /a HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: IRC/6.9\r\n\r\n", &[No("upgrade")]),
    ("websocket on HTTP/1.0", b"GET /a HTTP/1.0\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", &[No("upgrade")]),
];

/// The paths of plain GETs, for HTTP/2's :path. Not the lax marks: the `h2` crate takes fewer of them.
pub(super) fn paths() -> impl Iterator<Item = (&'static str, &'static [u8], &'static [See])> {
    ROWS.iter().filter_map(|(name, request, see)| {
        let path = request.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1\r\nHost: test\r\n\r\n")?;
        (path.starts_with(b"/") && !path.contains(&b'<') && !path.contains(&b'\r')).then_some((*name, path, *see))
    })
}

#[test]
fn odd_but_legal_requests_go_through_once() {
    let backend = Backend::http(|_| Reply::ok("fine"));
    let evenkeel = in_front_of(&backend);
    let wrong: Vec<String> = ROWS.iter().filter_map(|row| pass(&evenkeel, &backend, row).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

fn pass(evenkeel: &Evenkeel, backend: &Backend, (name, request, see): &Row) -> Result<(), String> {
    let before = backend.seen().len();
    let mut client = evenkeel.client();
    client.send(request);
    let response = client.try_response("GET").map_err(|error| format!("{name}: {error}"))?;
    if response.status != 200 {
        return Err(format!("{name}: {} {:?}", response.status, response.word()));
    }
    match backend.seen().get(before..) {
        Some([one]) => see.iter().try_for_each(|see| saw(one, see)).map_err(|what| format!("{name}: {what}")),
        other => Err(format!("{name}: the backend saw {other:?}")),
    }
}

pub(super) fn saw(request: &Request, see: &See) -> Result<(), String> {
    let (wanted, found) = match see {
        Line(line) => (vec![*line], vec![request.head.start.as_str()]),
        Field(name, value) => (vec![*value], request.head.fields.all(name)),
        No(name) => (vec![], request.head.fields.all(name)),
        Trailer(name, value) => (vec![*value], request.trailers.all(name)),
        Body(body) => return same(body.as_bytes(), &request.body),
    };
    if wanted == found { Ok(()) } else { Err(format!("wanted {wanted:?}, the backend saw {found:?}")) }
}

fn same(wanted: &[u8], found: &[u8]) -> Result<(), String> {
    if wanted == found { Ok(()) } else { Err(format!("the backend saw the body {found:?}")) }
}

#[test]
fn legal_requests_in_one_write_come_out_one_by_one() {
    let backend = Backend::http(|request| Reply::ok(request.target));
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let requests: String = (0..100).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(requests);
    for number in 0..100 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    assert_eq!(backend.seen().len(), 100);
}

#[test]
fn bodies_and_requests_in_one_write_keep_apart() {
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let by_length = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nfirst";
    let chunked = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n";
    client.send([by_length, chunked, by_length, "\r\n", chunked].concat());
    for body in ["first", "second", "first", "second"] {
        assert_eq!(client.response().text(), body);
    }
}

/// What `underscore_headers = rule` makes of a field with an underscore.
fn underscore(rule: &str) -> (u16, Option<String>) {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).server(format!("underscore_headers = {rule:?}")).start();
    let response = Client::h1(evenkeel.address()).exchange("GET / HTTP/1.1\r\nHost: test\r\nX_A: b\r\n\r\n");
    if response.status == 400 {
        response.assert_refused(400, "bad_request");
        return (400, None);
    }
    (response.status, backend.last().field("x_a").map(str::to_owned))
}

#[test]
fn names_with_underscores_are_dropped_passed_or_refused() {
    assert_eq!(underscore("drop"), (200, None));
    assert_eq!(underscore("allow"), (200, Some("b".to_owned())));
    assert_eq!(underscore("reject"), (400, None));
}
