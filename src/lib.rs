//! evenkeel: a standalone L7 reverse-proxy load balancer.
//!
//! # The map
//! A module imports only what stands to its left; `tests/architecture.rs` fails on an import that points right.
//! ```text
//! error telemetry < config < import < net < tls < http < balance < pool < policy < route < plan < dial < proxy
//!       < health provider < admin ha < runtime < simulate < cli main
//! ```
//! A request walks it in a straight line: `runtime::worker` accepts, [`tls`] makes a session of the connection where its
//! listener wants one, [`http`] reads the head and guards it, [`route`]
//! finds its route, [`policy`] edits it, [`proxy::handle`] leases a backend from today's table of its [`pool`], [`dial`]
//! brings a connection, the bodies are relayed, and the connection goes back. A configuration walks it too: [`config`]
//! (what was written) becomes a [`plan`] (what it means), built on what survives a reload ([`pool::Registry`]) and on what
//! DNS says of names ([`net::dns`]), and `runtime::reload` puts it in force. [`health`] finds out who is well, and control makes a new table of it.
//! [`import`] makes a configuration of nginx's or HAProxy's. [`simulate`] drives [`balance`] alone, in virtual time.
//!
//! # Words (one meaning each)
//! **client** who calls us · **listener** an address that we accept on · **pool** a named set of backends with one
//! algorithm · **backend** one address that we call · **exchange** one request and its response · **attempt** one try at
//! one backend · **plan** what a configuration means · **worker** a thread that serves · **control** the thread that does
//! all the rest · **replayable** a request whose method is idempotent (RFC 9110 section 9.2.2) and whose body we still
//! hold whole, or of which no byte was written to a backend.

pub mod admin;
pub mod balance;
pub mod cli;
pub mod config;
pub mod dial;
pub mod error;
pub mod health;
pub mod http;
pub mod import;
pub mod net;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod proxy;
pub mod route;
pub mod runtime;
pub mod simulate;
pub mod telemetry;
pub mod tls;
