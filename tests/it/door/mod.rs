//! The door: who may connect, how many from one address, who makes room when places run short, and clients that are slow.

mod access;
mod per_ip;
mod pressure;
mod slow;

use std::net::SocketAddr;

use crate::support::{Backend, Client, Evenkeel, Setup};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// evenkeel with these keys of its listener.
fn with(backend: &Backend, keys: &str) -> Evenkeel {
    Setup::to(&[backend.address()]).listener(keys).start()
}

/// How many connections have been closed for `reason`.
fn closed(evenkeel: &Evenkeel, reason: &str) -> f64 {
    evenkeel.metric("evenkeel_connections_closed_total", &[("listener", "web"), ("reason", reason)])
}

/// A connection from 127.0.0.`source` that has been answered; none, if it was closed without a word.
fn answered(source: u8, address: SocketAddr) -> Option<Client> {
    let mut client = Client::from(source, address).ok()?;
    client.try_send(GET).ok()?;
    let response = client.try_response("GET").ok()?;
    assert_eq!(response.status, 200, "{response:?}");
    Some(client)
}
