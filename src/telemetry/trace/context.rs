//! W3C trace context, level 1: the `traceparent` field (www.w3.org/TR/trace-context-1), read and written; and whose spans are
//! recorded. Hot path.
//!
//! Called by `proxy`, which knows whom it believes: the parent of a trusted peer goes on, any other is replaced by a
//! [`Context::root`] and its `tracestate` dropped. A request with several `traceparent` fields has none.

use std::fmt;

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

/// `value` is what we would write ourselves: of version 00, with no flag that it does not have. Any other that can be read
/// is written anew (section 4.3 and 3.2.2.5).
pub fn is_plain(value: &[u8]) -> bool {
    value.len() == LENGTH && value.starts_with(b"00-") && matches!(value[LENGTH - 2..], [b'0', b'0' | b'1'])
}

/// The id of a trace; without a digit other than 0, there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// Its bytes, if there is one.
    pub fn bytes(self) -> Option<[u8; 16]> {
        Some(self.0).filter(|bytes| *bytes != [0; 16])
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
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
        // Zero means "none" (section 3.2.2.3).
        trace[15] |= u8::from(trace == [0; 16]);
        Self { trace, span: span(random()), sampled: false }
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

/// The id of a span of ours.
pub fn span(random: u64) -> [u8; 8] {
    // Zero means "none" (section 3.2.2.4).
    random.max(1).to_be_bytes()
}

/// How the trace of a request begins, or goes on, with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Its trace; and the span that a backend's would hang from: ours if it is recorded, else the caller's.
    pub context: Context,
    /// The caller's span, if the trace is the caller's.
    pub parent: Option<[u8; 8]>,
    /// Our spans of it are recorded.
    pub recorded: bool,
}

impl Begin {
    /// `parent` is what a believed caller says. `sample` is the share, of 2^32, of requests without a sampled one whose
    /// spans are recorded; `None`: nobody's are. What a caller has sampled is recorded always.
    pub fn new(parent: Option<Parent>, sample: Option<u64>, mut random: impl FnMut() -> u64) -> Self {
        let sampled = parent.is_some_and(|parent| parent.sampled);
        let recorded = sample.is_some_and(|share| sampled || random() >> 32 < share);
        let context = match parent {
            None => Context { sampled: recorded, ..Context::root(random) },
            Some(parent) if recorded => Context { trace: parent.trace, span: span(random()), sampled: true },
            Some(parent) => Context::child(parent),
        };
        Self { context, parent: parent.map(|parent| parent.span), recorded }
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

    #[test]
    fn what_is_passed_on_as_it_came_is_what_we_would_write() {
        for (value, plain) in [
            (format!("00-{TRACE}-{SPAN}-00"), true),
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-02"), false),
            (format!("00-{TRACE}-{SPAN}-11"), false),
            (format!("01-{TRACE}-{SPAN}-01"), false),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), false),
            (format!("00-{TRACE}-{SPAN}-01-"), false),
        ] {
            assert_eq!(is_plain(value.as_bytes()), plain, "{value}");
        }
    }

    /// Bits that are different each time, in an order that is the same each time.
    fn random() -> impl FnMut() -> u64 {
        let mut state = 7_u64;
        move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state ^ state >> 32
        }
    }

    const ALL: u64 = 1 << 32;

    #[test]
    fn what_a_caller_has_sampled_is_recorded_whatever_the_share() {
        for sample in [None, Some(0), Some(ALL)] {
            for sampled in [false, true] {
                let parent = Parent { trace: [7; 16], span: [8; 8], sampled };
                let begin = Begin::new(Some(parent), sample, random());
                let recorded = sample == Some(ALL) || sampled && sample.is_some();
                assert_eq!((begin.recorded, begin.parent, begin.context.trace), (recorded, Some([8; 8]), [7; 16]));
                assert_eq!(begin.context.sampled, sampled || recorded, "{sample:?}");
                // A span that nobody records would be a gap.
                assert_eq!(begin.context.span == [8; 8], !recorded, "{sample:?} {sampled}");
            }
        }
    }

    #[test]
    fn of_the_others_a_share_is_recorded_and_said_to_be() {
        let unsampled = Parent { trace: [7; 16], span: [8; 8], sampled: false };
        for parent in [None, Some(unsampled)] {
            for (sample, least, most) in
                [(None, 0, 0), (Some(0), 0, 0), (Some(ALL / 4), 2_300, 2_700), (Some(ALL), 10_000, 10_000)]
            {
                let mut random = random();
                let begun: Vec<_> = (0..10_000).map(|_| Begin::new(parent, sample, &mut random)).collect();
                let recorded = begun.iter().filter(|begin| begin.recorded).count();
                assert!((least..=most).contains(&recorded), "{sample:?}: {recorded}");
                assert!(begun.iter().all(|begin| begin.context.sampled == begin.recorded));
                assert!(begun.iter().all(|begin| begin.parent == parent.map(|parent| parent.span)));
                let own = begun.windows(2).all(|two| two[0].context.trace != two[1].context.trace);
                assert_eq!(own, parent.is_none(), "a trace of one's own, or the caller's");
            }
        }
    }

    #[test]
    fn no_id_is_zero_and_an_id_shows_as_it_is_written() {
        let begin = Begin::new(None, None, || 0);
        assert!(TraceId(begin.context.trace).bytes().is_some() && begin.context.span != [0; 8]);
        assert_eq!(TraceId::default().bytes(), None);
        let parent = parse(format!("00-{TRACE}-{SPAN}-01").as_bytes()).unwrap();
        assert_eq!(TraceId(parent.trace).to_string(), TRACE);
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
