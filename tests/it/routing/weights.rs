//! `split`: one route over several pools, by weight; `split_by` keeps a user on one side.

use std::collections::HashMap;

use crate::support::{Backend, Client, Evenkeel, Site, request, wait_for};

/// The pools `old`, `new` and `none`, whose backends answer those names, and a route `all` that `split` divides between them.
fn split(server: &str, split: &str) -> (Evenkeel, Vec<Backend>) {
    let backends: Vec<_> = ["old", "new", "none"].map(Backend::ok).into();
    let mut site = Site::new(format!("[[route]]\nname = \"all\"\n{split}\n")).server(server);
    for (name, backend) in ["old", "new", "none"].into_iter().zip(&backends) {
        site = site.pool(name, backend.address());
    }
    (site.start(), backends)
}

const THREE_TO_ONE: &str =
    "split = [{ pool = \"old\", weight = 75 }, { pool = \"new\", weight = 25 }, { pool = \"none\", weight = 0 }]";

/// How many of `count` answers each pool gave; `lines` makes the fields of each request.
fn answers(client: &mut Client, count: usize, lines: impl Fn(usize) -> String) -> HashMap<String, usize> {
    let mut answers = HashMap::new();
    for number in 0..count {
        let response = client.exchange(request("GET", "test", "/", &lines(number)));
        assert_eq!(response.status, 200, "{response:?}");
        *answers.entry(response.text()).or_default() += 1;
    }
    answers
}

/// Six standard deviations of 2,000 times a chance of a quarter: 116.
#[track_caller]
fn assert_three_to_one(answers: &HashMap<String, usize>) {
    assert_eq!((answers.len(), answers.values().sum::<usize>()), (2, 2_000), "{answers:?}");
    assert!(answers["new"].abs_diff(500) < 116, "{answers:?}");
}

#[test]
fn a_split_is_by_weight() {
    let (evenkeel, backends) = split("", THREE_TO_ONE);
    assert_three_to_one(&answers(&mut evenkeel.client(), 2_000, |_| String::new()));
    assert_eq!(backends[2].connections(), 0, "a weight of 0 gets nothing");
    // One route, whichever side it took.
    let counted = || evenkeel.metric("evenkeel_requests_total", &[("route", "all"), ("code", "200")]);
    wait_for("all are the route's", || counted() == 2_000.0);
    let at = |pool: &str| evenkeel.metric("evenkeel_backend_requests_total", &[("pool", pool)]);
    assert_eq!(at("old") + at("new"), 2_000.0);
}

#[test]
fn split_by_divides_users_by_weight_and_keeps_each_on_a_side() {
    type Field = fn(usize) -> String;
    let ways: [(&str, &str, Field); 3] = [
        ("header:x-user", "", |user| format!("X-User: user-{user}\r\n")),
        ("cookie:session", "", |user| format!("Cookie: a=b; session=s{user}\r\n")),
        ("client_ip", "trusted_proxies = [\"127.0.0.0/8\"]", |user| {
            format!("X-Forwarded-For: 198.51.{}.{}\r\n", user / 250, user % 250)
        }),
    ];
    for (by, server, field) in ways {
        let (evenkeel, _backends) = split(server, &format!("{THREE_TO_ONE}\nsplit_by = \"{by}\""));
        let mut client = evenkeel.client();
        assert_three_to_one(&answers(&mut client, 2_000, field));
        for user in 0..20 {
            // Other connections, and so other workers, too.
            let sides = answers(&mut evenkeel.client(), 5, |_| field(user));
            let before = answers(&mut client, 1, |_| field(user));
            assert!(
                sides.len() == 1 && sides.keys().eq(before.keys()),
                "{by}: user {user} was on {sides:?}, {before:?}"
            );
        }
    }
}

#[test]
fn a_user_without_the_key_is_served() {
    let (evenkeel, _backends) = split("", &format!("{THREE_TO_ONE}\nsplit_by = \"cookie:session\""));
    let answers = answers(&mut evenkeel.client(), 100, |_| "Cookie: other=1\r\n".to_owned());
    assert_eq!(answers.values().sum::<usize>(), 100);
    assert!(!answers.contains_key("none"));
}

#[test]
fn a_user_stays_on_a_side_over_a_restart() {
    let by = format!("{THREE_TO_ONE}\nsplit_by = \"header:x-user\"");
    let sides = || {
        let (evenkeel, _backends) = split("", &by);
        let mut client = evenkeel.client();
        let side = |user| client.exchange(request("GET", "test", "/", &format!("X-User: {user}\r\n"))).text();
        (0..50).map(side).collect::<Vec<_>>()
    };
    assert_eq!(sides(), sides());
}
