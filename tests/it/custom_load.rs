//! Backends that say what they carry, in their responses or when they are asked (`algorithm = "custom_load"`).

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Backend, Evenkeel, Load, PATIENCE, Reply, Setup, told, wait_for};

const HEADER: &str = "endpoint-load-metrics";
const LOAD: &str = "evenkeel_backend_reported_load";

/// A backend that says something of itself with each answer, or nothing.
struct Speaker {
    backend: Backend,
    says: Arc<Mutex<String>>,
}

impl Speaker {
    fn new(report: &str) -> Self {
        let says = Arc::new(Mutex::new(String::new()));
        let saying = Arc::clone(&says);
        let backend = Backend::http(move |_| Reply::new("200 OK", &saying.lock().unwrap(), "ok"));
        let speaker = Self { backend, says };
        speaker.says(report);
        speaker
    }

    /// From now on it says this; nothing if it is empty.
    fn says(&self, report: &str) {
        let line = if report.is_empty() { String::new() } else { format!("Endpoint-Load-Metrics: {report}\r\n") };
        *self.says.lock().unwrap() = line;
    }

    fn name(&self) -> String {
        self.backend.address().to_string()
    }
}

/// A backend that answers `/load`, which the counter counts, with what the cell holds.
fn polled(answer: &str) -> (Backend, Arc<Mutex<String>>, Arc<AtomicUsize>) {
    let (cell, count) = (Arc::new(Mutex::new(answer.to_owned())), Arc::new(AtomicUsize::new(0)));
    let (says, counts) = (Arc::clone(&cell), Arc::clone(&count));
    let backend = Backend::http(move |request| {
        if request.target != "/load?x=1" {
            return Reply::ok("ok");
        }
        assert_eq!(request.field("accept"), Some("application/json"));
        counts.fetch_add(1, SeqCst);
        match &*says.lock().unwrap() {
            text if text.is_empty() => Reply::new("404 Not Found", "", ""),
            text => Reply::ok(text),
        }
    });
    (backend, cell, count)
}

fn setup(backends: &[&Backend], keys: &str) -> Setup {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address()).collect();
    Setup::to(&addresses).pool(format!("algorithm = \"custom_load\"\n[pool.web.custom_load]\n{keys}"))
}

fn start(speakers: &[Speaker], keys: &str) -> Evenkeel {
    setup(&speakers.iter().map(|speaker| &speaker.backend).collect::<Vec<_>>(), keys).start()
}

/// What `backend` has said last of `metric`, as it is exported.
fn exported(evenkeel: &Evenkeel, backend: &str, metric: &str) -> Option<f64> {
    evenkeel.series(LOAD, &[("pool", "web"), ("backend", backend), ("metric", metric)])
}

/// The part of each in the next `count` answers to one client.
fn parts(evenkeel: &Evenkeel, speakers: &[Speaker], count: usize) -> Vec<f64> {
    let before: Vec<_> = speakers.iter().map(|speaker| speaker.backend.requests()).collect();
    let mut client = evenkeel.client();
    for _ in 0..count {
        assert_eq!(client.get("/").status, 200);
    }
    let got = speakers.iter().zip(before).map(|(speaker, before)| speaker.backend.requests() - before);
    got.map(|got| got as f64 / count as f64).collect()
}

/// The part of `speaker` in the next 300 answers.
fn part_of(speaker: &Speaker, load: &Load) -> f64 {
    let (requests, answers) = (speaker.backend.requests(), load.fine());
    load.wait_for(300);
    let part = (speaker.backend.requests() - requests) as f64 / (load.fine() - answers) as f64;
    speaker.backend.forget();
    part
}

#[test]
fn shares_follow_what_backends_say_within_ten_seconds() {
    let speakers = [(); 3].map(|()| Speaker::new("TEXT cpu_utilization=0.1"));
    let evenkeel = start(&speakers, "weights = { cpu_utilization = 1 }");
    let load = Load::start(evenkeel.address(), 8);
    wait_for("it has its share", || part_of(&speakers[0], &load) > 0.25);
    speakers[0].says("TEXT cpu_utilization=0.9");
    wait_for("its share falls", || part_of(&speakers[0], &load) < 0.15);
    let (changed, mut shares) = (Instant::now(), Vec::new());
    speakers[0].says("TEXT cpu_utilization=0.1");
    while shares.last().is_none_or(|share| *share < 0.25) {
        shares.push(part_of(&speakers[0], &load));
        assert!(changed.elapsed() < PATIENCE, "its share comes back in vain: {shares:?}");
    }
    load.stop().assert_all_fine();
    assert_eq!(exported(&evenkeel, &speakers[0].name(), "cpu_utilization"), Some(0.1));
}

