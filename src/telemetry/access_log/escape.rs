//! Text of strangers made harmless for a line of the log. Called by `line`.

use std::io::Write as _;

/// Bytes that stand for themselves in a JSON string, on every terminal: printable ASCII but `"` and `\`.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

/// Appends `bytes` as the inside of a JSON string. What is not UTF-8 becomes U+FFFD. Beyond what JSON asks for, DEL, the
/// C1 controls and the line separators U+2028 and U+2029 are escaped too: terminals obey them, or split lines there.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().all(|&byte| is_plain(byte)) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        json_text(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        if !character.is_control() && !matches!(character, '"' | '\\' | '\u{2028}' | '\u{2029}') {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[copied..at]);
        copied = at + character.len_utf8();
        match character {
            '"' => out.extend_from_slice(br#"\""#),
            '\\' => out.extend_from_slice(br"\\"),
            '\n' => out.extend_from_slice(br"\n"),
            '\r' => out.extend_from_slice(br"\r"),
            '\t' => out.extend_from_slice(br"\t"),
            '\u{8}' => out.extend_from_slice(br"\b"),
            '\u{c}' => out.extend_from_slice(br"\f"),
            other => write!(out, "\\u{:04x}", u32::from(other)).expect("a Vec takes every byte"),
        }
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
}

/// Appends `bytes` as the inside of a quoted field of the combined format: as nginx does, all but printable ASCII, and
/// `"` and `\`, is written as `\xHH`.
pub(super) fn quoted(bytes: &[u8], out: &mut Vec<u8>) {
    hex_unless(is_plain, bytes, out);
}

/// Appends `bytes` as a word of the combined format: as [`quoted`], and a space is escaped too.
pub(super) fn word(bytes: &[u8], out: &mut Vec<u8>) {
    hex_unless(|byte| is_plain(byte) && byte != b' ', bytes, out);
}

fn hex_unless(stands: impl Fn(u8) -> bool, bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if stands(byte) {
            out.push(byte);
        } else {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_control_is_escaped_as_serde_json_does_and_del_c1_and_line_separators_too() {
        for byte in 0..0x20 {
            let ours = format!("\"{}\"", escaped(json, &[byte]));
            assert_eq!(ours, serde_json::to_string(char::from(byte).encode_utf8(&mut [0; 4])).unwrap());
        }
        assert_eq!(escaped(json, "\u{7f}\u{9b}2J\u{2028}é\"\\".as_bytes()), r#"\u007f\u009b2J\u2028é\"\\"#);
        assert_eq!(escaped(json, b"a\xff\xfe\"b\xe2\x82"), "a\u{fffd}\u{fffd}\\\"b\u{fffd}");
    }

    #[test]
    fn the_combined_format_holds_printable_ascii_alone() {
        assert_eq!(escaped(quoted, "a b\"\\\n\u{1b}é\x7f".as_bytes()), r"a b\x22\x5C\x0A\x1B\xC3\xA9\x7F");
        assert_eq!(escaped(word, b"a b]"), r"a\x20b]");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_from_json_as_their_lossy_text(bytes: Vec<u8>) {
            let ours = format!("\"{}\"", escaped(json, &bytes));
            prop_assert_eq!(serde_json::from_str::<String>(&ours).unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn text_without_what_terminals_obey_is_written_as_serde_json_does(text: String) {
            let special = |character| matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
            prop_assume!(!text.contains(special));
            prop_assert_eq!(format!("\"{}\"", escaped(json, text.as_bytes())), serde_json::to_string(&text).unwrap());
        }
    }
}
