//! A reload changes what the file changes, and nothing else: PRODUCT.md sections 5 and 6.1, DESIGN.md section 7.

mod backends;
mod listeners;
mod load;
mod survivors;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::support::{Backend, Client, Process, Setup, TOKEN, bearer, call, json, told, wait_for};

/// What comes before the listeners: short drains, and an admin API with the tests' token.
const HEAD: &str = "[server]\nworkers = 2\ndrain_timeout = \"1s\"\n\n[log]\naccess = \"off\"\n\n\
                    [admin]\naddress = \"127.0.0.1:0\"\ntoken = { env = \"EVENKEEL_TEST_TOKEN\" }\n\n";

/// Listeners by name and address, pools by name and backends, and whatever stands behind them.
fn file(listeners: &[(&str, &str)], pools: &[(&str, &[&Backend])], more: &str) -> String {
    let listener = |(name, address): &(_, _)| format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n\n");
    let pool = |(name, backends): &(_, &[&Backend])| {
        let backends: Vec<_> = backends.iter().map(|backend| backend.address().to_string()).collect();
        let off = "health_check = { type = \"off\" }\nretry = { attempts = 0 }\nslow_start = \"0s\"";
        format!("[pool.{name}]\nbackends = {backends:?}\n{off}\n\n")
    };
    let listeners: String = listeners.iter().map(listener).collect();
    let pools: String = pools.iter().map(pool).collect();
    format!("{HEAD}{listeners}{pools}{more}\n")
}

/// The listener of most stories.
const WEB: (&str, &str) = ("web", "127.0.0.1:0");

/// A route that tells which file is in force, and one for everything else.
fn version(text: &str) -> String {
    format!(
        "[[route]]\npath = \"/version\"\nrespond = {{ status = 200, body = \"{text}\" }}\n\n[[route]]\npool = \"web\"\n"
    )
}

/// One listener, one pool, and the route that tells the version.
fn versioned(backend: &Backend, text: &str) -> String {
    file(&[WEB], &[("web", &[backend])], &version(text))
}

/// Where the listener `name` is by the status page, which follows reloads.
fn bound(evenkeel: &Process, name: &str) -> Option<SocketAddr> {
    let status = told(evenkeel.listener("admin"), "/api/v1/status");
    let listeners = status["listeners"].as_array()?;
    let listener = listeners.iter().find(|listener| listener["name"] == name)?;
    listener["address"].as_str()?.parse().ok()
}

/// What `POST /api/v1/reload` answers.
fn post_reload(evenkeel: &Process) -> crate::support::Response {
    call(evenkeel.listener("admin"), "POST /api/v1/reload", &bearer(), "")
}

#[test]
fn the_file_is_read_again_on_hup_by_the_api_and_by_the_command() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    assert_eq!(evenkeel.client().get("/version").text(), "one");

    evenkeel.reload(&versioned(&backend, "two"));
    assert_eq!(evenkeel.client().get("/version").text(), "two");

    let before = evenkeel.generation();
    evenkeel.rewrite(&versioned(&backend, "three"));
    let answer = post_reload(&evenkeel);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The answer comes when the configuration is in force, not before.
    assert_eq!(evenkeel.client().get("/version").text(), "three");
    assert_eq!(json(&answer)["generation"].as_f64(), Some(evenkeel.generation()));
    assert!(evenkeel.generation() > before);

    evenkeel.rewrite(&versioned(&backend, "four"));
    let (code, said, problems) = evenkeel.operate(&["reload"]);
    assert_eq!(code, Some(0), "{said}{problems}");
    assert_eq!(evenkeel.client().get("/version").text(), "four");
    assert!(evenkeel.last_reload());
}

#[test]
fn the_command_reloads_over_a_unix_socket_without_a_token() {
    let backend = Backend::ok("fine");
    let socket = std::env::temp_dir().join(format!("evenkeel-reload-{}.sock", std::process::id()));
    let toml = |text: &str| {
        let admin = format!("address = \"unix:{}\"", socket.display());
        versioned(&backend, text)
            .replace("address = \"127.0.0.1:0\"\ntoken = { env = \"EVENKEEL_TEST_TOKEN\" }", &admin)
    };
    let evenkeel = Process::launch(&[], &toml("one"));
    wait_for("it listens", || evenkeel.said("web").is_some());
    assert_eq!(evenkeel.client().get("/version").text(), "one");
    evenkeel.rewrite(&toml("two"));
    let (code, said, problems) = evenkeel.operate(&["reload"]);
    assert_eq!(code, Some(0), "{said}{problems}");
    assert_eq!(evenkeel.client().get("/version").text(), "two");
    let _ = std::fs::remove_file(socket);
}

/// Two problems, each with a word that stands nowhere else.
fn broken(backend: &Backend) -> String {
    let listener = ("web", "127.0.0.1:0\"\nidle_timeout = \"soonish");
    file(&[listener], &[("web", &[backend])], &format!("connekt_timeout = \"1s\"\n{}", version("broken")))
}

/// How many lines of `text` contain `word`.
fn lines(text: &str, word: &str) -> usize {
    text.lines().filter(|line| line.contains(word)).count()
}

