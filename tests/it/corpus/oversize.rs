//! Requests over a limit: PRODUCT.md sections 3 and 7. The listener `small` has the limits [`SMALL`].

use super::Case;

/// The limits of the listener `small`.
pub(super) const SMALL: &str = "max_header_size = \"2KiB\"\nmax_headers = 16\nmax_target_size = \"1KiB\"\n\
                                max_body_size = \"1KiB\"";

const LIMIT: &str = "PRODUCT 3: limits of the listener";

pub(super) fn cases() -> Vec<Case> {
    let long = |count: usize| "x".repeat(count);
    let target = |target: String| format!("GET /MARK{target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let fields = |fields: String| format!("GET /MARK HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let head = |name: &str, bytes: String| Case::head(name, LIMIT, bytes).small().answer(431, "head_too_large");
    let target =
        |name: &str, text: String| Case::head(name, LIMIT, target(text)).small().answer(414, "target_too_long");
    let body = |name: &str, bytes: String| Case::body(name, LIMIT, bytes).small().answer(413, "body_too_large");
    let post = |lines: &str, body: String| format!("POST /MARK HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\n{body}");
    let early = |case: Case| Case { stage: super::Stage::Head, ..case };
    vec![
        head("one long value", fields(format!("X: {}\r\n", long(2100)))),
        head("one long name", fields(format!("{}: x\r\n", long(2100)))),
        head("one very long value", fields(format!("X: {}\r\n", long(100_000)))),
        head("fields that add up", fields(format!("X: {}\r\n", long(200)).repeat(12))),
        head("too many fields", fields("X: y\r\n".repeat(17))),
        head("far too many fields", fields("X: y\r\n".repeat(400))),
        head("a head without an end", format!("GET /MARK HTTP/1.1\r\nHost: test\r\nX: {}", long(4000))),
        head("fields without an end", format!("GET /MARK HTTP/1.1\r\nHost: test\r\n{}", "X: y\r\n".repeat(1000))),
        target("a long path", long(1100)),
        target("a long query", format!("?{}", long(1100))),
        target("a path longer than a head may be", long(3000)),
        target("a very long path", long(100_000)),
        Case::head("a target without an end", LIMIT, format!("GET /MARK{}", long(4000)))
            .small()
            .answer(414, "target_too_long"),
        early(body("a length over the limit", post("Content-Length: 1025", long(1025)))),
        early(body("a length far over the limit", post("Content-Length: 18446744073709551615", long(10)))),
        body(
            "a chunk over the limit",
            post("Transfer-Encoding: chunked", format!("401\r\n{}\r\n0\r\n\r\n", long(1025))),
        ),
        body("a huge chunk", post("Transfer-Encoding: chunked", "fffffffffffffff\r\nx".to_owned())),
        body("chunks that add up", post("Transfer-Encoding: chunked", format!("100\r\n{}\r\n", long(256)).repeat(5))),
        Case::body(
            "too many trailers",
            LIMIT,
            post("Transfer-Encoding: chunked", format!("0\r\n{}\r\n", "X: y\r\n".repeat(400))),
        )
        .small()
        .answer(431, "head_too_large"),
        Case::body(
            "a trailer without an end",
            LIMIT,
            post("Transfer-Encoding: chunked", format!("0\r\nX: {}", long(8000))),
        )
        .small()
        .answer(431, "head_too_large"),
        Case::head("default limit of the head", LIMIT, fields(format!("X: {}\r\n", long(33 * 1024))))
            .answer(431, "head_too_large"),
        Case::head("default number of fields", LIMIT, fields("X: y\r\n".repeat(129))).answer(431, "head_too_large"),
        Case::head(
            "default limit of the target",
            LIMIT,
            format!("GET /MARK{} HTTP/1.1\r\nHost: test\r\n\r\n", long(8200)),
        )
        .answer(414, "target_too_long"),
    ]
}
