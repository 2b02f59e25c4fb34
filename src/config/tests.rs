//! Golden messages, defaults, and what no text may do. `EVENKEEL_BLESS=1 cargo test config` writes the messages anew.

use std::{collections::BTreeSet, env, fs, path::Path};

use proptest::prelude::*;

use super::{keys, tls::testing::Certs, *};

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
const POOL: &str = "[pool.web]\nbackends = \"10.0.0.1:80\"\n";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new("evenkeel.toml"))
}

fn listener(keys: &str) -> Listener {
    parse(&format!("{LISTENER}{keys}\n{POOL}")).unwrap().listeners.remove(0)
}

fn pool(keys: &str) -> Pool {
    parse(&format!("{LISTENER}{POOL}{keys}\n")).unwrap().pools.remove(0)
}

fn server(keys: &str) -> Server {
    parse(&format!("[server]\n{keys}\n{LISTENER}{POOL}")).unwrap().server
}

/// Checks each case of a golden file, which holds the input and, behind `-----`, what is said of it. `suffix` follows
/// every input, so that a case holds what is wrong alone.
fn golden(file: &str, suffix: &str) {
    golden_in(Path::new(""), file, suffix);
}

/// As [`golden`], with the input in `folder`, which the messages do not tell.
fn golden_in(folder: &Path, file: &str, suffix: &str) {
    let place = folder.join("evenkeel.toml");
    let hidden = match folder.to_string_lossy() {
        name if name.is_empty() => "\0".to_owned(),
        name => format!("{name}/"),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/golden").join(file);
    let before = fs::read_to_string(&path).unwrap();
    let mut after = String::new();
    let mut titles = BTreeSet::new();
    for case in before.split("===== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        assert!(titles.insert(title.to_owned()), "{file}: {title} stands twice");
        let input = rest.split_once("-----\n").map_or(rest, |(input, _)| input).trim_end();
        let problems = match Config::parse(&format!("{input}\n{suffix}"), &place) {
            Ok(config) => config.warnings.expect(title),
            Err(problems) => problems,
        };
        let drawn = problems.render(false).replace(&hidden, "");
        for problem in &problems {
            let place = format!("evenkeel.toml:{}:{}\n", problem.line, problem.column);
            assert!(problem.span.is_none() || drawn.contains(&place), "{title}: {place} is not in\n{drawn}");
        }
        after.push_str(&format!("===== {title}\n{input}\n-----\n{drawn}\n\n"));
    }
    if env::var_os("EVENKEEL_BLESS").is_some() {
        fs::write(&path, after).unwrap();
    } else {
        assert_eq!(after, before, "{file}: the messages changed; read them, then set EVENKEEL_BLESS=1");
    }
}

#[test]
fn bad_files_are_explained() {
    golden("file.txt", "");
    golden("syntax.txt", "");
}

#[test]
fn bad_tables_are_explained() {
    golden("process.txt", &format!("{LISTENER}{POOL}"));
    golden("listener.txt", POOL);
    golden("pool.txt", LISTENER);
    golden("balance.txt", LISTENER);
    golden("limit.txt", &format!("{LISTENER}{POOL}"));
    golden("route.txt", &format!("{LISTENER}{POOL}"));
    golden("test.txt", &format!("{LISTENER}{POOL}"));
}

#[test]
fn bad_tls_is_explained() {
    let certs = Certs::new();
    golden_in(&certs.0, "tls.txt", POOL);
    golden_in(&certs.0, "pool_tls.txt", LISTENER);
}

#[test]
fn bad_ways_in_are_explained() {
    let folder = Certs::new();
    let put = |name: &str, text: &str| fs::write(folder.0.join(name), text).unwrap();
    put("users", "ann:$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\n");
    put(
        "mixed",
        "ann:$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\nbob:$2y$12$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\n",
    );
    put("five", "12345\n");
    put("md5", "# staff\nann:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\n");
    put("keys", &format!("mobile:{}\n", "a".repeat(64)));
    put("plain", "mobile:hunter2\n");
    put("jwks", "{}");
    put("secret", &"a".repeat(40));
    golden_in(&folder.0, "auth.txt", POOL);
}

#[test]
fn what_is_hardly_meant_is_warned_of() {
    golden("warning.txt", &format!("{LISTENER}{POOL}"));
}

#[test]
fn the_minimal_file_is_valid_and_every_default_is_the_products() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/minimal.toml");
    let Config {
        server,
        admin,
        log,
        trace,
        metrics,
        listeners,
        routes,
        pools,
        auths,
        rate_limits,
        error_pages,
        tests,
        warnings,
        written: _,
    } = Config::load(&path).unwrap();
    assert_eq!(tests, vec![]);
    assert_eq!(warnings, None);
    assert_eq!(trace, None);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert!(!server.name.is_empty());
    let expected = Server {
        workers: None,
        trusted_proxies: Trusted { nets: vec![], unix: false },
        underscore_headers: Underscores::Drop,
        via: "evenkeel".into(),
        name: server.name.clone(),
        forwarded: false,
        max_connections: None,
        max_memory: None,
        max_in_flight: None,
        drain_delay: Duration::ZERO,
        resolvers: vec![],
        drain_timeout: Duration::from_secs(30),
    };
    assert_eq!(server, expected);
    let address = Some(Address::Tcp("127.0.0.1:9900".parse().unwrap()));
    assert_eq!(admin, Admin { address, metrics_address: None, token: None });
    assert_eq!((metrics.buckets.len(), metrics.backend_histograms), (13, None));
    assert_eq!((routes, auths, rate_limits, error_pages), (vec![Route::all_to("web")], vec![], vec![], vec![]));
    let expected = Log {
        level: "info".into(),
        format: LogFormat::Text,
        access: AccessLog::Stdout,
        access_format: AccessFormat::Json,
        access_sample: 1.0,
        access_overflow: Overflow::Drop,
        access_fields: vec![],
    };
    assert_eq!(log, expected);
    let expected = Listener {
        name: "0.0.0.0:8080".into(),
        address: Address::Tcp("0.0.0.0:8080".parse().unwrap()),
        ipv6_only: false,
        backlog: 4096,
        defer_accept: false,
        max_connections: Some(100_000),
        max_connections_per_ip: None,
        allow: vec![],
        deny: vec![],
        header_timeout: seconds(10),
        body_timeout: seconds(30),
        min_body_rate: Some(100),
        write_timeout: seconds(30),
        idle_timeout: seconds(75),
        non_ascii_targets: NonAscii::Reject,
        half_close: false,
        max_header_size: 32 * 1024,
        max_headers: 128,
        max_target_size: 8 * 1024,
        max_body_size: None,
        redirect_to_https: false,
        proxy_protocol: false,
        max_connection_age: None,
        h2: Http2::default(),
        tls: None,
    };
    assert_eq!(listeners, [expected]);
    let backend = |address: &str| Backend {
        address: Address::Tcp(address.parse().unwrap()),
        name: address.into(),
        weight: 1,
        backup: false,
        max_in_flight: None,
    };
    let expected = Pool {
        name: "web".into(),
        algorithm: Algorithm::RoundRobin,
        backends: vec![backend("10.0.1.10:8080"), backend("10.0.1.11:8080")],
        discover: None,
        keepalive: Keepalive { max_idle: 64, idle_timeout: seconds(30), max_requests: None },
        max_connections: None,
        max_in_flight: MaxInFlight::Off,
        queue: Some(Queue::default()),
        source_address: vec![],
        connect_timeout: seconds(2),
        response_timeout: seconds(30),
        body_timeout: seconds(60),
        tunnel_timeout: seconds(3600),
        pass_host: true,
        when_all_down: WhenAllDown::Reject,
        health_checks: vec![HealthCheck::tcp()],
        circuit_breaker: CircuitBreaker::default(),
        outlier: None,
        retry: Retry::default(),
        protocol: Protocol::H1,
        send_proxy_protocol: None,
        tls: None,
        hash: Hash::default(),
        custom_load: None,
        sticky: None,
        slow_start: seconds(10),
    };
    assert_eq!(pools, [expected]);
}

