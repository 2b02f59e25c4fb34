//! Header fields that are not well formed, or mean what must not be: RFC 9112 section 5, RFC 9110 sections 5 and 7.

use super::{Case, Row, field, whole};

const NAME: &str = "RFC 9110 5.1: a field name is a token";
const VALUE: &str = "RFC 9110 5.5: no CR, LF, NUL or other control in a value";
const COLON: &str = "RFC 9112 5.1: no white space between name and colon";
const FOLD: &str = "RFC 9112 5.2: obs-fold is refused";
const ENDS: &str = "RFC 9112 2.2: a line ends with CRLF; a bare CR or LF is none";
const CONNECTION: &str = "RFC 9110 7.6.1: what frames or routes is never hop-by-hop";
const EXPECT: &str = "RFC 9110 10.1.1: 100-continue is the only expectation";

const FIELDS: &[Row] = &[
    ("space before colon", COLON, b"X-A : b"),
    ("tab before colon", COLON, b"X-A\t: b"),
    ("spaces before colon", COLON, b"X-A   : b"),
    ("no colon", NAME, b"X-A"),
    ("no colon but a value", NAME, b"X-A b"),
    ("empty name", NAME, b": b"),
    ("colon alone", NAME, b":"),
    ("blank name", NAME, b" : b"),
    ("space in a name", NAME, b"X A: b"),
    ("high byte in a name", NAME, b"X-\xe9: b"),
    ("UTF-8 in a name", NAME, b"X-\xc3\xa9: b"),
    ("no-break space at the end of a name", NAME, b"X-A\xa0: b"),
    ("a request line as a field", NAME, b"GET /smuggled HTTP/1.1"),
    ("folded by a space", FOLD, b"X-A: b\r\n c"),
    ("folded by a tab", FOLD, b"X-A: b\r\n\tc"),
    ("folded to nothing", FOLD, b"X-A: b\r\n "),
    ("folded field that looks like one", FOLD, b"X-A: b\r\n X-B: c"),
    ("folded Host", FOLD, b"X-A: b\r\n Host: other"),
    ("LF for CRLF", ENDS, b"X-A: b\nX-B: c"),
    ("LF alone before the end", ENDS, b"X-A: b\n"),
    ("CR in a value", ENDS, b"X-A: b\rX-B: c"),
    ("CR at the end of a value", ENDS, b"X-A: b\r"),
    ("CR CR LF", ENDS, b"X-A: b\r\r\nX-B: c"),
    ("LF CR", ENDS, b"X-A: b\n\rX-B: c"),
    ("CR in a name", ENDS, b"X\rA: b"),
    ("LF in a name", ENDS, b"X\nA: b"),
    ("a smuggled request after bare LFs", ENDS, b"X-A: b\n\nGET /smuggled HTTP/1.1\nHost: test\n"),
    ("Connection names Host", CONNECTION, b"Connection: host"),
    ("Connection names HOST", CONNECTION, b"Connection: HOST"),
    ("Connection names Host after close", CONNECTION, b"Connection: close, Host"),
    ("Connection names Content-Length", CONNECTION, b"Connection: content-length\r\nContent-Length: 0"),
    ("Connection names Transfer-Encoding", CONNECTION, b"Connection: Transfer-Encoding"),
    ("second Connection names Host", CONNECTION, b"Connection: keep-alive\r\nConnection: host"),
    ("unknown expectation", EXPECT, b"Expect: 200-ok"),
    ("a list of expectations", EXPECT, b"Expect: 100-continue, x"),
    ("empty expectation", EXPECT, b"Expect:"),
];

const WHOLE: &[Row] = &[
    ("space before the first field", FOLD, b"GET /MARK HTTP/1.1\r\n Host: test\r\n\r\n"),
    ("tab before the first field", FOLD, b"GET /MARK HTTP/1.1\r\n\tHost: test\r\n\r\n"),
    ("blank line of spaces", FOLD, b"GET /MARK HTTP/1.1\r\n  \r\nHost: test\r\n\r\n"),
    ("indented field before Host", FOLD, b"GET /MARK HTTP/1.1\r\n X-A: b\r\nHost: test\r\n\r\n"),
    ("bare LFs all over", ENDS, b"GET /MARK HTTP/1.1\nHost: test\n\n"),
    ("bare LF after the request line", ENDS, b"GET /MARK HTTP/1.1\nHost: test\r\n\r\n"),
    ("bare LF at the end of the head", ENDS, b"GET /MARK HTTP/1.1\r\nHost: test\r\n\n"),
    ("bare LF after the last field", ENDS, b"GET /MARK HTTP/1.1\r\nHost: test\n\r\n"),
    ("bare CRs all over", ENDS, b"GET /MARK HTTP/1.1\rHost: test\r\rX\r\n\r\n"),
    ("bare CR at the end of the head", ENDS, b"GET /MARK HTTP/1.1\r\nHost: test\r\n\rX\r\n\r\n"),
];

/// The characters of RFC 9110 section 5.6.2 that are in no token, but for the colon, which ends a name.
const SEPARATORS: &[u8] = b"\"(),/;<=>?@[\\]{}";

pub(super) fn cases() -> Vec<Case> {
    let separators = SEPARATORS.iter().map(|&byte| {
        let bytes = [&b"GET /MARK HTTP/1.1\r\nHost: test\r\nX"[..], &[byte], b"A: b\r\n\r\n"].concat();
        Case::head(format!("{:?} in a name", char::from(byte)), NAME, bytes)
    });
    let controls = (0..=0x1fu8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte));
    let controls = controls.flat_map(|byte| {
        let value = [&b"GET /MARK HTTP/1.1\r\nHost: test\r\nX-A: b"[..], &[byte], b"c\r\n\r\n"].concat();
        let name = [&b"GET /MARK HTTP/1.1\r\nHost: test\r\nX-"[..], &[byte], b"A: b\r\n\r\n"].concat();
        [
            Case::head(format!("control {byte:#04x} in a value"), VALUE, value),
            Case::head(format!("control {byte:#04x} in a name"), NAME, name),
        ]
    });
    FIELDS.iter().map(field).chain(WHOLE.iter().map(whole)).chain(separators).chain(controls).collect()
}
