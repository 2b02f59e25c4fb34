//! What is said of requests, by example: against plans that nobody serves.

use super::*;
use crate::{config::Sample, telemetry::unix_millis};
use std::{path::Path, time::SystemTime};

const LISTENERS: &str = "[[listener]]\nname = \"plain\"\naddress = \"0.0.0.0:80\"\nredirect_to_https = true\n\
                         [[listener]]\nname = \"inner\"\naddress = \"0.0.0.0:8080\"\nmax_body_size = \"1KiB\"\n\
                         max_target_size = \"256B\"\ndeny = \"203.0.113.0/24\"\n";
const POOLS: &str = "[pool.api]\nbackends = [\"10.0.0.1:80\", { address = \"10.0.0.2:80\", name = \"b\", weight = 3 }]\n\
                     [pool.next]\nbackends = \"10.0.0.3:80\"\n";

fn config(text: &str) -> Config {
    let text = format!("{LISTENERS}{text}\n{POOLS}");
    Config::parse(&text, Path::new("evenkeel.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is said of `METHOD URL` from `from`, with these lines as headers, at the listener `inner`.
fn said(text: &str, line: &str, headers: &[(&str, &str)], from: &str) -> Explanation {
    let config = config(text);
    let plan = Plan::alone(&config).unwrap();
    let (method, url) = line.split_once(' ').unwrap();
    let url = if url.starts_with('/') { format!("http://a.example:8080{url}") } else { url.to_owned() };
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sample = Sample::new(method, &url, headers, Who::parse(from).unwrap()).unwrap();
    plan.explain(&config, &sample, false)
}

fn get(text: &str, url: &str) -> Explanation {
    said(text, &format!("GET {url}"), &[], "192.0.2.1")
}

fn value<'e>(settings: &'e [Setting], name: &str) -> Option<&'e str> {
    settings.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)).map(|setting| setting.value.as_str())
}

#[test]
fn routes_are_told_in_the_order_in_which_they_are_tried() {
    let text = "[[route]]\nname = \"other\"\nhost = \"b.example\"\npool = \"api\"\n\
                [[route]]\nname = \"all\"\npool = \"api\"\n\
                [[route]]\nname = \"gold\"\nhost = \"*.example\"\npath = \"/v1/*\"\nheader = { x-tier = \"s3cret\" }\npool = \"api\"\n\
                [[route]]\nname = \"put\"\nhost = \"*.example\"\npath = \"/v1/*\"\nmethod = \"PUT\"\npool = \"api\"\n\
                [[route]]\nname = \"v1\"\npath = \"/v1/*\"\npool = \"next\"\n\
                [[route]]\nname = \"v2\"\npath = [\"/v2\", { prefix = \"/w\" }]\npool = \"next\"\n";
    let said = get(text, "/v1/./x?y=1");
    assert_eq!(said.headline(), "route \"v1\" -> pool \"next\"");
    let routes: Vec<_> =
        said.routes.iter().map(|tried| (tried.name.as_str(), tried.matched, tried.why.as_str())).collect();
    assert_eq!(
        routes,
        [
            ("gold", false, "header: `x-tier` is not there"),
            ("put", false, "method: PUT is asked for, not GET"),
            ("v1", true, "it matches, and comes first"),
            ("all", false, "it matches, but \"v1\" comes first: its path fits more closely"),
            ("other", false, "host: b.example is asked for"),
            ("v2", false, "path: /v2 or what begins with /w is asked for"),
        ]
    );
    assert_eq!((said.request.path.as_str(), said.request.query.as_str()), ("/v1/x", "?y=1"));
    assert!(!serde_json::to_string(&said).unwrap().contains("s3cret"), "whoever knows it is let in");
}