#[test]
fn every_key_of_a_listener_is_read() {
    let read = listener(
        "name = \"front\"\nbacklog = 10\nmax_connections = 5\nheader_timeout = \"1s\"\nbody_timeout = \"2s\"\n\
         min_body_rate = \"1KiB/s\"\nwrite_timeout = \"3s\"\nidle_timeout = \"4s\"\nhalf_close = true\nnon_ascii_targets = \"encode\"\n\
         defer_accept = true\nmax_header_size = \"64KiB\"\nmax_headers = 64\nmax_target_size = 4096\n\
         max_body_size = \"10MiB\"\nmax_connections_per_ip = 3\nallow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
         deny = \"10.0.0.7\"",
    );
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let expected = Listener {
        name: "front".into(),
        address: Address::Tcp("127.0.0.1:8080".parse().unwrap()),
        ipv6_only: false,
        backlog: 10,
        defer_accept: true,
        max_connections: Some(5),
        max_connections_per_ip: Some(3),
        allow: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        deny: vec!["10.0.0.7/32".parse().unwrap()],
        header_timeout: seconds(1),
        body_timeout: seconds(2),
        min_body_rate: Some(1024),
        write_timeout: seconds(3),
        idle_timeout: seconds(4),
        non_ascii_targets: NonAscii::Encode,
        half_close: true,
        max_header_size: 65_536,
        max_headers: 64,
        max_target_size: 4096,
        max_body_size: Some(10 << 20),
        redirect_to_https: false,
        proxy_protocol: false,
        max_connection_age: None,
        h2: Http2::default(),
        tls: None,
    };
    assert_eq!(read, expected);
}

