//! Memory for the part of a connection or stream that has something to do, lent by the worker. Hot path.
//!
//! An exchange's future has nearly two thousand bytes. It is made once and then serves one connection after the other:
//! nothing is allocated, copied or freed when an idle connection gets a request. Those of streams are tasks besides
//! (`h2::Streams`). Used by the servers of both versions.

use super::{
    Client, Done, Exchange,
    h1::{self, After, ClientSide},
    h2,
};
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// How many are kept; those above are freed.
const KEEP: usize = 256;

type Task = Pin<Box<dyn Future<Output = Infallible>>>;

/// What answers the exchanges of all connections of a worker.
pub struct Server {
    new_task: Box<dyn Fn(Rc<Slot>) -> Task>,
    spare: RefCell<Vec<Runner>>,
    begin: Box<dyn Fn(h2::Opened)>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("spare", &self.spare.borrow().len()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server whose exchanges `handle` answers. `open` is told of the client of each stream; what it returns lives as long
    /// as the stream.
    pub fn new<H, O, G>(handle: H, open: O) -> Self
    where
        H: AsyncFn(&mut Exchange<'_>) -> Done + 'static,
        O: Fn(&Rc<Client>) -> G + 'static,
        G: 'static,
    {
        let handle = Rc::new(handle);
        let streams = h2::Streams::new(Rc::clone(&handle), open);
        let new_task = Box::new(move |slot| -> Task { Box::pin(attend(slot, Rc::clone(&handle))) });
        Self { new_task, spare: RefCell::default(), begin: Box::new(move |opened| streams.begin(opened)) }
    }

    /// Has a stream answered, in a task of its own.
    pub(super) fn begin(&self, opened: h2::Opened) {
        (self.begin)(opened);
    }

    /// A runner for `job`.
    pub(super) fn run(&self, job: Job) -> Runner {
        let runner = self.spare.borrow_mut().pop().unwrap_or_else(|| {
            let slot = Rc::new(Slot::default());
            Runner { task: (self.new_task)(Rc::clone(&slot)), slot }
        });
        runner.slot.job.set(Some(job));
        runner
    }

    /// Takes a runner back that has nothing to do any more.
    pub(super) fn give(&self, runner: Runner) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEEP {
            spare.push(runner);
        }
    }
}

/// What there is to do: a connection has something to say.
pub(super) struct Job {
    pub(super) connection: Rc<ClientSide>,
    /// Nothing has been read of it before.
    pub(super) first: bool,
}

/// Does one job after the other, as `slot` brings them.
async fn attend<H>(slot: Rc<Slot>, handle: Rc<H>) -> Infallible
where
    H: AsyncFn(&mut Exchange<'_>) -> Done,
{
    loop {
        let Job { connection, first } = poll_fn(|_| slot.poll_job()).await;
        slot.done(h1::active(&connection, first, &*handle).await);
    }
}

/// Between a runner's owner and its task.
#[derive(Default)]
struct Slot {
    job: Cell<Option<Job>>,
    after: Cell<Option<After>>,
}

impl Slot {
    /// Ready when there is a job.
    fn poll_job(&self) -> Poll<Job> {
        self.job.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// The job is done.
    fn done(&self, after: After) {
        self.after.set(Some(after));
    }
}

/// One task that is polled by whichever connection holds it. If that one is dropped in the middle of a job, so is this.
pub(super) struct Runner {
    task: Task,
    slot: Rc<Slot>,
}

impl Runner {
    /// Goes on with the job. Ready when it is done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<After> {
        let Poll::Pending = self.task.as_mut().poll(cx);
        self.slot.after.take().map_or(Poll::Pending, Poll::Ready)
    }
}
