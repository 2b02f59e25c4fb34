//! Request lines that are not well formed: method, target, version, and what stands before them: RFC 9112 section 3.

use super::{Case, Row, line, whole};

const LINE: &str = "RFC 9112 3: method SP target SP version CRLF";
const METHOD: &str = "RFC 9110 9.1: a method is a token";
const VERSION: &str = "RFC 9112 2.3: HTTP/1.1 or HTTP/1.0";
const TARGET: &str = "RFC 9112 3.2: request-target";
const ESCAPE: &str = "PRODUCT 3: bad escapes, %00, \\ and %5C are 400";

const LINES: &[Row] = &[
    // Spaces.
    ("two spaces before the target", LINE, b"GET  /MARK HTTP/1.1"),
    ("two spaces before the version", LINE, b"GET /MARK  HTTP/1.1"),
    ("space before the method", LINE, b" GET /MARK HTTP/1.1"),
    ("space after the version", LINE, b"GET /MARK HTTP/1.1 "),
    ("tab after the version", LINE, b"GET /MARK HTTP/1.1\t"),
    ("tab before the target", LINE, b"GET\t/MARK HTTP/1.1"),
    ("tab before the version", LINE, b"GET /MARK\tHTTP/1.1"),
    ("vertical tab before the target", LINE, b"GET\x0b/MARK HTTP/1.1"),
    ("form feed before the version", LINE, b"GET /MARK\x0cHTTP/1.1"),
    ("no-break space before the target", LINE, b"GET\xa0/MARK HTTP/1.1"),
    ("CR before the version", LINE, b"GET /MARK\rHTTP/1.1"),
    ("CR after the version", LINE, b"GET /MARK HTTP/1.1\r"),
    ("no spaces at all", LINE, b"GET/MARKHTTP/1.1"),
    ("method and version alone", LINE, b"GET HTTP/1.1"),
    ("method alone", LINE, b"GET"),
    ("a fourth word", LINE, b"GET /MARK HTTP/1.1 x"),
    ("space in the target", LINE, b"GET /MARK x HTTP/1.1"),
    ("a second version", LINE, b"GET /MARK HTTP/1.1 HTTP/1.1"),
    // Versions.
    ("HTTP/1.2", VERSION, b"GET /MARK HTTP/1.2"),
    ("HTTP/1.9", VERSION, b"GET /MARK HTTP/1.9"),
    ("HTTP/0.9", VERSION, b"GET /MARK HTTP/0.9"),
    ("HTTP/2.0", VERSION, b"GET /MARK HTTP/2.0"),
    ("HTTP/2", VERSION, b"GET /MARK HTTP/2"),
    ("HTTP/3", VERSION, b"GET /MARK HTTP/3"),
    ("HTTP/1", VERSION, b"GET /MARK HTTP/1"),
    ("HTTP/1.", VERSION, b"GET /MARK HTTP/1."),
    ("HTTP/.1", VERSION, b"GET /MARK HTTP/.1"),
    ("HTTP/", VERSION, b"GET /MARK HTTP/"),
    ("HTTP", VERSION, b"GET /MARK HTTP"),
    ("HTTP/1.10", VERSION, b"GET /MARK HTTP/1.10"),
    ("HTTP/01.1", VERSION, b"GET /MARK HTTP/01.1"),
    ("HTTP/1.01", VERSION, b"GET /MARK HTTP/1.01"),
    ("HTTP/1.1x", VERSION, b"GET /MARK HTTP/1.1x"),
    ("HTTP/1,1", VERSION, b"GET /MARK HTTP/1,1"),
    ("HTTP/-1.1", VERSION, b"GET /MARK HTTP/-1.1"),
    ("HTTP/+1.1", VERSION, b"GET /MARK HTTP/+1.1"),
    ("HTTP/ 1.1", VERSION, b"GET /MARK HTTP/ 1.1"),
    ("HTTP 1.1", VERSION, b"GET /MARK HTTP 1.1"),
    ("http/1.1", VERSION, b"GET /MARK http/1.1"),
    ("Http/1.1", VERSION, b"GET /MARK Http/1.1"),
    ("HTP/1.1", VERSION, b"GET /MARK HTP/1.1"),
    ("XHTTP/1.1", VERSION, b"GET /MARK XHTTP/1.1"),
    ("ICY/1.1", VERSION, b"GET /MARK ICY/1.1"),
    ("HTTP\\1.1", VERSION, b"GET /MARK HTTP\\1.1"),
    ("a superscript for a digit", VERSION, b"GET /MARK HTTP/1.\xb9"),
    ("no version", VERSION, b"GET /MARK"),
    // Methods.
    ("no method", METHOD, b" /MARK HTTP/1.1"),
    ("target first", METHOD, b"/MARK HTTP/1.1"),
    ("NUL before the method", METHOD, b"\0GET /MARK HTTP/1.1"),
    ("NUL after the method", METHOD, b"GET\0 /MARK HTTP/1.1"),
    ("control in the method", METHOD, b"G\x01T /MARK HTTP/1.1"),
    ("DEL in the method", METHOD, b"G\x7fT /MARK HTTP/1.1"),
    ("high byte in the method", METHOD, b"G\xe9T /MARK HTTP/1.1"),
    ("BOM before the method", METHOD, b"\xef\xbb\xbfGET /MARK HTTP/1.1"),
    ("CR in the method", METHOD, b"G\rT /MARK HTTP/1.1"),
    // Targets.
    ("no slash", TARGET, b"GET MARK HTTP/1.1"),
    ("dots for a target", TARGET, b"GET ../MARK HTTP/1.1"),
    ("query alone", TARGET, b"GET ?MARK HTTP/1.1"),
    ("fragment", TARGET, b"GET /MARK#x HTTP/1.1"),
    ("empty fragment", TARGET, b"GET /MARK# HTTP/1.1"),
    ("fragment after the query", TARGET, b"GET /MARK?a#x HTTP/1.1"),
    ("fragment alone", TARGET, b"GET #MARK HTTP/1.1"),
    ("absolute with fragment", TARGET, b"GET http://test/MARK#x HTTP/1.1"),
    ("asterisk with GET", TARGET, b"GET * HTTP/1.1"),
    ("asterisk with POST", TARGET, b"POST * HTTP/1.1"),
    ("asterisk and more", TARGET, b"OPTIONS *MARK HTTP/1.1"),
    ("authority with GET", TARGET, b"GET MARK.test:80 HTTP/1.1"),
    ("authority with OPTIONS", TARGET, b"OPTIONS MARK.test:80 HTTP/1.1"),
    ("other scheme", TARGET, b"GET ftp://test/MARK HTTP/1.1"),
    ("file scheme", TARGET, b"GET file:///MARK HTTP/1.1"),
    ("script scheme", TARGET, b"GET javascript:MARK HTTP/1.1"),
    ("websocket scheme", TARGET, b"GET ws://test/MARK HTTP/1.1"),
    ("no scheme", TARGET, b"GET ://test/MARK HTTP/1.1"),
    ("scheme with one slash", TARGET, b"GET http:/test/MARK HTTP/1.1"),
    ("scheme with no slash", TARGET, b"GET http:test/MARK HTTP/1.1"),
    ("absolute without host", TARGET, b"GET http:///MARK HTTP/1.1"),
    ("absolute with nothing", TARGET, b"GET http:// HTTP/1.1"),
    ("absolute with a port alone", TARGET, b"GET http://:80/MARK HTTP/1.1"),
    ("absolute with user", TARGET, b"GET http://user@test/MARK HTTP/1.1"),
    ("absolute with password", TARGET, b"GET http://user:pass@test/MARK HTTP/1.1"),
    ("absolute with bad port", TARGET, b"GET http://test:x/MARK HTTP/1.1"),
    ("absolute with large port", TARGET, b"GET http://test:65536/MARK HTTP/1.1"),
    ("absolute with two ports", TARGET, b"GET http://test:80:80/MARK HTTP/1.1"),
    ("absolute with bad IPv6", TARGET, b"GET http://[::1/MARK HTTP/1.1"),
    ("absolute with backslash for slash", TARGET, b"GET http://test\\MARK HTTP/1.1"),
    ("absolute with a list", TARGET, b"GET http://a,b/MARK HTTP/1.1"),
    ("absolute with a bad escape in the host", TARGET, b"GET http://te%zzst/MARK HTTP/1.1"),
    ("high byte in the path", TARGET, b"GET /MARK\xe9 HTTP/1.1"),
    ("UTF-8 in the path", TARGET, b"GET /MARK\xc3\xa9 HTTP/1.1"),
    ("UTF-8 in the query", TARGET, b"GET /MARK?\xc3\xa9 HTTP/1.1"),
    ("tab in the query", TARGET, b"GET /MARK?a\tb HTTP/1.1"),
    ("DEL in the path", TARGET, b"GET /MARK\x7f HTTP/1.1"),
    ("DEL in the query", TARGET, b"GET /MARK?\x7f HTTP/1.1"),
    ("NUL in the query", TARGET, b"GET /MARK?a\0b HTTP/1.1"),
    // Escapes.
    ("escape without digits", ESCAPE, b"GET /MARK/% HTTP/1.1"),
    ("escape with one digit", ESCAPE, b"GET /MARK/%2 HTTP/1.1"),
    ("escape with one digit in the middle", ESCAPE, b"GET /MARK/%2/x HTTP/1.1"),
    ("escape with letters", ESCAPE, b"GET /MARK/%zz HTTP/1.1"),
    ("escape with one letter", ESCAPE, b"GET /MARK/%4g HTTP/1.1"),
    ("escape of an escape sign", ESCAPE, b"GET /MARK/%%41 HTTP/1.1"),
    ("escape with a sign", ESCAPE, b"GET /MARK/%+1 HTTP/1.1"),
    ("escape of Microsoft's", ESCAPE, b"GET /MARK/%u0041 HTTP/1.1"),
    ("escape with a space", ESCAPE, b"GET /MARK/% 1 HTTP/1.1"),
    ("escape before the query", ESCAPE, b"GET /MARK/%2?x HTTP/1.1"),
    ("escape at the end of an absolute target", ESCAPE, b"GET http://test/MARK/%2 HTTP/1.1"),
    ("escaped NUL", ESCAPE, b"GET /MARK/%00 HTTP/1.1"),
    ("escaped NUL before an extension", ESCAPE, b"GET /MARK/x.php%00.png HTTP/1.1"),
    ("backslash", ESCAPE, b"GET /MARK\\x HTTP/1.1"),
    ("backslash first", ESCAPE, b"GET \\MARK HTTP/1.1"),
    ("backslash and dots", ESCAPE, b"GET /MARK/..\\..\\x HTTP/1.1"),
    ("escaped backslash", ESCAPE, b"GET /MARK%5Cx HTTP/1.1"),
    ("escaped backslash in lower case", ESCAPE, b"GET /MARK%5cx HTTP/1.1"),
    ("escaped backslash and dots", ESCAPE, b"GET /MARK/..%5c..%5cx HTTP/1.1"),
];