#[test]
fn a_broken_file_changes_nothing_and_every_problem_is_logged_once() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    let since = evenkeel.metric("evenkeel_config_last_reload_success_timestamp_seconds", &[]);
    assert!(evenkeel.last_reload() && since > 0.0);
    let generation = evenkeel.generation();
    let mut client = evenkeel.client();

    evenkeel.reload_in_vain(&broken(&backend));
    assert_eq!(evenkeel.generation(), generation);
    assert_eq!(evenkeel.metric("evenkeel_config_last_reload_success_timestamp_seconds", &[]), since);
    assert_eq!(client.get("/version").text(), "one");
    assert_eq!((client.get("/").text().as_str(), evenkeel.client().get("/").status), ("fine", 200));

    // The log shows what `check` shows, and shows it once.
    let (code, _, checked) = evenkeel.operate(&["check"]);
    assert_eq!(code, Some(1));
    let logged = || evenkeel.log().join("\n");
    wait_for("both problems are logged", || logged().contains("soonish") && logged().contains("connekt_timeout"));
    for word in ["soonish", "connekt_timeout"] {
        assert_eq!(lines(&logged(), word), lines(&checked, word), "{word}: {}", logged());
    }
    let status = told(evenkeel.listener("admin"), "/api/v1/status");
    assert_eq!(status["config"]["last_reload_successful"], false, "{status}");

    evenkeel.reload(&versioned(&backend, "two"));
    assert!(evenkeel.last_reload());
    assert_eq!(client.get("/version").text(), "two");
}

#[test]
fn whoever_asks_for_a_reload_hears_why_it_is_refused() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    evenkeel.rewrite(&broken(&backend));
    let answer = post_reload(&evenkeel);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert!(answer.text().contains("connekt_timeout") && answer.text().contains("soonish"), "{}", answer.text());
    let (code, _, problems) = evenkeel.operate(&["reload"]);
    assert_eq!(code, Some(1), "{problems}");
    assert_eq!(evenkeel.client().get("/version").text(), "one");
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    std::fs::remove_file(evenkeel.file()).unwrap();
    evenkeel.signal("HUP");
    wait_for("the reload is refused", || !evenkeel.last_reload());
    assert_eq!(evenkeel.client().get("/version").text(), "one");
}

#[test]
fn a_file_in_conf_d_is_read_again_too() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&backend])], ""));
    let folder = evenkeel.file().with_file_name("conf.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("version.toml"), version("from conf.d")).unwrap();
    let answer = post_reload(&evenkeel);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(evenkeel.client().get("/version").text(), "from conf.d");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(post_reload(&evenkeel).status, 200);
    assert_eq!(evenkeel.client().get("/version").text(), "fine", "the route is gone");
}

#[test]
fn what_needs_a_restart_is_said() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    evenkeel.rewrite(&versioned(&backend, "two").replace("workers = 2", "workers = 3"));
    let (code, said, problems) = evenkeel.operate(&["reload"]);
    assert_eq!(code, Some(0), "{problems}");
    assert!(said.contains("workers"), "{said}");
    wait_for("the log says it too", || evenkeel.log().iter().any(|line| line.contains("workers")));
    assert_eq!(evenkeel.client().get("/version").text(), "two", "the rest is in force");
    evenkeel.rewrite(&versioned(&backend, "three"));
    let (_, said, _) = evenkeel.operate(&["reload"]);
    assert!(!said.contains("workers"), "it runs with 2, and 2 are asked for: {said}");
}

#[test]
fn what_needs_a_restart_is_said_until_then() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    for text in ["two", "three"] {
        evenkeel.rewrite(&versioned(&backend, text).replace("workers = 2", "workers = 3"));
        let (_, said, _) = evenkeel.operate(&["reload"]);
        assert!(said.contains("workers"), "{text}: still 2 workers, and 3 asked for: {said}");
    }
}

#[test]
fn a_new_token_counts_at_once() {
    let (backend, port) = (Backend::ok("fine"), Backend::refused());
    let versioned = |text: &str| {
        let address = format!("[admin]\naddress = \"{}\"", port.address());
        versioned(&backend, text).replace("[admin]\naddress = \"127.0.0.1:0\"", &address)
    };
    let evenkeel = Process::spawn(&versioned("one"));
    assert_eq!(evenkeel.operate(&["reload"]).0, Some(0), "the command reads address and token from the file");
    let other = "another-token-of-more-than-16-bytes";
    std::fs::write(evenkeel.file().with_file_name("token"), other).unwrap();
    let toml = versioned("two").replace("{ env = \"EVENKEEL_TEST_TOKEN\" }", "{ file = \"token\" }");
    evenkeel.reload(&toml);
    let with = |token: &str| {
        let field = format!("Authorization: Bearer {token}\r\n");
        call(evenkeel.listener("admin"), "POST /api/v1/reload", &field, "").status
    };
    assert_eq!((with(TOKEN), with(other)), (401, 200));
    assert_eq!(evenkeel.operate(&["reload"]).0, Some(0), "the command reads the new one");
}

#[test]
fn reloads_that_come_together_end_with_the_last_file() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "0"));
    for number in 1..=30 {
        evenkeel.rewrite(&versioned(&backend, &number.to_string()));
        evenkeel.signal("HUP");
    }
    wait_for("the last file is in force", || evenkeel.client().get("/version").text() == "30");
    assert!(evenkeel.last_reload());
}

#[test]
fn the_access_log_goes_where_the_new_file_says() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    let to = |name: &str| versioned(&backend, "two").replace("access = \"off\"", &format!("access = \"{name}\""));
    let path = |name: &str| evenkeel.file().with_file_name(name);
    let text = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();
    let mut client = evenkeel.client();
    client.get("/silent");
    for (name, target) in [("./a.log", "/to-a"), ("./b.log", "/to-b")] {
        evenkeel.reload(&to(name));
        client.get(target);
        wait_for("the line is written", || text(name).contains(target));
    }
    assert!(!text("./a.log").contains("/silent") && !text("./a.log").contains("/to-b"), "{}", text("./a.log"));
    evenkeel.reload(&versioned(&backend, "three"));
    client.get("/off");
    evenkeel.reload(&to("./b.log"));
    client.get("/again");
    wait_for("the line is written", || text("./b.log").contains("/again"));
    assert!(!text("./b.log").contains("/off"), "{}", text("./b.log"));
}
