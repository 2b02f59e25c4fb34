//! Listening sockets: one of each address per worker, shared by the kernel (`SO_REUSEPORT`, socket(7)).

use super::sys;
use crate::config::{Address, Listener};
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
};

/// Seconds that the kernel waits for the first bytes when `defer_accept` is on, if `header_timeout` is off.
const DEFER_SECONDS: i32 = 10;

/// The sockets of one listener.
#[derive(Debug)]
pub enum Listening {
    /// One a worker, all bound to the same address.
    Tcp(Vec<TcpListener>),
    /// One for all: control accepts and deals out.
    Unix(UnixListener),
}

impl Listening {
    /// Where clients reach it: with the port that the kernel chose if 0 was asked.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(sockets) => sockets.first()?.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// Binds `listener` once for each of `workers`.
///
/// # Errors
/// Those of bind(2). An address in use is one of them: a socket without `SO_REUSEPORT` is bound first, so that two
/// daemons never share a port by accident.
pub fn bind(listener: &Listener, workers: usize) -> io::Result<Listening> {
    match &listener.address {
        Address::Unix(path) => bind_unix(path).map(Listening::Unix),
        Address::Tcp(address) => {
            let probe = socket(listener, *address)?;
            let address = probe.local_addr()?.as_socket().unwrap_or(*address);
            drop(probe);
            let sockets = (0..workers).map(|_| {
                let socket = socket_shared(listener, address)?;
                socket.listen(i32::try_from(listener.backlog).unwrap_or(i32::MAX))?;
                Ok(TcpListener::from(socket))
            });
            sockets.collect::<io::Result<Vec<_>>>().map(Listening::Tcp)
        }
    }
}

fn socket(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = open(listener, address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn socket_shared(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = open(listener, address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    if listener.defer_accept {
        let seconds = listener.header_timeout.map_or(DEFER_SECONDS, |time| time.as_secs().clamp(1, 3600) as i32);
        sys::defer_accept(&socket, seconds)?;
    }
    Ok(socket)
}

fn open(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_cloexec(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(listener.ipv6_only)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Binds a unix socket. A socket file that nobody listens on any more is replaced; one that answers is in use.
///
/// # Errors
/// Those of bind(2).
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
