//! HTTP/2 (RFC 9113) by the `h2` crate, used directly: one task a stream.

mod client;
mod counted;
mod flood;
mod frames;
mod maps;
mod request;
mod response;
mod serve;
mod stream;
mod streams;
mod tap;
mod watch;

pub use client::{Driver, Reply, Session, Unsent, connect};
pub use flood::Flood;
pub use maps::Maps;
pub use serve::{Ended, serve};
pub use stream::{Receiver, Sender};
pub(super) use streams::{Opened, Streams};
pub use tap::Tap;

/// What a client of prior knowledge begins with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
