//! Properties of the message form: what goes in comes out, whatever it is.

use super::{
    bench, fuzz, guard,
    h1::{Chunked, parse},
    head::Head,
    name::Name,
};
use crate::config::Underscores;
use proptest::{collection::vec, prelude::*};

/// A field name that the guard leaves alone.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9!#$%&'*+.^`|~-]{0,20}".prop_filter("end to end", |name| {
        let id = Name::of(name.as_bytes());
        id == Name::Other || matches!(id, Name::Accept | Name::Cookie | Name::Date | Name::Via)
    })
}

/// A field value as it is after trimming.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0x21..0x7fu8, 1 => 0x80..=0xffu8, 1 => Just(b' '), 1 => Just(b'\t')];
    vec(byte, 0..40).prop_map(|bytes| bytes.trim_ascii().to_vec())
}

fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    vec((name(), value()), 0..12)
}

/// The head that has these fields, with blanks of any kind around the values.
fn wire(method: &str, path: &str, fields: &[(String, Vec<u8>)], blanks: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\n").into_bytes();
    for (at, (name, value)) in fields.iter().enumerate() {
        let blank = |turn: usize| &b"  \t"[..usize::from(blanks[(at + turn) % blanks.len()])];
        bytes.extend_from_slice(&[name.as_bytes(), b":", blank(0), value, blank(1), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn read(bytes: &[u8]) -> (Head, guard::Guarded) {
    let (mut head, mut scanned) = (Head::default(), 0);
    let end = parse::head_end(bytes, &mut scanned).unwrap().unwrap();
    assert_eq!(end, bytes.len());
    let target = parse::request(bytes, &mut head, 64).unwrap();
    assert_eq!(parse::whole_request(bytes, &mut Head::default(), 64), Some((target, end)), "in one pass");
    let guarded = guard::h1_request(&mut head, target, Underscores::Allow).unwrap();
    (head, guarded)
}

fn written(head: &Head, guarded: &guard::Guarded) -> Vec<u8> {
    let mut out = Vec::new();
    bench::encode(head, guarded, &mut out);
    out
}

fn pairs(head: &Head) -> Vec<(Vec<u8>, Vec<u8>)> {
    head.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// What a head may be cut and glued of, good and bad.
fn piece() -> impl Strategy<Value = &'static str> {
    let lines = prop::sample::select(vec!["\r\n", "\r\n", "\r\n\r\n", "\n", "\r", " ", "\t", ":", "A", "\0"]);
    let words = ["GET / HTTP/1.1", "HTTP/1.1 200 OK", "Host: a", "X: y", "X:", "Content-Length: 1", " folded"];
    prop_oneof![lines, prop::sample::select(words.to_vec())]
}

proptest! {
    #[test]
    fn the_quick_way_takes_nothing_that_the_slow_one_refuses(pieces in vec(piece(), 0..12)) {
        for start in ["", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"] {
            let bytes = [start, &pieces.concat()].concat();
            fuzz::request_head(bytes.as_bytes());
            fuzz::response_head(bytes.as_bytes());
        }
    }

    #[test]
    fn fields_come_out_as_they_went_in(fields in fields(), blanks in vec(0..4u8, 3), method in "[A-Z]{1,9}") {
        prop_assume!(method != "CONNECT");
        let (head, guarded) = read(&wire(&method, "/a?b", &fields, &blanks));
        let wanted: Vec<_> = fields.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
        prop_assert_eq!(&pairs(&head), &wanted);
        let out = written(&head, &guarded);
        let (again, _) = read(&out);
        prop_assert_eq!(&pairs(&again), &wanted, "encode, then decode");
        prop_assert_eq!(again.method_text(), method.as_bytes());
        prop_assert_eq!(written(&again, &guarded), out);
    }

    #[test]
    fn edits_do_what_they_say(fields in fields(), edits in vec((any::<bool>(), 0..12usize, value()), 0..8)) {
        let (mut head, guarded) = read(&wire("GET", "/", &fields, &[1]));
        let mut model: Vec<_> = fields.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
        for (add, at, value) in edits {
            let Some((name, _)) = fields.get(at) else { continue };
            if add {
                head.add_pieces(name.as_bytes(), Name::of(name.as_bytes()), &[&value]);
                model.push((name.clone().into_bytes(), value));
            } else {
                head.remove_named(name.as_bytes());
                model.retain(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()));
            }
            prop_assert_eq!(&pairs(&head), &model);
            let first = model.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
            prop_assert_eq!(head.find(name.as_bytes()), first.map(|(_, value)| value.as_slice()));
        }
        prop_assert_eq!(pairs(&read(&written(&head, &guarded)).0), model);
    }

    #[test]
    fn lengths_are_read_exactly_or_not_at_all(text in "[0-9+ x,-]{0,22}") {
        let wanted = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        prop_assert_eq!(guard::decimal(text.as_bytes()), wanted);
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut(chunks in vec(vec(any::<u8>(), 1..300), 0..8), step in 1..600usize) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:X};x=\"y\"\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(&[chunk, &b"\r\n"[..]].concat());
        }
        body.extend_from_slice(b"0\r\n\r\nnext");
        let (mut decoder, mut data, mut used) = (Chunked::new(64), Vec::new(), 0);
        for piece in body.chunks(step) {
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece).unwrap();
            data.extend_from_slice(&piece[..decoded.data]);
            used += decoded.used;
            if decoded.end {
                break;
            }
        }
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(&body[used..], b"next");
    }
}
