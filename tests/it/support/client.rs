//! A client on a bare socket: it sends the bytes that a test wants, and reads answers strictly. No read waits longer than
//! ten seconds, so that no test hangs.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::backend::reset;
use super::wire::{Fields, Framing, Head, Wire, collect, ended};

/// The longest wait for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Client {
    pub(crate) wire: Wire<TcpStream>,
}

/// An answer, with the 1xx heads that came before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) interim: Vec<Head>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// The connection ended inside the body.
    pub(crate) cut: bool,
}

impl Response {
    /// The first value of the field `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The word of PRODUCT.md section 7 in `Proxy-Status`, where evenkeel made the answer.
    pub(crate) fn word(&self) -> Option<&str> {
        let said = self.field("proxy-status")?.strip_prefix("evenkeel; error=")?;
        let (_, details) = said.split_once("details=")?;
        Some(details.trim_matches('"'))
    }

    /// Fails unless evenkeel answered `status` for the reason `word`.
    pub(crate) fn assert_refused(&self, status: u16, word: &str) {
        assert_eq!((self.status, self.word()), (status, Some(word)), "{self:?}");
    }
}

impl Client {
    /// Connects to `address`.
    pub(crate) fn h1(address: SocketAddr) -> Self {
        Self::connect(address).unwrap()
    }

    /// As [`Client::h1`], where a refusal is part of the test.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Connects from 127.0.0.`source`.
    pub(crate) fn from(source: u8, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, source], 0)).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { wire: Wire::new(stream) })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.stream.write_all(bytes.as_ref())
    }

    /// A GET and its answer.
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.exchange(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// A request with a body of known length, and its answer.
    pub(crate) fn with_body(&mut self, method: &str, target: &str, body: &[u8]) -> Response {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        self.exchange([head.as_bytes(), body].concat())
    }

    /// Sends a request and reads its answer.
    pub(crate) fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let method = if request.as_ref().starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        self.send(request);
        self.response_to(method)
    }

    /// The answer to anything but HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// The next answer, or why there is none. A body that is cut is an answer.
    pub(crate) fn try_response(&mut self, method: &str) -> io::Result<Response> {
        let (interim, head) = self.try_head()?;
        let framing = head.response_framing(method)?;
        let (body, trailers, cut) = collect(&mut self.wire, framing)?;
        Ok(Response { status: head.status()?, head, interim, body, trailers, cut })
    }

    /// The final head alone, with the 1xx heads before it.
    pub(crate) fn try_head(&mut self) -> io::Result<(Vec<Head>, Head)> {
        let mut interim = Vec::new();
        loop {
            let head = self.wire.head()?.ok_or(ErrorKind::UnexpectedEof)?;
            match head.status()? {
                101 | 200.. => return Ok((interim, head)),
                _ => interim.push(head),
            }
        }
    }

    /// The final head alone.
    pub(crate) fn head(&mut self) -> Head {
        self.try_head().unwrap_or_else(|error| panic!("no head: {error:?}")).1
    }

    /// `count` raw bytes, as in a tunnel.
    pub(crate) fn exact(&mut self, count: usize) -> Vec<u8> {
        self.wire.exact(count).unwrap()
    }

    /// Everything until the other side ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.wire.body(Framing::UntilClose, &mut |piece| rest.extend_from_slice(piece)) {
            Err(error) if !ended(&error) => panic!("still open: {error:?}"),
            _ => rest,
        }
    }

    /// Fails unless evenkeel ends the connection without another byte.
    pub(crate) fn assert_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "unexpected bytes before the end: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Whether nothing at all comes for `time`: for what must wait, never to let time pass. What has come stays to be read.
    pub(crate) fn silent_for(&mut self, time: Duration) -> bool {
        self.wire.stream.set_read_timeout(Some(time)).unwrap();
        let read = self.wire.stream.peek(&mut [0]);
        self.wire.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Ends our sending side.
    pub(crate) fn finish(&mut self) {
        self.wire.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes both sides, also for the other handles on the socket.
    pub(crate) fn leave(&self) {
        let _ = self.wire.stream.shutdown(Shutdown::Both);
    }

    /// Leaves with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        reset(&self.wire.stream);
    }

    /// A second handle on the socket, to write while another thread reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.wire.stream.try_clone().unwrap()
    }
}
