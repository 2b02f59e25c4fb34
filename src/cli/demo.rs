//! `evenkeel demo`: three built-in backends of different speed and a balancer in front of them. Called by `main`.

use super::run::Signals;
use crate::{config::Config, runtime::Server};
use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    time::Duration,
};

/// The backends: how they are called, and how long they think.
const BACKENDS: [(&str, Duration); 3] =
    [("swift", Duration::ZERO), ("steady", Duration::from_millis(20)), ("slow", Duration::from_millis(80))];

/// Runs the demonstration until Ctrl-C.
pub fn demo() -> ExitCode {
    match start() {
        Ok((server, signals)) => signals.serve(server),
        Err(error) => {
            let _ = writeln!(io::stderr(), "evenkeel: the demo cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(Server, Signals), Box<dyn std::error::Error>> {
    let signals = Signals::new()?;
    let mut backends = Vec::new();
    for (name, thinks) in BACKENDS {
        backends.push((name, backend(name, thinks)?));
    }
    let list: String = backends
        .iter()
        .map(|(name, address)| format!("  {{ name = \"{name}\", address = \"{address}\" }},\n"))
        .collect();
    let text = format!(
        "include = []\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[[listener]]\nname = \"demo\"\naddress = \"127.0.0.1:0\"\n\n\
         [pool.demo]\nbackends = [\n{list}]\n"
    );
    let config = Config::parse(&text, Path::new("demo.toml"))?;
    let server = Server::start(config)?;
    tell(&server, &backends)?;
    Ok((server, signals))
}

fn tell(server: &Server, backends: &[(&str, SocketAddr)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(address) = server.address("demo") {
        writeln!(out, "balancer http://{address}/")?;
    }
    for ((name, thinks), (_, address)) in BACKENDS.iter().zip(backends) {
        writeln!(out, "backend  http://{address}/  {name}, answers after {} ms", thinks.as_millis())?;
    }
    if let Some(admin) = server.admin() {
        writeln!(out, "metrics  http://{admin}/metrics")?;
    }
    if let Some(address) = server.address("demo") {
        writeln!(out, "\nAsk the balancer, several times (Ctrl-C ends the demo):\n\ncurl http://{address}/")?;
    }
    out.flush()
}

/// A small web server on a thread of its own. Returns its address.
fn backend(name: &'static str, thinks: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("demo-{name}")).spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request| answer(name, thinks, request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    })?;
    Ok(address)
}

async fn answer(
    name: &'static str,
    thinks: Duration,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(thinks).await;
    let mut text = format!("Hello from {name}.\n\n{} {}\n", request.method(), request.uri());
    for (field, value) in request.headers() {
        text.push_str(&format!("{field}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response.headers_mut().insert("x-backend", http::HeaderValue::from_static(name));
    Ok(response)
}
