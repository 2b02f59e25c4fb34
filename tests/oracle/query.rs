//! Parameters of queries: a query is made of pairs that are known, escaped in every way that there is; and damaged ones are
//! read by one `replace` after the other.

use evenkeel::policy::parameters;

use crate::{Dice, compare};

const WORDS: &[&[u8]] = &[
    b"&", b"&&", b"=", b"==", b"%", b"%2", b"%26", b"%3D", b"%00", b"%zz", b"+", b"%2B", b"%2b", b"?", b";", b"a",
    b"%61", b"\\", b"%C3%A9",
];

/// How whoever fills in forms may write it: bytes that mean something must be escaped, others may be.
fn escape(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let one = |&byte: &u8| match byte {
        b' ' if dice.one_in(2) => vec![b'+'],
        b'&' | b'=' | b'+' | b'%' | b'#' | ..=b' ' | 0x7f.. => format!("%{byte:02X}").into_bytes(),
        _ if dice.one_in(4) => format!("%{byte:02x}").into_bytes(),
        _ => vec![byte],
    };
    bytes.iter().flat_map(one).collect()
}

/// Slowly: words by `&`, then every byte by its own rule.
fn read(query: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
    let text: Vec<char> = query.iter().map(|&byte| char::from(byte)).collect();
    let text: String = text.into_iter().collect();
    let Some(text) = text.strip_prefix('?') else { return Vec::new() };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| decode(key) == name).map(|(_, value)| decode(value)).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut out: Vec<u8> = latin1(parts.next().unwrap());
    for part in parts {
        let digits: String = part.chars().take(2).collect();
        let hex = digits.len() == 2 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
        if hex {
            out.push(u8::from_str_radix(&digits, 16).unwrap());
            out.extend(latin1(&part[2..]));
        } else {
            out.push(b'%');
            out.extend(latin1(part));
        }
    }
    out
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| letter as u8).collect()
}

fn ours(query: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
    let value = |value: evenkeel::policy::Parameter<'_>| {
        let bytes: Vec<u8> = value.bytes().collect();
        assert!(value.plain().is_none_or(|plain| plain == bytes), "what stands for itself");
        bytes
    };
    parameters(query, name).map(value).collect()
}

#[test]
fn query() {
    compare("query", |dice| {
        let names: Vec<Vec<u8>> =
            (0..3).map(|_| if dice.one_in(4) { dice.bytes(4) } else { dice.text(b"ab", 0, 2) }).collect();
        let pairs: Vec<(&Vec<u8>, Vec<u8>)> =
            (0..dice.below(6)).map(|_| (&names[dice.below(3)], dice.bytes(8))).collect();
        let mut query = b"?".to_vec();
        for (name, value) in &pairs {
            query.extend(escape(name, dice));
            query.push(b'=');
            query.extend(escape(value, dice));
            query.extend(if dice.one_in(8) { &b"&&"[..] } else { b"&" });
        }
        if !dice.one_in(2) && query.len() > 1 {
            query.pop();
        }
        for name in &names {
            let known: Vec<_> = pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1.clone()).collect();
            assert_eq!(ours(&query, name), known, "{:?} in {}", name.escape_ascii().to_string(), query.escape_ascii());
            assert_eq!(read(&query, name), known, "the oracle itself: {}", query.escape_ascii());
        }
        dice.damage(&mut query, WORDS);
        for name in &names {
            assert_eq!(ours(&query, name), read(&query, name), "{} in {}", name.escape_ascii(), query.escape_ascii());
        }
    });
}
