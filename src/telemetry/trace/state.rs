//! The `tracestate` field: what systems that trace say to each other of a trace (www.w3.org/TR/trace-context-1, section 3.3).
//! Read and bounded, never added to. Called by `proxy` for callers that are believed. Hot path for those.

/// Members of a list; one that has more is no list.
const MOST: usize = 32;
/// Bytes that are passed on.
const BYTES: usize = 512;
/// Longer members go first where there are too many bytes.
const LONG: usize = 128;

/// Appends what is passed on of `values`, the request's fields in their order, to `out`. False: nothing is, as one of them
/// cannot be read, a key stands twice, or there are more than 32.
pub fn join<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> bool {
    let (mut members, mut count) = ([&[][..]; MOST], 0);
    let written = values.flat_map(|value| value.split(|&byte| byte == b','));
    for member in written.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        let Some(key) = key(member) else { return false };
        let known = members[..count].iter().any(|other| other.starts_with(key) && other.get(key.len()) == Some(&b'='));
        if known || count == MOST {
            return false;
        }
        members[count] = member;
        count += 1;
    }
    shorten(&mut members[..count]);
    let mut first = true;
    for member in members[..count].iter().filter(|member| !member.is_empty()) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    !first
}

/// Empties members until the rest fits: the long ones, then the others, the last ones first (section 3.3.1.5).
fn shorten(members: &mut [&[u8]]) {
    let mut bytes: usize = members.iter().map(|member| member.len() + 1).sum();
    for most in [LONG, 0] {
        for member in members.iter_mut().rev() {
            if bytes > BYTES + 1 && member.len() > most {
                bytes -= member.len() + 1;
                *member = &[];
            }
        }
    }
}

/// The key of a member, if both it and its value are well formed.
fn key(member: &[u8]) -> Option<&[u8]> {
    let (key, value) = member.split_at(member.iter().position(|&byte| byte == b'=')?);
    let value = &value[1..];
    let fine = value.iter().all(|&byte| matches!(byte, b' '..=b'~') && !b",=".contains(&byte));
    let ends = value.last().is_some_and(|&byte| byte != b' ');
    (is_key(key) && fine && ends && value.len() <= 256).then_some(key)
}

/// `vendor` or `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let rest =
        |text: &[u8]| text.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'));
    let letter = |text: &[u8]| text.first().is_some_and(u8::is_ascii_lowercase);
    match key.iter().position(|&byte| byte == b'@') {
        None => letter(key) && key.len() <= 256 && rest(key),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            let begins = tenant.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
            begins && tenant.len() <= 241 && rest(tenant) && letter(vendor) && vendor.len() <= 14 && rest(vendor)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined<T: AsRef<[u8]>>(values: &[T]) -> Option<String> {
        let mut out = Vec::new();
        let fine = join(values.iter().map(AsRef::as_ref), &mut out);
        assert_eq!(fine, !out.is_empty());
        fine.then(|| String::from_utf8(out).unwrap())
    }

    // The cases of the W3C's own test suite (github.com/w3c/trace-context, test/test.py).
    #[test]
    fn lists_are_joined_in_their_order_without_white_space_and_empty_members() {
        for (values, expected) in [
            (&["foo=1"][..], "foo=1"),
            (&["foo=1,bar=2"], "foo=1,bar=2"),
            (&["foo=1", "", "bar=2"], "foo=1,bar=2"),
            (&["foo=1,", "bar=2,rojo=1", "congo=2"], "foo=1,bar=2,rojo=1,congo=2"),
            (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
            (&["foo=1\t \t,\t \tbar=2", " \tbaz=3 \t "], "foo=1,bar=2,baz=3"),
            (&["foo= 1"], "foo= 1"),
            (&["foo@vendor=1,0t@v=2"], "foo@vendor=1,0t@v=2"),
            (&["a_-*/9=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~"], "a_-*/9=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~"),
        ] {
            assert_eq!(joined(values).as_deref(), Some(expected), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_not_passed_on() {
        for value in [
            "",
            " ",
            ",",
            "foo",
            "foo=",
            "=1",
            "foo =1",
            "FOO=1",
            "foo.bar=1",
            "foo@=1,bar=2",
            "@foo=1,bar=2",
            "foo@@bar=1,bar=2",
            "foo@bar@baz=1,bar=2",
            "foo=1,foo=1",
            "foo=1,foo=2",
            "foo=bar=baz",
            "foo=,bar=3",
            "foo=1\u{7f}",
            "foo=\u{e9}",
            "9foo=1",
            "_foo=1",
            "foo@9v=1",
            "foo=1;bar=2=",
        ] {
            assert_eq!(joined(&[value]), None, "{value:?}");
        }
    }

    #[test]
    fn keys_and_values_have_bounds() {
        let times = |text: &str, times| text.repeat(times);
        for (key, fine) in [
            (times("z", 256), true),
            (times("z", 257), false),
            (format!("{}@{}", times("t", 241), times("v", 14)), true),
            (format!("{}@v", times("t", 242)), false),
            (format!("t@{}", times("v", 15)), false),
        ] {
            assert_eq!(joined(&[format!("{key}=1")]).is_some(), fine, "{key}");
        }
        assert!(joined(&[format!("a={}", times("1", 256))]).is_some());
        assert!(joined(&[format!("a={}", times("1", 257))]).is_none());
    }

    #[test]
    fn there_are_32_members_at_the_most() {
        let list = |count| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>();
        assert_eq!(joined(&list(32)), Some(list(32).join(",")));
        assert_eq!(joined(&[list(32).join(",")]), Some(list(32).join(",")));
        assert_eq!((joined(&list(33)), joined(&[list(33).join(",")])), (None, None));
    }

    #[test]
    fn beyond_512_bytes_long_members_go_first_and_then_the_last_ones() {
        let long = format!("long={}", "x".repeat(200));
        let member = |number| format!("k{number:02}={}", "v".repeat(60));
        let seven: Vec<_> = (0..7).map(member).collect();
        assert_eq!(joined(&[format!("{long},{}", seven.join(","))]), Some(seven.join(",")));
        let nine: Vec<_> = (0..9).map(member).collect();
        assert_eq!(joined(&[nine.join(",")]), Some(nine[..7].join(",")), "of 64 bytes and a comma each");
        let exactly = format!("a={},b={}", "1".repeat(253), "2".repeat(254));
        assert_eq!(exactly.len(), 512);
        assert_eq!(joined(&[exactly.as_str()]).as_deref(), Some(&*exactly));
        let more = format!("a={},b={},c=3", "1".repeat(254), "2".repeat(254));
        assert_eq!(joined(&[more.as_str()]), Some(format!("a={},c=3", "1".repeat(254))), "no more than has to go");
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_short_and_is_read_as_it_is(values in prop::collection::vec("[a-c=, @~0\t]{0,40}|[a-z]{1,4}=[ -~]{0,300}", 0..6)) {
            if let Some(state) = joined(&values) {
                prop_assert!(state.len() <= BYTES && state.split(',').count() <= MOST);
                prop_assert_eq!(joined(&[state.as_str()]), Some(state));
            }
        }
    }
}