#[test]
fn every_key_of_a_circuit_breaker_and_of_an_outlier_is_read() {
    let read = pool(
        "[pool.web.circuit_breaker]\nenabled = false\nscope = \"pool\"\non = [\"reset\", \"5xx\", 429, \"408\"]\n\
         consecutive_failures = \"off\"\nfailure_rate = \"25%\"\nmin_requests = 7\nwindow = \"1m\"\nopen_for = \"10m\"\n\
         half_open_requests = 1\nmax_ejected = \"off\"\n[pool.web.outlier]\nlatency = \"2.5x\"\nfor = \"1m\"",
    );
    let expected = CircuitBreaker {
        enabled: false,
        scope: BreakerScope::Pool,
        on_connect: false,
        on_reset: true,
        on_timeout: false,
        on_status: Statuses::of([500..=599, 429..=429, 408..=408]),
        consecutive_failures: None,
        failure_rate: Some(0.25),
        min_requests: 7,
        window: Duration::from_secs(60),
        open_for: Duration::from_secs(600),
        open_for_max: Duration::from_secs(600),
        half_open_requests: 1,
        max_ejected: 1.0,
    };
    assert_eq!(read.circuit_breaker, expected);
    assert_eq!(read.outlier, Some(Outlier { latency: 2.5, lasts: Duration::from_secs(60) }));
    assert_eq!(pool("[pool.web.circuit_breaker]\nfailure_rate = 0").circuit_breaker.failure_rate, None);
    assert_eq!(pool("[pool.web.circuit_breaker]\nmax_ejected = \"0%\"").circuit_breaker.max_ejected, 0.0);
    assert_eq!(pool("[pool.web.outlier]").outlier, Some(Outlier::default()));
    assert_eq!(pool("[pool.web.retry]\nattempts = \"off\"").retry.attempts, 0);
}

