//! Several listeners: a route is on all of them, or on those that it names.

use super::named;
use crate::support::{Backend, Client, Site, request, wait_for};

const SECOND: &str = "[[listener]]\nname = \"internal\"\naddress = \"127.0.0.1:0\"\n\n";

/// The route that a GET for `target` at `client` takes.
fn at(client: &mut Client, target: &str) -> String {
    super::taken(client, &request("GET", "test", target, ""))
}

#[test]
fn a_route_is_on_the_listeners_that_it_names() {
    let all = [
        ("everywhere", "path = \"/everywhere\""),
        ("web", "listener = \"web\"\npath = \"/web\""),
        ("internal", "listener = [\"internal\"]\npath = \"/internal\""),
        ("both", "listener = [\"web\", \"internal\"]\npath = \"/both\""),
    ];
    let evenkeel = Site::new(format!("{SECOND}{}", named(&all))).start();
    let (mut web, mut internal) = (evenkeel.client(), Client::h1(evenkeel.listener("internal")));
    for (target, on_web, on_internal) in [
        ("/everywhere", "everywhere", "everywhere"),
        ("/web", "web", ""),
        ("/internal", "", "internal"),
        ("/both", "both", "both"),
    ] {
        assert_eq!(
            (at(&mut web, target).as_str(), at(&mut internal, target).as_str()),
            (on_web, on_internal),
            "{target}"
        );
    }
    let counted = |listener: &str, route: &str| {
        evenkeel.metric("evenkeel_requests_total", &[("listener", listener), ("route", route)])
    };
    for (listener, route) in
        [("web", "web"), ("web", "everywhere"), ("web", ""), ("internal", "internal"), ("internal", "")]
    {
        wait_for(&format!("{route:?} on {listener} is counted"), || counted(listener, route) == 1.0);
    }
    assert_eq!((counted("web", "internal"), counted("internal", "web")), (0.0, 0.0));
}

#[test]
fn one_host_may_be_another_pool_on_each_listener() {
    let (outer, inner) = (Backend::ok("outer"), Backend::ok("inner"));
    let routes = "[[route]]\nname = \"outer\"\nlistener = \"web\"\nhost = \"a.test\"\npool = \"outer\"\n\
                  [[route]]\nname = \"inner\"\nlistener = \"internal\"\nhost = \"a.test\"\npool = \"inner\"\n";
    let site = Site::new(format!("{SECOND}{routes}"));
    let evenkeel = site.pool("outer", outer.address()).pool("inner", inner.address()).start();
    let ask = request("GET", "a.test", "/", "");
    assert_eq!(evenkeel.client().exchange(&ask).text(), "outer");
    assert_eq!(Client::h1(evenkeel.listener("internal")).exchange(&ask).text(), "inner");
}
