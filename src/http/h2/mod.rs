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
mod tap;
mod watch;

pub use client::{Driver, Reply, Session, Unsent, connect};
pub use flood::Flood;
pub use maps::Maps;
pub(super) use serve::answer;
pub use serve::{Ended, Opened, serve};
pub use stream::{Receiver, Sender};
pub use tap::Tap;

/// What a client of prior knowledge begins with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
