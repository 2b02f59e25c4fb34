//! The entry point for fuzzing: any bytes as cookies. They must not panic, are never taken for ours, and what is not ours
//! is passed on.

use super::{Cookie, Read, hide, read_set_cookie};
use crate::{
    http::{Head, Name},
    policy,
};
use std::time::{Duration, SystemTime};

/// `data` as a field `Cookie`, as the value of our cookie, and as a `Set-Cookie`.
pub fn cookies(data: &[u8]) {
    let ours = Cookie::new("evenkeel", Duration::from_secs(3600), "pool", [&[7; 32][..]].into_iter());
    let now = 1_800_000_000_000;
    assert_eq!(ours.read([data].into_iter(), now), Read::Invalid, "nobody else can seal one");
    let mut written = Vec::new();
    ours.write(1, data, now, true, &mut written);
    let mut empty = Vec::new();
    ours.write(1, b"", now, true, &mut empty);
    assert_eq!(written.len(), empty.len(), "nothing of it comes back");

    let field: Vec<u8> = data.iter().copied().filter(|byte| !b"\r\n\0".contains(byte)).collect();
    let name = field.split(|byte| b"=;".contains(byte)).next().unwrap_or_default().trim_ascii();
    let _ = read_set_cookie(&field, name, SystemTime::now);
    let mut head = Head::default();
    head.add(Name::Cookie, &field);
    let others = |head: &Head| -> Vec<Vec<u8>> {
        let crumbs = head.all(Name::Cookie).flat_map(|field| field.split(|&byte| byte == b';'));
        let crumbs = crumbs.map(|crumb| crumb.trim_ascii().to_vec());
        crumbs.filter(|crumb| !crumb.is_empty() && !super::is_named(crumb, name)).collect()
    };
    let before = others(&head);
    hide(&mut head, name, &mut Vec::new());
    assert_eq!(others(&head), before, "the others stay");
    assert!(policy::cookies(&head, name).next().is_none(), "ours has gone");
}
