//! Request methods. Hot path.

use super::head::Span;

/// A request method (RFC 9110 section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method itself")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Connect,
    Trace,
    /// Any other token; methods are case-sensitive.
    Other(Span),
}

impl Method {
    /// The method that is written so, if it is one that we know by name.
    pub fn known(text: &str) -> Option<Self> {
        match text {
            "GET" => Some(Self::Get),
            "HEAD" => Some(Self::Head),
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "DELETE" => Some(Self::Delete),
            "OPTIONS" => Some(Self::Options),
            "PATCH" => Some(Self::Patch),
            "CONNECT" => Some(Self::Connect),
            "TRACE" => Some(Self::Trace),
            _ => None,
        }
    }

    /// Repeating it does no further harm (RFC 9110 section 9.2.2). Methods that we do not know are not.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}
