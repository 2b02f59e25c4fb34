//! The two messages of `grpc.health.v1.Health/Check`, by hand: each has one field (grpc/doc/health-checking.md). Used by
//! checks by gRPC alone.

use bytes::{BufMut, Bytes, BytesMut};

/// In front of each message: whether it is compressed, and its length (grpc/doc/PROTOCOL-HTTP2.md).
const PREFIX: usize = 5;
/// Bytes of an answer: the field has two, and what later versions add is passed over.
pub(super) const MOST: usize = 1024;

/// `HealthCheckRequest` for `service`, with its prefix.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | LENGTH);
        let mut length = service.len();
        while length > 0x7f {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

/// The number that is `status` in a `HealthCheckResponse` with its prefix; `None` = this is no such message, or not one
/// alone, or a compressed one.
pub(super) fn status(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    if prefix[0] != 0 || length as usize != message.len() {
        return None;
    }
    // A field that is not there has its default, UNKNOWN.
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let (number, kind) = (key >> 3, (key & 7) as u8);
        match kind {
            VARINT if number == 1 => status = varint(&mut rest)?,
            VARINT => drop(varint(&mut rest)?),
            FIXED_64 => rest = rest.get(8..)?,
            LENGTH => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            FIXED_32 => rest = rest.get(4..)?,
            _ => return None,
        }
        if number == 0 || number == 1 && kind != VARINT {
            return None;
        }
    }
    Some(status)
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

/// Seven bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        // The tenth has one bit.
        if place == 9 && *byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[test]
    fn a_request_is_what_others_write() {
        for service in ["", "a", "shop.v1.Orders", &"x".repeat(127), &"x".repeat(128), &"x".repeat(255)] {
            let theirs = HealthCheckRequest { service: service.into() }.encode_to_vec();
            assert_eq!(request(service), framed(&theirs), "{service}");
        }
    }

    #[test]
    fn a_status_is_read_as_others_write_it() {
        for number in [0, 1, 2, 3, 7, 300, i32::MAX] {
            let theirs = HealthCheckResponse { status: number }.encode_to_vec();
            assert_eq!(status(&framed(&theirs)), Some(number as u64), "{number}");
        }
    }

    #[test]
    fn later_fields_are_passed_over_and_the_last_status_counts() {
        let message = [
            &[0x10, 0xff, 0x01][..],         // 2: varint
            &[0x08, 0x02],                   // 1: NOT_SERVING
            &[0x19, 1, 2, 3, 4, 5, 6, 7, 8], // 3: 64 bits
            &[0x22, 3, b'a', b'b', b'c'],    // 4: text
            &[0x2d, 1, 2, 3, 4],             // 5: 32 bits
            &[0x08, 0x01],                   // 1: SERVING
        ];
        assert_eq!(status(&framed(&message.concat())), Some(1));
    }

    #[test]
    fn what_is_no_such_message_is_none() {
        for message in [
            &[0x08][..],                                                      // no number behind the key
            &[0x0a, 1, 1],                                                    // the status is a text
            &[0x12, 5, 1],                                                    // shorter than it says
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // longer than memory
            &[0x0b],                                                          // a group
            &[0x00, 0x01],                                                    // field 0
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], // more than 64 bits
        ] {
            assert_eq!(status(&framed(message)), None, "{message:?}");
        }
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[0, 0, 0, 0]), None);
        assert_eq!(status(&[1, 0, 0, 0, 2, 8, 1]), None, "it is compressed");
        assert_eq!(status(&[0, 0, 0, 0, 3, 8, 1]), None, "it is not whole");
        assert_eq!(status(&[0, 0, 0, 0, 1, 8, 1]), None, "there is more than one");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_status_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = status(&bytes);
            let _ = status(&framed(&bytes));
        }
    }
}
