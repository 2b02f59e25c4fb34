//! Backends: real TCP servers on a port of their own, a thread a connection. They record every byte that evenkeel sends,
//! can misbehave in any way, and can be killed and started again on the same port.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::Gate;
use super::client::PATIENCE;
use super::wire::{Fields, Head, Wire, collect};

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
}

impl Request {
    /// The first value of the field `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get(name)
    }
}

/// What a backend answers: bytes, and whether it closes after them.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    close: bool,
}

impl Reply {
    /// 200 with a body of known length.
    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new("200 OK", "", body)
    }

    /// Any status and header lines (each with its CRLF), with a body of known length.
    pub(crate) fn new(status: &str, lines: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
        Self::raw([head.as_bytes(), body].concat())
    }

    /// Bytes as they are.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: false }
    }

    /// Ends the connection after the answer.
    pub(crate) fn close(self) -> Self {
        Self { close: true, ..self }
    }
}

/// One connection from evenkeel.
pub(crate) struct Conn {
    pub(crate) wire: Wire<TcpStream>,
    number: usize,
    /// The last field: a connection counts as open until its socket is closed.
    shared: Open,
}

/// One of the open connections.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

impl Conn {
    /// The next request, with its body; `None` when evenkeel has left or sent no request. It answers `Expect` by itself.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let framing = head.request_framing().ok()?;
        if head.fields.has("expect") {
            self.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let (body, trailers, cut) = collect(&mut self.wire, framing).ok()?;
        if cut {
            return None;
        }
        let request = self.seen(head, body, trailers);
        self.shared.0.seen.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// The next head alone: the body stays on the wire.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let head = self.wire.head().ok()??;
        self.shared.0.requests.fetch_add(1, SeqCst);
        Some(head)
    }

    fn seen(&self, head: Head, body: Vec<u8>, trailers: Fields) -> Request {
        let mut words = head.start.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Request { method, target, head, body, trailers, connection: self.number }
    }

    /// Sends bytes; `false` when evenkeel has left.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until evenkeel has left.
    pub(crate) fn wait_closed(&mut self) {
        self.wire.stream.set_read_timeout(None).unwrap();
        while self.wire.fill().is_ok_and(|read| read > 0) {}
    }

    /// Ends our sending side and reads what still comes, as a polite server does.
    pub(crate) fn finish(&mut self) {
        let _ = self.wire.stream.shutdown(Shutdown::Write);
        self.wait_closed();
    }

    /// Ends the connection with a reset instead of a FIN.
    pub(crate) fn reset(&self) {
        reset(&self.wire.stream);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.shared.0.streams.lock().unwrap().retain(|(number, _)| *number != self.number);
        // Not left to the closing of the socket: a process that another test starts at this moment holds it open, too.
        let _ = self.wire.stream.shutdown(Shutdown::Both);
    }
}

type Handler = dyn Fn(&mut Conn, usize) + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    alive: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    streams: Mutex<Vec<(usize, TcpStream)>>,
    records: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    seen: Mutex<Vec<Request>>,
}

/// A server; it ends with its value.
pub(crate) struct Backend {
    shared: Arc<Shared>,
    port: Port,
    acceptor: Mutex<Option<(Socket, JoinHandle<()>)>>,
}

impl Backend {
    /// Answers well-formed requests, on kept connections.
    pub(crate) fn http(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::raw(move |conn, _| {
            while let Some(request) = conn.request() {
                let reply = answer(request);
                if !conn.send(&reply.bytes) || reply.close {
                    break;
                }
            }
        })
    }

    /// Answers every request with `text`.
    pub(crate) fn ok(text: &'static str) -> Self {
        Self::http(move |_| Reply::ok(text))
    }

    /// Answers `answer` to each request, once the gate is open.
    pub(crate) fn behind(gate: &Gate, answer: &'static str) -> Self {
        let gate = gate.clone();
        Self::http(move |_| {
            gate.pass();
            Reply::ok(answer)
        })
    }

    /// Takes requests and waits for evenkeel to leave.
    pub(crate) fn thinking() -> Self {
        Self::raw(|conn, _| {
            conn.request();
            conn.wait_closed();
        })
    }

