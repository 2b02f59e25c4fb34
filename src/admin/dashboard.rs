//! `/`: the dashboard, one page that brings along all it needs. Called by `answer`.
//!
//! It may run its own script and style alone, known by their hashes, talk to nobody but us, and be framed by nobody. It
//! reads the events, and changes backends with the token that its reader types.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS};

use super::problem::{Answer, with_body};

const HTML: &str = "text/html; charset=utf-8";
static PAGE: &str = include_str!("dashboard.html");

/// What a browser may do with the page.
static RULES: LazyLock<HeaderMap> = LazyLock::new(|| {
    let policy = HeaderValue::try_from(policy(PAGE)).expect("hashes in Base64 are a header's value");
    let same = HeaderValue::from_static("same-origin");
    HeaderMap::from_iter([
        (CONTENT_SECURITY_POLICY, policy),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), same.clone()),
        (HeaderName::from_static("cross-origin-resource-policy"), same),
    ])
});

/// The page.
pub(super) fn page() -> Answer {
    let mut answer = with_body(StatusCode::OK, HTML, PAGE);
    answer.headers_mut().extend(RULES.clone());
    answer
}

fn policy(page: &str) -> String {
    let (style, script) = (hash(inner(page, "style")), hash(inner(page, "script")));
    format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
}

/// What stands in the only element of that name.
fn inner<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, from) = page.split_once(&format!("<{name}>")).unwrap_or_default();
    from.split_once(&format!("</{name}>")).unwrap_or_default().0
}

/// As a policy has it.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_needs_nothing_from_elsewhere() {
        assert!(PAGE.len() < 100_000, "{} bytes", PAGE.len());
        for element in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "one {element} without attributes");
            assert!(inner(PAGE, element).len() > 1_000);
        }
        for foreign in ["https://", "src=", "@import", "url(", " style=", " onclick=", "innerHTML", "eval("] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        // Namespaces are names, no addresses.
        assert_eq!(PAGE.matches("http://").count(), PAGE.matches("http://www.w3.org/2000/svg").count());
    }

    #[test]
    fn a_browser_runs_what_the_page_has_and_nothing_else() {
        let answer = page();
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"), "{policy}");
        assert_eq!(answer.headers()[X_FRAME_OPTIONS], "DENY");
        // openssl dgst -sha256 -binary | base64
        assert_eq!(hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
