//! Cookies: those of a request against a regular expression, the application's `Set-Cookie` against what its maker knows, and
//! our own against a model of who may hold which tickets.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use evenkeel::http::{Head, Name};
use evenkeel::policy::{self, Cookie, Read, Said, read_set_cookie};
use regex::bytes::Regex;

use crate::{Dice, compare};

const WORDS: &[&[u8]] = &[
    b";",
    b"; ",
    b"=",
    b"==",
    b" ",
    b"\t",
    b"\"",
    b"a",
    b"a=",
    b"Max-Age=0",
    b"expires=",
    b",",
    b"\x0b",
    b"\x7f",
    b"\xff",
];
const NOW: u64 = 1_800_000_000_000;

static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let blank = r"[ \t\n\x0c\r]*";
    Regex::new(&format!(r"(?s-u)^{blank}([^=]*?){blank}={blank}(.*?){blank}$")).unwrap()
});

fn pairs(fields: &[Vec<u8>], name: &[u8]) -> Vec<Vec<u8>> {
    let crumbs = fields.iter().flat_map(|field| field.split(|&byte| byte == b';'));
    let found = crumbs.filter_map(|crumb| PAIR.captures(crumb)).filter(|found| &found[1] == name);
    found.map(|found| found[2].to_vec()).collect()
}

/// A request's cookies, whole and damaged.
fn of_request(dice: &mut Dice) {
    let crumbs: Vec<_> =
        (0..dice.below(6)).map(|_| (dice.of(&["a", "ab", "A", ""]), dice.text(b"xy=\"% ", 0, 4))).collect();
    let mut fields: Vec<Vec<u8>> = vec![Vec::new()];
    for (name, value) in &crumbs {
        if dice.one_in(4) {
            fields.push(Vec::new());
        }
        let field = fields.last_mut().unwrap();
        if !field.is_empty() {
            field.extend_from_slice(dice.of(&[&b"; "[..], b";", b" ;\t", b";;"]));
        }
        field.extend_from_slice(name.as_bytes());
        field.push(b'=');
        field.extend_from_slice(value);
    }
    let known = crumbs.iter().filter(|crumb| crumb.0 == "a").map(|crumb| crumb.1.trim_ascii().to_vec());
    let known: Vec<_> = known.collect();
    assert_eq!(read(&fields, b"a"), known, "{fields:?}");
    for field in &mut fields {
        dice.damage(field, WORDS);
        field.retain(|byte| !b"\r\n\0".contains(byte));
    }
    for name in [&b"a"[..], b"ab", b""] {
        assert_eq!(read(&fields, name), pairs(&fields, name), "{:?} of {fields:?}", name.escape_ascii().to_string());
    }
}

fn read(fields: &[Vec<u8>], name: &[u8]) -> Vec<Vec<u8>> {
    let mut head = Head::default();
    for field in fields {
        head.add(Name::Cookie, field);
    }
    policy::cookies(&head, name).map(<[u8]>::to_vec).collect()
}

/// A `Set-Cookie` whose meaning is known from its making.
fn of_response(dice: &mut Dice) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW);
    let value = dice.text(b"xyz.%\"=", 0, 5);
    let mut field = [dice.of(&[&b"SID="[..], b" SID =", b"SID= "]), &value[..]].concat();
    let (mut age, mut expires) = (None, None);
    for _ in 0..dice.below(5) {
        let (key, text) = match dice.below(6) {
            0 => {
                let seconds = dice.of(&[-5i64, -1, 0, 1, 60, i64::MAX]);
                age = Some(seconds <= 0);
                ("Max-Age", seconds.to_string())
            }
            1 => ("max-age", dice.of(&["", "-", "1.5", "+1", "0x0", "soon"]).to_owned()),
            2 => {
                let past = dice.one_in(2);
                let away = Duration::from_secs(1 + dice.below(1_000_000_000) as u64);
                let date = httpdate::fmt_http_date(if past { now - away } else { now + away });
                expires = Some(past);
                let (day, rest) = date.split_at(5);
                let dashed = || format!("{day}{}{}", rest[..12].replacen(' ', "-", 2), &rest[12..]);
                ("Expires", if dice.one_in(3) { dashed() } else { date.clone() })
            }
            3 => ("EXPIRES", dice.of(&["", "0", "soon", "Thu, 99 Jan 1970 00:00:00 GMT", "-1"]).to_owned()),
            4 => ("Path", "/".to_owned()),
            _ => ("Domain", "max-age=0".to_owned()),
        };
        field.extend_from_slice(dice.of(&[&b"; "[..], b";", b" ; "]));
        let key = if dice.one_in(2) { key.to_uppercase() } else { key.to_owned() };
        field.extend_from_slice(format!("{key}{}{text}", dice.of(&["=", " = "])).as_bytes());
    }
    if dice.one_in(2) {
        field.extend_from_slice(b"; HttpOnly; Secure");
    }
    let over = value.trim_ascii().is_empty() || age.or(expires).unwrap_or(false);
    let wanted = if over { Said::Ends } else { Said::Holds(value.trim_ascii()) };
    assert_eq!(read_set_cookie(&field, b"SID", || now), Some(wanted), "{}", field.escape_ascii());
    assert_eq!(read_set_cookie(&field, b"SI", || now), None);
    dice.damage(&mut field, WORDS);
    if let Some(Said::Holds(value)) = read_set_cookie(&field, b"SID", || now) {
        let named = PAIR.captures(field.split(|&byte| byte == b';').next().unwrap()).unwrap();
        assert_eq!((&named[1], &named[2]), (&b"SID"[..], value), "{}", field.escape_ascii());
    }
}