    /// Does with each connection (numbered from 0) what it likes; it ends when `serve` returns.
    pub(crate) fn raw(serve: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> Self {
        Self::on(Port::new(), serve)
    }

    /// Answers every request with `text`, at a port that is ours already.
    pub(crate) fn ok_on(port: Port, text: String) -> Self {
        Self::on(port, move |conn, _| while conn.request().is_some_and(|_| conn.send(&Reply::ok(&text).bytes)) {})
    }

    /// Serves by `serve` at a port that is ours already.
    pub(crate) fn on(port: Port, serve: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> Self {
        let shared = Shared {
            handler: Box::new(serve),
            alive: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            streams: Mutex::default(),
            records: Mutex::default(),
            seen: Mutex::default(),
        };
        let backend = Self { shared: Arc::new(shared), port, acceptor: Mutex::default() };
        backend.restart();
        backend
    }

    /// Takes connections and everything that comes, and never answers.
    pub(crate) fn silent() -> Self {
        Self::raw(|conn, _| conn.wait_closed())
    }

    /// An address where nobody listens, for as long as the value lives.
    pub(crate) fn refused() -> Port {
        Port::new()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// How many connections are still open on our side.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// How many request heads came.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(SeqCst)
    }

    /// The complete requests that came, in order.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Request>> {
        self.shared.seen.lock().unwrap()
    }

    /// The last complete request.
    pub(crate) fn last(&self) -> Request {
        self.seen().last().cloned().expect("the backend saw no request")
    }

    /// Every byte that came, by connection.
    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        self.shared.records.lock().unwrap().iter().map(|record| record.lock().unwrap().clone()).collect()
    }

    /// Forgets the bytes and the requests: for tests that move many of them.
    pub(crate) fn forget(&self) {
        self.seen().clear();
        for record in self.shared.records.lock().unwrap().iter() {
            record.lock().unwrap().clear();
        }
    }

    /// Stops listening and resets every connection, as a process that is killed.
    pub(crate) fn kill(&self) {
        if !self.shared.alive.swap(false, SeqCst) {
            return;
        }
        if let Some((listener, acceptor)) = self.acceptor.lock().unwrap().take() {
            // It stops listening at once and wakes the acceptor, whoever else holds the socket.
            let _ = listener.shutdown(Shutdown::Both);
            let _ = acceptor.join();
        }
        for (_, stream) in self.shared.streams.lock().unwrap().drain(..) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again on the same port.
    pub(crate) fn restart(&self) {
        if self.shared.alive.swap(true, SeqCst) {
            return;
        }
        let listener = self.port.listen();
        let (shared, handle) = (Arc::clone(&self.shared), listener.try_clone().unwrap());
        let acceptor = thread::spawn(move || accept(&listener.into(), &shared));
        *self.acceptor.lock().unwrap() = Some((handle, acceptor));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        // A handler that waits for what never comes must not outlive its test for long.
        stream.set_read_timeout(Some(PATIENCE * 12)).unwrap();
        stream.set_nodelay(true).unwrap();
        let number = shared.connections.fetch_add(1, SeqCst);
        shared.open.fetch_add(1, SeqCst);
        shared.streams.lock().unwrap().push((number, stream.try_clone().unwrap()));
        let record = Arc::new(Mutex::new(Vec::new()));
        shared.records.lock().unwrap().push(Arc::clone(&record));
        let mut wire = Wire::new(stream);
        wire.record = Some(record);
        let mut conn = Conn { wire, number, shared: Open(Arc::clone(shared)) };
        thread::spawn(move || (Arc::clone(&conn.shared.0).handler)(&mut conn, number));
    }
}

/// A port that is ours: bound and not listening, so that connections are refused and nobody else gets it.
pub(crate) struct Port(Socket);

impl Port {
    fn new() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    /// That address, if it is free.
    pub(crate) fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = Self::socket(address);
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    fn socket(address: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }

    fn listen(&self) -> Socket {
        let socket = Self::socket(self.address());
        socket.bind(&self.0.local_addr().unwrap()).unwrap();
        socket.listen(1024).unwrap();
        socket
    }

    /// Listens with a queue that is full, and never accepts: a connection attempt gets no answer at all.
    pub(crate) fn listen_full(&self) -> (TcpListener, Vec<Socket>) {
        let socket = Self::socket(self.address());
        socket.bind(&self.0.local_addr().unwrap()).unwrap();
        socket.listen(0).unwrap();
        let fillers = (0..4).map(|_| {
            let filler = Socket::new(Domain::for_address(self.address()), Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&self.0.local_addr().unwrap());
            filler
        });
        let fillers = fillers.collect();
        (socket.into(), fillers)
    }
}

/// Ends a connection with a reset, at once: `SO_LINGER` would wait for the last handle to be closed.
pub(super) fn reset(stream: &TcpStream) {
    let _ = rustix::net::connect_unspec(stream);
}

/// Copies a stream of bytes and forgets it; how many there were.
pub(crate) fn swallow(from: &mut impl Read) -> u64 {
    io::copy(from, &mut io::sink()).unwrap_or(0)
}