#[test]
fn answers_of_ours_are_told_with_what_they_say() {
    let text = "[[route]]\nname = \"old\"\npath = \"/old/*\"\nredirect = { to = \"https://new.example{path_and_query}\" }\n\
                [[route]]\nname = \"ok\"\npath = \"/ok\"\nrespond = { body = \"ok\" }\nresponse_headers = { set = { x-a = \"{route}\" } }\n\
                [[route]]\nname = \"desk\"\npath = \"/desk\"\npool = \"api\"\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\"]\n\
                [[route]]\nname = \"cors\"\npath = \"/cors\"\npool = \"api\"\ncors = { origins = [\"https://p.example\"], methods = [\"PUT\"] }\n\
                [[route]]\nname = \"small\"\npath = \"/small\"\npool = \"api\"\nmax_body_size = \"10B\"\n";
    let preflight = [("origin", "https://p.example"), ("access-control-request-method", "PUT")];
    let long = format!("/{}", "x".repeat(256));
    for (line, headers, from, headline, field) in [
        (
            "GET /old/x?y",
            &[][..],
            "192.0.2.1",
            "route \"old\" -> 308 https://new.example/old/x?y",
            ("location", Some("https://new.example/old/x?y")),
        ),
        ("GET /ok", &[], "192.0.2.1", "route \"ok\" -> 200", ("x-a", Some("ok"))),
        (
            "GET /none",
            &[],
            "192.0.2.1",
            "no route -> 404 no_route",
            ("proxy-status", Some("evenkeel; error=destination_not_found; details=\"no_route\"")),
        ),
        ("GET /desk", &[], "192.0.2.1", "route \"desk\" -> 403 denied", ("x", None)),
        ("GET /desk", &[], "10.1.0.1", "route \"desk\" -> 403 denied", ("x", None)),
        ("GET /desk", &[], "10.2.0.1", "route \"desk\" -> pool \"api\"", ("x", None)),
        ("GET /desk", &[], "unix", "route \"desk\" -> 403 denied", ("x", None)),
        (
            "OPTIONS /cors",
            &preflight,
            "192.0.2.1",
            "route \"cors\" -> 204",
            ("access-control-allow-methods", Some("GET, HEAD, POST, PUT")),
        ),
        ("POST /small", &[("content-length", "11")], "192.0.2.1", "route \"small\" -> 413 body_too_large", ("x", None)),
        ("POST /small", &[("content-length", "1025")], "192.0.2.1", "no route -> 413 body_too_large", ("x", None)),
        ("GET /%00", &[], "192.0.2.1", "no route -> 400 bad_request", ("x", None)),
        (&format!("GET {long}"), &[], "192.0.2.1", "no route -> 414 target_too_long", ("x", None)),
        (
            "CONNECT http://a.example:8080",
            &[],
            "192.0.2.1",
            "no route -> 405 connect_denied",
            ("allow", Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ),
        ("GET /ok", &[], "203.0.113.9", "no route -> closed denied", ("x", None)),
        ("GET http://A.example/x?y", &[], "192.0.2.1", "no route -> 308 https://a.example/x?y", ("x", None)),
        ("GET https://a.example/ok", &[], "192.0.2.1", "no route -> 308 https://a.example/ok", ("x", None)),
    ] {
        let said = said(text, line, headers, from);
        assert_eq!(said.headline(), headline, "{line} {said:?}");
        let headers = said.answer.map(|answer| answer.headers).unwrap_or_default();
        assert_eq!(value(&headers, field.0), field.1, "{line} {headers:?}");
    }
    let why = said(text, "GET /desk", &[], "10.1.0.1").answer.unwrap().why;
    assert!(why.ends_with("10.1.0.1 is in 10.1.0.0/16 of `deny`"), "{why}");
}

#[test]
fn a_port_or_else_a_scheme_leads_to_a_listener() {
    let text =
        "[[route]]\nname = \"inner\"\nlistener = \"inner\"\npool = \"api\"\n[[route]]\nname = \"rest\"\npool = \"api\"";
    for (url, listener, headline, notes) in [
        ("http://a:8080/", "inner", "route \"inner\" -> pool \"api\"", 0),
        ("http://a/", "plain", "no route -> 308 https://a/", 0),
        ("http://a:81/", "plain", "no route -> 308 https://a/", 2),
        ("https://a:8443/", "plain", "no route -> 308 https://a/", 3),
    ] {
        let said = get(text, url);
        assert_eq!((said.listener.as_str(), said.headline().as_str()), (listener, headline), "{url}");
        assert_eq!(said.notes.len(), notes, "{url} {:?}", said.notes);
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_nobody_else() {
    let text = "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[[route]]\nname = \"mine\"\nclient_ip = \"198.51.100.0/24\"\npool = \"api\"\n\
                [[route]]\nname = \"rest\"\npool = \"next\"";
    let headers = [("x-forwarded-for", "198.51.100.7, 10.0.0.2"), ("x-forwarded-proto", "https")];
    let trusted = said(text, "GET /", &headers, "10.0.0.1");
    assert_eq!((trusted.route.as_deref(), trusted.request.scheme.as_str()), (Some("mine"), "https"));
    assert_eq!(trusted.request.client_ip.as_deref(), Some("198.51.100.7"));
    let other = said(text, "GET /", &headers, "192.0.2.1");
    assert_eq!((other.route.as_deref(), other.request.scheme.as_str()), (Some("rest"), "http"));
    let redirected = said(text, "GET http://a/", &headers, "10.0.0.1");
    assert_eq!(redirected.route.as_deref(), Some("mine"), "it came by https, as the proxy says");
}

#[test]
fn a_split_is_by_its_key_or_by_chance() {
    let text = |by: &str| {
        format!(
            "[[route]]\nname = \"r\"\nsplit = [{{ pool = \"api\", weight = 95 }}, {{ pool = \"next\", weight = 5 }}]\n{by}"
        )
    };
    let chance = get(&text(""), "/");
    assert_eq!(chance.headline(), "route \"r\" -> pool \"api\" (95%) or pool \"next\" (5%)");
    assert_eq!((chance.pool.as_deref(), chance.pools.len(), chance.candidates.len()), (None, 2, 3));
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..200 {
        let cookie = format!("u={user}");
        let said = said(&text("split_by = \"cookie:u\""), "GET /", &[("cookie", &cookie)], "192.0.2.1");
        let kept: Vec<_> = said.split.iter().filter(|side| side.kept).map(|side| side.pool.clone()).collect();
        assert_eq!(kept, [said.pool.clone().unwrap()]);
        seen.insert(said.pool.unwrap());
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn what_is_in_force_is_told_and_no_secret() {
    let text = "[rate_limit.per-key]\nkey = [\"client_ip\", \"header:x-key\"]\nrate = \"100/m\"\n\
                [[route]]\nname = \"r\"\npool = \"api\"\ntimeout = \"5s\"\nrate_limit = \"per-key\"\nin_flight_limit = { key = \"path\", max = 7 }\n\
                rewrite = { strip_prefix = \"/v1\" }\nrequest_headers = { set = { authorization = \"Bearer hunter2\" }, remove = \"x-debug\" }\n\
                response_headers = { set = { x-frame-options = \"DENY\" } }\nupgrade = []\npriority = \"low\"\n\
                fallback = { pool = \"next\" }\nmirror = { pool = \"next\", share = \"10%\" }\n";
    let explained = said(text, "POST /v1/x?y", &[("x-key", "hunter3")], "192.0.2.1");
    for (name, wanted) in [
        ("timeout", "5s"),
        ("rate_limit", "\"per-key\": 100/m, burst 2, by client_ip (192.0.2.1) and header:x-key (shown)"),
        ("in_flight_limit", "7 at a time by path (/v1/x)"),
        ("rewrite", "the backend sees /x?y"),
        ("request_headers", "remove x-debug; set authorization"),
        ("response_headers", "set x-frame-options"),
        ("upgrade", "none"),
        ("priority", "low"),
        ("fallback", "pool \"next\", when the pool cannot answer"),
        ("mirror", "10% to pool \"next\""),
    ] {
        assert_eq!(value(&explained.settings, name), Some(wanted), "{:?}", explained.settings);
    }
    assert_eq!(value(&explained.response_headers, "x-frame-options"), Some("DENY"));
    let [pool] = explained.pools.as_slice() else { panic!("{:?}", explained.pools) };
    assert_eq!((pool.algorithm.as_str(), value(&pool.settings, "response_timeout")), ("round_robin", Some("30s")));
    assert!(value(&pool.settings, "retry").unwrap().contains("not idempotent"), "{pool:?}");
    let named = |candidate: &Candidate| (candidate.name.clone(), candidate.weight, candidate.state.clone());
    let candidates: Vec<_> = explained.candidates.iter().map(named).collect();
    assert_eq!(candidates, [("10.0.0.1:80".into(), 1, "configured".into()), ("b".into(), 3, "configured".into())]);
    assert!(!serde_json::to_string(&explained).unwrap().contains("hunter"));
}

#[test]
fn sessions_and_hashes_lead_to_their_backends() {
    let pool = |keys: &str| {
        format!(
            "[[route]]\nname = \"r\"\npool = \"own\"\n[pool.own]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\", \"10.0.0.3:80\"]\n{keys}"
        )
    };
    let backend = |keys: &str, headers: &[(&str, &str)]| {
        let explained = said(&pool(keys), "GET /", headers, "192.0.2.1");
        (explained.pools[0].backend.clone(), value(&explained.pools[0].settings, "sticky").map(str::to_owned))
    };
    let (hashed, _) = backend("algorithm = \"ip_hash\"", &[]);
    assert!(hashed.is_some());
    let (none, _) = backend("algorithm = \"hash\"\nhash = { key = \"header:x-a\" }", &[]);
    assert_eq!(none, None);
    let sticky = "sticky = { type = \"header\", name = \"x-a\" }";
    let (first, why) = backend(sticky, &[("x-a", "1")]);
    assert!(first.is_some() && why.unwrap().starts_with("by header:x-a: by hash"));
    let cookie = "sticky = { type = \"cookie\" }";
    let (none, why) = backend(cookie, &[("cookie", "evenkeel=forged")]);
    assert_eq!(none, None);
    assert!(why.unwrap().contains("not valid"));
}

#[test]
fn a_credential_that_is_not_there_is_missed() {
    let folder = std::env::temp_dir().join(format!("evenkeel-explain-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("keys"), format!("mobile:{}\n", "a".repeat(64))).unwrap();
    std::fs::write(folder.join("secret"), "b".repeat(40)).unwrap();
    std::fs::write(folder.join("users"), "ann:$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\n").unwrap();
    let text = |kind: &str| {
        let folder = folder.display();
        let keys = match kind {
            "api_key" => format!("from = \"header:x-api-key\"\nkeys = {{ file = \"{folder}/keys\" }}"),
            "jwt" => format!(
                "secret = {{ file = \"{folder}/secret\" }}\nalgorithms = [\"HS256\"]\nissuer = \"i\"\naudience = \"a\""
            ),
            "basic" => format!("users = {{ file = \"{folder}/users\" }}"),
            _ => "url = \"http://127.0.0.1:1/v\"".to_owned(),
        };
        format!("[[route]]\nname = \"r\"\npool = \"api\"\nauth = \"x\"\n[auth.x]\ntype = \"{kind}\"\n{keys}\n")
    };
    for (kind, good, challenge) in [
        ("api_key", ("x-api-key", "anything"), "ApiKey realm=\"x\""),
        ("jwt", ("authorization", "Bearer anything"), "Bearer realm=\"x\""),
        ("basic", ("authorization", "Basic YTpi"), "Basic realm=\"x\", charset=\"UTF-8\""),
    ] {
        let missing = said(&text(kind), "GET /", &[], "192.0.2.1");
        assert_eq!(missing.headline(), "route \"r\" -> 401 unauthorized", "{kind}");
        assert_eq!(value(&missing.answer.unwrap().headers, "www-authenticate"), Some(challenge));
        let shown = said(&text(kind), "GET /", &[good], "192.0.2.1");
        assert_eq!(shown.headline(), "route \"r\" -> pool \"api\"", "{kind}");
        assert!(value(&shown.settings, "auth").unwrap().contains(kind), "{:?}", shown.settings);
    }
    assert_eq!(said(&text("forward"), "GET /", &[], "192.0.2.1").headline(), "route \"r\" -> pool \"api\"");
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn many_routes_are_told_in_part() {
    let route = |number: usize| format!("[[route]]\nname = \"r{number}\"\npath = \"/{number}\"\npool = \"api\"\n");
    let text: String = (0..MOST_ROUTES + 200).map(route).collect();
    let explained = get(&text, "/1150");
    assert_eq!((explained.route.as_deref(), explained.routes[0].name.as_str()), (Some("r1150"), "r1150"));
    assert_eq!(explained.routes.len(), MOST_ROUTES);
    assert!(explained.notes.iter().any(|note| note.starts_with("200 more routes")), "{:?}", explained.notes);
}

#[test]
fn a_side_with_all_of_a_split_is_no_chance() {
    let text = "[[route]]\nname = \"r\"\nsplit = [{ pool = \"api\", weight = 0 }, { pool = \"next\", weight = 5 }]\n\
                [[test]]\nrequest = { url = \"http://a.example:8080/\" }\nexpect = { pool = \"next\" }\n\
                [[test]]\nrequest = { url = \"http://a.example:8080/\" }\nexpect = { pool = \"api\" }\n";
    let failed = super::super::test(&config(text), Path::new("evenkeel.toml")).unwrap_err().to_string();
    assert!(failed.contains("found pool \"next\", wanted \"api\"") && failed.ends_with("1 problem"), "{failed}");
    let chance = text.replace("weight = 0", "weight = 5");
    let failed = super::super::test(&config(&chance), Path::new("evenkeel.toml")).unwrap_err().to_string();
    assert!(failed.contains("chance decides between pools") && failed.ends_with("2 problems"), "{failed}");
}

#[test]
fn what_only_a_trusted_proxy_may_say_is_not_heard_from_others() {
    let text = "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[rate_limit.user]\nkey = \"header:x-forwarded-user\"\nrate = \"1/s\"\n\
                [[route]]\nname = \"id\"\npath = \"/id\"\nrespond = { status = 200 }\nresponse_headers = { set = { x-id = \"{request_id}\" } }\n\
                [[route]]\nname = \"limited\"\npool = \"api\"\nrate_limit = \"user\"\n";
    let headers = [("x-forwarded-user", "ann"), ("x-request-id", "abc-1")];
    for (from, id, shown) in [("10.0.0.1", "abc-1", "(shown)"), ("192.0.2.1", REQUEST_ID, "(not shown")] {
        let answer = said(text, "GET /id", &headers, from).answer.unwrap();
        assert_eq!(value(&answer.headers, "x-id"), Some(id), "{from}");
        let limited = said(text, "GET /", &headers, from);
        assert!(value(&limited.settings, "rate_limit").unwrap().contains(shown), "{from} {:?}", limited.settings);
    }
}

#[test]
fn what_a_route_does_not_do_is_told() {
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let text = |upgrades: &str| format!("[[route]]\nname = \"r\"\npool = \"api\"\nupgrade = [{upgrades}]\n");
    let notes = said(&text(""), "GET /", &upgrade, "192.0.2.1").notes;
    assert!(notes.iter().any(|note| note.contains("which the route does not allow")), "{notes:?}");
    assert_eq!(said(&text("\"websocket\""), "GET /", &upgrade, "192.0.2.1").notes, [""; 0]);
    let connect = said(&text(""), "CONNECT http://a.example:8080", &[], "192.0.2.1");
    let why = (connect.headline(), connect.routes[0].why.as_str());
    assert_eq!(why, ("no route -> 405 connect_denied".into(), "it matches, but has no `connect = true`"));
}

#[test]
fn names_that_nobody_has_resolved_lead_nowhere() {
    let text = "[[route]]\nname = \"r\"\npool = \"own\"\n[pool.own]\nalgorithm = \"ip_hash\"\nbackends = [\"10.0.0.1:80\", \"b.example:80\"]\n";
    assert_eq!(get(text, "/").pools[0].backend, None, "its addresses decide");
    let known = text.replace("b.example", "10.0.0.2");
    assert!(get(&known, "/").pools[0].backend.is_some());
}

#[test]
fn a_cookie_of_ours_is_read_and_a_backend_that_is_gone_is_told() {
    for (fallback, told) in [("reassign", "another one gets the session"), ("reject", "gone: 503")] {
        let text = format!(
            "[[route]]\nname = \"r\"\npool = \"own\"\n[pool.own]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n\
             sticky = {{ type = \"cookie\", fallback = \"{fallback}\" }}\n"
        );
        let config = config(&text);
        let plan = Plan::alone(&config).unwrap();
        let pool = plan.pools.iter().find(|pool| pool.name == "own").unwrap();
        let cookie = pool.sticky.as_ref().unwrap().cookie().unwrap();
        let own = pool.members[1].backend.identity;
        for (identity, backend, why) in [(own, Some("10.0.0.2:80"), "its cookie says so"), (own ^ 1, None, told)] {
            let mut field = Vec::new();
            cookie.write(identity, &[], unix_millis(SystemTime::now()), false, &mut field);
            let field = String::from_utf8(field).unwrap();
            let headers = vec![("cookie".to_owned(), field.split(';').next().unwrap().to_owned())];
            let sample = Sample::new("GET", "http://a.example:8080/", headers, Who::default()).unwrap();
            let said = plan.explain(&config, &sample, false);
            assert_eq!(said.pools[0].backend.as_deref(), backend, "{said:?}");
            assert!(value(&said.pools[0].settings, "sticky").unwrap().ends_with(why), "{said:?}");
        }
    }
}

#[test]
fn a_peer_of_a_unix_socket_comes_by_one_and_may_name_no_host() {
    let text = "[[listener]]\nname = \"local\"\naddress = \"unix:/run/x.sock\"\n\
                [[route]]\nname = \"old\"\npath = \"/old\"\nredirect = { to = \"https://{host}{path}\" }\n\
                [[route]]\nname = \"rest\"\npool = \"api\"\n";
    assert_eq!(said(text, "GET /", &[], "unix").listener, "local");
    assert_eq!(get(text, "/").listener, "inner");
    let config = config(text);
    let nameless = |path: &str, from: &str| {
        let sample = Sample::new("GET", path, Vec::new(), Who::parse(from).unwrap()).unwrap();
        Plan::alone(&config).unwrap().explain(&config, &sample, false)
    };
    for (path, from, headline) in [
        ("/old", "unix", "route \"old\" -> 400 bad_request"),
        ("/", "192.0.2.1", "no route -> 400 bad_request"),
        ("/", "unix", "route \"rest\" -> pool \"api\""),
    ] {
        let said = nameless(path, from);
        assert_eq!(said.headline(), headline, "{path} from {from}");
        let why = said.answer.map(|answer| answer.why).unwrap_or_default();
        assert!(why.is_empty() || why.ends_with("needs a host, and the request names none"), "{why}");
    }
}

#[test]
fn a_few_of_many_listeners_are_asked() {
    let one = |number: usize| {
        format!(
            "[[listener]]\nname = \"l{number}\"\naddress = \"0.0.0.0:{}\"\n\
             [[route]]\nname = \"r{number}\"\nlistener = \"l{number}\"\npool = \"api\"\n",
            9000 + number
        )
    };
    let text: String = (0..2 * MOST_LISTENERS).map(one).collect();
    let notes = get(&text, "http://a:1/").notes;
    assert_eq!(notes.len(), 1 + MOST_LISTENERS, "{notes:?}");
}

#[test]
fn a_browser_is_told_in_html() {
    let kind = |accept: &str| {
        let said = said("[[route]]\nhost = \"b\"\npool = \"api\"\n", "GET /", &[("accept", accept)], "192.0.2.1");
        value(&said.answer.unwrap().headers, "content-type").map(str::to_owned)
    };
    assert_eq!(kind("text/html").as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(kind("*/*").as_deref(), Some("application/problem+json"));
}

#[test]
fn a_header_that_must_be_absent_and_is_there_fails() {
    let text = "[[route]]\nname = \"r\"\nrespond = { status = 200 }\nresponse_headers = { set = { x-a = \"1\" } }\n\
                [[test]]\nrequest = { url = \"http://a.example:8080/\" }\nexpect = { header = { x-a = { absent = true } } }\n";
    let failed = super::super::test(&config(text), Path::new("evenkeel.toml")).unwrap_err().to_string();
    assert!(failed.contains("found x-a: \"1\", wanted none"), "{failed}");
    assert!(super::super::test(&config(&text.replace("{ x-a = {", "{ x-b = {")), Path::new("evenkeel.toml")).is_ok());
}
