//! What clients cannot say in the place of those whom a backend believes: of us, and of who lets them in (PRODUCT.md
//! section 6).

use crate::support::{
    Backend, Reply, Request, Site,
    h2raw::{H2, block, flag},
};

/// The route `all` asks nobody; the other one's `auth` tells backends who it is.
const ROUTES: &str = "[[route]]\nname = \"all\"\npool = \"web\"\n\n\
    [[route]]\nname = \"in\"\npath = \"/in\"\npool = \"web\"\nauth = \"door\"\n\n";

/// What the backend saw of each of these requests, all to one evenkeel.
fn seen(server: &str, requests: &[String]) -> Vec<Request> {
    let service = Backend::http(|_| Reply::new("200 OK", "X-User: ann\r\n", ""));
    let web = Backend::ok("fine");
    let auth = format!(
        "[auth.door]\ntype = \"forward\"\nurl = \"http://{}/\"\ncopy_headers = [\"x-user\"]\n",
        service.address()
    );
    let site = Site::new(format!("{ROUTES}{auth}")).pool("web", web.address());
    let evenkeel = site.server(format!("underscore_headers = \"allow\"\n{server}")).start();
    let saw = |request: &String| {
        let answer = evenkeel.client().exchange(request);
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        web.last()
    };
    requests.iter().map(saw).collect()
}

const FORGED: [&str; 6] =
    ["X-User", "x_user", "X-Forwarded-User", "X_Forwarded_Email", "x-forwarded", "X_Client-Cert_Verified"];

#[test]
fn trailers_name_nobody() {
    let lines: String = FORGED.iter().map(|name| format!("{name}: root\r\n")).collect();
    let trailers = format!("X-Sum: 1\r\n{lines}traceparent: x\r\nTracestate: a=b\r\n");
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
        )
    };
    // Who is trusted says it in the head.
    for server in ["", "trusted_proxies = [\"127.0.0.0/8\"]"] {
        for seen in seen(server, &[request("/"), request("/in")]) {
            let names: Vec<_> = seen.trailers.0.iter().map(|(name, _)| name.to_lowercase()).collect();
            assert_eq!((seen.body.as_slice(), names), (&b"hello"[..], vec!["x-sum".to_owned()]), "{server}");
        }
    }
    let web = Backend::ok("fine");
    let url = format!("http://{}/", web.address());
    let auth = format!("[auth.door]\ntype = \"forward\"\nurl = \"{url}\"\ncopy_headers = [\"x-user\"]\n");
    let evenkeel = Site::new(format!("{ROUTES}{auth}")).pool("web", web.address()).start();
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(
        1,
        flag::END_HEADERS,
        block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]),
    );
    h2.data(1, 0, "hello");
    h2.headers(
        1,
        flag::WHOLE,
        block(&[("x-sum", "1"), ("x-user", "root"), ("x-forwarded-email", "r"), ("traceparent", "x")]),
    );
    assert_eq!(h2.answer(1).unwrap().status, 200);
    let names: Vec<_> = web.last().trailers.0.iter().map(|(name, _)| name.to_lowercase()).collect();
    assert_eq!(names, ["x-sum"]);
}

#[test]
fn whatever_begins_with_x_forwarded_is_a_proxys_word() {
    let lines: String = FORGED[2..].iter().map(|name| format!("{name}: root\r\n")).collect();
    let other = "X-Forwardedness: 1\r\nX-Sum: 1\r\n";
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{other}{lines}X_Real_IP: 1.2.3.4\r\n\r\n");
    let told = |seen: &Request| {
        let fields =
            seen.head.fields.0.iter().map(|(name, value)| (name.to_lowercase().replace('_', "-"), value.to_owned()));
        let claims = ["x-forwarded-user", "x-forwarded-email", "x-forwarded", "x-client-cert-verified", "x-real-ip"];
        fields
            .filter(|(name, _)| claims.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    };
    let seen_by_all = |server| -> Vec<Vec<String>> {
        let seen = seen(server, &[request("/"), request("/in")]);
        assert!(seen.iter().all(|seen| seen.field("x-forwardedness").is_some() && seen.field("x-sum").is_some()));
        seen.iter().map(told).collect()
    };
    assert_eq!(seen_by_all(""), [Vec::<String>::new(), Vec::new()]);
    let trusted = seen_by_all("trusted_proxies = [\"127.0.0.0/8\"]");
    assert!(trusted.iter().all(|told| told.iter().filter(|line| line.ends_with(": root")).count() == 4), "{trusted:?}");
}
