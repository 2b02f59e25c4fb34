//! The two fields of a WebSocket opening over HTTP/1.1 (RFC 6455 sections 1.3, 4.1 and 4.2.2). HTTP/2 has neither (RFC 8441
//! section 5): where one side speaks it, `proxy` stands in for the side that lacks them.

use super::Head;
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The fields' names, as they are compared.
const KEY: &[u8] = b"sec-websocket-key";
/// See [`KEY`].
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// A `Sec-WebSocket-Key`: 16 bytes in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 24]);

impl Key {
    /// One of ours. It is a nonce and no secret: it shows that an answer is for this opening.
    pub fn new(random: [u64; 2]) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random[0].to_be_bytes());
        bytes[8..].copy_from_slice(&random[1].to_be_bytes());
        let mut key = [0; 24];
        // 16 bytes are 24 characters.
        let _ = STANDARD.encode_slice(bytes, &mut key);
        Self(key)
    }

    /// The one key of `request`; `None` if it has none, more than one, or one that is not 16 bytes.
    pub fn of(request: &Head) -> Option<Self> {
        let mut keys = request.iter().filter(|(name, _)| name.eq_ignore_ascii_case(KEY)).map(|(_, value)| value);
        let key: [u8; 24] = keys.next()?.try_into().ok()?;
        let fits = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
        (fits && keys.next().is_none()).then_some(Self(key))
    }

    /// As it is written.
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// The `Sec-WebSocket-Accept` that answers it.
    pub fn accept(&self) -> [u8; 28] {
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&self.0);
        context.update(GUID);
        let mut accept = [0; 28];
        // 20 bytes are 28 characters.
        let _ = STANDARD.encode_slice(context.finish(), &mut accept);
        accept
    }
}

/// Takes the key out of a request.
pub(super) fn forget_key(request: &mut Head) {
    request.remove_named(KEY);
}

/// Takes `Sec-WebSocket-Accept` out of an answer. True if it was `wanted`.
pub fn take_accept(answer: &mut Head, wanted: &[u8]) -> bool {
    let right = answer.find(ACCEPT) == Some(wanted);
    answer.remove_named(ACCEPT);
    right
}

/// Puts `Sec-WebSocket-Accept` into an answer.
pub fn set_accept(answer: &mut Head, accept: &[u8]) {
    answer.remove_named(ACCEPT);
    answer.add_pieces(b"Sec-WebSocket-Accept", super::Name::Other, &[accept]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Name;

    fn with(keys: &[&str]) -> Head {
        let mut head = Head::default();
        for key in keys {
            head.add_pieces(b"Sec-WebSocket-Key", Name::Other, &[key.as_bytes()]);
        }
        head
    }

    #[test]
    fn the_example_of_rfc_6455_section_1_3() {
        let key = Key::of(&with(&["dGhlIHNhbXBsZSBub25jZQ=="])).unwrap();
        assert_eq!(key.accept(), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_16_bytes_of_base64_and_stands_alone() {
        let own = Key::new([1, u64::MAX]);
        let text = String::from_utf8(own.text().to_vec()).unwrap();
        assert_eq!(Key::of(&with(&[&text])), Some(own));
        assert_ne!(own, Key::new([2, u64::MAX]));
        for keys in [
            &[][..],
            &[""],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &["dGhlIHNhbXBsZSBub25j"],
            &["dGhlIHNhbXBsZSBub25jZXh4"],
            &["dGhlIHNhbXBsZSBub25jZ!=="],
            &[&text, &text],
        ] {
            assert_eq!(Key::of(&with(keys)), None, "{keys:?}");
        }
    }

    #[test]
    fn an_accept_is_compared_and_replaced() {
        let mut answer = Head::default();
        set_accept(&mut answer, b"one");
        set_accept(&mut answer, b"two");
        assert!(take_accept(&mut answer, b"two"));
        assert!(!take_accept(&mut answer, b"two"), "it has been taken out");
    }
}
