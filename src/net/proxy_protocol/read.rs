//! Takes a header off a fresh connection, and not a byte more: what follows is the client's own, TLS or HTTP.

use super::{LONGEST, Malformed, Proxied, parse};
use crate::net::Stream;
use std::{
    fmt,
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

/// Why there is no header.
#[derive(Debug)]
pub enum NoHeader {
    /// What came is none.
    Malformed(Malformed),
    /// The peer closed before its first byte: it only looked whether somebody listens.
    Closed,
    /// The connection ended inside the header, or broke.
    Broken(io::Error),
}

impl fmt::Display for NoHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Closed => f.write_str("closed before a header"),
            Self::Broken(error) => write!(f, "the connection ended inside the header: {error}"),
        }
    }
}

/// Reads the header that `stream` begins with. The caller bounds the time.
///
/// # Errors
/// There is none: the connection must be closed.
pub async fn read(stream: &Stream) -> Result<Proxied, NoHeader> {
    let mut held = Vec::new();
    poll_fn(|cx| poll(stream, &mut held, cx)).await
}

/// Looks at what is there, then takes what is of the header. While one is not whole, all that is there belongs to it.
fn poll(stream: &Stream, held: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<Result<Proxied, NoHeader>> {
    loop {
        let mut room = [0; LONGEST];
        let before = held.len();
        room[..before].copy_from_slice(held);
        let seen = ready!(stream.poll_peek(cx, &mut room[before..])).map_err(NoHeader::Broken)?;
        if seen == 0 {
            let cut = NoHeader::Broken(io::ErrorKind::UnexpectedEof.into());
            return Poll::Ready(Err(if held.is_empty() { NoHeader::Closed } else { cut }));
        }
        let parsed = parse(&room[..before + seen]).map_err(NoHeader::Malformed)?;
        let (proxied, end) = match parsed {
            Some((proxied, end)) => (Some(proxied), end),
            None => (None, before + seen),
        };
        // It has just been seen: it comes whole.
        let taken = ready!(stream.poll_read(cx, &mut room[before..end])).map_err(NoHeader::Broken)?;
        held.extend_from_slice(&room[before..before + taken]);
        match proxied {
            Some(proxied) if held.len() == end => return Poll::Ready(Ok(proxied)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::ProxyVersion, net::proxy_protocol::write};
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stream::fresh(ours), peer)
    }

    fn header() -> Vec<u8> {
        let mut header = Vec::new();
        let addresses = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        write(ProxyVersion::V2, Some(addresses), &Default::default(), &mut header);
        header
    }

    #[tokio::test]
    async fn what_follows_the_header_stays() {
        let (stream, mut peer) = pair();
        peer.write_all(&[&header()[..], b"GET /"].concat()).unwrap();
        let proxied = read(&stream).await.unwrap();
        assert_eq!(proxied.addresses.unwrap().0.port(), 1);
        let mut room = [0; 64];
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap(), 5);
        assert_eq!(&room[..5], b"GET /");
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        let (stream, mut peer) = pair();
        peer.set_nodelay(true).unwrap();
        let header = header();
        let reader = async { tokio::time::timeout(Duration::from_secs(10), read(&stream)).await.unwrap().unwrap() };
        let writer = async {
            for byte in &header {
                peer.write_all(&[*byte]).unwrap();
                tokio::task::yield_now().await;
            }
            peer.write_all(b"x").unwrap();
        };
        let (proxied, ()) = tokio::join!(reader, writer);
        assert!(proxied.addresses.is_some());
        let mut room = [0; 64];
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_no_header_is_told_apart() {
        let (stream, peer) = pair();
        drop(peer);
        assert!(matches!(read(&stream).await, Err(NoHeader::Closed)));
        let (stream, mut peer) = pair();
        peer.write_all(b"PROXY TC").unwrap();
        drop(peer);
        assert!(matches!(read(&stream).await, Err(NoHeader::Broken(_))));
        let (stream, mut peer) = pair();
        peer.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert!(matches!(read(&stream).await, Err(NoHeader::Malformed(Malformed::Signature))));
        drop(stream);
        assert!(!matches!(peer.read(&mut [0]), Ok(1..)), "nothing was said");
    }
}
