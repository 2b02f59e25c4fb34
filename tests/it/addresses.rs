//! Addresses that are not just an IP and a port: unix sockets, and where our own connections come from.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::{fs, process, thread};

use crate::support::{Backend, Evenkeel, Setup};

#[test]
fn a_backend_may_be_a_unix_socket() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("backend-{}.sock", process::id()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend_from_slice(&byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
    });
    let port = Backend::refused();
    let tcp = format!("\"{}\"", port.address());
    let toml = Setup::to(&[port.address()]).toml().replace(&tcp, &format!("\"unix:{}\"", path.display()));
    assert_eq!(Evenkeel::start(&toml).get("/").text(), "unix");
    fs::remove_file(&path).unwrap();
}

#[test]
fn connections_to_backends_come_from_the_source_address() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        let peer = conn.wire.stream.peer_addr().unwrap().ip().to_string();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{peer}", peer.len()));
    });
    let evenkeel = Setup::to(&[backend.address()]).pool("source_address = [\"127.0.0.2\"]").start();
    assert_eq!(evenkeel.get("/").text(), "127.0.0.2");
}
