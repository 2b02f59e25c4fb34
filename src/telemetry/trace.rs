//! W3C trace context: the `traceparent` field (www.w3.org/TR/trace-context), read and written. Hot path.
//!
//! Called by `proxy`, which decides: the parent of a trusted peer is passed on, any other is replaced by a
//! [`Context::root`] and its `tracestate` dropped. A request with several `traceparent` fields has none.

/// Length of a field of version 00, and the least of any.
const LENGTH: usize = 55;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: [u8; 16],
    /// The caller's span.
    pub span: [u8; 8],
    /// The caller may have recorded it.
    pub sampled: bool,
}

/// Reads the value of a `traceparent` field, without white space around it. `None` = it is malformed, and a new trace
/// begins. Of a version above 00 what 00 defines is read (section 4.3); `ff` is forbidden.
pub fn parse(value: &[u8]) -> Option<Parent> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let [version] = bytes(&known[..2])?;
    let whole = if version == 0 { more.is_empty() } else { more.is_empty() || more[0] == b'-' };
    if version == 0xff || !whole || [known[2], known[35], known[52]] != [b'-'; 3] {
        return None;
    }
    let (trace, span) = (bytes(&known[3..35])?, bytes(&known[36..52])?);
    let [flags] = bytes(&known[53..])?;
    (trace != [0; 16] && span != [0; 8]).then_some(Parent { trace, span, sampled: flags & 1 == 1 })
}

/// Two lower-case hexadecimal digits a byte.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

/// What goes to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that the backend's will hang from.
    pub span: [u8; 8],
    /// Somebody before the backend may have recorded the trace.
    pub sampled: bool,
}

impl Context {
    /// The trace of `parent` goes on, and its span too: a span of ours, which nobody records, would be a gap.
    pub fn child(parent: Parent) -> Self {
        let Parent { trace, span, sampled } = parent;
        Self { trace, span, sampled }
    }

    /// A new trace, not recorded by us: not sampled.
    pub fn root(mut random: impl FnMut() -> u64) -> Self {
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&random().to_be_bytes());
        trace[8..].copy_from_slice(&random().to_be_bytes());
        let mut span = random().to_be_bytes();
        // Zero means "none" (sections 3.2.2.3 and 3.2.2.4).
        trace[15] |= u8::from(trace == [0; 16]);
        span[7] |= u8::from(span == [0; 8]);
        Self { trace, span, sampled: false }
    }

    /// Appends the value of a `traceparent` field, of version 00.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = [b'-'; LENGTH];
        let half = |start: usize| u64::from_be_bytes(self.trace[start..start + 8].try_into().unwrap_or_default());
        text[..2].copy_from_slice(b"00");
        text[3..19].copy_from_slice(&hexadecimal(half(0)));
        text[19..35].copy_from_slice(&hexadecimal(half(8)));
        text[36..52].copy_from_slice(&hexadecimal(u64::from_be_bytes(self.span)));
        text[53..].copy_from_slice(if self.sampled { b"01" } else { b"00" });
        out.extend_from_slice(&text);
    }
}

