//! The integration tests: evenkeel between real sockets. One binary; a module is a story, and a new test belongs to the
//! story that it continues. `cargo test --test it timeouts` runs one of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

// The harness itself, without a balancer between its ends.
mod harness;

// What is refused, byte for byte, in both directions, and what is odd but legal.
mod corpus;

// HTTP/2 frame by frame: the cases of h2spec.
mod h2spec;

// What goes through, and what is changed on the way.
mod addresses;
mod bodies;
mod connect;
mod forwarding;
mod hop_by_hop;
mod mirror;
mod paths;
mod proxy_protocol;
mod splits;
mod upgrade;
mod websocket;

// Where a request goes, and what evenkeel itself has to say to it.
mod answers;
mod explain;
mod routing;

// What the names of backends stand for.
mod dns;

// Who may come in.
mod gate;

// What an operator sees of it.
mod dashboard;
mod events;
mod top;

// What goes wrong, and how it is said.
mod chaos;
mod client_gone;
mod degradation;
mod early_answer;
mod errors;
mod faults;
mod stale;
mod timeouts;

// Who comes in.
mod forward_auth;
mod tokens;

// Who gets a request, who is fit to, and who gets it next.
mod balancing;
mod breaker;
mod custom_load;
mod hash;
mod health;
mod least;
mod queue;
mod rate;
mod retries;
mod retry_codes;
mod slow_start;
mod sticky;

// The same without sockets and without time.
mod import;
mod simulate;

// What is written about it, and what those who watch it have.
mod access_log;
mod observability;
mod traces;

// Who may connect, who makes room for whom, and clients that are slow.
mod door;

// What the process holds and lets go.
mod admin_api;
mod admin_backends;
mod admin_openapi;
mod backend_drain;
mod command;
mod diagnostics;
mod diff;
mod drain;
mod kill;
mod limits;
mod memory;
mod metrics;
mod overload;
mod ports;
mod printed;
mod reload;
mod rollback;
mod shutdown;
mod systemd;
mod threads;

// What it is installed from.
mod packages;

// HTTP/2 from clients.
mod h2;
mod http2;
mod http2_backends;

// gRPC, over HTTP/2 on both sides.
mod grpc;

// TLS, both sides.
mod tls;

// Clients that others have written.
mod outside;

// Whatever bytes come: the parsers, for a bounded time.
mod fuzz;
