//! A connected socket that is read and written through `&self`, so that one task moves both directions. Hot path.
//!
//! The `RefCell` is borrowed inside a poll alone. A fresh connection is not known to the reactor before it has to wait:
//! short exchanges never pay for it.

use super::{pipe::Pipe, sys};
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    task::coop,
};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A process of this machine.
    Unix,
}

/// TCP, a unix socket, or TLS over TCP.
#[derive(Debug)]
pub struct Stream {
    inner: RefCell<Inner>,
    /// Written once: from the second write on, nothing must wait for Nagle (RFC 896).
    wrote: Cell<bool>,
    nodelay: Cell<bool>,
    /// Closing is to be noticed as a failure.
    resets: Cell<bool>,
    /// Whose waker the reactor will wake when a read would give something; 0 = perhaps nobody's.
    waits: Cell<usize>,
}

#[derive(Debug)]
enum Inner {
    /// Accepted, and not yet known to the reactor.
    Fresh(std::net::TcpStream),
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    /// Only between two states of a registration that failed.
    Closed,
}

impl Stream {
    fn new(inner: Inner, nodelay: bool) -> Self {
        let (inner, nodelay) = (RefCell::new(inner), Cell::new(nodelay));
        Self { inner, wrote: Cell::new(false), nodelay, resets: Cell::new(false), waits: Cell::new(0) }
    }

    /// A connection as it was accepted: non-blocking, and not registered.
    pub fn fresh(stream: std::net::TcpStream) -> Self {
        Self::new(Inner::Fresh(stream), false)
    }

    /// A connected unix socket.
    pub fn unix(stream: UnixStream) -> Self {
        Self::new(Inner::Unix(stream), true)
    }

    /// A connected TCP socket.
    pub fn tcp(stream: TcpStream) -> Self {
        Self::new(Inner::Tcp(stream), false)
    }

    /// A TLS session, either side, after its handshake.
    pub fn tls(stream: tokio_rustls::TlsStream<TcpStream>) -> Self {
        let _ = stream.get_ref().0.set_nodelay(true);
        Self::new(Inner::Tls(Box::new(stream)), true)
    }

    /// Both sides have agreed on HTTP/2 (ALPN, RFC 7301).
    pub fn agreed_on_h2(&self) -> bool {
        match &*self.inner.borrow() {
            Inner::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            _ => false,
        }
    }

    /// The TCP socket below, for a handshake.
    ///
    /// # Errors
    /// This is no TCP socket, or the reactor refuses it.
    pub fn into_tcp(self) -> io::Result<TcpStream> {
        let mut inner = self.inner.into_inner();
        inner.register()?;
        match inner {
            Inner::Tcp(stream) => Ok(stream),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Not yet registered: its end cannot wake anybody.
    pub fn is_fresh(&self) -> bool {
        matches!(*self.inner.borrow(), Inner::Fresh(_))
    }

    /// Bytes may go from here to another plain TCP socket without passing through user space.
    pub fn can_splice(&self) -> bool {
        matches!(*self.inner.borrow(), Inner::Fresh(_) | Inner::Tcp(_))
    }

    /// Reads into `room`. 0 = the peer has finished sending.
    pub fn poll_read(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        self.waits.set(0);
        let mut inner = self.inner.borrow_mut();
        if let Inner::Tls(stream) = &mut *inner {
            let mut buf = ReadBuf::new(room);
            ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
            return Poll::Ready(Ok(buf.filled().len()));
        }
        // A task that always finds bytes gives way after a while.
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            match inner.read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(inner.poll_readable(cx))?,
                answer => {
                    turn.made_progress();
                    return Poll::Ready(answer);
                }
            }
        }
    }

    /// Copies into `room` what a read would give, and leaves it there. 0 = the peer has finished sending. Plain sockets
    /// alone: it is for what comes before a session.
    pub fn poll_peek(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        self.waits.set(0);
        let mut inner = self.inner.borrow_mut();
        loop {
            match inner.peek(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(inner.poll_readable(cx))?,
                answer => return Poll::Ready(answer),
            }
        }
    }

    /// Where a client reaches this socket, if it is one of TCP.
    pub fn local(&self) -> Option<SocketAddr> {
        match &*self.inner.borrow() {
            Inner::Fresh(stream) => stream.local_addr().ok(),
            Inner::Tcp(stream) => stream.local_addr().ok(),
            Inner::Tls(stream) => stream.get_ref().0.local_addr().ok(),
            Inner::Unix(_) | Inner::Closed => None,
        }
    }