const WHOLE: &[Row] = &[
    ("HTTP/0.9 as it was", VERSION, b"GET /MARK\r\n\r\n"),
    ("HTTP/0.9 with LF", VERSION, b"GET /MARK\n\n"),
    ("nearly the preface of HTTP/2", VERSION, b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n"),
    ("the preface of HTTP/2 in lower case", VERSION, b"pri * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("the preface of HTTP/3", VERSION, b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"),
    ("an answer", LINE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: MARK\r\n\r\n"),
    ("a TLS hello", LINE, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03MARK\r\n\r\n"),
    ("NULs", LINE, b"\0\0\0\0\0\0\r\n\r\n"),
    ("a field alone", LINE, b"Host: test\r\nX: MARK\r\n\r\n"),
    ("mail", LINE, b"EHLO MARK\r\nMAIL FROM:<a@test>\r\n\r\n"),
    ("two blank lines first", "RFC 9112 2.2: one is ignored", b"\r\n\r\nGET /MARK HTTP/1.1\r\nHost: test\r\n\r\n"),
    ("a bare LF first", "RFC 9112 2.2: only CRLF is", b"\nGET /MARK HTTP/1.1\r\nHost: test\r\n\r\n"),
    ("a bare CR first", "RFC 9112 2.2: only CRLF is", b"\rGET /MARK HTTP/1.1\r\nHost: test\r\n\r\n"),
    ("a blank line with a space first", LINE, b" \r\nGET /MARK HTTP/1.1\r\nHost: test\r\n\r\n"),
];

/// What is in no token (RFC 9110 section 5.6.2).
const SEPARATORS: &[u8] = b"\"(),/:;<=>?@[\\]{}";

/// The targets alone, for HTTP/2's :path. Not those with a fragment: the `h2` crate cuts it off before we see it.
pub(super) fn paths() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    LINES.iter().filter_map(|(name, why, line)| {
        let path = line.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1")?;
        ([TARGET, ESCAPE].contains(why) && !path.contains(&b'#')).then_some((*name, path))
    })
}

pub(super) fn cases() -> Vec<Case> {
    let separators = SEPARATORS.iter().map(|&byte| {
        let bytes = [&b"G"[..], &[byte], b"T /MARK HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
        Case::head(format!("{:?} in the method", char::from(byte)), METHOD, bytes)
    });
    let controls = (0..=0x1fu8).filter(|byte| !b"\t\r\n".contains(byte)).map(|byte| {
        let bytes = [&b"GET /MARK"[..], &[byte], b"x HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
        Case::head(format!("control {byte:#04x} in the target"), TARGET, bytes)
    });
    let connect = ("CONNECT", "PRODUCT 7: no route asks for it", &b"CONNECT MARK.test:443 HTTP/1.1"[..]);
    let connect = line(&connect).answer(405, "connect_denied");
    LINES.iter().map(line).chain(WHOLE.iter().map(whole)).chain(separators).chain(controls).chain([connect]).collect()
}
