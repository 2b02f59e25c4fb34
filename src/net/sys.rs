//! What no crate here offers safely. The one file with `unsafe`: a socket option set on an open descriptor, and a
//! listening socket made known to the reactor.

use std::{
    io,
    net::TcpListener,
    os::fd::{AsFd, AsRawFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Waits for connections on `socket`. Not tokio's own listener: that one registers each connection that it accepts,
/// which short exchanges should not pay for.
///
/// # Errors
/// The reactor refuses the descriptor.
pub fn watch(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: the standard listener owns its descriptor, returns the same one always, and closes it when it is dropped,
    // which the `AsyncFd` that now owns it does after it has deregistered it.
    #[allow(unsafe_code)]
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    watched.map_err(|error| error.into_parts().1)
}

/// Wakes a reader only when `bytes` are there (`SO_RCVLOWAT`, socket(7)). 1 is the kernel's default.
pub(super) fn receive_low_water(fd: impl AsFd, bytes: i32) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

/// Hands a connection over only with its first bytes, or after `seconds` (`TCP_DEFER_ACCEPT`, tcp(7)).
pub(super) fn defer_accept(fd: impl AsFd, seconds: i32) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

/// Chooses the local port at connect, when the whole four-tuple is known (`IP_BIND_ADDRESS_NO_PORT`, ip(7)).
pub(super) fn bind_address_no_port(fd: impl AsFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

fn set(fd: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `fd` is borrowed, and the kernel reads `size` bytes of `value`,
    // which outlives the call.
    #[allow(unsafe_code)]
    let answer = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const value).cast::<libc::c_void>(), size)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn options_are_taken_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        defer_accept(&listener, 10).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        receive_low_water(&stream, 4096).unwrap();
        receive_low_water(&stream, 1).unwrap();
        bind_address_no_port(&stream).unwrap();
    }

    #[tokio::test]
    async fn a_watched_socket_says_when_somebody_comes() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let watched = watch(socket).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        drop(watched.readable().await.unwrap());
        watched.get_ref().accept().unwrap();
    }

    #[test]
    fn a_wrong_option_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(receive_low_water(&file, 1).is_err());
    }
}
