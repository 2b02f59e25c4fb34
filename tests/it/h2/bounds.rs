//! One slow client or stream costs the others nothing, and us no more memory than is said.

use std::future::poll_fn;

use super::*;
use crate::support::h2raw::{PREFACE, setting};
use crate::support::{h2, wait_for};

const MIB: usize = 1 << 20;

#[test]
fn of_a_thousand_streams_one_stalls_and_the_others_finish() {
    let gate = Gate::default();
    let go = gate.clone();
    let backend = Backend::http(move |request| {
        go.pass();
        Reply::ok(if request.target == "/large" { vec![b'x'; 8 * MIB] } else { b"fine".to_vec() })
    });
    let evenkeel = with(&backend, "h2 = { max_streams = 1000 }");
    h2::run(async {
        let stream = tokio::net::TcpStream::connect(evenkeel.address()).await.unwrap();
        let mut builder = ::h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(i32::MAX as u32);
        let (client, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        let mut large = client.clone().ready().await.unwrap();
        // Its answer's body is never read: the stream's window fills.
        let (stalled, _) = large.send_request(h2::to("GET", "/large").body(()).unwrap(), true).unwrap();
        let tasks: Vec<_> = (0..999)
            .map(|_| {
                let client = client.clone();
                tokio::task::spawn_local(async move { h2::ask(&client, h2::to("GET", "/"), b"").await })
            })
            .collect();
        while backend.requests() < 1000 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        gate.open();
        let stalled = stalled.await.unwrap();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().text(), "fine");
        }
        assert_eq!(evenkeel.in_flight(), 1.0);
        // It was not forgotten.
        let (mut body, mut seen) = (stalled.into_body(), 0);
        while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            seen += data.len();
        }
        assert_eq!(seen, 8 * MIB);
    });
    wait_for("nothing is in flight", || evenkeel.in_flight() == 0.0);
}

#[test]
fn a_client_that_takes_nothing_of_many_streams_costs_what_is_said() {
    let backend = Backend::http(|_| Reply::ok(vec![b'x'; 4 * MIB]));
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    let before = evenkeel.resident();
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    h2.window_update(0, 0x7fff_ffff - 65_535);
    for number in 0..128 {
        h2.headers(2 * number + 1, flag::WHOLE, get("/"));
    }
    wait_for("all have been asked", || backend.requests() == 128);
    // Nothing more moves when memory has not grown for a while.
    let (mut last, mut same) = (0, 0);
    wait_for("everything on the way is full", || {
        let now = evenkeel.resident();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 150
    });
    let grown = last.saturating_sub(before);
    println!("{} KiB for 128 answers that nobody takes", grown / 1024);
    assert!(grown < 48 * MIB, "{} MiB", grown / MIB);
}