#[test]
fn every_key_of_a_pool_is_read() {
    let text = "[pool.api]\nalgorithm = \"weighted_round_robin\"\nbackends = [{ address = \"[::1]:80\", name = \"b\", \
                weight = 0 }, { address = \"unix:/run/app.sock\", max_in_flight = 200 }]\n\
                max_in_flight = \"auto\"\nqueue = { size = 9, timeout = \"off\" }\nkeepalive = { max_idle = 0, idle_timeout = \"off\", \
                max_requests = 9 }\nmax_connections = 7\nsource_address = [\"10.0.0.9\", \"::1\"]\n\
                connect_timeout = \"250ms\"\nresponse_timeout = 0\nbody_timeout = \"off\"\ntunnel_timeout = \"0s\"\n\
                pass_host = false\nslow_start = \"off\"\n";
    let read = parse(&format!("{LISTENER}{text}")).unwrap().pools.remove(0);
    let expected = Pool {
        name: "api".into(),
        algorithm: Algorithm::RoundRobin,
        backends: vec![
            Backend {
                address: Address::Tcp("[::1]:80".parse().unwrap()),
                name: "b".into(),
                weight: 0,
                backup: false,
                max_in_flight: None,
            },
            Backend {
                address: Address::Unix("/run/app.sock".into()),
                name: "unix:/run/app.sock".into(),
                weight: 1,
                backup: false,
                max_in_flight: Some(MaxInFlight::Most(200)),
            },
        ],
        discover: None,
        keepalive: Keepalive { max_idle: 0, idle_timeout: None, max_requests: Some(9) },
        max_connections: Some(7),
        max_in_flight: MaxInFlight::Auto,
        queue: Some(Queue { size: 9, timeout: None }),
        source_address: vec!["10.0.0.9".parse().unwrap(), "::1".parse().unwrap()],
        connect_timeout: Some(Duration::from_millis(250)),
        response_timeout: None,
        body_timeout: None,
        tunnel_timeout: None,
        pass_host: false,
        when_all_down: WhenAllDown::Reject,
        health_checks: vec![HealthCheck::tcp()],
        circuit_breaker: CircuitBreaker::default(),
        outlier: None,
        retry: Retry::default(),
        protocol: Protocol::H1,
        send_proxy_protocol: None,
        tls: None,
        hash: Hash::default(),
        custom_load: None,
        sticky: None,
        slow_start: None,
    };
    assert_eq!(read, expected);
}

#[test]
fn names_of_backends_and_of_services_are_read() {
    let read = pool("");
    assert_eq!(read.discover, None);
    let parse = |keys: &str| parse(&format!("{LISTENER}[pool.web]\n{keys}\n")).map(|mut config| config.pools.remove(0));
    let read = parse("backends = [\"App.internal:8080\", \"localhost:1\", \"x_y.:2\"]").unwrap();
    let addresses: Vec<_> = read.backends.iter().map(|backend| (&backend.address, backend.name.as_str())).collect();
    let named = |name: &str, port| Address::Named(name.into(), port);
    let expected = [named("app.internal", 8080), named("localhost", 1), named("x_y.", 2)];
    assert_eq!(
        addresses,
        [(&expected[0], "App.internal:8080"), (&expected[1], "localhost:1"), (&expected[2], "x_y.:2")]
    );
    let read = parse("discover = { dns = \"API.local\", port = 80 }\ntls = true").unwrap();
    assert_eq!((read.backends.len(), read.discover), (0, Some(Discover::Dns("api.local".into(), 80))));
    assert_eq!(read.tls.unwrap().server_name, Some("api.local".try_into().unwrap()));
    let both = "backends = [\"10.0.0.1:80\"]\ndiscover = { srv = \"_api._tcp.local\" }";
    let read = parse(both).unwrap();
    assert_eq!((read.backends.len(), read.discover), (1, Some(Discover::Srv("_api._tcp.local".into()))));
}

#[test]
fn every_key_of_the_process_is_read() {
    let read = server(
        "workers = 3\nvia = \"lb.1\"\nname = \"lb-1\"\nforwarded = true\nmax_connections = 50\nmax_memory = \"80%\"\nmax_in_flight = 1000\n\
         underscore_headers = \"reject\"\nresolvers = [\"10.0.0.2\", \"[::1]:5353\"]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\", \"unix\"]",
    );
    let nets = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let expected = Server {
        workers: Some(3),
        trusted_proxies: Trusted { nets, unix: true },
        underscore_headers: Underscores::Reject,
        via: "lb.1".into(),
        name: "lb-1".into(),
        forwarded: true,
        max_connections: Some(50),
        max_memory: Some(MaxMemory::Share(0.8)),
        max_in_flight: Some(1000),
        drain_delay: Duration::ZERO,
        resolvers: vec!["10.0.0.2:53".parse().unwrap(), "[::1]:5353".parse().unwrap()],
        drain_timeout: Duration::from_secs(30),
    };
    assert_eq!(read, expected);
    let memory = ["1GiB", "off", "0%"].map(|text| server(&format!("max_memory = \"{text}\"")).max_memory);
    assert_eq!(memory, [Some(MaxMemory::Bytes(1 << 30)), None, None]);
    assert_eq!(server("trusted_proxies = \"192.0.2.0/24\"").trusted_proxies.nets.len(), 1);
    let config =
        parse(&format!("[admin]\naddress = \"off\"\n[log]\nlevel = \"warn,evenkeel=debug\"\n{LISTENER}{POOL}"));
    let config = config.unwrap();
    assert_eq!((config.admin.address, config.log.level.as_str()), (None, "warn,evenkeel=debug"));
}

