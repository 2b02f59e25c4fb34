//! A service of gRPC and those who call it, both by tonic; without protoc, so messages and methods are written here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::task::{Context, Poll};
use std::thread;

use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::metadata::KeyAndValueRef;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming, client, server};
use tonic_prost::ProstCodec;

/// The one message.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Text {
    #[prost(string, tag = "1")]
    pub(super) text: String,
}

pub(super) fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

type Answer = Result<Response<BoxStream<Text>>, Status>;
/// What answers the methods that a test makes up, by their names.
type Handle = dyn Fn(String, Request<Streaming<Text>>) -> BoxFuture<Response<BoxStream<Text>>, Status> + Send + Sync;

/// `Say` answers its text and its `x-` metadata, `Join` all texts as one, `Repeat` its number as so many texts, `Chat`
/// each text by itself.
#[derive(Clone)]
struct Echo {
    other: Arc<Handle>,
    calls: Arc<AtomicUsize>,
}

impl server::NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

/// A method by a function.
struct By<F>(F);

impl<F, R, A, T> Service<Request<R>> for By<F>
where
    F: FnMut(Request<R>) -> T,
    T: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = T;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> T {
        (self.0)(request)
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let other = Arc::clone(&self.other);
        Box::pin(async move {
            let mut grpc = server::Grpc::new(ProstCodec::<Text, Text>::default());
            Ok(match method.as_str() {
                "Say" => grpc.unary(By(say), request).await,
                "Join" => grpc.client_streaming(By(join), request).await,
                "Repeat" => grpc.server_streaming(By(repeat), request).await,
                "Chat" => grpc.streaming(By(chat), request).await,
                _ => grpc.streaming(By(move |request| other(method.clone(), request)), request).await,
            })
        })
    }
}

async fn say(request: Request<Text>) -> Result<Response<Text>, Status> {
    let (metadata, _, message) = request.into_parts();
    let mut response = Response::new(message);
    for pair in metadata.iter() {
        match pair {
            KeyAndValueRef::Ascii(key, value) if key.as_str().starts_with("x-") => {
                response.metadata_mut().append(key.clone(), value.clone());
            }
            KeyAndValueRef::Binary(key, value) => drop(response.metadata_mut().append_bin(key.clone(), value.clone())),
            KeyAndValueRef::Ascii(..) => {}
        }
    }
    Ok(response)
}

async fn join(request: Request<Streaming<Text>>) -> Result<Response<Text>, Status> {
    let mut all = String::new();
    let mut messages = request.into_inner();
    while let Some(message) = messages.next().await {
        all.push_str(&message?.text);
    }
    Ok(Response::new(text(all)))
}

async fn repeat(request: Request<Text>) -> Answer {
    let times: usize = request.into_inner().text.parse().map_err(|_| Status::invalid_argument("no number"))?;
    Ok(Response::new(Box::pin(tokio_stream::iter(0..times).map(|turn| Ok(text(turn.to_string()))))))
}

async fn chat(request: Request<Streaming<Text>>) -> Answer {
    Ok(Response::new(Box::pin(request.into_inner())))
}

/// A running backend; it ends with its value, connections and all.
pub(super) struct Backend {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Backend {
    /// With the usual methods.
    pub(super) fn start() -> Self {
        Self::with(|method, _| async move { Err(Status::unimplemented(method)) })
    }

    /// Methods of other names are answered by `other`.
    pub(super) fn with<T>(other: impl Fn(String, Request<Streaming<Text>>) -> T + Send + Sync + 'static) -> Self
    where
        T: Future<Output = Answer> + Send + 'static,
    {
        let calls = Arc::<AtomicUsize>::default();
        let other: Arc<Handle> = Arc::new(move |method, request| Box::pin(other(method, request)));
        Self::serve(Routes::new(Echo { other, calls: Arc::clone(&calls) }), calls)
    }

    /// With the services of `routes`.
    pub(super) fn of(routes: Routes) -> Self {
        Self::serve(routes, Arc::default())
    }

    fn serve(routes: Routes, calls: Arc<AtomicUsize>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
                tokio::select! {
                    served = Server::builder().add_routes(routes).serve_with_incoming(incoming) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { address, calls, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// Ends it at once, with its connections.
    pub(super) fn kill(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Somebody who calls, on one connection.
pub(super) struct Caller(client::Grpc<Channel>);

impl Caller {
    pub(super) async fn to(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self(client::Grpc::new(channel))
    }

    async fn ready(&mut self) {
        self.0.ready().await.unwrap();
    }

    pub(super) async fn unary(&mut self, method: &str, request: Request<Text>) -> Result<Response<Text>, Status> {
        self.ready().await;
        self.0.unary(request, path(method), ProstCodec::default()).await
    }

    pub(super) async fn say(&mut self, said: &str) -> Result<String, Status> {
        Ok(self.unary("Say", Request::new(text(said))).await?.into_inner().text)
    }

    pub(super) async fn join(&mut self, messages: impl Stream<Item = Text> + Send + 'static) -> Result<String, Status> {
        self.ready().await;
        let joined = self.0.client_streaming(Request::new(messages), path("Join"), ProstCodec::default()).await;
        Ok::<_, Status>(joined?.into_inner()).map(|joined: Text| joined.text)
    }

    pub(super) async fn listen(&mut self, method: &str, said: &str) -> Result<Streaming<Text>, Status> {
        self.ready().await;
        let request = Request::new(text(said));
        Ok(self.0.server_streaming(request, path(method), ProstCodec::default()).await?.into_inner())
    }

    pub(super) async fn stream(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Streaming<Text>, Status> {
        self.ready().await;
        Ok(self.0.streaming(Request::new(messages), path(method), ProstCodec::default()).await?.into_inner())
    }
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}
