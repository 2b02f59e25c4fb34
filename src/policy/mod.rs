//! What a route does with its requests and answers, beside sending them on. Pure: no I/O, no clock. Hot path.
//!
//! `plan` builds these from the configuration, once; `proxy` applies them, in PRODUCT.md's order. What needs memory takes
//! a buffer that the worker lends, so that an exchange allocates none.

mod answer;
mod error_pages;
mod field;
mod headers;
mod request;
mod rewrite;
mod split;
mod values;

pub use answer::{https_location, redirect, redirect_to, respond};
pub use error_pages::ErrorPages;
pub use field::FieldName;
pub use headers::Headers;
pub use request::{Parameter, cookies, host, parameters};
pub use rewrite::Rewrite;
pub use split::{Split, hash};
pub use values::{Facts, Values, render};

#[cfg(test)]
mod testing {
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
}

#[cfg(test)]
pub(crate) use testing::{head as test_head, lines as test_lines};
