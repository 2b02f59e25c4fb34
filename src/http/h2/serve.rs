//! Serves one client's HTTP/2 connection: a task for each stream, all on the worker's thread. Hot path.

use super::{Receiver, Sender, request, tap::Tap};
use crate::{
    http::{
        Client, Done, Exchange, Server, Sink, Spares,
        body::Source,
        guard::{Framing, Guarded},
        runner::Job,
    },
    net::{Buf, Stream, Timer},
};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;

/// A stream that a client has opened.
#[derive(Debug)]
pub struct Opened {
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    client: Rc<Client>,
    spares: Rc<Spares>,
}

/// Serves `io`, of which `carry` has been read already, until either side ends it. `server` answers each exchange.
/// `open` is told of each stream's client; what it returns lives as long as the stream. Runs on a local runtime.
///
/// # Errors
/// The connection broke, or the client broke the protocol.
pub async fn serve<G: 'static>(
    (io, carry): (Stream, Buf),
    client: &Client,
    spares: &Rc<Spares>,
    server: &Rc<Server>,
    open: impl Fn(&Rc<Client>) -> G,
) -> Result<(), h2::Error> {
    let max_list = u32::try_from(client.limits.head.max_size).unwrap_or(u32::MAX);
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(max_list);
    let mut connection = builder.handshake::<_, Bytes>(Tap::new(io, carry, spares)).await?;
    let mut leaving = false;
    while let Some(stream) = poll_fn(|cx| poll_stream(&mut connection, client, &mut leaving, cx)).await {
        let (request, respond) = stream?;
        let client = Rc::new(Client::new(Rc::clone(client.origin())));
        let guard = open(&client);
        let opened = Box::new(Opened { request, respond, client, spares: Rc::clone(spares) });
        let server = Rc::clone(server);
        tokio::task::spawn_local(async move {
            let mut runner = server.run(Job::H2(opened));
            poll_fn(|cx| runner.poll(cx)).await;
            server.give(runner);
            drop(guard);
        });
    }
    Ok(())
}

/// The next stream; `None` when the connection is over.
fn poll_stream(
    connection: &mut h2::server::Connection<Tap, Bytes>,
    client: &Client,
    leaving: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<(http::Request<RecvStream>, SendResponse<Bytes>), h2::Error>>> {
    client.wake_with(cx.waker());
    if client.is_closing() && !std::mem::replace(leaving, true) {
        connection.graceful_shutdown();
    }
    Poll::Ready(ready!(connection.poll_accept(cx)))
}

/// Answers one stream's request.
pub(in crate::http) async fn answer<H>(opened: Opened, handle: &H)
where
    H: AsyncFn(&mut Exchange<'_>) -> Done,
{
    let Opened { request, respond, client, spares } = opened;
    let timer = Timer::default();
    let (parts, stream) = request.into_parts();
    let mut head = spares.heads.take();
    let guarded = request::guarded(&parts, stream.is_end_stream(), &mut head, client.limits.underscores);
    drop(parts);
    let (guarded, refused) = match guarded {
        Ok(guarded) => (guarded, None),
        Err(reject) => (Guarded::NOTHING, Some(reject)),
    };
    let source = match guarded.framing {
        Framing::None => Source::Empty,
        _ => Source::H2(Box::new(Receiver::new(stream, client.limits.max_body))),
    };
    let sink = Sink::h2(Sender::new(respond, &spares));
    let started = Instant::now();
    let (timer, client) = (&timer, &*client);
    let mut exchange =
        Exchange { request: head, guarded, refused, client, timer, source, sink, started, read: started };
    handle(&mut exchange).await;
    exchange.end(&spares);
}
