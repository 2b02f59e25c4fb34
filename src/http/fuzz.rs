//! Entry points for fuzzing: each takes any bytes, must not panic, and checks what must hold of what is accepted.

use super::{
    guard::{self, Asked},
    h1::{Chunked, parse, write},
    head::{Head, Method, Span},
    target,
};
use crate::config::Underscores;

/// A request head. What is accepted is written out, read again, and must then say the same.
pub fn request_head(data: &[u8]) {
    let mut head = Head::default();
    if let Some((target, end)) = parse::whole_request(data, &mut head, 128) {
        let (mut slow, mut scanned) = (Head::default(), 0);
        assert_eq!(parse::head_end(data, &mut scanned), Ok(Some(end)), "the quick way sees the same end");
        assert_eq!(parse::request(&data[..end], &mut slow, 128), Ok(target));
        assert!(slow.iter().eq(head.iter()), "and the same fields");
    }
    let Some((mut head, guarded)) = read_request(data) else { return };
    if head.method() == Method::Connect {
        // It is never written out.
        return;
    }
    let mut out = Vec::new();
    let authority = head.text(head.target.authority).to_vec();
    let hop = write::Hop {
        authority: if authority.is_empty() { b"none" } else { &authority },
        framing: guarded.framing,
        length: guarded.length,
        connection: write::Connection::Keep,
        trailers: guarded.trailers,
        expect: false,
        key: None,
    };
    write::head(&head, &hop, &mut out);
    assert!(!out.contains(&0), "no NUL gets out");
    let (again, second) = read_request(&out).expect("what was accepted is accepted again");
    assert_eq!((second.framing, second.trailers), (guarded.framing, guarded.trailers));
    assert_eq!(again.text(again.target.path), head.text(head.target.path), "normalisation is idempotent");
    assert!(again.iter().eq(head.iter()), "the end-to-end fields are the same");
    head.clear();
}

fn read_request(data: &[u8]) -> Option<(Head, guard::Guarded)> {
    let mut scanned = 0;
    let end = parse::head_end(data, &mut scanned).ok()??;
    let mut head = Head::default();
    let target = parse::request(&data[..end], &mut head, 128).ok()?;
    let guarded = guard::h1_request(&mut head, target, Underscores::Allow).ok()?;
    Some((head, guarded))
}

/// A response head.
pub fn response_head(data: &[u8]) {
    let mut scanned = 0;
    if let Some(end) = parse::whole_response(data, &mut Head::default(), 128) {
        assert_eq!(parse::head_end(data, &mut scanned), Ok(Some(end)), "the quick way sees the same end");
        scanned = 0;
    }
    let Ok(Some(end)) = parse::head_end(data, &mut scanned) else { return };
    let mut head = Head::default();
    if parse::response(&data[..end], &mut head, 128).is_err() {
        return;
    }
    let asked = Asked { method: Method::Get, upgrade: None };
    if let Ok(guarded) = guard::h1_response(&mut head, asked) {
        assert!(guarded.upgrade.is_none(), "nobody asked for a switch");
        assert!(head.iter().all(|(_, value)| !value.contains(&b'\n') && !value.contains(&b'\r')));
    }
}

/// A chunked body: however it is cut, the same comes out.
pub fn chunked(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(decode(data, step), whole, "cut into pieces of {step}");
    }
}

/// Data, how much was used, and the trailer section; `None` = refused.
fn decode(data: &[u8], step: usize) -> Option<(Vec<u8>, usize, Vec<u8>)> {
    let (mut decoder, mut out, mut used) = (Chunked::new(256), Vec::new(), 0);
    for piece in data.chunks(step) {
        let mut piece = piece.to_vec();
        let decoded = decoder.decode(&mut piece).ok()?;
        out.extend_from_slice(&piece[..decoded.data]);
        used += decoded.used;
        if decoded.end {
            break;
        }
    }
    Some((out, used, decoder.trailers().to_vec()))
}

/// A request target.
pub fn target(data: &[u8]) {
    let mut head = Head::default();
    let raw: Span = head.note(data);
    if let Ok(target) = target::parse(&mut head, raw, Method::Get) {
        let path = head.text(target.path);
        assert!(path.starts_with(b"/"));
        assert!(!path.split(|&byte| byte == b'/').any(|part| part == b"." || part == b".."));
    }
}