#[test]
fn every_recipe_is_valid_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let certs = Certs::new();
    let keys = "a".repeat(64);
    fs::write(certs.0.join("sticky.key"), format!("{keys}\n{keys}\n")).unwrap();
    fs::write(certs.0.join("users.htpasswd"), "ann:$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\n")
        .unwrap();
    fs::write(certs.0.join("api.keys"), format!("mobile:{keys}\n")).unwrap();
    let of_test = certs.0.to_str().unwrap();
    let (mut count, mut tests) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("/etc/evenkeel/certs", of_test);
            let text = ["sticky.key", "users.htpasswd", "api.keys"]
                .iter()
                .fold(text, |text, name| text.replace(&format!("/etc/evenkeel/{name}"), &format!("{of_test}/{name}")));
            let config = Config::parse(&text, &path).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(config.warnings.is_none(), "{}", config.warnings.unwrap());
            // What is written in them of requests is so.
            crate::plan::test(&config, &path).unwrap_or_else(|failed| panic!("{failed}"));
            tests += config.tests.len();
            count += 1;
        }
    }
    assert!(count >= 24 && tests >= 8, "{count} {tests}");
}

#[test]
fn every_way_to_turn_a_limit_off_is_taken() {
    for off in ["\"off\"", "0", "\"0s\""] {
        assert_eq!(listener(&format!("idle_timeout = {off}")).idle_timeout, None, "{off}");
        assert_eq!(pool(&format!("keepalive.idle_timeout = {off}")).keepalive.idle_timeout, None, "{off}");
    }
    for off in ["\"off\"", "0"] {
        assert_eq!(listener(&format!("max_connections = {off}")).max_connections, None, "{off}");
        assert_eq!(listener(&format!("max_body_size = {off}")).max_body_size, None, "{off}");
        assert_eq!(listener(&format!("min_body_rate = {off}")).min_body_rate, None, "{off}");
        assert_eq!(pool(&format!("keepalive.max_requests = {off}")).keepalive.max_requests, None, "{off}");
    }
}

#[test]
fn addresses_show_as_written_and_relative_sockets_start_at_the_file() {
    for text in ["127.0.0.1:0", "[::]:80", "unix:/run/x.sock"] {
        let config = parse(&format!("[[listener]]\naddress = \"{text}\"\n{POOL}")).unwrap();
        assert_eq!(config.listeners[0].address.to_string(), text);
        assert_eq!(config.listeners[0].name, text);
    }
    let text = format!("[listener]\naddress = \"unix:x.sock\"\n{POOL}");
    let config = Config::parse(&text, Path::new("/etc/evenkeel/e.toml")).unwrap();
    assert_eq!(config.listeners[0].address, Address::Unix("/etc/evenkeel/x.sock".into()));
    let two =
        format!("{}{POOL}", "[[listener]]\nname = \"N\"\naddress = \"127.0.0.1:0\"\n".repeat(2).replacen('N', "a", 1));
    assert_eq!(parse(&two).unwrap().listeners.len(), 2);
}

