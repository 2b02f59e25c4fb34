//! Accepts until the kernel has no more, and rests when descriptors run out. Hot path for new connections.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// What an accept gave.
#[derive(Debug)]
pub enum Accepted {
    /// A connection: non-blocking, not registered.
    Connection(std::net::TcpStream, SocketAddr),
    /// Nothing waits.
    Empty,
    /// The process or the machine is out of descriptors or memory: rest, then try again.
    Exhausted(io::Error),
}

/// Takes one connection from `listener`, which is non-blocking.
///
/// # Errors
/// What is left after the errors of single connections (skipped) and exhaustion (told apart): a listener that is broken.
pub fn accept_ready(listener: &TcpListener) -> io::Result<Accepted> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    loop {
        match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let Some(peer) = peer else { continue };
                return Ok(Accepted::Connection(fd.into(), peer));
            }
            Err(error) => {
                use rustix::io::Errno;
                match error {
                    Errno::AGAIN => return Ok(Accepted::Empty),
                    Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                        return Ok(Accepted::Exhausted(error.into()));
                    }
                    // accept(2): errors of the new connection itself, and those already pending on it.
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::PERM
                    | Errno::NETDOWN
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::NONET
                    | Errno::HOSTUNREACH
                    | Errno::OPNOTSUPP
                    | Errno::NETUNREACH => {}
                    other => return Err(other.into()),
                }
            }
        }
    }
}
