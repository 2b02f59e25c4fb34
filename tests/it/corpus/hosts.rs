//! Requests without one clear authority: RFC 9112 section 3.2, RFC 3986 section 3.2.

use super::{Case, Row, whole};

const ONE: &str = "RFC 9112 3.2: exactly one Host";
const AUTHORITY: &str = "RFC 9110 7.2 and RFC 3986 3.2: Host is host [ \":\" port ]";

const WHOLE: &[Row] = &[
    ("no Host", ONE, b"GET /MARK HTTP/1.1\r\n\r\n"),
    ("no Host but other fields", ONE, b"GET /MARK HTTP/1.1\r\nX-Host: test\r\n\r\n"),
    ("no Host with an absolute target", ONE, b"GET http://test/MARK HTTP/1.1\r\n\r\n"),
    ("two Hosts", ONE, b"GET /MARK HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n"),
    ("the same Host twice", ONE, b"GET /MARK HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n"),
    ("two Hosts in two cases", ONE, b"GET /MARK HTTP/1.1\r\nHost: test\r\nhOST: other\r\n\r\n"),
    ("two Hosts, the first empty", ONE, b"GET /MARK HTTP/1.1\r\nHost:\r\nHost: test\r\n\r\n"),
    ("two Hosts with an absolute target", ONE, b"GET http://test/MARK HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n"),
    ("two Hosts on HTTP/1.0", ONE, b"GET /MARK HTTP/1.0\r\nHost: test\r\nHost: other\r\n\r\n"),
    ("bad Host on HTTP/1.0", AUTHORITY, b"GET /MARK HTTP/1.0\r\nHost: a/b\r\n\r\n"),
    ("spaced Host", ONE, b"GET /MARK HTTP/1.1\r\nHost : test\r\n\r\n"),
    ("bad Host beside a good absolute target", AUTHORITY, b"GET http://test/MARK HTTP/1.1\r\nHost: a b\r\n\r\n"),
];

/// Values of Host, and of :authority.
pub(super) const HOSTS: &[(&str, &[u8])] = &[
    ("empty", b""),
    ("a list", b"a, b"),
    ("a list without space", b"a,b"),
    ("with user", b"user@test"),
    ("with user and password", b"user:pass@test"),
    ("with an at sign alone", b"@test"),
    ("with a path", b"test/path"),
    ("with a slash", b"test/"),
    ("with a query", b"test?a"),
    ("with a fragment", b"test#a"),
    ("with a scheme", b"http://test"),
    ("with a space", b"te st"),
    ("with a tab", b"te\tst"),
    ("with a backslash", b"te\\st"),
    ("with a quote", b"te\"st"),
    ("in angle brackets", b"<test>"),
    ("with a brace", b"te{st"),
    ("with a bar", b"te|st"),
    ("with a caret", b"te^st"),
    ("with a backtick", b"te`st"),
    ("with NUL", b"te\0st"),
    ("with a control", b"te\x01st"),
    ("with a high byte", b"te\xe9st"),
    ("with a bad escape", b"te%zzst"),
    ("with a cut escape", b"test%4"),
    ("with an escaped NUL", b"te%00st"),
    ("a port alone", b":80"),
    ("port not a number", b"test:http"),
    ("port too large", b"test:65536"),
    ("port far too large", b"test:99999999999999999999"),
    ("negative port", b"test:-1"),
    ("port with plus", b"test:+80"),
    ("port in hex", b"test:0x50"),
    ("port with space", b"test: 80"),
    ("two ports", b"test:80:80"),
    ("port and path", b"test:80/x"),
    ("open bracket", b"[::1"),
    ("close bracket", b"::1]"),
    ("IPv6 without brackets", b"::1"),
    ("text after IPv6", b"[::1]x"),
    ("text before IPv6", b"x[::1]"),
    ("empty brackets", b"[]"),
    ("no address in brackets", b"[zz]"),
    ("IPv4 in brackets", b"[127.0.0.1]"),
    ("IPv6 with bad port", b"[::1]:x"),
    ("IPv6 with large port", b"[::1]:70000"),
    ("IPv6 with too many groups", b"[1:2:3:4:5:6:7:8:9]"),
    ("IPv6 with two gaps", b"[1::2::3]"),
];

pub(super) fn cases() -> Vec<Case> {
    let hosts = HOSTS.iter().map(|(name, value)| {
        let bytes = [&b"GET /MARK HTTP/1.1\r\nHost: "[..], value, b"\r\n\r\n"].concat();
        Case::head(format!("Host {name}"), AUTHORITY, bytes)
    });
    WHOLE.iter().map(whole).chain(hosts).collect()
}
