//! What operators see and do of backends that DNS knows: PRODUCT.md section 11.

use serde_json::json;

use super::{Dns, backends, file, member_names, ports};
use crate::support::{Backend, Client, Gate, Process, bearer, call, json, wait_for, with_token};

#[test]
fn a_look_knows_what_was_discovered() {
    let dns = Dns::start();
    let gate = Gate::default();
    let [port] = ports(["127.0.0.2"]);
    let number = port.address().port();
    let held = gate.clone();
    let backend = Backend::on(port, move |conn, _| {
        while conn.request().is_some() {
            held.pass();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
        }
    });
    dns.set("api.local", &["127.0.0.2"], 60);
    let pool = format!("discover = {{ dns = \"api.local\", port = {number} }}\n");
    let evenkeel = Process::spawn(&with_token(&file(&dns, &pool)));
    let admin = evenkeel.listener("admin");
    let mut client = Client::h1(evenkeel.address());
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || backend.requests() == 1);
    let diff = |pool: &str| {
        let answer = call(admin, "POST /api/v1/diff", &bearer(), &with_token(&file(&dns, pool)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        json(&answer)
    };
    let same = diff(&format!("{pool}max_connections = 9"));
    assert_eq!((&same["drains"], same["changes"].as_array().map(Vec::len)), (&json!(0), Some(1)), "{same}");
    let other = diff("backends = [\"127.0.0.9:1\"]");
    assert_eq!(other["drains"], 1, "{other}");
    let of_pool = other["changes"].as_array().unwrap().iter().find(|change| change["kind"] == "pool");
    assert_eq!(of_pool.unwrap()["drains"], json!({ "connections": 0, "exchanges": 1, "tunnels": 0 }), "{other}");
    gate.open();
    assert_eq!(client.response().text(), "fine");
}

#[test]
fn a_name_can_be_added_and_what_dns_has_found_not_removed() {
    let dns = Dns::start();
    let (_all, port) = backends(["127.0.0.2", "127.0.0.3"]);
    dns.set("api.local", &["127.0.0.2"], 60);
    dns.set("more.local", &["127.0.0.3"], 60);
    let pool = format!("discover = {{ dns = \"api.local\", port = {port} }}\n");
    let evenkeel = Process::spawn(&with_token(&file(&dns, &pool)));
    let admin = evenkeel.listener("admin");
    let table = json!({ "address": format!("more.local:{port}") }).to_string();
    let added = call(admin, "POST /api/v1/pools/web/backends", &bearer(), &table);
    assert_eq!(added.status, 201, "{}", added.text());
    let (found, own) = (format!("127.0.0.2:{port}"), format!("more.local:{port}"));
    assert_eq!(member_names(admin), [found.clone(), own.clone()]);
    let mut client = evenkeel.client();
    let mut said: Vec<_> = (0..2).map(|_| client.get("/").text()).collect();
    said.sort();
    assert_eq!(said, ["127.0.0.2", "127.0.0.3"]);
    let refused = call(admin, &format!("DELETE /api/v1/pools/web/backends/{found}"), &bearer(), "");
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("would come back"), "{}", refused.text());
    let removed = call(admin, &format!("DELETE /api/v1/pools/web/backends/{own}"), &bearer(), "");
    assert_eq!((removed.status, member_names(admin)), (200, vec![found]), "{}", removed.text());
}
