//! h2spec `generic`, section 5: every representation of a field (RFC 7541 section 6). Names that h2spec calls "indexed" are
//! those of the static table; it writes most of them out all the same, and so does this.

use super::*;

/// `user-agent: h2spec` behind the representation's first byte, and the same in Huffman code.
const AGENT: &[u8] = b"\x0auser-agent\x06h2spec";
const AGENT_HUFFMAN: &[u8] = b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4";
/// `x-test: h2spec`, likewise.
const TEST: &[u8] = b"\x06x-test\x06h2spec";
const TEST_HUFFMAN: &[u8] = b"\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4";

const INCREMENTAL: &[u8] = b"\x40";
const WITHOUT: &[u8] = b"\x00";
const NEVER: &[u8] = b"\x10";

/// Sends a GET with a field in this representation.
#[track_caller]
fn takes(first: &[u8], field: &[u8]) {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, [&get(), first, field].concat());
    answered(&mut h2, 1);
}

/// Sends a GET behind updates of the dynamic table's size.
#[track_caller]
fn takes_update(updates: &[u8]) {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, [updates, &get()].concat());
    answered(&mut h2, 1);
}

#[test]
fn generic_5_case_1_indexed_field() {
    // Entry 58 of the static table, an empty user-agent.
    takes(b"\xba", b"");
}

#[test]
fn generic_5_case_2_incremental_indexing_known_name() {
    takes(INCREMENTAL, AGENT_HUFFMAN);
}

#[test]
fn generic_5_case_3_incremental_indexing_known_name_in_the_other_code() {
    takes(INCREMENTAL, AGENT);
}

#[test]
fn generic_5_case_4_incremental_indexing_new_name() {
    takes(INCREMENTAL, TEST);
}

#[test]
fn generic_5_case_5_incremental_indexing_new_name_huffman() {
    takes(INCREMENTAL, TEST_HUFFMAN);
}

#[test]
fn generic_5_case_6_without_indexing_known_name() {
    takes(WITHOUT, AGENT);
}

#[test]
fn generic_5_case_7_without_indexing_known_name_huffman() {
    takes(WITHOUT, AGENT_HUFFMAN);
}

#[test]
fn generic_5_case_8_without_indexing_new_name() {
    takes(WITHOUT, TEST);
}

#[test]
fn generic_5_case_9_without_indexing_new_name_huffman() {
    takes(WITHOUT, TEST_HUFFMAN);
}

#[test]
fn generic_5_case_10_never_indexed_known_name() {
    takes(NEVER, AGENT);
}

#[test]
fn generic_5_case_11_never_indexed_known_name_huffman() {
    takes(NEVER, AGENT_HUFFMAN);
}

#[test]
fn generic_5_case_12_never_indexed_new_name() {
    takes(NEVER, TEST);
}

#[test]
fn generic_5_case_13_never_indexed_new_name_huffman() {
    takes(NEVER, TEST_HUFFMAN);
}

#[test]
fn generic_5_case_14_table_size_update() {
    // To 128 bytes.
    takes_update(b"\x3f\x61");
}

#[test]
fn generic_5_case_15_table_size_updates() {
    // To 0 and back to 4096.
    takes_update(b"\x20\x3f\xe1\x1f");
}
