//! `evenkeel explain`, `POST /api/v1/explain` and `[[test]]`: what is said of a request is what becomes of it.

use serde_json::{Value, json};

use crate::support::tls::{Authority, asked as certificate};
use crate::support::{
    Backend, Client, Process, Site, bearer, call, command, json, request, run, run_on, wait_for, with_token,
};

/// Routes of many kinds; the answer of a backend says which one it was.
const ROUTES: &str = "[[route]]\nname = \"v1\"\nhost = \"a.example\"\npath = \"/v1/*\"\npool = \"one\"\nrewrite = { strip_prefix = \"/v1\" }\n\
    [[route]]\nname = \"gold\"\nhost = \"a.example\"\npath = \"/v1/*\"\nheader = { x-tier = \"gold\" }\npool = \"two\"\n\
    [[route]]\nname = \"wild\"\nhost = \"*.example\"\npath = { regex = \"^/[0-9]+$\" }\npool = \"two\"\n\
    [[route]]\nname = \"put\"\nmethod = \"PUT\"\npool = \"two\"\n\
    [[route]]\nname = \"old\"\npath = \"/old/*\"\nredirect = { to = \"https://new.example{path_and_query}\", status = 301 }\n\
    [[route]]\nname = \"ok\"\npath = \"/ok\"\nrespond = { status = 200, body = \"ok\" }\n\
    [[route]]\nname = \"desk\"\npath = \"/desk\"\nallow = [\"192.0.2.0/24\"]\npool = \"one\"\n\
    [[route]]\nname = \"cors\"\npath = \"/cors\"\ncors = { origins = [\"https://p.example\"] }\npool = \"one\"\n\
    [[route]]\nname = \"small\"\npath = \"/small\"\nmax_body_size = \"4B\"\npool = \"one\"\n\
    [[route]]\nname = \"half\"\npath = \"/half\"\nsplit = [{ pool = \"one\" }, { pool = \"two\" }]\nsplit_by = \"cookie:u\"\n\
    [[route]]\nname = \"hashed\"\npath = \"/hashed/*\"\npool = \"hashed\"\n\
    [[route]]\nname = \"query\"\nquery = { beta = \"1\" }\npool = \"two\"\n";

/// What a request to the running process comes to: status, the route's name, and the pool by its backend's word.
fn asked(process: &Process, text: &str) -> (u16, String, String) {
    let answer = Client::h1(process.address()).exchange(text);
    let said = |name: &str| answer.field(name).unwrap_or_default().to_owned();
    (answer.status, said("x-route"), answer.text())
}

/// Method, host, target, and further fields.
type Row<'t> = (&'t str, String, &'t str, Vec<(&'t str, String)>);

