//! A browser: a page with what belongs to it over one HTTP/2 connection, and a WebSocket. The page writes what it found
//! into itself, and its last image is answered when it has: the browser prints the page when all has come.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use tokio_tungstenite::tungstenite::{Message, WebSocket, handshake::derive_accept_key, protocol::Role};
use x509_cert::der::{Decode, Encode};

use super::*;
use crate::support::{Conn, Gate};

/// How many small things the page fetches beside its script, its style and its image.
const PIECES: usize = 40;

const SCRIPT: &str = include_str!("page.js");

/// Chromium, with a profile of its own that believes the certificate of `edge`.
fn dom(chromium: &Program, edge: &Edge, path: &str) -> Said {
    let profile = format!("--user-data-dir={}", edge.file("profile"));
    let believed = format!("--ignore-certificate-errors-spki-list={}", key_hash(&edge.file("localhost.pem")));
    let url = edge.https(path);
    let quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
    // CI runs as root in a container: no sandbox there, and a small /dev/shm.
    let ours = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"];
    let dump = ["--dump-dom", "--no-proxy-server", &profile, &believed, &url];
    let mut command = chromium.command(&[&quiet[..], &ours, &dump].concat());
    chromium.finish(command.env("HOME", edge.file("home")))
}

/// SHA-256 of the public key of the certificate in `file`, as Chromium wants it.
fn key_hash(file: &str) -> String {
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_file(file).unwrap();
    let certificate = x509_cert::Certificate::from_der(&der).unwrap();
    let key = certificate.tbs_certificate().subject_public_key_info().to_der().unwrap();
    BASE64_STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key))
}

/// The site: a page that runs [`SCRIPT`], what it wants, and an echo at `/chat`.
fn site() -> Backend {
    let finished = Gate::default();
    Backend::raw(move |conn, _| {
        while let Some(request) = conn.request() {
            let (kind, body) = match request.target.as_str() {
                "/chat" => return chat(conn, &request),
                "/finished" => {
                    finished.open();
                    ("text/plain", String::new())
                }
                target if target.starts_with("/last.svg") => {
                    finished.pass();
                    ("image/svg+xml", svg())
                }
                "/image.svg" => ("image/svg+xml", svg()),
                "/style.css" => ("text/css", "p { color: rgb(1, 2, 3) }".to_owned()),
                "/script.js" => ("text/javascript", SCRIPT.replace("PIECES", &PIECES.to_string())),
                "/upload" => ("text/plain", request.body.len().to_string()),
                target if target.starts_with("/piece/") => ("text/plain", target.repeat(1000)),
                target if target.starts_with("/page") => ("text/html", page()),
                // A browser asks for an icon.
                _ => ("text/plain", String::new()),
            };
            let head = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
            conn.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}"));
        }
    })
}

fn svg() -> String {
    "<svg xmlns='http://www.w3.org/2000/svg' width='3' height='2'/>".to_owned()
}

fn page() -> String {
    "<!doctype html><html><head><title>page</title><link rel=stylesheet href=/style.css></head><body><p>text</p>\
     <img id=image src=/image.svg><img src=/last.svg><pre id=found></pre><script src=/script.js></script></body></html>"
        .to_owned()
}

/// Takes the upgrade and says everything again, until the other side closes.
fn chat(conn: &mut Conn, request: &Request) {
    let Some(key) = request.field("sec-websocket-key") else { return };
    let accept = derive_accept_key(key.as_bytes());
    let head = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n");
    conn.send(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\n"));
    let mut socket = WebSocket::from_raw_socket(conn.wire.stream.try_clone().unwrap(), Role::Server, None);
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).unwrap(),
            // Pongs and the answer to a close go out by themselves.
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The line of the page's own account that begins with `name`.
fn found<'a>(said: &'a Said, name: &str) -> &'a str {
    let (_, account) = said.out.split_once("<pre id=\"found\">").unwrap_or_else(|| panic!("no account: {said:?}"));
    let line = account.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("nothing found of {name}: {said:?}"))
}

#[test]
fn a_browser_loads_a_page_and_talks() {
    let Some(chromium) = Program::find("chromium", "chromium") else { return };
    let chromium = chromium.within(120);
    let backend = site();
    let edge = Edge::new(&backend);
    let said = dom(&chromium, &edge, "/page");
    assert_eq!(found(&said, "page"), "h2", "{said:?}");
    assert_eq!(found(&said, "style"), "rgb(1, 2, 3)");
    assert_eq!(found(&said, "image"), "3x2");
    assert_eq!(found(&said, "pieces"), PIECES.to_string());
    assert_eq!(found(&said, "protocols"), "h2");
    assert_eq!(found(&said, "upload"), "300000");
    assert_eq!(found(&said, "aborted"), "AbortError");
    assert_eq!(found(&said, "chat"), "hello 100000 bytes, closed 1000 clean");
    // RFC 8441: the WebSocket is a stream among the others.
    let seen = backend.seen();
    let chat = seen.iter().find(|request| request.target == "/chat").expect("chat was found");
    assert_eq!(chat.field("via"), Some("2 evenkeel"));
}
