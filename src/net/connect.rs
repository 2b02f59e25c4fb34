//! Connects to a backend, from a given source address if there is one.

use super::{Stream, sys};
use crate::config::Address;
use std::{io, net::IpAddr};
use tokio::net::{TcpSocket, UnixStream};

/// A connection to `address`. The caller bounds the time.
///
/// # Errors
/// Those of connect(2). `AddrNotAvailable`: no local port is left for this pair of addresses.
pub async fn connect(address: &Address, source: Option<IpAddr>) -> io::Result<Stream> {
    let remote = match address {
        Address::Tcp(remote) => *remote,
        Address::Unix(path) => return Ok(Stream::unix(UnixStream::connect(path).await?)),
    };
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        // Older kernels lack it: the port is then taken at bind, as it always was.
        let _ = sys::bind_address_no_port(&socket);
        socket.bind((source, 0).into())?;
    }
    Ok(Stream::tcp(socket.connect(remote).await?))
}