    /// Whom a TCP connection of ours goes to.
    pub fn remote(&self) -> Option<SocketAddr> {
        match &*self.inner.borrow() {
            Inner::Fresh(stream) => stream.peer_addr().ok(),
            Inner::Tcp(stream) => stream.peer_addr().ok(),
            Inner::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
            Inner::Unix(_) | Inner::Closed => None,
        }
    }

    /// Ready when a read would give something: bytes, the end, or an error. Holds no buffer, and costs no system call
    /// until there is an event. For TLS: bytes on the wire, which may turn out to be no plaintext.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.is_believed_readable() {
            self.waits.set(0);
            return Poll::Ready(Ok(()));
        }
        // A waker stays with the reactor until there is an event; and an event shows above until something is read.
        let task = cx.waker().data().addr();
        if self.waits.get() == task {
            return Poll::Pending;
        }
        // Without budget the task is woken at once instead; and what a session layer reads is not seen here.
        let registers = coop::has_budget_remaining() && !matches!(inner, Inner::Tls(_));
        let ready = inner.poll_readable(cx);
        self.waits.set(if registers && ready.is_pending() { task } else { 0 });
        ready
    }

    /// An idle connection is still open and silent, as far as is known here: the reactor's cached readiness, and a look
    /// at the socket when that is not clean. `certain` looks in any case.
    pub fn is_quiet(&self, certain: bool) -> bool {
        let mut inner = self.inner.borrow_mut();
        if let Inner::Tls(stream) = &mut *inner
            && holds_plaintext(stream)
        {
            return false;
        }
        let believed = matches!(*inner, Inner::Fresh(_) | Inner::Closed) || inner.is_believed_readable();
        drop(inner);
        if believed {
            return self.peek_is_empty();
        }
        !certain || self.look().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Looks at the socket itself, whatever the reactor believes.
    fn look(&self) -> io::Result<()> {
        match &*self.inner.borrow() {
            Inner::Tcp(stream) => look_at(stream.as_fd()),
            Inner::Unix(stream) => look_at(stream.as_fd()),
            Inner::Tls(stream) => look_at(stream.get_ref().0.as_fd()),
            Inner::Fresh(stream) => look_at(stream.as_fd()),
            Inner::Closed => Ok(()),
        }
    }

    /// No byte and no end is waiting, though the reactor believes so: that belief is cleared on the way.
    fn peek_is_empty(&self) -> bool {
        self.waits.set(0);
        let answer = match &*self.inner.borrow() {
            Inner::Tcp(stream) => stream.try_io(Interest::READABLE, || look_at(stream.as_fd())),
            Inner::Unix(stream) => stream.try_io(Interest::READABLE, || look_at(stream.as_fd())),
            Inner::Tls(stream) => {
                let socket = stream.get_ref().0;
                socket.try_io(Interest::READABLE, || look_at(socket.as_fd()))
            }
            Inner::Fresh(stream) => look_at(stream.as_fd()),
            Inner::Closed => return false,
        };
        answer.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes what it can of `pieces`.
    pub fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.wrote.replace(true) && !self.nodelay.get() {
            self.set_nodelay();
        }
        let mut inner = self.inner.borrow_mut();
        if let Inner::Tls(stream) = &mut *inner {
            return match pieces {
                [piece] => Pin::new(stream).poll_write(cx, piece),
                pieces => Pin::new(stream).poll_write_vectored(cx, pieces),
            };
        }
        loop {
            match inner.write(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(inner.poll_writable(cx))?,
                answer => return Poll::Ready(answer),
            }
        }
    }

    /// Sends what a session layer still holds (TLS); nothing to do on plain sockets.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.inner.borrow_mut() {
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ends our sending side; the peer may go on.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.inner.borrow_mut() {
            Inner::Fresh(stream) => Poll::Ready(stream.shutdown(std::net::Shutdown::Write)),
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Says in a TLS session that nothing more comes: without that, the peer takes what it got for cut off (RFC 8446
    /// section 6.1). Sent if there is room for it; nobody waits for a peer that does not read.
    pub fn take_leave(&self, cx: &mut Context<'_>) {
        if let Inner::Tls(stream) = &mut *self.inner.borrow_mut()
            && !self.resets.get()
        {
            match &mut **stream {
                tokio_rustls::TlsStream::Server(stream) => stream.get_mut().1.send_close_notify(),
                tokio_rustls::TlsStream::Client(stream) => stream.get_mut().1.send_close_notify(),
            }
            let _ = Pin::new(stream).poll_flush(cx);
        }
    }

    /// Closing will reset the connection, so that the peer does not take what it got for the whole.
    pub fn reset(&self) {
        use socket2::SockRef;
        self.resets.set(true);
        let zero = Some(std::time::Duration::ZERO);
        // A socket that refuses it is closed in the ordinary way.
        let _ = match &*self.inner.borrow() {
            Inner::Fresh(stream) => SockRef::from(stream).set_linger(zero),
            Inner::Tcp(stream) => SockRef::from(stream).set_linger(zero),
            Inner::Tls(stream) => SockRef::from(stream.get_ref().0).set_linger(zero),
            Inner::Unix(_) | Inner::Closed => Ok(()),
        };
    }

    /// No more waiting for acknowledgements before small packets (TCP_NODELAY). Set once, when it first matters.
    pub fn set_nodelay(&self) {
        self.nodelay.set(true);
        // A socket that refuses it is about to fail anyway, and says so at the write.
        let _ = match &*self.inner.borrow() {
            Inner::Fresh(stream) => stream.set_nodelay(true),
            Inner::Tcp(stream) => stream.set_nodelay(true),
            _ => Ok(()),
        };
    }

    /// Wakes readers only from `bytes` on; 1 is the default, and must be restored before the next head is awaited.
    pub fn receive_low_water(&self, bytes: i32) -> io::Result<()> {
        match &*self.inner.borrow() {
            Inner::Tcp(stream) => sys::receive_low_water(stream, bytes),
            Inner::Fresh(stream) => sys::receive_low_water(stream, bytes),
            _ => Ok(()),
        }
    }

    /// Moves up to `most` bytes from this socket into an empty `pipe`. 0 = the peer has finished sending.
    pub fn poll_splice_in(&self, cx: &mut Context<'_>, pipe: &mut Pipe, most: usize) -> Poll<io::Result<usize>> {
        self.waits.set(0);
        self.inner.borrow_mut().register()?;
        let inner = self.inner.borrow();
        let Inner::Tcp(stream) = &*inner else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_io(Interest::READABLE, || pipe.fill(stream.as_fd(), most)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return Poll::Ready(answer),
            }
        }
    }

    /// Moves what is in `pipe` to this socket; `more` = another piece will follow at once.
    pub fn poll_splice_out(&self, cx: &mut Context<'_>, pipe: &mut Pipe, more: bool) -> Poll<io::Result<usize>> {
        if self.wrote.replace(true) && !self.nodelay.get() {
            self.set_nodelay();
        }
        self.inner.borrow_mut().register()?;
        let inner = self.inner.borrow();
        let Inner::Tcp(stream) = &*inner else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || pipe.drain(stream.as_fd(), more)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return Poll::Ready(answer),
            }
        }
    }
}

