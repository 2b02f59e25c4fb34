//! A backend to try evenkeel with, and the one that `benches/compare/run` measures with.
//!
//! ```text
//! cargo run --release --example echo_backend -- 9001 9002 9003
//! ```
//! `/s` answers 128 bytes, `/m` 10 KiB, `/l` 1 MiB; anything else is answered with the port that served it and the
//! request head as it arrived. Bodies of requests are read and thrown away.
//!
//! Each thread runs one epoll loop, fixed replies are made beforehand and sent with one write: the cost of a request
//! is small and constant, so a measurement through a proxy shows the proxy.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::{env, process, thread};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Socket, Type};

const USAGE: &str = "usage: echo_backend [--threads N] [--leave-open] PORT...
  --threads N    epoll loops, each with its own listening sockets (default 1)
  --leave-open   announce `Connection: close` when asked to, but leave the closing to the peer, so that a blind relay
                 can keep its connection to us";
const FIXED: [(&str, usize); 3] = [("/s", 128), ("/m", 10 << 10), ("/l", 1 << 20)];
const MAX_HEAD: usize = 32 << 10;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn main() {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        process::exit(2);
    };
    let fixed = FIXED.map(|(path, size)| (path, body_of(size)));
    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                if let Err(error) = Loop::new(&options, &fixed).and_then(Loop::run) {
                    eprintln!("echo_backend: {error}");
                    process::exit(1);
                }
            });
        }
    });
}

struct Options {
    threads: usize,
    leave_open: bool,
    ports: Vec<u16>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { threads: 1, leave_open: false, ports: Vec::new() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--threads" => options.threads = args.next()?.parse().ok().filter(|n| *n > 0)?,
                "--leave-open" => options.leave_open = true,
                port => options.ports.push(port.parse().ok()?),
            }
        }
        (!options.ports.is_empty()).then_some(options)
    }
}

/// A fixed body with its ready-made replies: `[keep-alive, close]`.
type Fixed = [(&'static str, [&'static [u8]; 2]); FIXED.len()];

fn body_of(size: usize) -> [&'static [u8]; 2] {
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
    [false, true].map(|close| &*reply(&body, close, false).leak())
}

fn reply(body: &[u8], close: bool, head_only: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let mut reply =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{close}\r\n", body.len())
            .into_bytes();
    if !head_only {
        reply.extend_from_slice(body);
    }
    reply
}

/// One thread's sockets, indexed by file descriptor, and the epoll that watches them.
struct Loop<'a> {
    epoll: rustix::fd::OwnedFd,
    sockets: Vec<Option<Watched>>,
    leave_open: bool,
    fixed: &'a Fixed,
}

enum Watched {
    Listener(TcpListener, u16),
    Connection(Box<Connection>),
}

impl<'a> Loop<'a> {
    fn new(options: &Options, fixed: &'a Fixed) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut this = Self { epoll, sockets: Vec::new(), leave_open: options.leave_open, fixed };
        for &port in &options.ports {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
            socket.listen(4096)?;
            let listener = TcpListener::from(socket);
            let fd = listener.as_raw_fd();
            epoll::add(&this.epoll, &listener, EventData::new_u64(fd as u64), EventFlags::IN)?;
            this.put(fd as usize, Watched::Listener(listener, port));
        }
        Ok(this)
    }

    fn put(&mut self, fd: usize, watched: Watched) {
        if fd >= self.sockets.len() {
            self.sockets.resize_with(fd + 1, || None);
        }
        self.sockets[fd] = Some(watched);
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            for event in events.drain(..) {
                self.ready(event.data.u64() as usize, &mut buffer);
            }
        }
    }

    fn ready(&mut self, fd: usize, buffer: &mut [u8]) {
        match self.sockets.get_mut(fd).and_then(Option::as_mut) {
            Some(Watched::Listener(..)) => self.accept(fd),
            Some(Watched::Connection(connection)) => {
                let watch = connection.ready(self.fixed, self.leave_open, buffer).and_then(|wants| {
                    if connection.watched == wants {
                        return Ok(());
                    }
                    connection.watched = wants;
                    Ok(epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(fd as u64), wants)?)
                });
                if watch.is_err() {
                    self.sockets[fd] = None;
                }
            }
            None => {}
        }
    }

    fn accept(&mut self, listener: usize) {
        for _ in 0..64 {
            let Some(Some(Watched::Listener(socket, port))) = self.sockets.get(listener) else { return };
            let Ok(accepted) = accept_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) else { return };
            let connection = Connection::new(TcpStream::from(accepted), *port);
            let fd = connection.stream.as_raw_fd();
            let data = EventData::new_u64(fd as u64);
            let watched = connection
                .stream
                .set_nodelay(true)
                .and_then(|()| Ok(epoll::add(&self.epoll, &connection.stream, data, EventFlags::IN)?));
            if watched.is_ok() {
                self.put(fd as usize, Watched::Connection(Box::new(connection)));
            }
        }
    }
}

