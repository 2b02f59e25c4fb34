//! A backend that speaks HTTP/2 without TLS, by the `h2` crate.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::thread;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};

type Answering = Pin<Box<dyn Future<Output = ()>>>;
/// What answers a request. It runs as a task of its own.
type Handle = dyn Fn(Request<RecvStream>, SendResponse<Bytes>) -> Answering + Send + Sync;

/// A running backend; its thread ends with the process.
pub(crate) struct H2Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl H2Backend {
    /// Each request is answered by `handle`; connections allow `streams` at a time.
    pub(crate) fn start<F>(
        streams: u32,
        handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::with(move |builder| _ = builder.max_concurrent_streams(streams), handle)
    }

    /// As [`H2Backend::start`], with settings of any kind.
    pub(crate) fn with<F>(
        settings: impl Fn(&mut h2::server::Builder) + Send + 'static,
        handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&connections), Arc::clone(&requests));
        let handle: Arc<Handle> = Arc::new(move |request, respond| Box::pin(handle(request, respond)));
        thread::spawn(move || serve(listener, settings, &handle, &counts));
        Self { address, connections, requests }
    }

    /// Answers every request with its method, path and body, and with trailers if it had some.
    pub(crate) fn echo() -> Self {
        Self::start(100, |request, mut respond| async move {
            let (parts, mut stream) = request.into_parts();
            let (body, trailers) = whole(&mut stream).await;
            let mut answer = Response::builder().header("x-authority", parts.uri.authority().unwrap().as_str());
            for (name, value) in &parts.headers {
                answer = answer.header(format!("x-saw-{name}"), value);
            }
            let mut send = respond.send_response(answer.body(()).unwrap(), false).unwrap();
            let text = format!("{} {} ", parts.method, parts.uri.path_and_query().unwrap());
            push(&mut send, [text.as_bytes(), &body].concat(), trailers.is_none()).await;
            if let Some(trailers) = trailers {
                send.send_trailers(trailers).unwrap();
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

type Counts = (Arc<AtomicUsize>, Arc<AtomicUsize>);

fn serve(
    listener: TcpListener,
    settings: impl Fn(&mut h2::server::Builder),
    handle: &Arc<Handle>,
    (connections, requests): &Counts,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, SeqCst);
            let mut builder = h2::server::Builder::new();
            settings(&mut builder);
            let (handle, requests) = (Arc::clone(handle), Arc::clone(requests));
            tokio::task::spawn_local(async move {
                let connection = builder.handshake::<_, Bytes>(stream);
                let Ok(mut connection) = connection.await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    requests.fetch_add(1, SeqCst);
                    tokio::task::spawn_local(handle(request, respond));
                }
            });
        }
    });
}

/// The body of `stream`, and its trailers.
pub(crate) async fn whole(stream: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    (body, stream.trailers().await.unwrap_or_default())
}

/// Sends all of `bytes`, as the window allows.
pub(crate) async fn push(send: &mut h2::SendStream<Bytes>, bytes: Vec<u8>, last: bool) {
    let mut rest = Bytes::from(bytes);
    if rest.is_empty() && last {
        let _ = send.send_data(rest, true);
        return;
    }
    while !rest.is_empty() {
        send.reserve_capacity(rest.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else { return };
        let piece = rest.split_to(room.min(rest.len()));
        if send.send_data(piece, last && rest.is_empty()).is_err() {
            return;
        }
    }
}
