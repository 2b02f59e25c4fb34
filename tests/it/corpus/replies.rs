//! Responses of backends that are malformed, ambiguous, or do not end where they say: RFC 9112 sections 4, 6 and 7.

use self::Fate::{Broken, Refused, Surplus};

/// What evenkeel makes of a response.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// 502 with one of these words.
    Refused(&'static [&'static str]),
    /// The head may have gone out: either 502, or the answer is cut.
    Broken,
    /// The answer goes through with this status and body; what follows it does not, and the connection is not used again.
    Surplus(u16, &'static str),
}

/// A name, the bytes of the response, whether the backend closes after them, and what becomes of it.
pub(super) type Row = (&'static str, &'static [u8], bool, Fate);

const BAD: Fate = Refused(&["bad_response"]);
const RESET: Fate = Refused(&["reset"]);
const UPGRADE: Fate = Refused(&["bad_response", "upgrade_failed"]);
const EITHER: Fate = Refused(&["bad_response", "reset"]);

pub(super) const ROWS: &[Row] = &[
    // The status line.
    ("status of two digits", b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status of four digits", b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status 2000", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status 000", b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status 099", b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status in letters", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status half in letters", b"HTTP/1.1 20x OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("negative status", b"HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status with plus", b"HTTP/1.1 +200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("status with zero", b"HTTP/1.1 0200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("no status", b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("two spaces before the status", b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("tab before the status", b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("tab after the status", b"HTTP/1.1 200\tOK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("space before the version", b" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("HTTP/2", b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("HTTP/0.9", b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("version in lower case", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("another protocol", b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("blank line first", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("NUL in the reason", b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("control in the reason", b"HTTP/1.1 200 O\x1bK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    // Ends of lines.
    ("bare LFs all over", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", false, BAD),
    ("bare LF after the status line", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", false, BAD),
    ("bare LF after a field", b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n", false, BAD),
    ("bare LF at the end of the head", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", false, BAD),
    ("bare CR in a value", b"HTTP/1.1 200 OK\r\nX: y\rSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("bare CR at the end of a value", b"HTTP/1.1 200 OK\r\nX: y\r\r\nContent-Length: 0\r\n\r\n", false, BAD),
    // Fields.
    ("folded field", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("field folded by a tab", b"HTTP/1.1 200 OK\r\nX: y\r\n\tz\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("space before the first field", b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("space before colon", b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("no colon", b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("empty name", b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("space in a name", b"HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("separator in a name", b"HTTP/1.1 200 OK\r\nX@Y: z\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("high byte in a name", b"HTTP/1.1 200 OK\r\nX\xe9: z\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("NUL in a name", b"HTTP/1.1 200 OK\r\nX\0: z\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: y\0\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("control in a value", b"HTTP/1.1 200 OK\r\nX: \x1b[2J\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("DEL in a value", b"HTTP/1.1 200 OK\r\nX: \x7f\r\nContent-Length: 0\r\n\r\n", false, BAD),
    // Framing.
    ("length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, BAD),
    ("chunked and length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", false, BAD),
    ("both, in other cases", b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: CHUNKED\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", false, BAD),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", false, BAD),
    ("the same length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, BAD),
    ("list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!", false, BAD),
    ("list of equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", false, BAD),
    ("negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false, BAD),
    ("length with plus", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", false, BAD),
    ("length in hex", b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", false, BAD),
    ("length in letters", b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", false, BAD),
    ("empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", false, BAD),
    ("length of 2^64", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", false, BAD),
    ("bad length on 204", b"HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n", false, BAD),
    ("unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", true, BAD),
    ("gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, BAD),
    ("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", false, BAD),
    ("chunked in two fields", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, BAD),
    ("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", true, BAD),
    ("empty coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nhello", true, BAD),
    ("chunked with parameter", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", false, BAD),
    ("chunked on HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true, BAD),
    // No answer at all, or none that was asked for.
    ("nothing", b"", true, RESET),
    ("half a status line", b"HTTP/1.", true, RESET),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", true, RESET),
    ("a head without its end", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", true, RESET),
    ("an interim answer alone", b"HTTP/1.1 103 Early Hints\r\n\r\n", true, RESET),
    ("a page without a head", b"<html>hello</html>\r\n\r\n", true, BAD),
    ("a mail server", b"220 mail.test ESMTP\r\n\r\n", true, BAD),
    ("a TLS alert", b"\x15\x03\x03\x00\x02\x02\x46", true, EITHER),
    ("a frame of HTTP/2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80", true, EITHER),
    ("a request", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", false, BAD),
    ("101 that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, UPGRADE),
    ("101 without Upgrade", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", false, UPGRADE),
    ("bad interim answer", b"HTTP/1.1 103 Early Hints\r\nX : y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    ("bad answer after an interim one", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n", false, BAD),
    // Bodies.
    ("body shorter than its length", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", true, Broken),
    ("no body at all", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", true, Broken),
    ("chunks without an end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, Broken),
    ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello", true, Broken),
    ("last chunk without an end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", true, Broken),
    ("trailers without an end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", true, Broken),
    ("chunk size in letters", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("chunk size with prefix", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("chunk size with plus", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("chunk size with space", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("chunk size of 17 digits", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("empty chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("chunk size with LF", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", false, Broken),
    ("chunk data with LF", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", false, Broken),
    ("chunk longer than said", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", false, Broken),
    ("bad extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("semicolon alone", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n", false, Broken),
    ("bad trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX : y\r\n\r\n", false, Broken),
    ("trailer with control", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: \0\r\n\r\n", false, Broken),
    ("folded trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", false, Broken),
    // More than the answer.
    ("body longer than its length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", false, Surplus(200, "hello")),
    ("a second answer", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", false, Surplus(200, "hello")),
    ("a second answer after chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", false, Surplus(200, "hello")),
    ("a blank line after the body", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n", false, Surplus(200, "hello")),
    ("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\npoison", false, Surplus(204, "")),
    ("204 with a length and a body", b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison", false, Surplus(204, "")),
    ("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison", false, Surplus(304, "")),
    ("a second answer after 204", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", false, Surplus(204, "")),
];
