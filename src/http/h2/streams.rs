//! The tasks of a worker's streams: one that has answered waits for the next stream, of whichever connection. Nothing is
//! spawned, registered with the reactor or freed for each of them. Called by `serve`, by way of the worker's
//! [`Server`](crate::http::Server). Hot path.

use super::watch::Live;
use crate::{
    http::{
        Client, Done, Exchange, Sink, Spares,
        body::Source,
        guard::{Guarded, Reject},
        head::Head,
    },
    net::Timer,
};
use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

/// How many tasks wait; those above end.
const KEEP: usize = 512;

/// A stream that a client has opened, and whose head has been looked at.
#[derive(Debug)]
pub(in crate::http) struct Opened {
    pub(super) request: Box<Head>,
    pub(super) guarded: Guarded,
    pub(super) refused: Option<Reject>,
    pub(super) source: Source<'static>,
    pub(super) sink: Sink<'static>,
    pub(super) client: Rc<Client>,
    pub(super) spares: Rc<Spares>,
    pub(super) live: Live,
    pub(super) read: Instant,
}

/// What the tasks have in common. `G` says of a stream that it is there, for as long as it lives.
pub(in crate::http) struct Streams<H, O, G> {
    handle: Rc<H>,
    /// Is told of each stream's client.
    open: O,
    waiting: RefCell<Vec<Rc<Seat<G>>>>,
}

/// Where a task finds its next stream.
struct Seat<G> {
    next: RefCell<Option<(Opened, G)>>,
    /// Of the task, once it has waited.
    waker: RefCell<Option<Waker>>,
}

impl<G> Seat<G> {
    /// Ready when there is a stream, whose client then knows the task.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((opened, _)) = &*self.next.borrow() else {
            // A task has one waker, all its life.
            self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
            return Poll::Pending;
        };
        opened.client.wake_with(cx.waker());
        Poll::Ready(())
    }
}

impl<H, O, G> Streams<H, O, G>
where
    H: AsyncFn(&mut Exchange<'_>) -> Done + 'static,
    O: Fn(&Rc<Client>) -> G + 'static,
    G: 'static,
{
    /// No task yet.
    pub(in crate::http) fn new(handle: Rc<H>, open: O) -> Rc<Self> {
        Rc::new(Self { handle, open, waiting: RefCell::default() })
    }

    /// Serves `opened` in a task that waits, or a new one.
    pub(in crate::http) fn begin(self: &Rc<Self>, opened: Opened) {
        let guard = (self.open)(&opened.client);
        let waiting = self.waiting.borrow_mut().pop();
        let is_new = waiting.is_none();
        let seat = waiting.unwrap_or_else(|| Rc::new(Seat { next: RefCell::default(), waker: RefCell::default() }));
        *seat.next.borrow_mut() = Some((opened, guard));
        if is_new {
            tokio::task::spawn_local(attend(Rc::clone(self), seat));
        } else if let Some(waker) = &*seat.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Takes the seat of a task that has nothing to do any more. False: there are enough.
    fn give(&self, seat: &Rc<Seat<G>>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let room = waiting.len() < KEEP;
        if room {
            waiting.push(Rc::clone(seat));
        }
        room
    }
}

/// Answers one stream's request after the other, as `seat` brings them.
async fn attend<H, O, G>(streams: Rc<Streams<H, O, G>>, seat: Rc<Seat<G>>)
where
    H: AsyncFn(&mut Exchange<'_>) -> Done + 'static,
    O: Fn(&Rc<Client>) -> G + 'static,
    G: 'static,
{
    // One for all its streams: the reactor's entry is moved when it strikes.
    let timer = Timer::default();
    loop {
        poll_fn(|cx| seat.poll_ready(cx)).await;
        let Some((Opened { request, guarded, refused, source, sink, client, spares, mut live, read }, guard)) =
            seat.next.take()
        else {
            continue;
        };
        let mut exchange =
            Exchange { request, guarded, refused, client: &client, timer: &timer, source, sink, started: read, read };
        live.ended = (streams.handle)(&mut exchange).await.ended;
        exchange.end(&spares);
        drop((live, guard));
        timer.set(None);
        if !streams.give(&seat) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        http::{Exchange, Server, Spares, h2, testing::client},
        net::{Buf, Stream},
    };
    use std::{cell::RefCell, net::TcpListener, rc::Rc};
    use tokio::{net::TcpStream, task};

    /// Asks for `path` over a connection of its own, and waits for the end.
    async fn ask(server: &Rc<Server>, path: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_nonblocking(true).unwrap();
        let server = Rc::clone(server);
        let serving = task::spawn_local(async move {
            let spares = Rc::<Spares>::default();
            let _ = h2::serve((Stream::fresh(far), Buf::default()), &client(), &spares, &server).await;
        });
        let (send, connection) = ::h2::client::handshake(near).await.unwrap();
        let driver = task::spawn_local(connection);
        let request = http::Request::get(format!("http://a{path}")).body(()).unwrap();
        let (response, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
        assert!(response.await.is_err(), "it has been cut");
        driver.abort();
        serving.await.unwrap();
    }

    /// One task serves streams of several connections; one that panics ends alone, and another takes its place.
    #[tokio::test]
    async fn a_task_goes_on_to_the_next_stream() {
        let served = Rc::new(RefCell::new(Vec::new()));
        let ids = Rc::clone(&served);
        let handle = async move |exchange: &mut Exchange<'_>| {
            ids.borrow_mut().push(task::id());
            let path = exchange.request.text(exchange.request.target.path);
            assert_ne!(path, b"/panic", "as it was told");
            exchange.sink.abort()
        };
        let server = Rc::new(Server::new(handle, |_| ()));
        let asked = async {
            for path in ["/", "/again", "/panic", "/other", "/last"] {
                ask(&server, path).await;
            }
        };
        task::LocalSet::new().run_until(asked).await;
        let ids = served.borrow();
        assert_eq!([ids[1], ids[2]], [ids[0]; 2]);
        assert_ne!(ids[3], ids[2], "that task is gone");
        assert_eq!(ids[4], ids[3]);
    }
}
