//! Entry points for the benches: parts of an exchange that nothing else needs to call from outside.

use super::{
    Guarded, Head,
    guard::{self, Asked},
    h1::{parse, write},
    head::Method,
};
use crate::config::Underscores;

/// Reads a request head that is known to be good.
///
/// # Panics
/// It is not.
pub fn parse_request(bytes: &[u8], head: &mut Head) {
    let mut scanned = 0;
    parse::head_end(bytes, &mut scanned).expect("the head is good").expect("the head is whole");
    parse::request(bytes, head, 128).expect("the head is good");
}

/// Reads a request head that is known to be good, and guards it.
///
/// # Panics
/// It is not.
pub fn guard_request(bytes: &[u8], head: &mut Head, underscores: Underscores) -> Guarded {
    let target = parse::request(bytes, head, 128).expect("the head is good");
    guard::h1_request(head, target, underscores).expect("the head is good")
}

/// Reads a response head that is known to be good, and guards it.
///
/// # Panics
/// It is not.
pub fn guard_response(bytes: &[u8], head: &mut Head) -> Guarded {
    parse::response(bytes, head, 128).expect("the head is good");
    guard::h1_response(head, Asked { method: Method::Get, upgrade: None }).expect("the head is good")
}

/// Writes a request head.
pub fn encode(head: &Head, guarded: &Guarded, out: &mut Vec<u8>) {
    let hop = write::Hop {
        authority: head.text(head.target.authority),
        framing: guarded.framing,
        length: guarded.length,
        connection: write::Connection::Keep,
        trailers: false,
        expect: false,
        key: None,
    };
    write::head(head, &hop, out);
}
