//! HTTP/2 (RFC 9113) by the `h2` crate, used directly: one task a stream.

mod request;
mod serve;
mod stream;

pub use serve::serve;
pub use stream::{Receiver, Sender};
