//! Sockets, and nothing of HTTP: streams, buffers, listening, dialling, names, pipes, PROXY headers.

mod accept;
mod access;
mod budget;
mod buf;
mod connect;
pub mod dns;
mod listen;
mod networks;
mod per_ip;
mod pipe;
pub mod proxy_protocol;
mod stream;
mod sys;
mod timer;

pub use accept::{Accepted, accept_ready};
pub use access::Access;
pub use budget::{Budget, Permit, Queued};
pub use buf::{Buf, Buffers, LARGE, SMALL};
pub use connect::{Sources, connect, is_shortage};
pub use listen::{Listening, Passed, adopt, bind, bind_unix};
pub use networks::Networks;
pub use per_ip::{Held, Holder, PerIp};
pub use pipe::{Pipe, Splice};
pub use stream::{Peer, Stream};
pub use sys::watch;
pub use timer::Timer;