/// A table of keys, and how one of them is written in a file that is fine but for it.
const TABLES: [(&keys::Keys, &str, &str); 48] = [
    (&keys::DOCUMENT, "", ""),
    (&keys::SERVER, "[server]\n", ""),
    (&keys::ADMIN, "[admin]\n", ""),
    (&keys::SECRET, "[admin.token]\n", ""),
    (&keys::LOG, "[log]\n", ""),
    (&keys::TRACE, "[trace]\notlp = \"http://127.0.0.1:4318\"\n", ""),
    (&keys::METRICS, "[metrics]\n", ""),
    (&keys::ERROR_PAGE, "[error_pages.503]\n", ""),
    (&keys::LISTENER, "[[listener]]\naddress = \"[::]:1\"\n", ""),
    (&keys::H2, "[listener.h2]\n", ""),
    (&keys::LISTENER_TLS, "[listener.tls]\n", ""),
    (&keys::CERTIFICATE, "[[listener.tls.certificates]]\n", ""),
    (&keys::POOL_TLS, "[pool.web.tls]\n", ""),
    (&keys::ROUTE, "[[route]]\npool = \"web\"\n", ""),
    (&keys::TEXT, "[route.header.x-a]\n", ""),
    (&keys::PATH, "[route.path]\n", ""),
    (&keys::SPLIT, "[[route.split]]\n", ""),
    (&keys::REDIRECT, "[route.redirect]\n", ""),
    (&keys::RESPOND, "[route.respond]\n", ""),
    (&keys::FALLBACK, "[route.fallback]\n", ""),
    (&keys::MIRROR, "[route.mirror]\n", ""),
    (&keys::HEADER_RULES, "[route.request_headers]\n", ""),
    (&keys::REWRITE, "[route.rewrite]\n", ""),
    (&keys::IN_FLIGHT_LIMIT, "[route.in_flight_limit]\n", ""),
    (&keys::RATE_LIMIT, "[rate_limit.a]\n", ""),
    (&keys::TIER, "[[rate_limit.a.tiers]]\n", ""),
    (&keys::TIER_KEYS, "[rate_limit.a.tiers.keys]\n", ""),
    (&keys::POOL, "[pool.web]\nbackends = [\"10.0.0.1:80\"]\n", ""),
    (&keys::BACKEND, "[pool.web]\nbackends = { address = \"10.0.0.1:80\", ", " }\n"),
    (&keys::KEEPALIVE, "[pool.web.keepalive]\n", ""),
    (&keys::QUEUE, "[pool.web.queue]\n", ""),
    (&keys::HEALTH_CHECK, "[pool.web.health_check]\n", ""),
    (&keys::BODY, "[pool.web.health_check.expect_body]\n", ""),
    (&keys::DISCOVER, "[pool.web.discover]\nsrv = \"_a._tcp.local\"\n", ""),
    (&keys::RETRY, "[pool.web.retry]\n", ""),
    (&keys::BACKOFF, "[pool.web.retry.backoff]\n", ""),
    (&keys::HASH, "[pool.web.hash]\n", ""),
    (&keys::CUSTOM_LOAD, "[pool.web.custom_load]\n", ""),
    (&keys::POLL, "[pool.web.custom_load.poll]\n", ""),
    (&keys::STICKY, "[pool.web.sticky]\ntype = \"cookie\"\n", ""),
    (&keys::CIRCUIT_BREAKER, "[pool.web.circuit_breaker]\n", ""),
    (&keys::CORS, "[[route]]\npool = \"web\"\n[route.cors]\norigins = \"*\"\n", ""),
    (&keys::AUTH, "[auth.a]\ntype = \"forward\"\nurl = \"http://127.0.0.1:1\"\n", ""),
    (&keys::FILE, "[auth.a]\ntype = \"basic\"\n[auth.a.users]\n", ""),
    (&keys::OUTLIER, "[pool.web.outlier]\n", ""),
    (&keys::TEST, "[[test]]\n", ""),
    (&keys::SAMPLE, "[[test]]\n[test.request]\n", ""),
    (&keys::EXPECT, "[[test]]\n[test.expect]\n", ""),
];

