//! The floor of `benches/compare/run`: a relay that moves bytes both ways without looking at them.
//!
//! ```text
//! relay THREADS LISTEN-PORT BACKEND-PORT...
//! ```
//! Each thread runs one level-triggered epoll loop with its own listening socket (SO_REUSEPORT). A client is tied to
//! one kept connection to a backend at its first bytes; a chunk costs one read and one write. When a client leaves,
//! its backend connection is kept for the next one, so a load of short connections does not pay for connecting twice.
//! Whatever a proxy costs more than this, it costs for being a proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::{env, process, thread};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Socket, Type};

fn main() {
    let args: Option<Vec<u16>> = env::args().skip(1).map(|arg| arg.parse().ok()).collect();
    let (threads, port, backends) = match args.as_deref() {
        Some([threads, port, backends @ ..]) if *threads > 0 && !backends.is_empty() => (*threads, *port, backends),
        _ => {
            eprintln!("usage: relay THREADS LISTEN-PORT BACKEND-PORT...");
            process::exit(2);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if let Err(error) = Relay::new(port, backends).and_then(Relay::run) {
                    eprintln!("relay: {error}");
                    process::exit(1);
                }
            });
        }
    });
}

/// One end: a client, or a connection to a backend. Named by its file descriptor, which is also its place in the table.
struct End {
    stream: TcpStream,
    /// Index of the backend; none for a client.
    backend: Option<usize>,
    peer: Option<usize>,
    /// Bytes that this end did not take yet; while there are any, nothing is read from its peer.
    pending: Vec<u8>,
    /// A backend's end: bytes went to it after the last that came from it.
    owes: bool,
}

struct Relay<'a> {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    backends: &'a [u16],
    /// Idle connections of each backend.
    kept: Vec<Vec<usize>>,
    next: usize,
    ends: Vec<Option<Box<End>>>,
}

impl<'a> Relay<'a> {
    fn new(port: u16, backends: &'a [u16]) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(4096)?;
        let listener = TcpListener::from(socket);
        epoll::add(&epoll, &listener, EventData::new_u64(listener.as_raw_fd() as u64), EventFlags::IN)?;
        Ok(Self { epoll, listener, backends, kept: vec![Vec::new(); backends.len()], next: 0, ends: Vec::new() })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 << 10];
        let listener = self.listener.as_raw_fd() as u64;
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            for event in events.drain(..) {
                let (fd, flags) = (event.data.u64(), event.flags);
                if fd == listener {
                    self.accept();
                    continue;
                }
                // An end may be closed, and its number taken anew, by an earlier event of this batch: what follows
                // finds nothing, or reads and gets WouldBlock.
                if flags.intersects(EventFlags::OUT) {
                    self.writable(fd as usize);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.readable(fd as usize, &mut buffer);
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..64 {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Ok(accepted) = accept_with(&self.listener, flags) else { return };
            self.add(TcpStream::from(accepted), None);
        }
    }

    fn add(&mut self, stream: TcpStream, backend: Option<usize>) -> Option<usize> {
        stream.set_nodelay(true).ok()?;
        let fd = stream.as_raw_fd() as usize;
        epoll::add(&self.epoll, &stream, EventData::new_u64(fd as u64), EventFlags::IN).ok()?;
        if fd >= self.ends.len() {
            self.ends.resize_with(fd + 1, || None);
        }
        self.ends[fd] = Some(Box::new(End { stream, backend, peer: None, pending: Vec::new(), owes: false }));
        Some(fd)
    }

    fn end(&mut self, fd: usize) -> Option<&mut End> {
        self.ends.get_mut(fd)?.as_deref_mut()
    }

    /// A kept connection to the backend whose turn it is, or a new one.
    fn backend(&mut self) -> Option<usize> {
        let index = self.next % self.backends.len();
        self.next = self.next.wrapping_add(1);
        if let Some(kept) = self.kept[index].pop() {
            return Some(kept);
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.backends[index])).ok()?;
        stream.set_nonblocking(true).ok()?;
        self.add(stream, Some(index))
    }

    fn readable(&mut self, fd: usize, buffer: &mut [u8]) {
        let Some(end) = self.end(fd) else { return };
        let read = match end.stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(0) | Err(_) => return self.close(fd),
            Ok(read) => read,
        };
        end.owes = false;
        let to_backend = end.backend.is_none();
        let peer = match end.peer {
            None if to_backend => self.tie(fd),
            peer => peer, // none: bytes that an idle connection to a backend owes to nobody
        };
        let Some((peer_fd, peer)) = peer.and_then(|peer| Some((peer, self.end(peer)?))) else { return self.close(fd) };
        peer.owes = to_backend;
        let written = match peer.stream.write(&buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return self.close(peer_fd),
        };
        if written < read {
            peer.pending.extend_from_slice(&buffer[written..read]);
            self.watch(fd, EventFlags::empty());
            self.watch(peer_fd, EventFlags::IN | EventFlags::OUT);
        }
    }

    /// Ties a client to a connection to a backend.
    fn tie(&mut self, client: usize) -> Option<usize> {
        let backend = self.backend()?;
        self.end(client)?.peer = Some(backend);
        self.end(backend)?.peer = Some(client);
        Some(backend)
    }

    fn writable(&mut self, fd: usize) {
        let Some(end) = self.end(fd) else { return };
        if end.pending.is_empty() {
            return;
        }
        match end.stream.write(&end.pending) {
            Ok(written) => drop(end.pending.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.close(fd),
        }
        if end.pending.is_empty() {
            let peer = end.peer;
            self.watch(fd, EventFlags::IN);
            if let Some(peer) = peer {
                self.watch(peer, EventFlags::IN);
            }
        }
    }

    fn watch(&mut self, fd: usize, flags: EventFlags) {
        let Some(Some(end)) = self.ends.get(fd) else { return };
        if epoll::modify(&self.epoll, &end.stream, EventData::new_u64(fd as u64), flags).is_err() {
            self.close(fd);
        }
    }

    /// Closes an end. With a client its backend connection is kept, unless something is still under way on it.
    fn close(&mut self, fd: usize) {
        let Some(end) = self.ends.get_mut(fd).and_then(Option::take) else { return };
        if let Some(index) = end.backend {
            self.kept[index].retain(|kept| *kept != fd);
        }
        let Some(peer_fd) = end.peer else { return };
        let Some(peer) = self.end(peer_fd) else { return };
        peer.peer = None;
        match peer.backend {
            Some(index) if peer.pending.is_empty() && !peer.owes => self.kept[index].push(peer_fd),
            _ => self.close(peer_fd),
        }
    }
}
