//! Why bytes are no PROXY header: for the log, at debug.

use std::fmt;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They begin neither as version 1 nor as version 2: most often a client without a proxy.
    Signature,
    /// Version 1: no CRLF within 107 bytes, or a CR or LF by itself.
    Line,
    /// Version 1: not the words that belong there, or not one blank between them.
    Words,
    /// Version 1: no address of its family.
    Address,
    /// Version 1: no decimal number up to 65535 without leading zeros.
    Port,
    /// Version 2: another version than 2.
    Version,
    /// Version 2: neither LOCAL nor PROXY.
    Command,
    /// Version 2: a family or transport that does not exist.
    Family,
    /// Version 2: shorter than its addresses, or longer than we read.
    Length,
    /// Version 2: an addition that does not fit, stands twice, or is not what its type says.
    Tlv,
    /// Version 2: its CRC32C is that of other bytes.
    Checksum,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "no PROXY header",
            Self::Line => "version 1: a line that does not end as it should",
            Self::Words => "version 1: not the words of a header",
            Self::Address => "version 1: a bad address",
            Self::Port => "version 1: a bad port",
            Self::Version => "version 2: another version",
            Self::Command => "version 2: an unknown command",
            Self::Family => "version 2: an unknown address family or transport",
            Self::Length => "version 2: a length out of bounds",
            Self::Tlv => "version 2: a bad addition (TLV)",
            Self::Checksum => "version 2: the checksum is wrong",
        })
    }
}

impl std::error::Error for Malformed {}