/// One ticket: the pool's number, the backend, and when it was issued.
type Ticket = (usize, u64, u64);

/// Our own, which pools hand on to each other: what a model says is in it is in it, and nobody makes one.
fn ours(dice: &mut Dice) {
    let (old, new) = ([1; 32], [2; 32]);
    let hour = 3_600_000;
    let ttl: Vec<u64> = (0..6).map(|_| dice.of(&[hour, 8 * hour])).collect();
    let made = |pool: usize, secrets: &[[u8; 32]]| {
        let secrets = secrets.iter().map(|secret| &secret[..]);
        Cookie::new("evenkeel", Duration::from_millis(ttl[pool]), &format!("pool-{pool}"), secrets)
    };
    let before: Vec<Cookie> = (0..6).map(|pool| made(pool, &[old])).collect();
    let after: Vec<Cookie> = (0..6).map(|pool| made(pool, &[new, old])).collect();
    let fresh = |pool: usize, issued: u64, now: u64| issued <= now + 60_000 && now.saturating_sub(issued) <= ttl[pool];
    let (mut value, mut model, mut now): (Vec<u8>, Vec<Ticket>, u64) = (Vec::new(), Vec::new(), NOW);
    for step in 0..dice.below(8) {
        // Clocks of instances differ.
        now = now + dice.of(&[0, 1000, hour / 2, hour, 5 * hour]) - dice.of(&[0, 0, 59_000, 61_000]);
        let (pool, backend) = (dice.below(6), dice.bits());
        let cookies = if step < 4 { &before } else { &after };
        let mut line = Vec::new();
        cookies[pool].write(backend, &value, now, dice.one_in(2), &mut line);
        let end = line.iter().position(|&byte| byte == b';').unwrap();
        value = line["evenkeel=".len()..end].to_vec();
        // Whoever writes keeps what it holds for fresh.
        let kept = model.iter().filter(|ticket| ticket.0 != pool && fresh(pool, ticket.2, now)).take(3);
        model = [(pool, backend, now)].into_iter().chain(kept.copied()).collect();
    }
    let whole = !dice.one_in(2);
    let intact: Vec<Vec<u8>> = value.split(|&byte| byte == b'.').map(<[u8]>::to_vec).collect();
    if !whole {
        dice.damage(&mut value, &[b".", b"A", b"=", b"_", &intact[0], &intact[intact.len() - 1]]);
    }
    for (pool, reader) in after.iter().enumerate() {
        let known = model.iter().find(|ticket| ticket.0 == pool).filter(|ticket| fresh(pool, ticket.2, now));
        match (reader.read([&value[..]].into_iter(), now), known) {
            (Read::Valid(ticket), known) => assert_eq!(Some(&(pool, ticket.backend, ticket.issued)), known),
            (_, Some(_)) => assert!(!whole, "pool {pool} does not find its ticket"),
            (Read::Absent | Read::Invalid, None) => {}
        }
        let foreign =
            Cookie::new("evenkeel", Duration::from_secs(60), &format!("pool-{pool}"), [&[3; 32][..]].into_iter());
        assert!(!matches!(foreign.read([&value[..]].into_iter(), now), Read::Valid(_)), "another secret");
    }
}

#[test]
fn cookies() {
    compare("cookies", |dice| match dice.below(4) {
        0 | 1 => of_request(dice),
        2 => of_response(dice),
        _ => ours(dice),
    });
}
