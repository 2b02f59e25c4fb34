//! Pipes for `splice(2)`: a body of known length goes from socket to socket without passing through user space.
//! Hot path for large bodies.

use std::{
    cell::RefCell,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
};

/// Pipes that a worker keeps.
const KEEP: usize = 16;
/// Room that is asked for; a user without the privilege may get less (`/proc/sys/fs/pipe-max-size`), and it still works.
const ROOM: usize = 1024 * 1024;

/// A kernel buffer with the bytes of one body, on their way.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    room: usize,
    /// Counted as one of the worker's.
    _live: Rc<()>,
}

impl Pipe {
    fn new(live: Rc<()>) -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let room = fcntl_setpipe_size(&write, ROOM).or_else(|_| rustix::pipe::fcntl_getpipe_size(&write))?;
        Ok(Self { read, write, held: 0, room, _live: live })
    }

    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let most = most.min(self.room - self.held);
        let n = splice(socket, &self.write, most, false)?;
        self.held += n;
        Ok(n)
    }

    pub(super) fn drain(&mut self, socket: BorrowedFd<'_>, more: bool) -> io::Result<usize> {
        let n = splice(&self.read, socket, self.held, more)?;
        self.held -= n;
        Ok(n)
    }
}

fn splice(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, n: usize, more: bool) -> io::Result<usize> {
    use rustix::pipe::SpliceFlags;
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK | if more { SpliceFlags::MORE } else { SpliceFlags::empty() };
    Ok(rustix::pipe::splice(from, None, to, None, n, flags)?)
}

/// A worker's pipes. Each takes two descriptors, so that their number is bounded: bodies beyond it are copied.
#[derive(Debug)]
pub struct Splice {
    spare: RefCell<Vec<Pipe>>,
    /// In use, each with a share of this.
    live: Rc<()>,
    most: usize,
}

impl Default for Splice {
    fn default() -> Self {
        Self::new(KEEP)
    }
}

impl Splice {
    /// Up to `most` pipes at a time.
    pub fn new(most: usize) -> Self {
        Self { spare: RefCell::default(), live: Rc::new(()), most }
    }

    /// An empty pipe, if descriptors last.
    pub fn pipe(&self) -> Option<Pipe> {
        let spare = self.spare.borrow_mut().pop();
        let free = Rc::strong_count(&self.live) <= self.most;
        spare.or_else(|| if free { Pipe::new(Rc::clone(&self.live)).ok() } else { None })
    }

    /// Takes a pipe back; one that still holds bytes is closed instead, or they would end up in another body.
    pub fn give(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held == 0 && spare.len() < KEEP {
            spare.push(pipe);
        }
    }
}
