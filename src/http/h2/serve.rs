//! Serves one client's HTTP/2 connection: a task for each stream, all on the worker's thread.

use super::{Receiver, Sender, request};
use crate::{
    http::{
        Client, Done, Exchange, Sink, Spares,
        body::Source,
        guard::{Framing, Guarded},
    },
    net::{Stream, Timer},
};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use std::rc::Rc;
use tokio::time::Instant;

/// Serves `io` until either side ends it. `handle` answers each exchange. Runs on a local runtime.
///
/// # Errors
/// The connection broke, or the client broke the protocol.
pub async fn serve<H>(io: Stream, client: Rc<Client>, spares: Rc<Spares>, handle: Rc<H>) -> Result<(), h2::Error>
where
    H: AsyncFn(&mut Exchange<'_>) -> Done + 'static,
{
    let max_list = u32::try_from(client.limits.head.max_size).unwrap_or(u32::MAX);
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(max_list);
    let mut connection = builder.handshake::<_, Bytes>(io).await?;
    while let Some(stream) = connection.accept().await {
        let (request, respond) = stream?;
        let (client, spares, handle) = (Rc::clone(&client), Rc::clone(&spares), Rc::clone(&handle));
        tokio::task::spawn_local(async move { one(request, respond, &client, &spares, &*handle).await });
    }
    Ok(())
}

async fn one<H>(
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    client: &Client,
    spares: &Spares,
    handle: &H,
) where
    H: AsyncFn(&mut Exchange<'_>) -> Done,
{
    let timer = Timer::default();
    let (parts, stream) = request.into_parts();
    let mut head = spares.heads.take();
    let guarded = request::guarded(&parts, stream.is_end_stream(), &mut head, client.limits.underscores);
    let (guarded, refused) = match guarded {
        Ok(guarded) => (guarded, None),
        Err(reject) => (Guarded::NOTHING, Some(reject)),
    };
    let source = match guarded.framing {
        Framing::None => Source::Empty,
        _ => Source::H2(Box::new(Receiver::new(stream, client.limits.max_body))),
    };
    let sink = Sink::h2(Sender::new(respond));
    let started = Instant::now();
    let timer = &timer;
    let mut exchange =
        Exchange { request: head, guarded, refused, client, timer, source, sink, started, read: started };
    handle(&mut exchange).await;
    exchange.end(spares);
}
