//! Signals end the process as PRODUCT.md section 5 says.

use crate::support::{Backend, Process, Setup};

fn spawn(backend: &Backend) -> Process {
    Setup::to(&[backend.address()]).spawn()
}

#[test]
fn term_int_and_quit_end_with_0() {
    let backend = Backend::ok("fine");
    for signal in ["TERM", "INT", "QUIT"] {
        let mut evenkeel = spawn(&backend);
        assert_eq!(evenkeel.client().get("/").status, 200);
        evenkeel.signal(signal);
        assert_eq!(evenkeel.wait().code(), Some(0), "{signal}: {:?}", evenkeel.log());
    }
}

#[test]
fn an_idle_connection_does_not_hold_the_end_up() {
    let backend = Backend::ok("fine");
    let mut evenkeel = spawn(&backend);
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").status, 200);
    evenkeel.signal("TERM");
    assert_eq!(evenkeel.wait().code(), Some(0));
    client.assert_closed();
}
