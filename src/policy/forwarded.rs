//! Fields that are a proxy's to write: nobody else is believed them. Called by `proxy`, and by `explain`. Hot path.

use super::is_alias;
use crate::http::Name;

/// `X-Forwarded`, `X-Forwarded-` with anything behind it, and names that some backends take for others of ours.
pub fn is_proxys(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"X-Forwarded";
    const OURS: [Name; 5] = [
        Name::XRealIp,
        Name::XRequestId,
        Name::XClientCertVerified,
        Name::XClientCertSubject,
        Name::XClientCertFingerprint,
    ];
    if name.first().is_none_or(|first| first | 0x20 != b'x') {
        return false;
    }
    let forwarded = name.get(..PREFIX.len()).is_some_and(|first| is_alias(PREFIX, first));
    forwarded && name.get(PREFIX.len()).is_none_or(|next| matches!(next, b'-' | b'_'))
        || OURS.iter().map(|id| id.spelling().as_bytes()).any(|ours| is_alias(ours, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_known_however_they_are_spelled() {
        for name in ["X-Forwarded", "x_forwarded_for", "X-Forwarded-Anything", "x-real-ip", "X_REQUEST-ID"] {
            assert!(is_proxys(name.as_bytes()), "{name}");
        }
        for name in ["", "x", "X-Forwardedfor", "X-Forward", "Forwarded", "X-Real-Ip-2", "Accept"] {
            assert!(!is_proxys(name.as_bytes()), "{name}");
        }
    }
}