impl Inner {
    /// Makes a fresh connection known to the reactor.
    fn register(&mut self) -> io::Result<()> {
        if !matches!(self, Self::Fresh(_)) {
            return Ok(());
        }
        if let Self::Fresh(stream) = std::mem::replace(self, Self::Closed) {
            *self = Self::Tcp(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    /// There was an event since the last read that was short, as far as the reactor knows.
    fn is_believed_readable(&self) -> bool {
        let nothing = || Ok(());
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, nothing).is_ok(),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, nothing).is_ok(),
            Self::Tls(stream) => stream.get_ref().0.try_io(Interest::READABLE, nothing).is_ok(),
            Self::Fresh(_) | Self::Closed => false,
        }
    }

    /// Reads, if the reactor believes that there is something. A short read tells it that there is no more: its events
    /// come on edges, so that the read which would say so is spared.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (mut got, most) = (0, room.len());
        let mut read = |fd: BorrowedFd<'_>| {
            got = rustix::net::recv(fd, &mut *room, rustix::net::RecvFlags::empty())?.0;
            if (1..most).contains(&got) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let answer = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || read(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || read(stream.as_fd())),
            Self::Fresh(stream) => read(stream.as_fd()),
            Self::Tls(_) | Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        if got > 0 { Ok(got) } else { answer.map(|()| 0) }
    }

    /// Looks at what is there, if the reactor believes that there is something.
    fn peek(&self, room: &mut [u8]) -> io::Result<usize> {
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let mut peek = |fd: BorrowedFd<'_>| Ok(rustix::net::recv(fd, &mut *room, flags)?.0);
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
            Self::Fresh(stream) => peek(stream.as_fd()),
            Self::Tls(_) | Self::Closed => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes, if the reactor believes that there is room. A short write tells it that there is no more.
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut gone = 0;
        let mut write = |fd: BorrowedFd<'_>| {
            let (sent, whole) = match pieces {
                [piece] => (rustix::net::send(fd, piece, rustix::net::SendFlags::NOSIGNAL)?, piece.len()),
                pieces => (rustix::io::writev(fd, pieces)?, pieces.iter().map(|piece| piece.len()).sum()),
            };
            gone = sent;
            if (1..whole).contains(&sent) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let answer = match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || write(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || write(stream.as_fd())),
            Self::Fresh(stream) => write(stream.as_fd()),
            Self::Tls(_) | Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        if gone > 0 { Ok(gone) } else { answer.map(|()| 0) }
    }

    /// Ready when a read would give something. Makes a fresh connection known to the reactor.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register()?;
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => {
                if holds_plaintext(stream) {
                    return Poll::Ready(Ok(()));
                }
                stream.get_ref().0.poll_read_ready(cx)
            }
            Self::Fresh(_) | Self::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Ready when a write would take something. Makes a fresh connection known to the reactor.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register()?;
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// `WouldBlock` = nothing waits; anything else is a byte, the end, or an error.
fn look_at(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    rustix::net::recv(fd, &mut [0; 1][..], flags).map(|_| ()).map_err(io::Error::from)
}

