//! Tables in full, files that include others, and what warnings are not about.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::super::*;

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
const POOL: &str = "[pool.web]\nbackends = \"10.0.0.1:80\"\n";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new("evenkeel.toml"))
}

fn config(text: &str) -> Config {
    parse(&format!("{LISTENER}{POOL}{text}")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn routes(text: &str) -> Vec<Route> {
    config(text).routes
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

/// A folder of its own, gone with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("evenkeel-read-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Self(env::temp_dir().join(name));
        for (name, text) in files {
            let path = folder.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.0.join("main.toml"))
    }

    /// Each problem as `FILE:LINE key`, by the file's name alone.
    fn told(&self) -> Vec<String> {
        let problems = self.load().unwrap_err();
        let place = |problem: &Problem| {
            let file = problem.file().strip_prefix(&self.0).unwrap().display().to_string();
            format!("{file}:{} {}", problem.line, problem.key)
        };
        problems.iter().map(place).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_key_of_a_route_is_read() {
    let text = "[[route]]\nname = \"api\"\nlistener = \"127.0.0.1:8080\"\nhost = [\"API.example.com\", \"*.Example.org\", \
                \"[::1]\"]\npath = [\"/v1/*\", \"/v1\", \"/*\", { prefix = \"/.w\" }, { regex = \"^/[0-9]\" }]\nmethod = \
                [\"GET\", \"HEAD\"]\nheader = { X-Tier = \"gold\", x-id = { regex = \"^[0-9]+$\" }, x-any = { present = true } \
                }\ncookie = { Plan = { prefix = \"p\" } }\nquery = { \"b c\" = { absent = true } }\nclient_ip = \
                [\"10.0.0.0/8\", \"::1\"]\nsplit = [{ pool = \"web\", weight = 95 }, { pool = \"next\" }]\nsplit_by = \
                \"header:X-User\"\nmirror = { pool = \"next\", share = \"25%\" }\nfallback = { respond = { status = 503, body = \"{route}\" } }\ntimeout = \"5s\"\n\
                request_headers = { set = { X-A = \"1\" }, add = { x-b = [\"2\", \"3\"] }, remove = [\"X-C\", \"x-d\"] }\n\
                response_headers = { set = { x-e = \"{client_ip}\" } }\nrewrite = { strip_prefix = \"/v1/\", add_prefix = \"/\" \
                }\nmax_body_size = \"1MiB\"\nupgrade = []\naccess = \"off\"\npriority = \"low\"\nconnect = false\nallow = [\"10.0.0.0/8\", \"::1\"]\n\
                deny = \"10.0.0.7\"\nauth = \"desk\"\ncors = { origins = [\"https://*.Example.com\", \"null\"], methods \
                = [\"GET\", \"PUT\"], headers = \"X-A\", max_age = \"1h\" }\n\
                [auth.desk]\ntype = \"forward\"\nurl = \"http://127.0.0.1:1/v\"\n[pool.next]\nbackends = \"10.0.0.2:80\"\n";
    let hosts = ["api.example.com", "[::1]"].map(|name| HostMatch::Exact(name.into()));
    let text_of = |name: &str, text: Text| (name.to_owned(), text);
    let expected = Route {
        name: "api".into(),
        listeners: vec!["127.0.0.1:8080".into()],
        hosts: vec![hosts[0].clone(), HostMatch::Wildcard(".example.org".into()), hosts[1].clone()],
        paths: vec![
            PathMatch::Below("/v1".into()),
            PathMatch::Exact("/v1".into()),
            PathMatch::Below(String::new()),
            PathMatch::Prefix("/.w".into()),
            PathMatch::Regex("^/[0-9]".into()),
        ],
        methods: vec!["GET".into(), "HEAD".into()],
        headers: vec![
            text_of("x-tier", Text::Equal("gold".into())),
            text_of("x-id", Text::Regex("^[0-9]+$".into())),
            text_of("x-any", Text::Present),
        ],
        cookies: vec![text_of("Plan", Text::Prefix("p".into()))],
        query: vec![text_of("b c", Text::Absent)],
        client_ip: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        allow: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        deny: vec!["10.0.0.7/32".parse().unwrap()],
        cors: Some(Cors {
            origins: vec![
                Origin::Below { scheme: "https://".into(), rest: ".example.com".into() },
                Origin::Exact("null".into()),
            ],
            methods: vec!["PUT".into()],
            headers: vec!["x-a".into()],
            credentials: false,
            max_age: Duration::from_secs(3600),
        }),
        auth: Some("desk".into()),
        action: Action::Split {
            pools: vec![("web".into(), 95), ("next".into(), 1)],
            by: Some(SplitBy::Header("x-user".into())),
        },
        mirror: Some(Mirror { pool: "next".into(), share: 0.25 }),
        fallback: Some(Fallback::Respond(Respond {
            status: 503,
            body: template("{route}"),
            content_type: "text/plain; charset=utf-8".into(),
        })),
        timeout: Some(Duration::from_secs(5)),
        request_headers: HeaderRules {
            set: vec![("x-a".into(), template("1"))],
            add: vec![("x-b".into(), template("2")), ("x-b".into(), template("3"))],
            remove: vec!["x-c".into(), "x-d".into()],
        },
        response_headers: HeaderRules { set: vec![("x-e".into(), template("{client_ip}"))], ..HeaderRules::default() },
        rewrite: Some(Rewrite::Prefix { strip: "/v1".into(), add: String::new() }),
        max_body_size: Some(1 << 20),
        upgrade: false,
        connect: false,
        priority: Priority::Low,
        rate_limit: vec![],
        in_flight_limit: None,
        access: false,
    };
    assert_eq!(routes(text), [expected]);
}

#[test]
fn a_route_has_good_defaults_and_every_action() {
    let read = routes(
        "[[route]]\npath = \"/a\"\npool = \"web\"\nfallback.pool = \"spare\"\n[[route]]\npath = \"/b\"\nredirect.to = \
         \"{scheme}://{host}/\"\nhost = \"a\"\n[[route]]\npath = \"/c\"\nrespond = {}\n[[route]]\npath = \"/d\"\nredirect = { to = \
         \"/\", status = 303 }\n[[route]]\npath = \"/e\"\npool = \"web\"\ntimeout = 0\nrewrite = { regex = \"(?P<all>.*)\", \
         replacement = \"/${all}$0$$\" }\n[pool.spare]\nbackends = \"10.0.0.2:80\"\n",
    );
    let plain = Route { name: "/a".into(), paths: vec![PathMatch::Exact("/a".into())], ..Route::all_to("web") };
    assert_eq!(read[0], Route { fallback: Some(Fallback::Pool("spare".into())), ..plain });
    assert_eq!(read[1].action, Action::Redirect { to: template("{scheme}://{host}/"), status: 308 });
    let content_type = "text/plain; charset=utf-8".to_owned();
    assert_eq!(read[2].action, Action::Respond(Respond { status: 200, body: Template::default(), content_type }));
    assert_eq!(read[3].action, Action::Redirect { to: template("/"), status: 303 });
    let rewrite = Rewrite::Regex { regex: "(?P<all>.*)".into(), replacement: "/${all}$0$$".into() };
    assert_eq!((read[4].rewrite.clone(), read[4].timeout), (Some(rewrite), None));
}

#[test]
fn names_of_routes_are_derived_and_each_there_once() {
    let names: Vec<_> = routes(
        "[[route]]\nhost = \"a.example\"\npath = \"/v1/*\"\npool = \"web\"\n\
         [[route]]\nhost = \"*.example\"\npath = [\"/\", \"/b\"]\npool = \"web\"\n\
         [[route]]\npath = { regex = \"^/a\" }\npool = \"web\"\n[[route]]\npath = { prefix = \"/p\" }\npool = \"web\"\n\
         [[route]]\nheader = { x-a = \"1\" }\npool = \"web\"\n[[route]]\nheader = { X-A = \"2\" }\npool = \"web\"\n\
         [[route]]\nname = \"GET\"\nquery = { a = \"1\" }\npool = \"web\"\n[[route]]\nmethod = \"GET\"\npool = \"web\"\n\
         [[route]]\nclient_ip = \"10.0.0.0/8\"\npool = \"web\"\n[[route]]\nlistener = \"127.0.0.1:8080\"\npool = \"web\"\n\
         [[route]]\ncookie = { c = \"1\" }\npool = \"web\"\n[[route]]\npool = \"web\"\n",
    )
    .into_iter()
    .map(|route| route.name)
    .collect();
    let expected = [
        "a.example/v1/*",
        "*.example/",
        "/~^/a",
        "/p*",
        "header:x-a",
        "header:x-a-2",
        "GET",
        "GET-2",
        "client_ip:10.0.0.0/8",
        "listener:127.0.0.1:8080",
        "cookie:c",
        "default",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_may_match_is_not_warned_of() {
    for text in [
        // The narrower one goes first by its predicates, its path or its host, wherever it stands.
        "[[route]]\npool = \"web\"\n[[route]]\nmethod = \"GET\"\npool = \"web\"\n",
        "[[route]]\npath = \"/*\"\npool = \"web\"\n[[route]]\npath = \"/a\"\npool = \"web\"\n",
        "[[route]]\nhost = \"*.a\"\npool = \"web\"\n[[route]]\nhost = \"b.a\"\npool = \"web\"\n[[route]]\npool = \"web\"\n",
        "[[route]]\npath = { regex = \"^/a\" }\npool = \"web\"\n[[route]]\npath = { regex = \"^/b\" }\npool = \"web\"\n",
        // Other methods, values, networks and listeners.
        "[[route]]\nmethod = \"GET\"\npool = \"web\"\n[[route]]\nmethod = [\"GET\", \"PUT\"]\npool = \"web\"\n",
        "[[route]]\nheader.a = \"1\"\npool = \"web\"\n[[route]]\nheader.a = { present = true }\npool = \"web\"\n",
        "[[route]]\nheader.a = { present = true }\npool = \"web\"\n[[route]]\nheader.a = { absent = true }\npool = \"web\"\n",
        "[[route]]\nheader.a = \"1\"\npool = \"web\"\n[[route]]\ncookie.a = \"1\"\npool = \"web\"\n",
        "[[route]]\nclient_ip = \"10.1.0.0/16\"\npool = \"web\"\n[[route]]\nclient_ip = \"10.0.0.0/8\"\npool = \"web\"\n",
        // One of its cases is its own.
        "[[route]]\npath = \"/a\"\npool = \"web\"\n[[route]]\npath = [\"/a\", \"/b\"]\npool = \"web\"\n",
        // An expression behind `/*` with a predicate that it has not.
        "[[route]]\npath = \"/*\"\nmethod = \"GET\"\npool = \"web\"\n[[route]]\npath = { regex = \"a\" }\npool = \"web\"\n",
    ] {
        let warnings = config(text).warnings;
        assert!(warnings.is_none(), "{text}\n{}", warnings.unwrap());
    }
}

#[test]
fn every_key_of_a_health_check_is_read() {
    let checks = |text: &str| config(&format!("[[route]]\npool = \"a\"\n{text}")).pools.pop().unwrap().health_checks;
    let a = "[pool.web.keepalive]\n[pool.a]\nbackends = \"10.0.0.2:80\"\n";
    let read = checks(&format!(
        "{a}[[pool.a.health_check]]\ntype = \"http\"\npath = \"/health?x\"\nmethod = \"POST\"\nbody = \"ping\"\nhost = \
         \"api.internal:80\"\nheaders = {{ X-A = \"1\" }}\nport = 81\nreuse = true\nexpect_status = [200, \"301-399\", \"500\"]\n\
         expect_body = {{ regex = \"ok\" }}\ninterval = \"5s\"\ninterval_down = \"1s\"\ntimeout = \"2s\"\nhealthy_threshold = 1\n\
         unhealthy_threshold = 4\ninitial_state = \"down\"\nslow_after = \"500ms\"\n[pool.a.health_check.expect_json]\n\
         status = \"up\"\n\"a.b\" = 1\nc.d = true\ne = 1.5\n[[pool.a.health_check]]\n"
    ));
    let json =
        [("status", serde_json::json!("up")), ("a.b", 1.into()), ("c.d", true.into()), ("e", serde_json::json!(1.5))];
    let probe = HttpProbe {
        tls: false,
        path: "/health?x".into(),
        method: "POST".into(),
        body: Some("ping".into()),
        host: Some("api.internal:80".into()),
        headers: vec![("x-a".into(), "1".into())],
        reuse: true,
        expect_status: vec![(200, 200), (301, 399), (500, 500)],
        expect_body: Some(BodyMatch::Regex("ok".into())),
        expect_json: json.map(|(place, value)| (place.to_owned(), value)).to_vec(),
    };
    let seconds = Duration::from_secs;
    let expected = HealthCheck {
        probe: Probe::Http(Box::new(probe)),
        port: 81,
        interval: seconds(5),
        interval_down: seconds(1),
        timeout: seconds(2),
        healthy_threshold: 1,
        unhealthy_threshold: 4,
        initially_up: false,
        slow_after: Some(Duration::from_millis(500)),
    };
    assert_eq!(read, [expected, HealthCheck::tcp()]);
    assert_eq!(checks(&format!("{a}health_check = {{ type = \"off\", path = \"/x\" }}\n")), []);
    let plain = checks(&format!("{a}health_check = {{ type = \"http\", expect_body = \"ok\" }}\n"));
    let Probe::Http(probe) = &plain[0].probe else { panic!("{plain:?}") };
    assert_eq!((probe.path.as_str(), probe.method.as_str()), ("/", "GET"));
    assert_eq!(probe.expect_status, [(200, 299)]);
    assert_eq!(probe.expect_body, Some(BodyMatch::Contains("ok".into())));
}

#[test]
fn retries_algorithms_and_backups_are_read() {
    let pool = |text: &str| parse(&format!("{LISTENER}{POOL}{text}\n")).unwrap().pools.remove(0);
    let read = pool(
        "when_all_down = \"try_any\"\n[pool.web.retry]\nattempts = 0\non = \"reset\"\nbackoff = { base = \"1s\" }\nbudget = \
         \"off\"\nbudget_floor = 0\nbuffer = \"off\"",
    );
    let expected = Retry {
        attempts: 0,
        on_connect: false,
        on_reset: true,
        on_timeout: false,
        on_grpc: 0,
        on_status: Statuses::default(),
        idempotency_key: false,
        non_idempotent: false,
        backoff_base: Duration::from_secs(1),
        backoff_max: Duration::from_secs(1),
        budget: 0.0,
        budget_floor: 0,
        buffer: 0,
    };
    assert_eq!((read.retry, read.when_all_down), (expected, WhenAllDown::TryAny));
    let retry = pool("[pool.web.retry]\non = [503, \"429\", \"5xx\", \"reset\"]\nidempotency_key = true").retry;
    let listed = |retry: &Retry| (400..600).filter(|status| retry.on_status.has(*status)).collect::<Vec<_>>();
    assert_eq!(listed(&retry), [429].into_iter().chain(500..600).collect::<Vec<_>>());
    assert!(retry.idempotency_key && !retry.non_idempotent && retry.on_reset && !retry.on_connect);
    for (word, algorithm) in [
        ("round_robin", Algorithm::RoundRobin),
        ("weighted_round_robin", Algorithm::RoundRobin),
        ("random", Algorithm::Random),
        ("power_of_two_choices", Algorithm::PowerOfTwoChoices),
        ("least_connections", Algorithm::LeastConnections),
        ("weighted_least_connections", Algorithm::LeastConnections),
    ] {
        assert_eq!(pool(&format!("algorithm = \"{word}\"")).algorithm, algorithm);
    }
    let text = "[pool.web]\nbackends = [\"10.0.0.1:80\", { address = \"10.0.0.2:80\", backup = true }]\n";
    let read = parse(&format!("{LISTENER}{text}")).unwrap();
    assert_eq!(read.pools[0].backends.iter().map(|backend| backend.backup).collect::<Vec<_>>(), [false, true]);
    assert_eq!(read.warnings, None);
}

#[test]
fn logs_metrics_and_draining_are_read() {
    let read = config(
        "[log]\nformat = \"json\"\naccess = \"log/access.log\"\naccess_format = \"combined\"\naccess_sample = \"0.5%\"\n\
         access_overflow = \"wait\"\naccess_fields = [\"request:X-Tenant\", \"response:x-cache\", \"query\"]\n[metrics]\n\
         buckets = [\"1ms\", \"1s\"]\nbackend_histograms = \"off\"\n[server]\ndrain_delay = \"5s\"\ndrain_timeout = \"1m\"\n",
    );
    let expected = Log {
        level: "info".into(),
        format: LogFormat::Json,
        access: AccessLog::File("log/access.log".into()),
        access_format: AccessFormat::Combined,
        access_sample: 0.005,
        access_overflow: Overflow::Wait,
        access_fields: vec![
            AccessField::Request("X-Tenant".into()),
            AccessField::Response("x-cache".into()),
            AccessField::Query,
        ],
    };
    assert_eq!(read.log, expected);
    let buckets = vec![Duration::from_millis(1), Duration::from_secs(1)];
    assert_eq!(read.metrics, Metrics { buckets, backend_histograms: Some(false) });
    assert_eq!((read.server.drain_delay.as_secs(), read.server.drain_timeout.as_secs()), (5, 60));
    for (text, wanted) in [("off", AccessLog::Off), ("stderr", AccessLog::Stderr), ("stdout", AccessLog::Stdout)] {
        assert_eq!(config(&format!("[log]\naccess = \"{text}\"\n")).log.access, wanted);
    }
    let read =
        parse(&format!("{LISTENER}redirect_to_https = true\n{POOL}[admin]\nmetrics_address = \"127.0.0.1:0\"\n"));
    let read = read.unwrap();
    assert!(read.listeners[0].redirect_to_https);
    assert_eq!(read.admin.metrics_address.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:0"));
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_never_shown() {
    let secret = "correct-horse-battery";
    let main = format!("{LISTENER}{POOL}[admin]\ntoken = {{ file = \"admin.token\" }}\n");
    let folder = Folder::new(&[("main.toml", &main), ("admin.token", &format!(" {secret}\n"))]);
    let read = folder.load().unwrap();
    assert_eq!(read.admin.token, Some(Secret::new(secret.as_bytes())));
    assert!(!format!("{read:?}").contains("horse"));
    // Cargo sets this one.
    let text = "[admin]\ntoken.env = \"CARGO_PKG_DESCRIPTION\"\n";
    let description = env!("CARGO_PKG_DESCRIPTION");
    assert_eq!(config(text).admin.token, Some(Secret::new(description.as_bytes())));
    for line in
        ["token = \"S\"", "token = S", "token = 'S", "token: S", "password = \"S\"", "admin = { token = \"S\" }"]
    {
        let line = line.replace('S', secret);
        for text in [format!("[admin]\n{line}\n"), format!("{line}\n[admin]\naddress = 7\n{line}\nbogus = 1\n")] {
            let problems = parse(&text).unwrap_err();
            assert!(!problems.to_string().contains("horse"), "{text}\n{problems}");
            let json = problems.iter().map(|problem| format!("{}{:?}", problem.message, problem.help));
            assert!(!json.collect::<String>().contains("horse"), "{text}\n{problems}");
        }
    }
}

#[test]
fn error_pages_are_read_with_the_file_that_names_them() {
    let folder = Folder::new(&[
        ("main.toml", &format!("{LISTENER}{POOL}")),
        (
            "conf.d/pages.toml",
            "[error_pages]\n503 = { html = \"503.html\", json = \"503.json\" }\n404.html = \"503.html\"\n",
        ),
        ("conf.d/503.html", "<p>soon"),
        ("conf.d/503.json", "{}"),
    ]);
    let html = Some(b"<p>soon".to_vec());
    let expected = [
        ErrorPage { status: 503, html: html.clone(), json: Some(b"{}".to_vec()) },
        ErrorPage { status: 404, html, json: None },
    ];
    assert_eq!(folder.load().unwrap().error_pages, expected);
}

#[test]
fn included_files_are_read_in_lexical_order_each_once() {
    let pool = |name: &str, port: u16| format!("[pool.{name}]\nbackends = \"10.0.0.1:{port}\"\n");
    let route = |name: &str| format!("[[route]]\nhost = \"{name}.example\"\npool = \"{name}\"\n");
    let folder = Folder::new(&[
        ("main.toml", &format!("include = [\"extra.toml\", \"conf.d/*.toml\", \"*.toml\"]\n{LISTENER}")),
        ("extra.toml", &format!("{}{}", route("e"), pool("e", 1))),
        ("conf.d/20-b.toml", &format!("{}{}", route("b"), pool("b", 2))),
        ("conf.d/10-a.toml", &format!("{}{}", route("a"), pool("a", 3))),
        ("conf.d/.hidden.toml", "no TOML at all"),
        ("conf.d/other.toml~", "no TOML at all"),
        ("conf.d/folder.toml/x", "no TOML at all"),
    ]);
    let read = folder.load().unwrap();
    assert_eq!(
        read.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(),
        ["e.example", "a.example", "b.example"]
    );
    assert_eq!(read.pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["e", "a", "b"]);
    assert_eq!(read.warnings, None);
    let text = fs::read_to_string(folder.0.join("main.toml")).unwrap();
    assert_eq!(Config::parse(&text, &folder.0.join("main.toml")).unwrap(), read);
}

#[test]
fn what_may_stand_once_is_told_with_both_places_across_files() {
    let folder = Folder::new(&[
        (
            "main.toml",
            &format!(
                "{LISTENER}name = \"web\"\n{POOL}[server]\nname = \"a\"\n[trace]\notlp = \"http://a\"\n[[route]]\nname = \"r\"\npool = \"web\"\n"
            ),
        ),
        (
            "conf.d/a.toml",
            "include = \"b.toml\"\n[server]\nname = \"b\"\n[pool.web]\nbackends = \"10.0.0.2:80\"\n[[listener]]\nname = \"x\"\n\
             address = \"127.0.0.1:8080\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:81\"\n[[route]]\nname = \
             \"r\"\nhost = \"a\"\npool = \"web\"\n[log]\nlevle = \"x\"\n\
             [trace]\notlp = \"http://b\"\n",
        ),
    ]);
    let expected = [
        "conf.d/a.toml:1 include",
        "conf.d/a.toml:2 server",
        "conf.d/a.toml:4 pool.web",
        "conf.d/a.toml:8 listener[0].address",
        "conf.d/a.toml:10 listener[1].name",
        "conf.d/a.toml:13 route[0].name",
        "conf.d/a.toml:17 log.levle",
        "conf.d/a.toml:18 trace",
    ];
    assert_eq!(folder.told(), expected);
    let drawn = folder.load().unwrap_err().to_string();
    assert!(drawn.contains("conf.d/a.toml:8:11") && drawn.contains("main.toml:2:11"), "{drawn}");
    assert!(drawn.ends_with("main.toml: 8 problems"), "{drawn}");
}

#[test]
fn what_a_broken_file_may_have_held_is_not_missed() {
    let main = format!("{LISTENER}[[route]]\npool = \"api\"\n[server]\nworkers = 0\n");
    let folder = Folder::new(&[("main.toml", &main), ("conf.d/a.toml", "[pool.api\nbackends = \"10.0.0.2:80\"\n")]);
    assert_eq!(folder.told(), ["main.toml:6 server.workers", "conf.d/a.toml:1 "]);
    fs::write(folder.0.join("conf.d/a.toml"), b"x = \"\xff\"\n").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.0.join("conf.d/b.toml")).unwrap();
    assert_eq!(folder.told(), ["main.toml:6 server.workers", "conf.d/a.toml:1 ", "conf.d/b.toml:1 "]);
    let folder = Folder::new(&[("main.toml", &main), ("conf.d/a.toml", POOL)]);
    assert_eq!(folder.told(), ["main.toml:4 route[0].pool", "main.toml:6 server.workers"]);
}

/// The one pool of a file that has `text` in it.
fn pool(text: &str) -> Pool {
    parse(&format!("{LISTENER}{POOL}{text}\n")).unwrap_or_else(|problems| panic!("{problems}")).pools.remove(0)
}

#[test]
fn every_algorithm_and_every_key_of_a_hash_are_read() {
    let load = "custom_load = { weights = { cpu_utilization = 1 } }";
    for (word, algorithm) in [
        ("least_response_time", Algorithm::LeastResponseTime),
        ("least_bandwidth", Algorithm::LeastBandwidth),
        ("ip_hash", Algorithm::IpHash),
        ("hash", Algorithm::Hash),
        ("custom_load", Algorithm::CustomLoad),
    ] {
        let load = if word == "custom_load" { load } else { "" };
        assert_eq!(pool(&format!("algorithm = \"{word}\"\n{load}")).algorithm, algorithm);
    }
    for (word, key) in [
        ("client_ip", HashKey::ClientIp),
        ("header:X-Tenant", HashKey::Header("x-tenant".into())),
        ("cookie:Sid", HashKey::Cookie("Sid".into())),
        ("query:user id", HashKey::Query("user id".into())),
        ("path", HashKey::Path),
        ("host", HashKey::Host),
    ] {
        assert_eq!(pool(&format!("algorithm = \"hash\"\nhash.key = \"{word}\"")).hash.key, key);
    }
    for (text, bound) in [("101%", 101), ("1000%", 1000)] {
        assert_eq!(pool(&format!("algorithm = \"ip_hash\"\nhash.bounded_load = \"{text}\"")).hash.bounded_load, bound);
    }
    let read = pool("algorithm = \"hash\"\n[pool.web.hash]\nbounded_load = \"150%\"\nipv6_prefix = 128");
    assert_eq!(read.hash, Hash { key: HashKey::ClientIp, bounded_load: 150, ipv6_prefix: 128 });
}

#[test]
fn what_backends_say_of_themselves_is_read() {
    let of =
        |text: &str| pool(&format!("algorithm = \"custom_load\"\n[pool.web.custom_load]\n{text}")).custom_load.unwrap();
    let metrics =
        |list: &[(&str, f32)]| list.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect::<Vec<_>>();
    let expected = CustomLoad {
        source: LoadSource::Header,
        weights: metrics(&[("eps", 0.0), ("named_metrics.a", 0.5), ("named_metrics.b.c", 2.0)]),
        combine: Combine::Sum,
        limits: vec![],
        expire: Duration::from_secs(180),
    };
    let text = "weights = { eps = 0, \"named_metrics.a\" = 0.5, named_metrics = { b.c = 2 } }";
    assert_eq!(of(text), expected);
    let expected = CustomLoad {
        source: LoadSource::Poll { path: "/load?all".into(), interval: Duration::from_secs(2) },
        weights: metrics(&[("jobs", 0.1)]),
        combine: Combine::Max,
        limits: metrics(&[("disk.used", 0.95)]),
        expire: Duration::from_secs(60),
    };
    let text = "source = \"poll\"\npoll = { path = \"/load?all\", interval = \"2s\" }\nweights = { jobs = 0.1 }\n\
                combine = \"max\"\nlimits = { disk.used = 0.95 }\nexpire = \"1m\"";
    assert_eq!(of(text), expected);
    let LoadSource::Poll { interval, .. } = of("source = \"poll\"\npoll.path = \"/\"\nweights.a = 1").source else {
        panic!("it is polled");
    };
    assert_eq!(interval, Duration::from_secs(5));
    // Too many of them, and what is beside another algorithm.
    let many: String = (0..17).map(|number| format!("named_metrics.m{number} = 1\n")).collect();
    let text = format!("{LISTENER}{POOL}algorithm = \"custom_load\"\n[pool.web.custom_load.weights]\n{many}");
    assert!(parse(&text).unwrap_err().to_string().contains("found 17 metrics, wanted at most 16"));
    assert_eq!(pool("custom_load = { weights = { eps = 1 } }").custom_load, None);
}

#[test]
fn every_kind_of_stickiness_is_read() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let of = |text: &str| pool(&format!("sticky = {{ {text} }}")).sticky;
    let sticky = |by, fallback| Some(Sticky { by, fallback });
    let cookie = StickyBy::Cookie { name: "evenkeel".into(), ttl: hours(8), secrets: vec![] };
    assert_eq!(of("type = \"cookie\""), sticky(cookie, StickyFallback::Reassign));
    let app = StickyBy::AppCookie { name: "JSESSIONID".into(), ttl: hours(1) };
    let text = "type = \"app_cookie\", name = \"JSESSIONID\", ttl = \"1h\", fallback = \"reject\"";
    assert_eq!(of(text), sticky(app, StickyFallback::Reject));
    let header = StickyBy::Header("x-user".into());
    assert_eq!(of("type = \"header\", name = \"X-User\""), sticky(header, StickyFallback::Reassign));
    assert_eq!(of("type = \"source_ip\""), sticky(StickyBy::SourceIp, StickyFallback::Reassign));
    assert_eq!(pool("").sticky, None);
    for (text, expected) in [("\"1h\"", Some(hours(1))), ("\"0s\"", None), ("0", None), ("\"off\"", None)] {
        assert_eq!(pool(&format!("slow_start = {text}")).slow_start, expected);
    }
}

#[test]
fn keys_that_sign_cookies_are_read_line_by_line_and_never_shown() {
    let (new, old) = ("n".repeat(32), "o".repeat(40));
    let main = format!("{LISTENER}{POOL}sticky = {{ type = \"cookie\", secret = {{ file = \"sticky.key\" }} }}\n");
    let folder = Folder::new(&[("main.toml", &main), ("sticky.key", &format!("{new}\r\n\n  {old}\n"))]);
    let read = folder.load().unwrap();
    assert_eq!(read.warnings, None);
    assert!(!format!("{read:?}").contains("nnnn"));
    let Some(Sticky { by: StickyBy::Cookie { secrets, .. }, .. }) = read.pools[0].sticky.clone() else {
        panic!("{read:?}");
    };
    assert_eq!(secrets, [Secret::new(new.as_bytes()), Secret::new(old.as_bytes())]);
    for (keys, told) in [
        (format!("{new}\nshort"), "line 2 has 5 bytes, wanted keys of at least 32, one a line"),
        (format!("{new}\n# the old one: {old}"), "line 2 begins with `#`, and a comment would be a key"),
        (" \n\n".to_owned(), "found no key there, wanted one a line"),
        (format!("{new}\n").repeat(17), "found 17 keys there, wanted at most 16"),
    ] {
        fs::write(folder.0.join("sticky.key"), &keys).unwrap();
        let problems = folder.load().unwrap_err().to_string();
        assert!(problems.contains(told) && !problems.contains("nnnn"), "{problems}");
    }
    for slip in ["secrt", "key", "hmac", "secret"] {
        for value in [format!("\"{old}\""), format!("[\"{old}\"]"), format!("{{ value = \"{old}\" }}")] {
            for text in [
                format!("[pool.web.sticky]\ntype = \"cookie\"\n{slip} = {value}\n"),
                format!("sticky = {{ type = \"bogus\", secret = [\"{old}\"], {slip}_ = {value} }}\n"),
            ] {
                let problems = parse(&format!("{LISTENER}{POOL}{text}")).unwrap_err();
                assert!(!problems.to_string().contains("oooo"), "{text}\n{problems}");
            }
        }
    }
}

#[test]
fn ways_in_that_are_safe_are_not_warned_of() {
    let auth = "[auth.a]\ntype = \"forward\"\nurl = \"http://localhost:9000\"\n";
    for listeners in [
        "[[listener]]\naddress = \"127.0.0.1:1\"\n",
        "[[listener]]\naddress = \"[::1]:1\"\n",
        "[[listener]]\naddress = \"unix:/run/a.sock\"\n",
        "[[listener]]\naddress = \"0.0.0.0:1\"\nredirect_to_https = true\n",
        "[[listener]]\naddress = \"0.0.0.0:1\"\n[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
        "[[listener]]\naddress = \"127.0.0.1:1\"\nname = \"near\"\n[[listener]]\naddress = \"0.0.0.0:2\"\n[[route]]\n\
         path = \"/open\"\npool = \"web\"\n",
    ] {
        let own = if listeners.contains("near") { "listener = \"near\"\n" } else { "" };
        let text = format!("{listeners}{auth}{POOL}[[route]]\n{own}pool = \"web\"\nauth = \"a\"\n");
        let config = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(config.warnings.is_none(), "{text}\n{}", config.warnings.unwrap());
    }
}

#[test]
fn every_key_of_a_way_in_is_read() {
    // RFC 8037 appendix A.2.
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let folder = Folder::new(&[("secret", &"a".repeat(64)), ("jwks", keys)]);
    let read = |keys: &str| {
        let text = format!("{LISTENER}{POOL}[[route]]\npool = \"web\"\nauth = \"a\"\n[auth.a]\n{keys}\n");
        let config = Config::parse(&text, &folder.0.join("main.toml")).unwrap_or_else(|problems| panic!("{problems}"));
        config.auths[0].kind.clone()
    };
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let jwt = read(
        "type = \"jwt\"\njwks = { file = \"jwks\" }\nalgorithms = [\"ES384\", \"PS256\", \"ES384\"]\nissuer = \"i\"\naudience \
         = [\"a\", \"b\"]\nleeway = 0\nfrom = \"query:a b\"\nclaims_to_headers = { sub = \"X-User\" }\nrequire = { scope = \
         [\"a\", \"b\"], admin = true, level = 1_0 }\nuser = \"email\"",
    );
    let expected = JwtAuth {
        keys: JwtKeys::File(folder.0.join("jwks")),
        algorithms: vec![JwtAlgorithm::Es384, JwtAlgorithm::Ps256],
        issuers: list(&["i"]),
        audiences: list(&["a", "b"]),
        leeway: Duration::ZERO,
        from: ShownIn::Query("a b".into()),
        claims_to_headers: vec![("sub".into(), "x-user".into())],
        require: vec![
            ("scope".into(), list(&["a", "b"])),
            ("admin".into(), list(&["true"])),
            ("level".into(), list(&["10"])),
        ],
        user: "email".into(),
    };
    assert_eq!(jwt, AuthKind::Jwt(Box::new(expected)));
    let AuthKind::Jwt(short) = read("type = \"jwt\"\nsecret = { file = \"secret\" }") else { panic!("it is jwt") };
    assert_eq!((short.algorithms, short.user.as_str()), (vec![JwtAlgorithm::Hs256], "sub"));
    assert_eq!((short.leeway, short.from), (Duration::from_secs(30), ShownIn::Header("authorization".into())));
    let url = |text: &str| match read(&format!(
        "type = \"forward\"\nurl = {text:?}\ncopy_headers = [\"X-B\", \"x-a\", \"x-b\"]"
    )) {
        AuthKind::Forward(forward) => {
            assert_eq!((forward.timeout, forward.copy_headers), (Duration::from_secs(2), list(&["x-a", "x-b"])));
            forward.url
        }
        other => panic!("{other:?}"),
    };
    let named = |name: &str, port| Address::Named(name.into(), port);
    for (text, tls, address, authority, path) in [
        (
            "http://127.0.0.1:9000/v?a=1",
            false,
            Address::Tcp("127.0.0.1:9000".parse().unwrap()),
            "127.0.0.1:9000",
            "/v?a=1",
        ),
        ("https://Auth.example.com", true, named("auth.example.com", 443), "Auth.example.com", "/"),
        ("http://localhost?a", false, named("localhost", 80), "localhost", "/?a"),
        ("https://[::1]:8443/", true, Address::Tcp("[::1]:8443".parse().unwrap()), "[::1]:8443", "/"),
    ] {
        let expected = Url { tls, address, authority: authority.into(), path: path.into() };
        assert_eq!(url(text), expected, "{text}");
    }
}

#[test]
fn the_pool_of_a_service_has_its_name_for_itself() {
    let service = "[auth.door]\ntype = \"forward\"\nurl = \"http://127.0.0.1:1\"\n";
    let route = "[[route]]\npool = \"web\"\nauth = \"door\"\n[[route]]\npath = \"/x\"\npool = \"auth:door\"\n";
    let pool = "[pool.\"auth:door\"]\nbackends = [\"10.0.0.2:80\"]\n";
    let problems = parse(&format!("{LISTENER}{POOL}{pool}{service}{route}")).unwrap_err();
    let told: Vec<_> = problems.iter().map(|problem| problem.key.clone()).collect();
    assert_eq!(told, ["auth.door"], "{problems}");
    let other =
        service.replace("forward", "jwt").replace("url = \"http://127.0.0.1:1\"", "jwks = \"https://a.example\"");
    assert!(parse(&format!("{LISTENER}{POOL}{pool}{other}{route}")).is_ok(), "a token has no pool");
}

#[test]
fn every_key_of_a_limit_is_read() {
    let main = format!(
        "[server]\ntrusted_proxies = \"127.0.0.1\"\n{LISTENER}{POOL}[rate_limit.per-ip]\nkey = \"client_ip\"\nrate = \"90/m\"\n[rate_limit.full]\nkey = \
         [\"header:X-Api-Key\", \"cookie:s\", \"claim:sub\", \"path\", \"route\"]\nalgorithm = \"token_bucket\"\n\
         rate = \"1000/h\"\nburst = 7\ntiers = [{{ name = \"gold\", keys = {{ file = \"gold.keys\" }}, rate = \
         \"20/s\" }}, {{ name = \"silver\", keys.file = \"gold.keys\", rate = \"5/s\", burst = 9 }}]\nmax_keys = 5000\n\
         dry_run = true\n[rate_limit.slow]\nkey = [\"global\"]\nalgorithm = \"leaky_bucket\"\nrate = \"1000000/s\"\n\
         max_delay = \"2s\"\n[[route]]\npool = \"web\"\nrate_limit = [\"slow\", \"full\", \"per-ip\"]\n\
         in_flight_limit = {{ key = [\"client_ip\", \"path\"], max = 50 }}\n"
    );
    let folder = Folder::new(&[("main.toml", &main), ("gold.keys", "# ours\nkey-1\n\n key-2 \n")]);
    let read = folder.load().unwrap();
    let warned = read.warnings.as_ref().map(|warnings| warnings.iter().count());
    assert_eq!(warned, Some(1), "the route asks for no token: {:?}", read.warnings);
    let limit = |name: &str, key: Vec<LimitKey>, rate: (u64, u64), burst| RateLimit {
        name: name.into(),
        key,
        algorithm: LimitAlgorithm::TokenBucket,
        rate: Rate { requests: rate.0, seconds: rate.1 },
        burst,
        max_delay: Duration::from_secs(1),
        tiers: vec![],
        max_keys: 1_000_000,
        dry_run: false,
    };
    let tier = |name: &str, requests, burst| Tier {
        name: name.into(),
        file: folder.0.join("gold.keys"),
        keys: vec![Secret::new(b"key-1"), Secret::new(b"key-2")],
        rate: Rate { requests, seconds: 1 },
        burst,
    };
    let parts = vec![
        LimitKey::Header("x-api-key".into()),
        LimitKey::Cookie("s".into()),
        LimitKey::Claim("sub".into()),
        LimitKey::Path,
        LimitKey::Route,
    ];
    let full = RateLimit {
        tiers: vec![tier("gold", 20, 20), tier("silver", 5, 9)],
        max_keys: 5000,
        dry_run: true,
        ..limit("full", parts, (1000, 3600), 7)
    };
    let slow = RateLimit {
        algorithm: LimitAlgorithm::LeakyBucket,
        max_delay: Duration::from_secs(2),
        ..limit("slow", vec![LimitKey::Global], (1_000_000, 1), 1_000_000)
    };
    assert_eq!(read.rate_limits, [limit("per-ip", vec![LimitKey::ClientIp], (90, 60), 2), full, slow]);
    assert!(!format!("{:?}", read.rate_limits).contains("key-1"));
    let route = &read.routes[0];
    assert_eq!(route.rate_limit, ["slow", "full", "per-ip"]);
    let wanted = InFlightLimit { key: vec![LimitKey::ClientIp, LimitKey::Path], max: 50 };
    assert_eq!(route.in_flight_limit, Some(wanted));
    for off in ["\"off\"", "0"] {
        let text = format!("[[route]]\npool = \"web\"\nin_flight_limit = {off}\nrate_limit = []\n");
        assert_eq!(config(&text).routes[0].in_flight_limit, None);
    }
}