#[test]
fn every_later_key_is_not_supported_yet() {
    let mut later = BTreeSet::new();
    for (keys, head, tail) in TABLES {
        for key in keys.later {
            let problems = parse(&format!("{head}{key} = true{tail}")).unwrap_err();
            let told = problems.iter().find(|problem| problem.key.ends_with(key)).cloned();
            assert_eq!(told.map(|problem| problem.message), Some(format!("`{key}` is not supported yet")));
            later.insert(*key);
        }
    }
    assert!(later.contains("cache") && later.contains("compress") && later.len() > 2, "{later:?}");
}

#[test]
fn later_tables_are_not_supported_yet_however_they_are_written() {
    let problems = parse(&format!("{LISTENER}{POOL}[cache.static]\nsize = \"1GiB\"\n")).unwrap_err();
    assert_eq!(problems.iter().count(), 1, "{problems}");
    assert!(problems.iter().all(|problem| problem.message.contains("not supported yet")), "{problems}");
    let problems = parse(&format!("{LISTENER}protocol = \"tcp\"\n{POOL}")).unwrap_err();
    assert!(problems.to_string().contains("not supported yet"), "{problems}");
    let fine = "protocol = \"h1\"\nsend_proxy_protocol = \"off\"\n";
    assert!(parse(&format!("{LISTENER}protocol = \"http\"\n{POOL}{fine}")).is_ok());
}

#[test]
fn the_words_of_peers_lead_to_words_of_ours() {
    for (table, ..) in TABLES {
        assert!(keys::ALL.iter().any(|other| other.title == table.title), "{}", table.title);
        let mut words = BTreeSet::new();
        for (word, ours) in table.peers {
            assert!(table.has(ours), "{}: {ours}", table.title);
            assert!(!table.has(word), "{}: {word}", table.title);
            assert_eq!(*word, word.to_ascii_lowercase().replace('-', "_"));
            assert!(words.insert(word), "{}: {word} stands twice", table.title);
        }
    }
    assert_eq!(keys::ALL.len(), TABLES.len());
}

#[test]
fn files_that_are_no_text_are_explained() {
    let missing = Config::load(Path::new("/nonexistent/evenkeel.toml")).unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
    assert!(missing.to_string().contains("/nonexistent/evenkeel.toml"), "{missing}");
    let path = env::temp_dir().join(format!("evenkeel-config-{}.toml", std::process::id()));
    fs::write(&path, b"[server]\nname = \"caf\xe9\"\n").unwrap();
    let binary = Config::load(&path).unwrap_err();
    fs::remove_file(&path).unwrap();
    let problem = binary.iter().next().unwrap();
    assert_eq!((problem.line, problem.column), (2, 12), "{binary}");
    assert!(problem.message.contains("0xe9"), "{binary}");
    assert!(Config::load(&env::temp_dir()).is_err());
    assert!(Config::load(Path::new("/dev/zero")).unwrap_err().to_string().contains("larger than"));
}