#[test]
fn no_client_sees_what_backends_say() {
    let backend = Backend::raw(|conn, _| {
        while conn.request().is_some() {
            let fields = format!(
                "Endpoint-Load-Metrics: TEXT eps=1\r\nX-Kept: 1\r\n{HEADER}: JSON {{\"eps\": 2}}\r\n\
                 endpoint-load-metrics-bin: CZqZmZmZmdk/\r\n"
            );
            conn.send(format!(
                "HTTP/1.1 103 Early Hints\r\n{fields}\r\nHTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\n{fields}\r\n"
            ));
        }
    });
    let told = setup(&[&backend], "weights = { eps = 1 }").start();
    let untold = Setup::to(&[backend.address()]).start();
    for evenkeel in [&told, &untold] {
        let response =
            evenkeel.client().exchange("GET / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
        let heads = response.interim.iter().chain([&response.head]).map(|head| &head.fields);
        let all: Vec<_> = heads.chain([&response.trailers]).collect();
        assert_eq!(all.len(), 3);
        for fields in all {
            assert_eq!((fields.has(HEADER), fields.has("endpoint-load-metrics-bin")), (false, false), "{fields:?}");
            assert_eq!(fields.get("x-kept"), Some("1"));
        }
        assert_eq!(response.text(), "ok");
    }
    assert_eq!(exported(&told, &backend.address().to_string(), "eps"), Some(2.0));
    assert_eq!(untold.series(LOAD, &[]), None);
}

#[test]
fn reports_are_exported_and_shown_in_text_and_json() {
    let speakers = [Speaker::new("cpu_utilization=0.25, named_metrics.queue=12"), Speaker::new("")];
    let keys = "weights = { cpu_utilization = 1, \"named_metrics.queue\" = 0.05 }\nlimits = { mem_utilization = 0.95 }";
    let evenkeel = start(&speakers, keys);
    let [speaks, silent] = speakers.each_ref().map(Speaker::name);
    for metric in ["cpu_utilization", "named_metrics.queue"] {
        assert_eq!(exported(&evenkeel, &speaks, metric), Some(0.0), "from the start");
    }
    assert_eq!(exported(&evenkeel, &speaks, "mem_utilization"), None, "it has no weight");
    let heard = |cpu: f64, queue: f64| {
        parts(&evenkeel, &speakers, 20);
        let said = |metric| exported(&evenkeel, &speaks, metric);
        (said("cpu_utilization"), said("named_metrics.queue")) == (Some(cpu), Some(queue))
    };
    wait_for("text is heard", || heard(0.25, 12.0));
    speakers[0].says(r#"JSON {"cpu_utilization": 0.5, "named_metrics": {"queue": 3}, "mem_utilization": 0.1}"#);
    wait_for("json is heard", || heard(0.5, 3.0));
    assert_eq!(exported(&evenkeel, &silent, "cpu_utilization"), Some(0.0));
    let pools = told(evenkeel.admin(), "/api/v1/pools");
    let shown = |place: usize| pools["pools"][0]["backends"][place]["reported_load"].clone();
    assert_eq!(shown(0), serde_json::json!({"cpu_utilization": 0.5, "named_metrics.queue": 3.0}));
    assert!(shown(1).is_null(), "{pools}");
}

#[test]
fn a_silent_backend_counts_as_the_mean() {
    let speakers = ["TEXT eps=0.2", "TEXT eps=0.6", ""].map(Speaker::new);
    let evenkeel = start(&speakers, "weights = { eps = 1 }");
    parts(&evenkeel, &speakers, 50);
    let parts = parts(&evenkeel, &speakers, 600);
    // 6 : 2 : 3, one after the other; four standard deviations are 8 % at the most.
    for (part, wanted) in parts.iter().zip([6.0 / 11.0, 2.0 / 11.0, 3.0 / 11.0]) {
        assert!((part - wanted).abs() < 0.09, "{parts:?}");
    }
}

#[test]
fn above_a_limit_nothing_new_comes_while_others_can_take_it() {
    let fine = "TEXT cpu_utilization=0.5, mem_utilization=0.5";
    let speakers = [Speaker::new("TEXT cpu_utilization=0.1, mem_utilization=0.97"), Speaker::new(fine)];
    let evenkeel = start(&speakers, "weights = { cpu_utilization = 1 }\nlimits = { mem_utilization = 0.95 }");
    wait_for("it has said so", || {
        parts(&evenkeel, &speakers, 10);
        speakers[0].backend.requests() > 0
    });
    assert_eq!(parts(&evenkeel, &speakers, 100), [0.0, 1.0]);
    // Where all are, nobody is refused.
    speakers[1].says("TEXT cpu_utilization=0.5, mem_utilization=0.99");
    parts(&evenkeel, &speakers, 1);
    let parts = parts(&evenkeel, &speakers, 200);
    assert!(parts.iter().all(|part| *part > 0.0), "{parts:?}");
}

#[test]
fn a_limit_ends_when_the_report_expires() {
    let speakers = [Speaker::new("TEXT eps=9"), Speaker::new("TEXT eps=1")];
    let evenkeel = start(&speakers, "weights = { eps = 1 }\nlimits = { eps = 5 }\nexpire = \"1s\"");
    wait_for("it has said so", || {
        parts(&evenkeel, &speakers, 10);
        speakers[0].backend.requests() > 0
    });
    speakers[0].says("TEXT eps=1");
    wait_for("it is called again", || parts(&evenkeel, &speakers, 10)[0] > 0.0);
    wait_for("it says that it is well, and stays", || parts(&evenkeel, &speakers, 100)[0] > 0.3);
}

#[test]
fn backends_are_asked_and_their_json_is_weighed() {
    let answers = [r#"{"jobs": 9, "disk": {"used": 0.9}, "name": "a"}"#, r#"{"jobs": 1, "disk": {"used": 0.1}}"#];
    let [(busy, says, polls), (idle, ..)] = answers.map(polled);
    let keys = "source = \"poll\"\npoll = { path = \"/load?x=1\", interval = \"50ms\" }\n\
                weights = { jobs = 0.1, \"disk.used\" = 1 }\ncombine = \"max\"";
    let evenkeel = setup(&[&busy, &idle], keys).start();
    let [name, other] = [&busy, &idle].map(|backend| backend.address().to_string());
    let is = |name: &str, jobs, disk| {
        exported(&evenkeel, name, "jobs") == Some(jobs) && exported(&evenkeel, name, "disk.used") == Some(disk)
    };
    wait_for("both have been asked", || is(&name, 9.0, 0.9) && is(&other, 1.0, 0.1));
    let asked = || polls.load(SeqCst);
    let (before, mut client) = (busy.requests() - asked(), evenkeel.client());
    (0..200).for_each(|_| assert_eq!(client.get("/").status, 200));
    // Polls go on meanwhile, and are counted a moment before they are answered.
    let got = (busy.requests() - asked()).saturating_sub(before);
    assert!((5..=45).contains(&got), "{got} of 200, where a tenth is its share");
    // An answer that is none changes nothing; the next that is one does.
    for bad in ["", "[1]", "{\"jobs\": 1", "\"a\""] {
        *says.lock().unwrap() = bad.to_owned();
        let before = asked();
        wait_for("it is asked twice more", || asked() > before + 2);
        assert!(is(&name, 9.0, 0.9), "{bad}");
    }
    *says.lock().unwrap() = format!("{{\"jobs\": 3, \"x\": \"{}\"}}", "x".repeat(70_000));
    let before = asked();
    wait_for("it is asked twice more", || asked() > before + 2);
    assert!(is(&name, 9.0, 0.9), "too long");
    *says.lock().unwrap() = r#"{"jobs": 2, "disk.used": 0.2}"#.to_owned();
    wait_for("it is heard again", || is(&name, 2.0, 0.2));
    let seen = busy.seen().iter().find(|request| request.target == "/load?x=1").cloned().unwrap();
    assert_eq!((seen.method.as_str(), seen.field("host")), ("GET", Some(&*name)));
}

#[test]
fn a_metric_that_never_comes_is_warned_of_once_per_reload() {
    let speaker = Speaker::new("TEXT named_metrics.Queue=1, eps=2");
    let keys =
        "weights = { \"named_metrics.queue\" = 1, eps = 1 }\nlimits = { mem_utilization = 0.9 }\nexpire = \"1s\"";
    let setup = setup(&[&speaker.backend], keys);
    let toml = setup.toml();
    let process = setup.spawn();
    let warnings = || {
        let log = process.log();
        log.into_iter().filter(|line| line.contains("custom_load") && line.contains("WARN")).collect::<Vec<_>>()
    };
    let mut client = process.client();
    client.get("/");
    wait_for("it is said", || !warnings().is_empty());
    let line = &warnings()[0];
    for part in ["web", "named_metrics.queue, mem_utilization", "eps, named_metrics.Queue"] {
        assert!(line.contains(part), "no {part}: {line}");
    }
    process.reload(&toml);
    client.get("/");
    wait_for("it is said once more", || warnings().len() > 1);
    // Now all of them come: a third configuration has nothing to say, and the second has said it.
    speaker.says("TEXT named_metrics.queue=1, eps=1, mem_utilization=0.1");
    process.reload(&toml);
    let begun = Instant::now();
    wait_for("the time has passed", || {
        client.get("/");
        begun.elapsed() > Duration::from_millis(2500)
    });
    assert_eq!(warnings().len(), 2, "{:?}", warnings());
}
