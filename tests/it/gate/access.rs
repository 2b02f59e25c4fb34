//! `allow` and `deny`.

use crate::support::{Backend, Evenkeel, Response, Site, h2, request};

const ROUTES: &str = "[[route]]\nname = \"in\"\npath = \"/in\"\npool = \"web\"\nallow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
                      deny = [\"10.1.0.0/16\"]\n[[route]]\nname = \"out\"\npath = \"/out\"\npool = \"web\"\n\
                      deny = [\"10.1.0.0/16\", \"127.0.0.1\"]\n[[route]]\nname = \"all\"\npool = \"web\"\n";

fn ask(evenkeel: &Evenkeel, path: &str, client: &str) -> Response {
    let line = if client.is_empty() { String::new() } else { format!("X-Forwarded-For: {client}\r\n") };
    evenkeel.client().exchange(request("GET", "test", path, &line))
}

#[test]
fn addresses_are_let_in_by_the_lists_of_their_route() {
    let backend = Backend::ok("fine");
    let site = Site::new(ROUTES).server("trusted_proxies = [\"127.0.0.0/8\"]");
    let evenkeel = site.pool("web", backend.address()).start();
    for (path, client, let_in) in [
        ("/in", "10.2.0.1", true),
        ("/in", "2001:db8::7", true),
        ("/in", "10.1.2.3", false),
        ("/in", "192.0.2.1", false),
        ("/in", "", false),
        ("/out", "10.1.2.3", false),
        ("/out", "", false),
        ("/out", "192.0.2.1", true),
        ("/all", "10.1.2.3", true),
        ("/all", "", true),
    ] {
        let answer = ask(&evenkeel, path, client);
        match let_in {
            true => assert_eq!(answer.status, 200, "{path} {client}"),
            false => answer.assert_refused(403, "denied"),
        }
    }
    assert_eq!(backend.requests(), 5, "who is denied never reaches a backend");
    evenkeel.wait_failures("denied", 5);
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[("route", "in"), ("reason", "denied")]), 3.0);
}

#[test]
fn an_address_that_nobody_believes_lets_nobody_in() {
    let backend = Backend::ok("fine");
    let evenkeel = Site::new(ROUTES).pool("web", backend.address()).start();
    ask(&evenkeel, "/in", "10.2.0.1").assert_refused(403, "denied");
}

#[test]
fn a_client_without_an_address_is_in_no_network() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let backend = Backend::ok("fine");
    let path = std::env::temp_dir().join(format!("evenkeel-gate-{}.sock", std::process::id()));
    let everybody = "[\"0.0.0.0/0\", \"::/0\"]";
    let text = format!(
        "[[listener]]\nname = \"near\"\naddress = \"unix:{}\"\n[[route]]\npath = \"/in\"\npool = \"web\"\nallow = \
         {everybody}\n[[route]]\npath = \"/out\"\npool = \"web\"\ndeny = {everybody}\n",
        path.display()
    );
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let ask = |target: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(request("GET", "test", target, "Connection: close\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!((ask("/in"), ask("/out")), ("403".into(), "200".into()));
    evenkeel.stop();
    let _ = std::fs::remove_file(path);
}

#[test]
fn over_http2_it_is_the_same_and_a_refusal_ends_one_stream() {
    let backend = Backend::ok("fine");
    let evenkeel = Site::new(ROUTES).pool("web", backend.address()).start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        for _ in 0..3 {
            let refused = h2::ask(&client, h2::to("POST", "/in"), &[7; 100_000]).await;
            let denied = refused.as_ref().is_ok_and(|answer| answer.status == 403);
            assert!(denied || refused.is_err_and(|error| error.is_reset()), "the body may be cut");
            assert_eq!(h2::ask(&client, h2::to("GET", "/all"), b"").await.unwrap().status, 200);
        }
        let denied = h2::ask(&client, h2::to("GET", "/in"), b"").await.unwrap();
        assert_eq!(denied.status, 403);
    });
}
