//! HTTP/2 from clients: what holds for HTTP/1.1 holds for each of its streams.

use crate::support::{Backend, Reply, h2, in_front_of};

#[test]
fn requests_come_by_prior_knowledge_and_reach_an_http_1_backend() {
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let get = h2::to("GET", "/a/../b?c=d").header("cookie", "x=1").header("cookie", "y=2");
        assert_eq!(h2::ask(&client, get, b"").await.unwrap().status, 200);
        let seen = backend.last();
        assert_eq!(seen.head.start, "GET /b?c=d HTTP/1.1");
        assert_eq!(seen.field("cookie"), Some("x=1; y=2"));
        assert_eq!(seen.field("via"), Some("2 evenkeel"));
        assert_eq!(seen.field("host"), Some("test"));

        let large = vec![b'x'; 1_000_000];
        let answer = h2::ask(&client, h2::to("PUT", "/large"), &large).await.unwrap();
        assert!(answer.status == 200 && answer.body == large, "{} bytes came back", answer.body.len());
        assert_eq!(h2::ask(&client, h2::to("HEAD", "/"), b"").await.unwrap().status, 200);
        let answer = h2::ask(&client, h2::to("GET", "/%00"), b"").await.unwrap();
        assert!(answer.status == 400 && answer.text().contains("bad_request"), "{answer:?}");
    });
}

#[test]
fn streams_of_one_connection_are_answered_side_by_side() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let tasks: Vec<_> = (0..100)
            .map(|turn| {
                let client = client.clone();
                let path = format!("/{turn}");
                tokio::task::spawn_local(async move { h2::ask(&client, h2::to("GET", &path), b"").await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().text(), "fine");
        }
    });
    assert_eq!(backend.requests(), 100);
    assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[("listener", "web")]), 1.0);
}
