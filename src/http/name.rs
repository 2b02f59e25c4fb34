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
    EndpointLoadMetrics,
    EndpointLoadMetricsBin,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Referer,
    Server,
    SetCookie,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XClientCertFingerprint,
    XClientCertSubject,
    XClientCertVerified,
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
    "endpoint-load-metrics",
    "endpoint-load-metrics-bin",
    "Expect",
    "Forwarded",
    "Host",
    "HTTP2-Settings",
    "Keep-Alive",
    "Proxy-Connection",
    "Referer",
    "Server",
    "Set-Cookie",
    "TE",
    "traceparent",
    "tracestate",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Via",
    "X-Client-Cert-Fingerprint",
    "X-Client-Cert-Subject",
    "X-Client-Cert-Verified",
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

    /// All spellings, in the order of the numbers.
    pub(super) fn spellings() -> &'static [&'static str] {
        &SPELLING
    }

    /// The number of `name`, in any case.
    pub fn of(name: &[u8]) -> Self {
        // By length and first letter there is one candidate; where there are two, one more letter decides.
        let known = match (name.len(), name.first().map(|first| first | 0x20)) {
            (2, Some(b't')) => Self::Te,
            (3, Some(b'v')) => Self::Via,
            (4, Some(b'h')) => Self::Host,
            (4, Some(b'd')) => Self::Date,
            (6, Some(b'a')) => Self::Accept,
            (6, Some(b'c')) => Self::Cookie,
            (6, Some(b's')) => Self::Server,
            (6, Some(b'e')) => Self::Expect,
            (7, Some(b'r')) => Self::Referer,
            (7, Some(b't')) => Self::Trailer,
            (7, Some(b'u')) => Self::Upgrade,
            (9, Some(b'f')) => Self::Forwarded,
            (9, Some(b'x')) => Self::XRealIp,
            (10, Some(b'c')) => Self::Connection,
            (10, Some(b'k')) => Self::KeepAlive,
            (10, Some(b's')) => Self::SetCookie,
            (10, Some(b't')) => Self::Tracestate,
            (10, Some(b'u')) => Self::UserAgent,
            (11, Some(b't')) => Self::Traceparent,
            (12, Some(b'c')) => Self::ContentType,
            (12, Some(b'x')) => Self::XRequestId,
            (13, Some(b'a')) => Self::Authorization,
            (14, Some(b'c')) => Self::ContentLength,
            (14, Some(b'h')) => Self::Http2Settings,
            (15, Some(b'x')) => Self::XForwardedFor,
            (16, Some(b'x')) if name[12] | 0x20 == b'h' => Self::XForwardedHost,
            (16, Some(b'x')) => Self::XForwardedPort,
            (16, Some(b'p')) => Self::ProxyConnection,
            (17, Some(b't')) => Self::TransferEncoding,
            (17, Some(b'x')) => Self::XForwardedProto,
            (21, Some(b'e')) => Self::EndpointLoadMetrics,
            (21, Some(b'x')) => Self::XClientCertSubject,
            (22, Some(b'x')) => Self::XClientCertVerified,
            (25, Some(b'e')) => Self::EndpointLoadMetricsBin,
            (25, Some(b'x')) => Self::XClientCertFingerprint,
            _ => return Self::Other,
        };
        if same(known.spelling().as_bytes(), name) { known } else { Self::Other }
    }

    /// The field is one of HTTP/1's connections: in later versions it makes a message malformed (RFC 9113 section 8.2.2).
    pub(super) fn is_of_http1(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::Http2Settings
        )
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
                | Self::XClientCertFingerprint
                | Self::XClientCertSubject
                | Self::XClientCertVerified
        )
    }
}

/// Whether a spelling of ours and a name of the same length differ in case alone.
///
/// Setting bit 5 makes letters small and leaves digits and `-` as they are. It maps no other token character
/// (RFC 9110 section 5.6.2) on one of those; controls, which it does, are in no name that a parser has passed.
fn same(spelling: &[u8], name: &[u8]) -> bool {
    if spelling.len() != name.len() {
        return false;
    }
    // The first and the last piece of a short name overlap.
    match (edges::<8>(spelling), edges::<8>(name)) {
        (Some(ours), Some(theirs)) => {
            let small = |piece: [u8; 8]| u64::from_ne_bytes(piece) | 0x2020_2020_2020_2020;
            let middle = 8..name.len().saturating_sub(8).max(8);
            ours.map(small) == theirs.map(small) && alike(&spelling[middle.clone()], &name[middle])
        }
        _ => match (edges::<4>(spelling), edges::<4>(name)) {
            (Some(ours), Some(theirs)) => {
                let small = |piece: [u8; 4]| u32::from_ne_bytes(piece) | 0x2020_2020;
                ours.map(small) == theirs.map(small)
            }
            _ => alike(spelling, name),
        },
    }
}

/// The first and the last `N` bytes.
fn edges<const N: usize>(text: &[u8]) -> Option<[[u8; N]; 2]> {
    Some([*text.first_chunk()?, *text.last_chunk()?])
}

fn alike(spelling: &[u8], name: &[u8]) -> bool {
    spelling.iter().zip(name).all(|(ours, theirs)| ours | 0x20 == theirs | 0x20)
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
        for (number, spelling) in SPELLING.iter().enumerate().skip(1) {
            for at in 0..spelling.len() {
                let mut other = spelling.as_bytes().to_vec();
                other[at] = if other[at] == b'!' { b'#' } else { b'!' };
                assert_ne!(Name::of(&other) as usize, number, "{spelling} with another byte at {at}");
            }
        }
        assert_eq!(Name::of(b""), Name::Other);
    }
}