#[test]
fn colours_are_drawn_only_when_asked_for() {
    let problems = parse("").unwrap_err();
    assert!(problems.render(true).contains('\u{1b}'));
    assert!(!problems.render(false).contains('\u{1b}'));
    let hostile = parse("\"\\u001b[31m\" = 1\n[server]\nname = \"\\u001b]0;x\\u0007\"").unwrap_err();
    assert!(!hostile.render(false).contains('\u{1b}'), "{hostile}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse(&text).map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_mixture_of_our_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let _ = parse(&words.concat()).map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_route_makes_it_panic(
        host in "(\\*?[a-zA-Z0-9.*:/\\[\\]é-]{0,12})", path in "/?[a-z0-9/.%*?#\\\\é-]{0,16}", to in "[a-z:/{} é]{0,20}",
        regex in "[a-z()\\[\\]*+?{}0-9|^$.]{0,12}", replacement in "[a-z/${}0-9?]{0,12}",
    ) {
        let text = format!(
            "{LISTENER}{POOL}[[route]]\nhost = '{host}'\npath = ['{path}', {{ regex = '{regex}' }}, {{ prefix = '{path}' }}]\n\
             redirect = {{ to = '{to}' }}\n[[route]]\nhost = '{host}'\npath = '{path}'\npool = \"web\"\n\
             rewrite = {{ regex = '{regex}', replacement = '{replacement}' }}\nresponse_headers.set.x-a = '{to}'\n"
        );
        let _ = parse(&text).map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_address_makes_it_panic_and_one_that_is_taken_is_written_as_it_is(
        text in prop_oneof![any::<String>(), "[a-zA-Z0-9_.:\\[\\]-]{0,24}(:[0-9]{0,6})?", "(unix:)?[a-z@/.]{0,9}"],
    ) {
        let written = toml::Value::from(text.as_str());
        let read = parse(&format!("{LISTENER}[pool.web]\nbackends = [{written}]\ndiscover = {{ srv = {written} }}\n"));
        prop_assert!(read.is_err(), "what is an address is no name of a service, and the other way round");
        match parse(&format!("{LISTENER}[pool.web]\nbackends = [{written}]\n")) {
            Err(problems) => prop_assert!(!problems.to_string().is_empty()),
            Ok(mut config) => {
                let address = config.pools.remove(0).backends.remove(0).address;
                let again = parse(&format!("{LISTENER}[pool.web]\nbackends = [\"{address}\"]\n"));
                prop_assert_eq!(&again.unwrap().pools[0].backends[0].address, &address);
            }
        }
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(
        key in prop::sample::select(keys::ALL.iter().flat_map(|keys| keys.known.iter().copied()).collect::<Vec<_>>()),
        table in prop::sample::select(TABLES.to_vec()),
        value in "\"[a-z0-9:./é\\[\\]-]{0,20}\"|-?[0-9]{1,25}|[0-9]{1,5}\\.[0-9]{1,5}|true|\\[\\]|\\{\\}|1979-05-27",
    ) {
        for text in [
            format!("{LISTENER}{key} = {value}\n{POOL}"),
            format!("{LISTENER}{POOL}{key} = {value}\n"),
            format!("[server]\n{key} = {value}\n{LISTENER}{POOL}"),
            format!("{}{key} = {value}{}", table.1, table.2),
            format!("{LISTENER}{POOL}[[route]]\n{key} = {value}"),
        ] {
            let _ = parse(&text).map_err(|problems| problems.to_string());
        }
    }
}

const WORDS: &[&str] = &[
    "[[listener]]",
    "[listener]",
    "[pool.web]",
    "[pool]",
    "[server]",
    "[log]",
    "[[route]]",
    "[auth.a]",
    "type = \"jwt\"\n",
    "[route.cors]",
    "[route.header]",
    "[error_pages]",
    "[pool.web.sticky]",
    "[pool.web.hash]",
    "[pool.web.custom_load]",
    "type",
    "weights",
    "algorithm",
    "\"custom_load\"",
    "include",
    "host",
    "path",
    "pool",
    "redirect",
    "to",
    "\"/a/*\"",
    "\"{host}\"",
    "\"a.example\"",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\t",
    "address",
    "backends",
    "name",
    " = ",
    "=",
    "\"127.0.0.1:80\"",
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "é",
    "\u{feff}",
    "1",
    "\"30s\"",
    "30s",
    "true",
    ".",
    "weight",
    "keepalive",
    "\\u0000",
    "\u{0}",
];

#[test]
fn admin_is_found_while_something_else_is_wrong() {
    let directory = env::temp_dir().join(format!("evenkeel-admin-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("evenkeel.toml");
    fs::write(&file, "[admin]\naddress = \"127.0.0.1:7\"\n[[listener]]\nadress = 1\n").unwrap();
    assert!(Config::load(&file).is_err());
    assert_eq!(Config::admin_of(&file).unwrap().0.address, Some(Address::Tcp("127.0.0.1:7".parse().unwrap())));
    fs::write(&file, "[admin]\naddress = \"nowhere\"\n").unwrap();
    assert!(Config::admin_of(&file).is_err());
    fs::write(&file, "[admin]\ntoken = { file = \"gone.token\" }\n").unwrap();
    let (admin, unread) = Config::admin_of(&file).unwrap();
    assert_eq!(admin.token, None);
    assert!(unread.as_ref().is_some_and(|why| why.contains("gone.token")), "{unread:?}");
    fs::remove_dir_all(&directory).unwrap();
}
