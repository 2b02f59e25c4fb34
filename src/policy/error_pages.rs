//! The operator's own pages for our errors: `error_pages`. Called by `proxy` when it answers a failure.

use crate::config::ErrorPage;

/// Bodies by status.
#[derive(Debug, Default)]
pub struct ErrorPages(Vec<ErrorPage>);

impl ErrorPages {
    /// Those of the configuration.
    pub fn new(pages: &[ErrorPage]) -> Self {
        Self(pages.to_vec())
    }

    /// The body for `status` and its type; `prefers_html` is what the client's `Accept` says. `None`: the built-in one
    /// stands in, also where there is a page for the other kind of client alone.
    pub fn find(&self, status: u16, prefers_html: bool) -> Option<(&[u8], &'static str)> {
        let page = self.0.iter().find(|page| page.status == status)?;
        let (body, content_type) = match prefers_html {
            true => (&page.html, "text/html; charset=utf-8"),
            false => (&page.json, "application/json"),
        };
        Some((body.as_deref()?, content_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_status_and_kind() {
        let pages = ErrorPages::new(&[
            ErrorPage { status: 503, html: Some(b"<p>".into()), json: None },
            ErrorPage { status: 404, html: Some(b"<a>".into()), json: Some(b"{}".into()) },
        ]);
        assert_eq!(pages.find(503, true), Some((&b"<p>"[..], "text/html; charset=utf-8")));
        assert_eq!(pages.find(503, false), None);
        assert_eq!(pages.find(404, false), Some((&b"{}"[..], "application/json")));
        assert_eq!(pages.find(500, true), None);
    }
}
