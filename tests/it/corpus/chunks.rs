//! Bodies in chunks that are not well formed, and trailers that a body must not bring: RFC 9112 section 7.1.

use super::{Case, Row, chunks};

const SIZE: &str = "RFC 9112 7.1: chunk-size is 1*HEXDIG";
const EXTENSION: &str = "RFC 9112 7.1.1: chunk-ext";
const ENDS: &str = "RFC 9112 7.1 and 2.2: a line ends with CRLF";
const TRAILER: &str = "RFC 9112 7.1.2: trailers are fields";
const FORBIDDEN: &str = "RFC 9110 6.5.1: a trailer neither frames nor routes nor authenticates";

const ROWS: &[Row] = &[
    ("empty size", SIZE, b"\r\nhello\r\n0\r\n\r\n"),
    ("hex prefix", SIZE, b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("upper hex prefix", SIZE, b"0X5\r\nhello\r\n0\r\n\r\n"),
    ("plus sign in size", SIZE, b"+5\r\nhello\r\n0\r\n\r\n"),
    ("minus sign in size", SIZE, b"-5\r\nhello\r\n0\r\n\r\n"),
    ("space before size", SIZE, b" 5\r\nhello\r\n0\r\n\r\n"),
    ("tab before size", SIZE, b"\t5\r\nhello\r\n0\r\n\r\n"),
    ("space after size", SIZE, b"5 \r\nhello\r\n0\r\n\r\n"),
    ("tab after size", SIZE, b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("space in size", SIZE, b"0 5\r\nhello\r\n0\r\n\r\n"),
    ("not a digit", SIZE, b"g\r\nhello\r\n0\r\n\r\n"),
    ("digit and letter", SIZE, b"5g\r\nhello\r\n0\r\n\r\n"),
    ("underscore in size", SIZE, b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("size in quotes", SIZE, b"\"5\"\r\nhello\r\n0\r\n\r\n"),
    ("size with fraction", SIZE, b"5.0\r\nhello\r\n0\r\n\r\n"),
    ("size list", SIZE, b"5,5\r\nhello\r\n0\r\n\r\n"),
    ("trailing h", SIZE, b"5h\r\nhello\r\n0\r\n\r\n"),
    ("NUL before size", SIZE, b"\x005\r\nhello\r\n0\r\n\r\n"),
    ("NUL after size", SIZE, b"5\0\r\nhello\r\n0\r\n\r\n"),
    ("high byte in size", SIZE, b"\xb5\r\nhello\r\n0\r\n\r\n"),
    ("size of 2^64", SIZE, b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("size of 2^64 + 5", SIZE, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size of 17 digits", SIZE, b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("size of 17 digits with zeros", SIZE, b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bad second size", SIZE, b"5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ("minus zero at the end", SIZE, b"5\r\nhello\r\n-0\r\n\r\n"),
    ("a request for a size", SIZE, b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"),
    // Extensions.
    ("semicolon alone", EXTENSION, b"5;\r\nhello\r\n0\r\n\r\n"),
    ("two semicolons", EXTENSION, b"5;;a\r\nhello\r\n0\r\n\r\n"),
    ("extension without value", EXTENSION, b"5;a=\r\nhello\r\n0\r\n\r\n"),
    ("extension without name", EXTENSION, b"5;=b\r\nhello\r\n0\r\n\r\n"),
    ("unterminated quote", EXTENSION, b"5;a=\"b\r\nhello\r\n0\r\n\r\n"),
    ("text after a quote", EXTENSION, b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n"),
    ("escape at the end of a quote", EXTENSION, b"5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n"),
    ("two words in an extension", EXTENSION, b"5;a=b c\r\nhello\r\n0\r\n\r\n"),
    ("control in an extension", EXTENSION, b"5;a\x01=b\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", EXTENSION, b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
    ("DEL in a quoted extension", EXTENSION, b"5;a=\"\x7f\"\r\nhello\r\n0\r\n\r\n"),
    ("LF in an extension", EXTENSION, b"5;a\nhello\r\n0\r\n\r\n"),
    ("LF in a quoted extension", EXTENSION, b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
    ("CR in an extension", EXTENSION, b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("separator in a name", EXTENSION, b"5;a@b=c\r\nhello\r\n0\r\n\r\n"),
    ("extension of the last chunk", EXTENSION, b"0;\r\n\r\n"),
    // Ends of lines and of chunks.
    ("bare LF after size", ENDS, b"5\nhello\r\n0\r\n\r\n"),
    ("bare CR after size", ENDS, b"5\rhello\r\n0\r\n\r\n"),
    ("two CRs after size", ENDS, b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("nothing after the data", ENDS, b"5\r\nhello0\r\n\r\n"),
    ("longer data than said", ENDS, b"5\r\nhello!\r\n0\r\n\r\n"),
    ("shorter data than said", ENDS, b"6\r\nhello\r\n0\r\n\r\n"),
    ("bare LF after the data", ENDS, b"5\r\nhello\n0\r\n\r\n"),
    ("bare CR after the data", ENDS, b"5\r\nhello\r0\r\n\r\n"),
    ("LF CR after the data", ENDS, b"5\r\nhello\n\r0\r\n\r\n"),
    ("space after the data", ENDS, b"5\r\nhello \r\n0\r\n\r\n"),
    ("last chunk with LF", ENDS, b"0\n\r\n"),
    ("last chunk with LFs", ENDS, b"0\n\n"),
    ("bare LF for the last line", ENDS, b"0\r\n\n"),
    ("bare CR for the last line", ENDS, b"0\r\n\rX"),
    ("last chunk with a smuggled request", ENDS, b"0\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"),
    // Trailers.
    ("trailer with bare LF", TRAILER, b"0\r\nX: a\nY: b\r\n\r\n"),
    ("trailer with bare CR", TRAILER, b"0\r\nX: a\rY: b\r\n\r\n"),
    ("indented trailer", TRAILER, b"0\r\n X: a\r\n\r\n"),
    ("folded trailer", TRAILER, b"0\r\nX: a\r\n b\r\n\r\n"),
    ("trailer with space before colon", TRAILER, b"0\r\nX : a\r\n\r\n"),
    ("trailer without colon", TRAILER, b"0\r\nX\r\n\r\n"),
    ("trailer without name", TRAILER, b"0\r\n: a\r\n\r\n"),
    ("trailer with NUL", TRAILER, b"0\r\nX: \0\r\n\r\n"),
    ("trailer with control", TRAILER, b"0\r\nX: \x1b\r\n\r\n"),
    ("trailer with DEL", TRAILER, b"0\r\nX: \x7f\r\n\r\n"),
    ("trailer with bad name", TRAILER, b"0\r\nX@: a\r\n\r\n"),
    ("trailer with high byte in its name", TRAILER, b"0\r\nX\xe9: a\r\n\r\n"),
    ("Content-Length as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
    ("Transfer-Encoding as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("Host as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nHost: other\r\n\r\n"),
    ("host in lower case as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nhost: other\r\n\r\n"),
    ("Connection as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n"),
    ("Upgrade as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nUpgrade: websocket\r\n\r\n"),
    ("TE as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nTE: trailers\r\n\r\n"),
    ("Authorization as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nAuthorization: Basic eA==\r\n\r\n"),
    ("Cookie as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nCookie: a=b\r\n\r\n"),
    ("Content-Type as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nContent-Type: text/html\r\n\r\n"),
    ("X-Forwarded-For as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"),
    ("Forwarded as trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nForwarded: for=192.0.2.1\r\n\r\n"),
    ("forbidden after a good trailer", FORBIDDEN, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: other\r\n\r\n"),
];

pub(super) fn cases() -> Vec<Case> {
    let endless = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(64 * 1024));
    let many = format!("5{}\r\nhello\r\n0\r\n\r\n", ";a=b".repeat(16 * 1024));
    let bound = "PRODUCT 6.10: everything is bounded, extensions too";
    let long = [("an endless extension", bound, endless), ("endless extensions", bound, many)];
    let long = long.iter().map(|(name, why, body)| {
        let case = chunks(&(*name, *why, b""));
        Case { bytes: [&case.bytes[..], body.as_bytes()].concat(), ..case }
    });
    ROWS.iter().map(chunks).chain(long).collect()
}