fn explained(process: &Process, body: &Value) -> Value {
    let answer = call(process.listener("admin"), "POST /api/v1/explain", "", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    json(&answer)
}

/// The routes above, each of which says its name in its answers, in front of four backends that say theirs.
struct Story {
    process: Process,
    _backends: Vec<Backend>,
}

impl Story {
    fn new() -> Self {
        let backends: Vec<_> = ["one", "two", "h1", "h2", "h3"].into_iter().map(Backend::ok).collect();
        let named = ["pool", "split", "redirect", "respond"].iter().fold(ROUTES.to_owned(), |text, key| {
            let says = "response_headers = { set = { x-route = \"{route}\" } }";
            text.replace(&format!("\n{key} = "), &format!("\n{says}\n{key} = "))
        });
        let hashed: Vec<_> = backends[2..].iter().map(Backend::address).collect();
        let toml = Site::new(named)
            .pool("one", backends[0].address())
            .pool("two", backends[1].address())
            .pool_with("hashed", &hashed, "algorithm = \"hash\"\nhash = { key = \"path\" }")
            .toml();
        Self { process: Process::spawn(&toml), _backends: backends }
    }
}

#[test]
fn what_is_said_is_what_becomes_of_the_request() {
    let Story { process, _backends } = Story::new();
    let mut table: Vec<Row<'_>> = [
        ("GET", "a.example", "/v1/x", ""),
        ("GET", "A.example", "/v1/./y", ""),
        ("GET", "a.example", "/v1/x", "x-tier: gold"),
        ("GET", "b.example", "/v1/x", ""),
        ("GET", "b.example", "/42", ""),
        ("PUT", "b.example", "/x", ""),
        ("GET", "b", "/old/x?y=1", ""),
        ("GET", "b", "/ok", ""),
        ("GET", "b", "/desk", ""),
        ("OPTIONS", "b", "/cors", "origin: https://p.example\naccess-control-request-method: GET"),
        ("GET", "b", "/cors", "origin: https://p.example"),
        ("GET", "b", "/?beta=1", ""),
        ("GET", "b", "/%00", ""),
        ("GET", "b", "/nothing", ""),
        ("CONNECT", "b:1", "", ""),
    ]
    .into_iter()
    .map(|(method, host, target, lines)| {
        let lines =
            lines.lines().filter_map(|line| line.split_once(": ")).map(|(name, value)| (name, value.to_owned()));
        (method, host.to_owned(), target, lines.collect())
    })
    .collect();
    table.extend((0..8).map(|user| ("GET", "b".to_owned(), "/half", vec![("cookie", format!("u={user}"))])));
    for path in ["/hashed/a", "/hashed/b", "/hashed/c", "/hashed/d", "/hashed/%65"] {
        table.push(("GET", "b".to_owned(), path, Vec::new()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (method, host, target, lines) in table {
        let url = if method == "CONNECT" { host.clone() } else { format!("http://{host}{target}") };
        let headers: serde_json::Map<_, _> =
            lines.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let said = explained(&process, &json!({"method": method, "url": url, "headers": headers, "from": "127.0.0.1"}));
        let text: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let target = if method == "CONNECT" { host.as_str() } else { target };
        let (status, route, body) = asked(&process, &request(method, &host, target, &text));
        let what = format!("{method} {url} {lines:?}: {status} {route:?} {body:?}, {said}");
        assert_eq!(said["route"].as_str().unwrap_or_default(), route, "{what}");
        match said["answer"]["status"].as_u64() {
            Some(answered) => assert_eq!(answered, u64::from(status), "{what}"),
            None if said["pool"] == "hashed" => {
                let backend = said["pools"][0]["backend"].as_str().expect(&what);
                let own = said["candidates"].as_array().unwrap().iter().find(|one| one["name"] == backend);
                assert_eq!(own.expect(&what)["state"], "ready", "{what}");
                let place = said["candidates"].as_array().unwrap().iter().position(|one| one["name"] == backend);
                assert_eq!(body, format!("h{}", place.unwrap() + 1), "{what}");
            }
            None => assert_eq!((status, said["pool"].as_str().unwrap()), (200, body.as_str()), "{what}"),
        }
        let matched: Vec<_> = said["routes"].as_array().unwrap().iter().filter(|one| one["matched"] == true).collect();
        assert!(matched.iter().all(|one| one["name"] == said["route"]), "{what}");
        seen.insert((route, body));
    }
    assert!(seen.len() > 14, "{seen:?}");
}

#[test]
fn a_process_tells_who_can_be_chosen_now() {
    let (one, two, authority) = (Backend::ok("one"), Backend::ok("two"), Authority::new());
    let tls = authority.listener(&[&authority.write("a", certificate(&["a.example"]))], "");
    let text = format!(
        "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n{tls}\n\n[[route]]\nname = \"all\"\npool = \"web\""
    );
    let token = "[admin]\naddress = \"127.0.0.1:0\"\ntoken = { env = \"EVENKEEL_TEST_TOKEN\" }";
    let toml = Site::new(text).pool_with("web", &[one.address(), two.address()], "").toml();
    let process = Process::spawn(&toml.replace("[admin]\naddress = \"127.0.0.1:0\"", token));
    let change = |path: &str, body: &str| {
        let line = format!("PATCH /api/v1/pools/web{path}");
        assert_eq!(call(process.listener("admin"), &line, &bearer(), body).status, 200, "{line}");
    };
    change(&format!("/backends/{}", two.address()), "{\"state\": \"drain\"}");
    let said = explained(&process, &json!({"url": "http://a.example/"}));
    let told: Vec<_> =
        said["candidates"].as_array().unwrap().iter().map(|one| (&one["state"], &one["usable"])).collect();
    assert_eq!(told, [(&json!("ready"), &json!(true)), (&json!("drain"), &json!(false))], "{said}");
    assert_eq!((&said["listener"], &said["pools"][0]["backend"]), (&json!("web"), &Value::Null), "{said}");
    assert_eq!(explained(&process, &json!({"url": "https://a.example/"}))["listener"], "tls", "by its scheme");
    change("", "{\"circuit\": \"open\"}");
    let said = explained(&process, &json!({"url": "http://a.example/"}));
    let open = json!({"name": "circuit", "value": "open: 503 breaker_open"});
    assert!(said["pools"][0]["settings"].as_array().unwrap().contains(&open), "{said}");
}

#[test]
fn a_body_that_says_nothing_is_refused_and_a_token_is_not_needed() {
    let Story { process, _backends } = Story::new();
    let admin = process.listener("admin");
    for (body, status, named) in [
        ("", 400, "JSON"),
        ("{}", 400, "url"),
        (r#"{"url": "x"}"#, 400, "https://"),
        (r#"{"url": "/", "form": "x"}"#, 400, "form"),
    ] {
        let answer = call(admin, "POST /api/v1/explain", "", body);
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.text().contains(named), "{}", answer.text());
    }
    let large = format!(r#"{{"url": "/{}"}}"#, "x".repeat(70_000));
    assert_eq!(call(admin, "POST /api/v1/explain", "", &large).status, 413);
    assert_eq!(call(admin, "GET /api/v1/explain", "", "").status, 405);
}

#[test]
fn the_command_asks_the_file_or_the_process() {
    let Story { process, _backends } = Story::new();
    let toml = std::fs::read_to_string(process.file()).unwrap();
    let words = ["explain", "GET", "http://a.example/v1/x?q", "-H", "x-tier: gold", "-c"];
    let output = run_on(&toml, &words);
    assert_eq!(output.0, Some(0), "{output:?}");
    let lines: Vec<_> = output.1.lines().collect();
    assert_eq!(lines[0], "route \"gold\" -> pool \"two\"", "{}", output.1);
    assert!(lines[1].contains("GET http://a.example/v1/x?q from 192.0.2.1"), "{}", output.1);
    assert!(lines.iter().any(|line| line.starts_with("-> gold  ") && line.ends_with("it matches, and comes first")));
    assert!(output.1.contains("v1      it matches, but \"gold\" comes first: it asks for more"), "{}", output.1);
    assert!(output.1.contains("configured") && !output.1.contains("IN FLIGHT"), "{}", output.1);
    // Its `operate` names the admin address, which asks the process.
    let (code, out, err) = process.operate(&["explain", "GET", "http://a.example/v1/x"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("route \"v1\" -> pool \"one\"\n"), "{out}");
    assert!(out.contains("IN FLIGHT") && out.contains("ready") && out.contains("the backend sees /x"), "{out}");
    let (code, out, _) = process.operate(&["explain", "DELETE", "/nothing", "--json", "--live"]);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, said["route"].is_null(), said["answer"]["word"].as_str()), (Some(0), true, Some("no_route")));
    for words in [
        &["explain", "GET"][..],
        &["explain", "GET", "/", "-H", "x"],
        &["explain", "GET", "/", "--from", "me"],
        &["explain", "GET", "a.example", "-c", "/nowhere"],
    ] {
        let (code, out, err) = run(words);
        let wanted = if words.len() == 5 && words[3] == "-c" { 1 } else { 2 };
        assert_eq!((code, out.as_str()), (Some(wanted), ""), "{words:?} {err}");
    }
}

const TESTED: &str = "[[route]]\nname = \"api\"\npath = \"/v1/*\"\npool = \"one\"\n\
                      [[route]]\nname = \"old\"\nhost = \"old.example\"\nredirect = { to = \"https://new.example{path}\" }\n\
                      [[route]]\nname = \"rest\"\npool = \"two\"\nresponse_headers = { set = { x-a = \"1\" }, remove = [\"x-b\"] }\n";

fn tested(tests: &str) -> String {
    let (one, two) = (Backend::refused(), Backend::refused());
    Site::new(format!("{TESTED}{tests}")).pool("one", one.address()).pool("two", two.address()).toml()
}

fn test(request: &str, expect: &str) -> String {
    format!("[[test]]\nname = \"t\"\nrequest = {{ {request} }}\nexpect = {{ {expect} }}\n")
}

#[test]
fn check_asks_the_tests_and_says_what_has_failed() {
    let fine = [
        test("url = \"https://a.example/v1/x\"", "route = \"api\", pool = \"one\""),
        test("url = \"http://old.example/x\"", "status = 308, location = \"https://new.example/x\""),
        test("url = \"/x\"", "route = \"rest\", header = { x-a = { prefix = \"1\" }, x-b = { absent = true } }"),
    ];
    let (code, said) = command(&["check", "-c"], &tested(&fine.concat()));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("3 tests passed") && said.lines().count() == 1, "{said}");
    for (request, expect, named) in [
        (
            "url = \"/v2\"",
            "route = \"api\"",
            &["found route \"rest\", wanted \"api\"", "path: /v1/* is asked for", "test[0].expect.route", "^^^^^"][..],
        ),
        ("url = \"/v2\"", "pool = \"one\"", &["found pool \"two\", wanted \"one\"", "route \"rest\" -> pool \"two\""]),
        ("url = \"http://old.example/\"", "pool = \"one\"", &["found no pool", "308 https://new.example/"]),
        ("url = \"http://old.example/\"", "status = 301", &["found 308, wanted 301"]),
        (
            "url = \"http://old.example/x\"",
            "location = \"https://new.example/y\"",
            &["found \"https://new.example/x\""],
        ),
        ("url = \"/v2\"", "status = 200", &["the status is what a backend of \"two\" says: it cannot be known here"]),
        ("url = \"/v2\"", "location = \"/\"", &["the place is what a backend"]),
        ("url = \"/v2\"", "header = { x-c = \"1\" }", &["the header x-c is what a backend"]),
        ("url = \"/v2\"", "header = { x-b = \"1\" }", &["the answer has no x-b"]),
        ("url = \"/v2\"", "header = { x-a = \"2\" }", &["found x-a: \"1\", which is another value"]),
    ] {
        let toml = tested(&test(request, expect));
        let (code, said) = command(&["check", "-c"], &toml);
        assert_eq!(code, Some(3), "{expect} {said}");
        assert!(named.iter().all(|words| said.contains(words)), "{named:?} are not in\n{said}");
        assert!(said.contains("\"t\": "), "{said}");
    }
    let toml = tested(&test("url = \"/v2\"", "route = \"api\""));
    let (code, _) = command(&["check", "-c"], &format!("{toml}\n[server2]\n"));
    assert_eq!(code, Some(1), "what is not valid is told from a test that fails");
    let (code, out, _) = run_on(&toml, &["check", "--format", "json", "-c"]);
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, rows[0]["key"].as_str()), (Some(3), Some("test[0].expect.route")));
}

#[test]
fn a_failing_test_keeps_a_process_from_starting_and_from_reloading() {
    let bad = tested(&test("url = \"/v2\"", "route = \"api\""));
    let mut process = Process::launch(&[], &bad);
    assert_eq!(process.wait().code(), Some(3), "{:?}", process.log());
    assert!(
        process.log().iter().any(|line| line.contains("found route \"rest\", wanted \"api\"")),
        "{:?}",
        process.log()
    );

    let (one, two) = (Backend::ok("one"), Backend::ok("two"));
    let with = |tests: &str| {
        let site = Site::new(format!("{TESTED}{tests}")).pool("one", one.address()).pool("two", two.address());
        with_token(&site.toml())
    };
    let good = with(&test("url = \"/v1/x\"", "route = \"api\""));
    let process = Process::spawn(&good);
    let before = process.generation();
    // The route moves away from what the test expects.
    let moved = good.replace("path = \"/v1/*\"", "path = \"/v3/*\"");
    process.reload_in_vain(&moved);
    assert_eq!(process.generation(), before);
    assert_eq!(Client::h1(process.address()).get("/v1/x").text(), "one", "the old configuration serves");
    wait_for("the log says why", || {
        process.log().iter().any(|line| line.contains("found route \"rest\", wanted \"api\""))
    });
    let (code, _, err) = process.operate(&["reload"]);
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("path: /v3/* is asked for"), "{err}");
    process.rewrite(&moved.replace("/v1/x", "/v3/x"));
    let (code, out, err) = process.operate(&["reload"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(Client::h1(process.address()).get("/v1/x").text(), "two");
    process.rewrite(&format!("{moved}\n[server2]\n"));
    assert_eq!(process.operate(&["reload"]).0, Some(1), "what is not valid is told from a test that fails");
}
