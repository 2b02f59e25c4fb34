//! How asking for a name ends. Counted by `net::dns`.

/// The outcome of one question to DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// There are addresses.
    Ok,
    /// There is no such name.
    NxDomain,
    /// The name has no addresses.
    Empty,
    /// Nobody has answered in time.
    Timeout,
    /// A server has refused or failed, or cannot be reached.
    Error,
}

impl Resolution {
    /// The words of the label `result`, in the order of the outcomes.
    pub(super) const WORDS: [&str; 5] = ["ok", "nxdomain", "empty", "timeout", "error"];
}
