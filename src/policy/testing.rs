//! Heads for the tests of policies and routes.

use crate::{
    config::Underscores,
    http::{Head, bench},
};

/// The head of `text`, whose lines end with `\n`.
pub(crate) fn head(text: &str) -> Head {
    let mut head = Head::default();
    let bytes = format!("{}\n\n", text.trim_end()).replace('\n', "\r\n");
    bench::guard_request(bytes.as_bytes(), &mut head, Underscores::Allow);
    head
}

/// The fields as lines.
pub(crate) fn lines(head: &Head) -> String {
    let line = |(name, value): (&[u8], &[u8])| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
    head.iter().map(line).collect()
}