/// The 16 digits of `number`.
pub fn hexadecimal(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (half, number) in digits.chunks_exact_mut(8).zip([number >> 32, number & 0xffff_ffff]) {
        // Half a byte in each byte, the highest first.
        let wide = (number | number << 16) & 0x0000_ffff_0000_ffff;
        let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
        let wide = (wide | wide << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // 1 in each byte that holds 10 or more.
        let letters = (wide + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        let text = wide + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10);
        half.copy_from_slice(&text.to_be_bytes());
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";
    const SPAN: &str = "1234567890123456";

    fn parsed(value: &str) -> Option<Parent> {
        parse(value.as_bytes())
    }

    // The cases of the W3C's own test suite (github.com/w3c/trace-context, test/test.py), by its names.

    #[test]
    fn both_valid_values_are_read() {
        let trace = [0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12];
        let span = [0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56];
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true), ("ff", true)] {
            assert_eq!(parsed(&format!("00-{TRACE}-{SPAN}-{flags}")), Some(Parent { trace, span, sampled }), "{flags}");
        }
    }

    #[test]
    fn version_0x00_has_an_exact_length() {
        for rest in [".", "-what-the-future-will-be-like"] {
            assert_eq!(parsed(&format!("00-{TRACE}-{SPAN}-01{rest}")), None, "{rest}");
        }
    }

    #[test]
    fn a_higher_version_may_have_more_behind_a_dash() {
        for version in ["cc", "01", "fe"] {
            for rest in ["", "-what-the-future-will-be-like"] {
                assert!(parsed(&format!("{version}-{TRACE}-{SPAN}-01{rest}")).is_some(), "{version} {rest}");
            }
            assert_eq!(parsed(&format!("{version}-{TRACE}-{SPAN}-01.what-the-future-will-be-not-like")), None);
        }
    }

    #[test]
    fn version_0xff_is_refused() {
        assert_eq!(parsed(&format!("ff-{TRACE}-{SPAN}-01")), None);
    }

    #[test]
    fn illegal_characters_and_wrong_lengths_of_any_part_are_refused() {
        for version in [".0", "0.", "000", "0000", "0", ""] {
            assert_eq!(parsed(&format!("{version}-{TRACE}-{SPAN}-01")), None, "version {version}");
        }
        for trace in [
            "00000000000000000000000000000000",
            ".2345678901234567890123456789012",
            "1234567890123456789012345678901.",
            "123456789012345678901234567890123",
            "1234567890123456789012345678901",
            "",
        ] {
            assert_eq!(parsed(&format!("00-{trace}-{SPAN}-01")), None, "trace {trace}");
        }
        for span in
            ["0000000000000000", ".234567890123456", "123456789012345.", "12345678901234567", "123456789012345", ""]
        {
            assert_eq!(parsed(&format!("00-{TRACE}-{span}-01")), None, "span {span}");
        }
        for flags in [".0", "0.", "001", "1", ""] {
            assert_eq!(parsed(&format!("00-{TRACE}-{SPAN}-{flags}")), None, "flags {flags}");
        }
    }

    #[test]
    fn upper_case_other_separators_and_white_space_are_refused() {
        for value in [
            format!("00-{}-{SPAN}-01", TRACE.replace("12", "AB")),
            format!("00-{TRACE}-{}-01", SPAN.replace("12", "AB")),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("CC-{TRACE}-{SPAN}-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01 "),
            String::new(),
        ] {
            assert_eq!(parsed(&value), None, "{value:?}");
        }
    }

    #[test]
    fn a_child_is_passed_on_unchanged() {
        for value in [format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-00")] {
            let mut out = b"traceparent: ".to_vec();
            Context::child(parsed(&value).unwrap()).write(&mut out);
            assert_eq!(out, format!("traceparent: {value}").into_bytes());
        }
    }

    #[test]
    fn a_root_is_valid_whatever_the_randomness() {
        let mut numbers = [0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10, 0x1112_1314_1516_1718].into_iter();
        let mut out = Vec::new();
        Context::root(|| numbers.next().unwrap()).write(&mut out);
        assert_eq!(out, b"00-0102030405060708090a0b0c0d0e0f10-1112131415161718-00");
        out.clear();
        Context::root(|| 0).write(&mut out);
        assert_eq!(out, b"00-00000000000000000000000000000001-0000000000000001-00");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace: u128, span: u64, sampled: bool) {
            prop_assume!(trace != 0 && span != 0);
            let parent = Parent { trace: trace.to_be_bytes(), span: span.to_be_bytes(), sampled };
            let mut out = Vec::new();
            Context::child(parent).write(&mut out);
            prop_assert_eq!(parse(&out), Some(parent));
        }

        #[test]
        fn no_bytes_make_it_panic(value: Vec<u8>) {
            let _ = parse(&value);
        }
    }
}
