//! Text that is matched: in fields, cookies and parameters. Called by `Rule`. Hot path, but that an expression on an
//! escaped parameter allocates.

use crate::{config, policy::Parameter};
use regex::bytes::Regex;

/// What a value must be.
#[derive(Debug)]
pub(crate) enum Text {
    Equal(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Regex),
    Present,
    /// Any value is one too many.
    Absent,
}

impl Text {
    /// What `text` says.
    pub(crate) fn new(text: &config::Text) -> Self {
        match text {
            config::Text::Equal(text) => Self::Equal(text.as_bytes().into()),
            config::Text::Prefix(text) => Self::Prefix(text.as_bytes().into()),
            config::Text::Regex(regex) => Self::Regex(Regex::new(regex).expect("the configuration has compiled it")),
            config::Text::Present => Self::Present,
            config::Text::Absent => Self::Absent,
        }
    }

    /// A value that matches is what must not be there.
    pub(crate) fn wants_absence(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// `value` is such a text.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Equal(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present | Self::Absent => true,
        }
    }

    /// `value`, decoded, is such a text.
    pub(super) fn matches_parameter(&self, value: Parameter<'_>) -> bool {
        if let Some(plain) = value.plain() {
            return self.matches(plain);
        }
        match self {
            Self::Equal(text) => value.bytes().eq(text.iter().copied()),
            Self::Prefix(text) => value.bytes().take(text.len()).eq(text.iter().copied()),
            Self::Regex(regex) => regex.is_match(&value.bytes().collect::<Vec<_>>()),
            Self::Present | Self::Absent => true,
        }
    }
}
