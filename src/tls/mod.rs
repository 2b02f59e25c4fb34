//! TLS by rustls, both sides, and nothing of HTTP: what a listener shows and accepts, what a pool trusts, certificates
//! that change on disk.
//!
//! [`Server`] and [`Client`] are made with a plan and shared by all workers; [`accept`] and [`connect`] make a session of a
//! fresh connection; control looks after the files with [`Watched`].

mod accept;
mod certificate;
mod client;
mod handshake;
mod names;
mod server;
#[cfg(test)]
mod testing;
mod watch;

pub use accept::{Accepting, accept};
pub use certificate::Identity;
pub use client::{Client, Refused, SystemRoots, connect, is_refusal};
pub use handshake::Handshake;
pub use server::Server;
pub use watch::{Expiry, Look, Stamp, Watched};

#[cfg(test)]
mod tests;
