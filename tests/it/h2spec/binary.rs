//! h2spec itself, where `H2SPEC_BIN` says where it is: the same two groups.

use std::io::Write;
use std::process::Command;

use super::address;

#[test]
fn h2spec_itself_finds_nothing() {
    let Some(binary) = std::env::var_os("H2SPEC_BIN") else {
        // Not by a macro: those are silent in a test that passes.
        writeln!(std::io::stderr(), "SKIPPED: H2SPEC_BIN does not say where h2spec is").unwrap();
        return;
    };
    let (host, port) = (address().ip().to_string(), address().port().to_string());
    let args = ["generic", "http2", "--host", &host, "--port", &port, "--timeout", "5"];
    let output = Command::new(binary).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("tests,"), "h2spec ran nothing: {output:?}");
    assert!(output.status.success(), "{said}");
}
