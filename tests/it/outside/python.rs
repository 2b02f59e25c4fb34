//! Python's `ssl` and `http.client`, by the script `client.py`.

use super::*;

const SCRIPT: &str = include_str!("client.py");

/// Plays the story `story` of the script, unless there is no Python.
fn play(edge: &Edge, story: &str) {
    let Some(python) = Program::find("python3", "python3") else { return };
    let (port, ca) = (edge.secure().port().to_string(), edge.file("ca.pem"));
    let said = python.run(&["-c", SCRIPT, story, &port, &ca]);
    assert_eq!(said.fine(), format!("{story}: fine\n"));
}

#[test]
fn versions_and_protocols() {
    let backend = Backend::ok("fine");
    play(&Edge::new(&backend), "versions");
}

#[test]
fn certificates_by_name() {
    let backend = Backend::ok("fine");
    play(&Edge::new(&backend), "names");
}

#[test]
fn sessions_are_resumed() {
    let backend = Backend::ok("fine");
    play(&Edge::new(&backend), "sessions");
}

#[test]
fn requests_on_a_kept_connection() {
    let backend = echo();
    let edge = Edge::new(&backend);
    play(&edge, "kept");
    assert!(edge.connections() <= 1.0, "every request had a connection of its own");
}

#[test]
fn the_end_is_said_and_answered() {
    let backend = Backend::ok("fine");
    play(&Edge::new(&backend), "end");
}