/// What is left of the body of the request that is being read.
enum Body {
    Done,
    Length(u64),
    ChunkSize,
    /// The data of a chunk and its CR LF.
    Chunk(u64),
    Trailer,
}

struct Connection {
    stream: TcpStream,
    port: u16,
    watched: EventFlags,
    input: Vec<u8>,
    body: Body,
    /// Goes out once the body is read.
    reply: Option<Cow<'static, [u8]>>,
    output: Cow<'static, [u8]>,
    sent: usize,
    close: bool,
}

impl Connection {
    fn new(stream: TcpStream, port: u16) -> Self {
        let (input, output) = (Vec::with_capacity(1024), Cow::Borrowed(&[][..]));
        let watched = EventFlags::IN;
        Self { stream, port, watched, input, body: Body::Done, reply: None, output, sent: 0, close: false }
    }

    /// Goes on as far as the socket allows, and says what to wait for; an error ends the connection.
    fn ready(&mut self, fixed: &Fixed, leave_open: bool, buffer: &mut [u8]) -> io::Result<EventFlags> {
        if self.sent == self.output.len() {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(EventFlags::IN),
                Err(error) => return Err(error),
            }
        }
        loop {
            while self.sent < self.output.len() {
                match self.stream.write(&self.output[self.sent..]) {
                    Ok(n) => self.sent += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(EventFlags::OUT),
                    Err(error) => return Err(error),
                }
            }
            if !self.skip_body()? {
                return Ok(EventFlags::IN);
            }
            if let Some(reply) = self.reply.take() {
                (self.output, self.sent) = (reply, 0);
            } else if self.close && !leave_open {
                return Err(ErrorKind::UnexpectedEof.into());
            } else if !self.read_head(fixed)? {
                return Ok(EventFlags::IN);
            }
        }
    }

    /// Reads a head and prepares its reply; `false`: more bytes are needed.
    fn read_head(&mut self, fixed: &Fixed) -> io::Result<bool> {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Request::new(&mut fields);
        let length = match head.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.input.len() < MAX_HEAD => return Ok(false),
            Ok(httparse::Status::Partial) | Err(_) => {
                self.stream.write_all(BAD_REQUEST)?;
                return Err(ErrorKind::InvalidData.into());
            }
        };
        let (mut close, mut expects) = (head.version == Some(0), false);
        for field in head.headers.iter() {
            let value = str::from_utf8(field.value).unwrap_or_default().trim();
            if field.name.eq_ignore_ascii_case("connection") {
                close |= value.eq_ignore_ascii_case("close");
            } else if field.name.eq_ignore_ascii_case("content-length") {
                self.body = Body::Length(value.parse().map_err(|_| ErrorKind::InvalidData)?);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                self.body = Body::ChunkSize;
            } else if field.name.eq_ignore_ascii_case("expect") {
                expects = true;
            }
        }
        let (path, head_only) = (head.path.unwrap_or_default(), head.method == Some("HEAD"));
        self.reply = Some(match fixed.iter().find(|(fixed, _)| *fixed == path) {
            Some((_, replies)) if !head_only => Cow::Borrowed(replies[usize::from(close)]),
            _ => {
                let mut text = format!("backend {}\n", self.port).into_bytes();
                text.extend(self.input[..length].iter().filter(|byte| **byte != b'\r'));
                Cow::Owned(reply(&text, close, head_only))
            }
        });
        self.close = close;
        self.input.drain(..length);
        if expects {
            (self.output, self.sent) = (Cow::Borrowed(CONTINUE), 0);
        }
        Ok(true)
    }

    /// Throws away what has come of the body; `true`: all of it.
    fn skip_body(&mut self) -> io::Result<bool> {
        loop {
            match &mut self.body {
                Body::Done | Body::Length(0) => return Ok(true),
                Body::Chunk(0) => self.body = Body::ChunkSize,
                Body::Length(left) | Body::Chunk(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                    if n == 0 {
                        return Ok(false);
                    }
                    self.input.drain(..n);
                    *left -= n as u64;
                }
                Body::ChunkSize => {
                    let Ok(parsed) = httparse::parse_chunk_size(&self.input) else {
                        return Err(ErrorKind::InvalidData.into());
                    };
                    let httparse::Status::Complete((length, size)) = parsed else { return Ok(false) };
                    self.input.drain(..length);
                    self.body = if size == 0 { Body::Trailer } else { Body::Chunk(size.saturating_add(2)) };
                }
                Body::Trailer => {
                    let Some(length) = self.input.iter().position(|byte| *byte == b'\n') else { return Ok(false) };
                    self.body = if length <= 1 { Body::Done } else { Body::Trailer };
                    self.input.drain(..=length);
                }
            }
        }
    }
}
