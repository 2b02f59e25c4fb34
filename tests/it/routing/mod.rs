//! Which route a request takes (PRODUCT.md section 3, "Which route"). Most stories have routes that answer their own name.

mod labels;
mod listeners;
mod paths;
mod precedence;
mod predicates;
mod weights;

use crate::support::{Client, Evenkeel, Site, request};

/// Routes that answer their name, as (name, predicates), one predicate or more a line.
fn named(routes: &[(&str, &str)]) -> String {
    let routes = routes.iter().map(|(name, predicates)| {
        format!("[[route]]\nname = \"{name}\"\n{predicates}\nrespond = {{ status = 200, body = \"{{route}}\" }}\n")
    });
    routes.collect()
}

/// evenkeel with routes that answer their name.
fn routes(routes: &[(&str, &str)]) -> Evenkeel {
    Site::new(named(routes)).start()
}

/// The name of the route that `request` takes; empty without one.
#[track_caller]
fn taken(client: &mut Client, request: &str) -> String {
    let response = client.exchange(request);
    match response.status {
        200 => response.text(),
        404 => {
            response.assert_refused(404, "no_route");
            String::new()
        }
        status => panic!("{status} to {request:?}: {response:?}"),
    }
}

/// Fails with all of `table`'s requests (host, target) that do not take the wanted route.
#[track_caller]
fn assert_taken(evenkeel: &Evenkeel, table: &[(&str, &str, &str)]) {
    let mut client = evenkeel.client();
    let mut wrong = Vec::new();
    for (host, target, wanted) in table {
        let route = taken(&mut client, &request("GET", host, target, ""));
        if route != *wanted {
            wrong.push(format!("{host} {target} took {route:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// As [`assert_taken`], for further fields of a GET, each with its CRLF.
#[track_caller]
fn assert_fields_take(evenkeel: &Evenkeel, table: &[(&str, &str)]) {
    let mut client = evenkeel.client();
    let mut wrong = Vec::new();
    for (lines, wanted) in table {
        let route = taken(&mut client, &request("GET", "test", "/", lines));
        if route != *wanted {
            wrong.push(format!("{lines:?} took {route:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
