//! Field names that we look at, as numbers. Hot path.

/// A field name that router, guard or policies know. [`Name::Other`] is any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the field name itself")]
pub enum Name {
    Other,
    Accept,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Server,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XRealIp,
    XRequestId,
}

/// In the order of [`Name`], in the spelling that we send.
const SPELLING: [&str; Name::COUNT] = [
    "",
    "Accept",
    "Authorization",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Date",
    "Expect",
    "Forwarded",
    "Host",
    "HTTP2-Settings",
    "Keep-Alive",
    "Proxy-Connection",
    "Server",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-Id",
];

impl Name {
    /// How many names there are, [`Name::Other`] included.
    pub const COUNT: usize = Self::XRequestId as usize + 1;

    /// The spelling that we send; empty for [`Name::Other`].
    pub fn spelling(self) -> &'static str {
        SPELLING[self as usize]
    }

    /// The number of `name`, in any case.
    pub fn of(name: &[u8]) -> Self {
        // By length and first letter there are one or two candidates.
        let candidates: &[Self] = match (name.len(), name.first().map(u8::to_ascii_lowercase)) {
            (2, Some(b't')) => &[Self::Te],
            (3, Some(b'v')) => &[Self::Via],
            (4, Some(b'h')) => &[Self::Host],
            (4, Some(b'd')) => &[Self::Date],
            (6, Some(b'a')) => &[Self::Accept],
            (6, Some(b'c')) => &[Self::Cookie],
            (6, Some(b's')) => &[Self::Server],
            (6, Some(b'e')) => &[Self::Expect],
            (7, Some(b't')) => &[Self::Trailer],
            (7, Some(b'u')) => &[Self::Upgrade],
            (9, Some(b'f')) => &[Self::Forwarded],
            (9, Some(b'x')) => &[Self::XRealIp],
            (10, Some(b'c')) => &[Self::Connection],
            (10, Some(b'k')) => &[Self::KeepAlive],
            (10, Some(b's')) => &[Self::SetCookie],
            (10, Some(b'u')) => &[Self::UserAgent],
            (12, Some(b'c')) => &[Self::ContentType],
            (12, Some(b'x')) => &[Self::XRequestId],
            (13, Some(b'a')) => &[Self::Authorization],
            (14, Some(b'c')) => &[Self::ContentLength],
            (14, Some(b'h')) => &[Self::Http2Settings],
            (15, Some(b'x')) => &[Self::XForwardedFor],
            (16, Some(b'x')) => &[Self::XForwardedHost, Self::XForwardedPort],
            (16, Some(b'p')) => &[Self::ProxyConnection],
            (17, Some(b't')) => &[Self::TransferEncoding],
            (17, Some(b'x')) => &[Self::XForwardedProto],
            _ => &[],
        };
        let found = candidates.iter().find(|known| same(known.spelling().as_bytes(), name));
        found.copied().unwrap_or(Self::Other)
    }

    /// The field frames, routes, or is ours alone: no `Connection` option and no trailer may name it
    /// (RFC 9110 sections 6.5.1 and 7.6.1).
    pub fn frames_or_routes(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::ContentLength
                | Self::TransferEncoding
                | Self::Connection
                | Self::Expect
                | Self::Trailer
                | Self::Via
        )
    }
}

/// Whether a spelling of ours and a name of the same length differ in case alone.
///
/// Setting bit 5 makes letters small and leaves digits and `-` as they are. It maps no other token character
/// (RFC 9110 section 5.6.2) on one of those; controls, which it does, are in no name that a parser has passed.
fn same(spelling: &[u8], name: &[u8]) -> bool {
    let mut ours = spelling.chunks_exact(8);
    let mut theirs = name.chunks_exact(8);
    let small = |piece: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..piece.len()].copy_from_slice(piece);
        u64::from_ne_bytes(bytes) | 0x2020_2020_2020_2020
    };
    let whole = ours.by_ref().zip(theirs.by_ref()).all(|(ours, theirs)| small(ours) == small(theirs));
    let alike = |(ours, theirs): (&u8, &u8)| ours | 0x20 == theirs | 0x20;
    whole && spelling.len() == name.len() && ours.remainder().iter().zip(theirs.remainder()).all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_spelling_in_any_case() {
        for (number, spelling) in SPELLING.iter().enumerate().skip(1) {
            assert_eq!(Name::of(spelling.as_bytes()) as usize, number, "{spelling}");
            assert_eq!(Name::of(spelling.to_lowercase().as_bytes()) as usize, number);
            assert_eq!(Name::of(spelling.to_uppercase().as_bytes()) as usize, number);
        }
        assert_eq!(Name::of(b"x-forwarded-foo!"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }
}