/// Bytes have been decrypted and not yet read, or the session has ended.
fn holds_plaintext(stream: &mut tokio_rustls::TlsStream<TcpStream>) -> bool {
    let chunk = match stream {
        tokio_rustls::TlsStream::Client(session) => session.get_mut().1.reader().into_first_chunk().map(<[u8]>::len),
        tokio_rustls::TlsStream::Server(session) => session.get_mut().1.reader().into_first_chunk().map(<[u8]>::len),
    };
    !chunk.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = ready!(Stream::poll_read(&self, cx, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(&self, cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(&self, cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(&self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(&self, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, io::Write, time::Duration};

    /// Both ends of a connection: ours, known to the reactor, and the peer's.
    fn pair() -> (Stream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stream::fresh(ours), peer)
    }

    async fn readable(stream: &Stream) {
        let ready = poll_fn(|cx| stream.poll_read_ready(cx));
        tokio::time::timeout(Duration::from_secs(10), ready).await.expect("somebody is woken").unwrap();
    }

    #[tokio::test]
    async fn a_task_that_asks_again_and_again_is_woken_by_each_event() {
        let (stream, mut peer) = pair();
        for turn in 0..3 {
            for _ in 0..2 {
                let asked = poll_fn(|cx| Poll::Ready(stream.poll_read_ready(cx))).await;
                assert!(asked.is_pending() && stream.is_quiet(true), "turn {turn}");
            }
            peer.write_all(b"ab").unwrap();
            readable(&stream).await;
            assert!(!stream.is_quiet(false));
            let mut room = [0; 16];
            assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut room)).await.unwrap(), 2, "turn {turn}");
        }
        drop(peer);
        readable(&stream).await;
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut [0; 16])).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn another_task_is_woken_in_place_of_the_first() {
        let (stream, mut peer) = pair();
        let stream = std::rc::Rc::new(stream);
        let local = tokio::task::LocalSet::new();
        let (here, there) = (std::rc::Rc::clone(&stream), std::rc::Rc::clone(&stream));
        local
            .run_until(async move {
                let first = async move { poll_fn(|cx| Poll::Ready(here.poll_read_ready(cx).is_pending())).await };
                assert!(tokio::task::spawn_local(first).await.unwrap());
                let second = tokio::task::spawn_local(async move { readable(&there).await });
                tokio::task::yield_now().await;
                peer.write_all(b"x").unwrap();
                second.await.unwrap();
            })
            .await;
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_for_room_and_arrives_whole() {
        let (stream, mut peer) = pair();
        let (piece, count) = (vec![7; 256 * 1024], 64);
        let reader = std::thread::spawn(move || io::copy(&mut peer, &mut io::sink()).unwrap());
        for _ in 0..count {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let (a, b) = rest.split_at(rest.len() / 2);
                let pieces = [IoSlice::new(a), IoSlice::new(b)];
                rest = &rest[poll_fn(|cx| stream.poll_write(cx, &pieces)).await.unwrap()..];
            }
        }
        drop(stream);
        assert_eq!(reader.join().unwrap(), (piece.len() * count) as u64);
    }
}
