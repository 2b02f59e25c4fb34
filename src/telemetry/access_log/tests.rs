//! The access log as its callers see it: what is in a line, and that none is lost, torn or written twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, process, thread};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::line::Formatter;
use super::record::{self, Record, encode};
use super::*;

/// 2000-10-10T13:55:36.042Z
fn ts() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(971_186_136_042)
}

fn names() -> Vec<String> {
    ["request:x-in", "response:x-out", "query"].map(String::from).to_vec()
}

/// With every field.
fn full<'a>(names: &'a [String], extra: &'a [Option<&'a [u8]>]) -> Entry<'a> {
    Entry {
        ts: ts(),
        request_id: Some(b"01HF7Z"),
        trace_id: Some(*b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36"),
        client_ip: Some(IpAddr::from([203, 0, 113, 7])),
        peer_ip: Some("2001:db8::1".parse().unwrap()),
        listener: Some(b"web"),
        method: Some(b"GET"),
        scheme: Some(b"https"),
        host: Some(b"api.example.com"),
        path: Some(b"/v1/users"),
        protocol: Some(b"HTTP/1.1"),
        status: 502,
        bytes_in: 512,
        bytes_out: 18_446_744_073_709_551_615,
        route: Some(b"api"),
        pool: Some(b"api-pool"),
        backend: Some(b"10.0.1.10:8080"),
        attempts: Some(2),
        duration: Duration::from_micros(12_345),
        queue: Some(Duration::ZERO),
        connect: Some(Duration::from_micros(120)),
        ttfb: Some(Duration::from_millis(3_600_000)),
        failure: Some(b"reset"),
        user: Some(b"alice"),
        sticky: Some(b"hit"),
        cache: Some(b"miss"),
        limit: Some(b"per-ip"),
        fallback: Some(b"no_backend"),
        chaos: Some(b"delay"),
        tls_version: Some(b"1.3"),
        sni: Some(b"api.example.com"),
        user_agent: Some(b"curl/8.5.0"),
        referer: Some(b"https://example.com/"),
        generation: 17,
        extra_names: names,
        extra,
    }
}

fn line(format: Format, entry: &Entry<'_>) -> String {
    let (mut records, mut out) = (Vec::new(), Vec::new());
    encode(entry, &mut records);
    let (record, behind) = Record::split(&records).unwrap();
    assert!(behind.is_empty() && record.length() == records.len());
    Formatter::new(format, "lb-1").line(&record, &mut out);
    let mut line = String::from_utf8(out).unwrap();
    assert_eq!(line.pop(), Some('\n'));
    assert!(!line.contains('\n'), "{line}");
    line
}

fn parsed(entry: &Entry<'_>) -> Value {
    serde_json::from_str(&line(Format::Json, entry)).unwrap()
}

#[test]
fn a_json_line_has_every_field_in_the_order_of_the_reference() {
    let names = names();
    let line = line(Format::Json, &full(&names, &[Some(b"in"), Some(b"out"), Some(b"a=1&b=2")]));
    assert_eq!(
        line,
        concat!(
            r#"{"ts":"2000-10-10T13:55:36.042Z","instance":"lb-1","request_id":"01HF7Z","#,
            r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","client_ip":"203.0.113.7","peer_ip":"2001:db8::1","#,
            r#""listener":"web","method":"GET","scheme":"https","host":"api.example.com","path":"/v1/users","#,
            r#""protocol":"HTTP/1.1","status":502,"bytes_in":512,"bytes_out":18446744073709551615,"route":"api","#,
            r#""pool":"api-pool","backend":"10.0.1.10:8080","attempts":2,"duration_ms":12.345,"queue_ms":0,"#,
            r#""connect_ms":0.12,"ttfb_ms":3600000,"failure":"reset","user":"alice","sticky":"hit","cache":"miss","#,
            r#""limit":"per-ip","fallback":"no_backend","chaos":"delay","tls_version":"1.3","sni":"api.example.com","#,
            r#""user_agent":"curl/8.5.0","referer":"https://example.com/","generation":17,"request:x-in":"in","response:x-out":"out","#,
            r#""query":"a=1&b=2"}"#
        )
    );
}

#[test]
fn what_does_not_apply_is_left_out() {
    let names = names();
    let entry = Entry { extra_names: &names, extra: &[None, Some(b""), None], ..Entry::new(ts()) };
    assert_eq!(
        line(Format::Json, &entry),
        concat!(
            r#"{"ts":"2000-10-10T13:55:36.042Z","instance":"lb-1","client_ip":"unix","peer_ip":"unix","status":0,"#,
            r#""bytes_in":0,"bytes_out":0,"duration_ms":0,"generation":0,"response:x-out":""}"#
        )
    );
    assert_eq!(line(Format::Combined, &entry), r#"unix - - [10/Oct/2000:13:55:36 +0000] "-" 0 0 "-" "-" "-" "" "-""#);
}

#[test]
fn a_combined_line_is_as_apache_and_nginx_write_it() {
    assert_eq!(
        line(Format::Combined, &Entry { bytes_out: 2326, ..full(&[], &[]) }),
        concat!(
            r#"203.0.113.7 - alice [10/Oct/2000:13:55:36 +0000] "GET /v1/users HTTP/1.1" 502 2326 "#,
            r#""https://example.com/" "curl/8.5.0""#
        )
    );
    let months = (0..12).map(|month| {
        let ts = humantime::parse_rfc3339(&format!("2027-{:02}-01T00:00:00Z", month + 1)).unwrap();
        line(Format::Combined, &Entry::new(ts))[13..16].to_owned()
    });
    assert_eq!(months.collect::<Vec<_>>().concat(), "JanFebMarAprMayJunJulAugSepOctNovDec");
}

#[test]
fn nothing_that_a_client_sends_gets_out_of_its_field() {
    let names = names();
    let hostile = b"\"} {\"x\":\"\n\r\t\x00\x1b[2J\\\x7f\xc2\x9b\xff\xfe \\u0022".as_slice();
    let extra = [Some(hostile), None, None];
    let entry = Entry { path: Some(hostile), user: Some(hostile), user_agent: Some(hostile), ..full(&names, &extra) };
    let json = line(Format::Json, &entry);
    let value: Value = serde_json::from_str(&json).unwrap();
    let mut usual = parsed(&full(&names, &extra));
    let lossy = Value::String(String::from_utf8_lossy(hostile).into_owned());
    for key in ["path", "user", "user_agent", "request:x-in"] {
        usual[key] = lossy.clone();
    }
    assert_eq!(value, usual, "no key more or less");
    assert!(!json.contains(|character: char| character.is_control()), "{json}");

    let combined = line(Format::Combined, &entry);
    assert!(combined.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{combined}");
    assert_eq!(combined.matches('"').count(), 2 * 6, "{combined}");
    let escaped = r#"\x22}\x20{\x22x\x22:\x22\x0A\x0D\x09\x00\x1B[2J\x5C\x7F\xC2\x9B\xFF\xFE\x20\x5Cu0022"#;
    assert!(combined.contains(&format!("\"GET {escaped} HTTP/1.1\"")), "{combined}");
    assert!(combined.contains(&format!(" - {escaped} [10/Oct")), "{combined}");
}

#[test]
fn times_outside_the_calendar_and_texts_without_end_are_cut() {
    let long = vec![b'a'; 200_000];
    let value = parsed(&Entry { path: Some(&long), ..Entry::new(UNIX_EPOCH - Duration::from_secs(5)) });
    assert_eq!(value["ts"], json!("1970-01-01T00:00:00.000Z"));
    assert_eq!(value["path"].as_str().unwrap().len(), Entry::LONGEST);
    let late = UNIX_EPOCH + Duration::from_secs(900_000_000_000);
    assert_eq!(parsed(&Entry::new(late))["ts"], json!("9999-12-31T23:59:59.000Z"));
    let endless = parsed(&Entry { duration: Duration::MAX, ..Entry::new(ts()) });
    assert!(endless["duration_ms"].is_number());

    let names: Vec<String> = (0..100).map(|number| format!("request:x-{number}")).collect();
    let extra = vec![Some(long.as_slice()); 100];
    let mut records = Vec::new();
    encode(&Entry { extra_names: &names, extra: &extra, ..Entry::new(ts()) }, &mut records);
    assert!(records.len() <= record::LONGEST && records.len() > record::LONGEST - 70_000, "{}", records.len());
    assert!(Record::split(&records).unwrap().0.extras().count() > 20);
}

proptest! {
    #[test]
    fn every_line_is_json_with_the_lossy_text_of_each_field(
        texts in vec(proptest::option::of(vec(any::<u8>(), 0..40)), 21),
        extra in vec(proptest::option::of(vec(any::<u8>(), 0..40)), 3),
        numbers in any::<(u16, u64, u64, u64, Option<u16>, u32, Option<u32>)>(),
        addresses: (Option<IpAddr>, IpAddr),
        instance: String,
    ) {
        let names = names();
        let [request_id, listener, method, scheme, host, path, protocol, route, pool, backend, failure, user, sticky,
            cache, limit, fallback, chaos, tls_version, sni, user_agent, referer] = std::array::from_fn(|place| texts[place].as_deref());
        let values: Vec<Option<&[u8]>> = extra.iter().map(Option::as_deref).collect();
        let (status, bytes_in, bytes_out, generation, attempts, duration, queue) = numbers;
        let entry = Entry {
            ts: ts(), request_id, trace_id: None, client_ip: addresses.0, peer_ip: Some(addresses.1), listener, method,
            scheme, host, path, protocol, status, bytes_in, bytes_out, route, pool, backend,
            attempts: attempts.map(u32::from), duration: Duration::from_micros(duration.into()),
            queue: queue.map(|micros| Duration::from_micros(micros.into())), connect: None, ttfb: None, failure, user,
            sticky, cache, limit, fallback, chaos, tls_version, sni, user_agent, referer, generation, extra_names: &names, extra: &values,
        };
        let (mut records, mut out) = (Vec::new(), Vec::new());
        encode(&entry, &mut records);
        Formatter::new(Format::Json, &instance).line(&Record::split(&records).unwrap().0, &mut out);

        let mut wanted = json!({
            "ts": "2000-10-10T13:55:36.042Z", "instance": instance, "status": status, "bytes_in": bytes_in,
            "bytes_out": bytes_out, "generation": generation, "duration_ms": ms(duration),
            "client_ip": addresses.0.map_or("unix".into(), |ip| ip.to_string()), "peer_ip": addresses.1.to_string(),
        });
        for (name, text) in record::NAMES.iter().copied().zip(&texts).chain(names.iter().map(String::as_str).zip(&extra)) {
            if let Some(text) = text {
                wanted[name] = Value::String(String::from_utf8_lossy(text).into_owned());
            }
        }
        if let Some(attempts) = attempts {
            wanted["attempts"] = json!(attempts);
        }
        if let Some(queue) = queue {
            wanted["queue_ms"] = ms(queue);
        }
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), wanted);
        prop_assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);

        out.clear();
        Formatter::new(Format::Combined, &instance).line(&Record::split(&records).unwrap().0, &mut out);
        prop_assert!(out[..out.len() - 1].iter().all(|byte| (0x20..0x7f).contains(byte)));
    }
}

/// As JSON reads it: a whole number has no decimals.
fn ms(micros: u32) -> Value {
    let (whole, decimals) = (micros / 1000, micros % 1000);
    if decimals == 0 { json!(whole) } else { serde_json::from_str(&format!("{whole}.{decimals:03}")).unwrap() }
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("evenkeel-log-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings(sink: Sink, overflow: Overflow) -> Settings {
    Settings { sink, format: Format::Json, overflow, instance: "lb-1".into() }
}

fn to_file(path: &Path) -> Settings {
    settings(Sink::File(path.to_owned()), Overflow::Drop)
}

/// Number `generation`.
fn numbered(generation: u64) -> Entry<'static> {
    Entry { path: Some(b"/v1/users"), generation, ..Entry::new(ts()) }
}

/// The numbers of the lines in a file.
fn numbers(path: &Path) -> Vec<u64> {
    fs::read_to_string(path).unwrap().lines().map(number).collect()
}

fn number(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))["generation"]
        .as_u64()
        .unwrap()
}

/// Until it holds; the bound is for a test that fails.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A pipe that a log writes to, and that nobody reads until the test does.
fn slow(overflow: Overflow) -> (AccessLog, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    (AccessLog::start(settings(Sink::File(path.into()), overflow)).unwrap(), reader)
}

#[test]
fn a_flushed_line_appears_and_the_end_writes_what_was_not_flushed() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("flush");
    let path = scratch.file("access.log");
    let log = AccessLog::start(to_file(&path)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "not for others, not to run");
    let writer = log.writer();
    assert!(writer.push(&numbered(1)));
    writer.flush();
    wait_for("the line", || numbers(&path) == [1]);
    assert!(writer.push(&numbered(2)));
    let mut others: Vec<Writer> = (0..3).map(|_| log.writer()).collect();
    assert!(others.iter().all(|other| other.push(&numbered(3))));
    drop(others.pop());
    drop(log);
    assert_eq!(numbers(&path).len(), 5);
    for dropped in 1..=3 {
        assert!(!writer.push(&numbered(4)), "the log has ended");
        assert_eq!(writer.shared.dropped(), dropped);
    }
}

#[test]
fn a_log_that_cannot_be_opened_does_not_start() {
    let scratch = Scratch::new("start");
    let error = AccessLog::start(to_file(&scratch.file("no/access.log"))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn over_the_limit_lines_are_dropped_and_counted_exactly() {
    let (log, reader) = slow(Overflow::Drop);
    let writers = [log.writer(), log.writer()];
    let (mut queued, mut refused) = (Vec::new(), 0);
    for number in 0.. {
        if writers[number as usize % 2].push(&numbered(number)) {
            queued.push(number);
        } else {
            refused += 1;
        }
        assert!(log.queued() <= LIMIT);
        if refused == 1_000 {
            break;
        }
    }
    assert_eq!(log.dropped(), 1_000);
    assert!(queued.len() > 10_000, "{}", queued.len());
    let written =
        thread::spawn(move || BufReader::new(File::from(reader)).lines().map(|line| number(&line.unwrap())).collect());
    drop(log);
    let mut written: Vec<u64> = written.join().unwrap();
    written.sort_unstable();
    assert_eq!(written, queued);
}

#[test]
fn those_who_wait_lose_nothing_and_are_all_let_go() {
    const EACH: u64 = 4_000;
    const TASKS: u64 = 8;
    let (log, reader) = slow(Overflow::Wait);
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let writer = log.writer();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let tasks = tokio::task::LocalSet::new();
                let writer = std::rc::Rc::new(writer);
                for task in 0..TASKS {
                    let writer = std::rc::Rc::clone(&writer);
                    tasks.spawn_local(async move {
                        for number in 0..EACH {
                            let entry = numbered((worker * TASKS + task) * EACH + number);
                            if task % 2 == 0 {
                                assert!(writer.write(&entry).await);
                            } else {
                                while !writer.push(&entry) {
                                    writer.ready().await;
                                }
                            }
                        }
                    });
                }
                runtime.block_on(tasks);
            })
        })
        .collect();
    wait_for("the queue is full", || log.queued() > LIMIT - 8 * 1024);
    let written =
        thread::spawn(move || BufReader::new(File::from(reader)).lines().map(|line| number(&line.unwrap())).collect());
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(log.dropped(), 0);
    drop(log);
    let mut written: Vec<u64> = written.join().unwrap();
    written.sort_unstable();
    assert_eq!(written, (0..2 * TASKS * EACH).collect::<Vec<_>>());
}

#[test]
fn who_waits_is_let_go_when_lines_are_to_be_dropped_or_the_log_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let scratch = Scratch::new("let-go");
    let (log, reader) = slow(Overflow::Wait);
    let writer = log.writer();
    while writer.push(&numbered(0)) {}
    assert_eq!(log.dropped(), 0, "a line that waits is not dropped");
    let waiting = thread::spawn(move || runtime.block_on(async { (writer.write(&numbered(1)).await, writer) }));
    log.reconfigure(to_file(&scratch.file("access.log"))).unwrap();
    let (written, writer) = waiting.join().unwrap();
    assert_eq!(log.dropped(), u64::from(!written));
    drop((reader, log));
    assert!(!writer.push(&numbered(2)));
}

#[test]
fn a_disk_that_is_full_and_a_reader_that_has_gone_cost_lines_that_are_counted() {
    let full = AccessLog::start(to_file(Path::new("/dev/full"))).unwrap();
    let (gone, reader) = slow(Overflow::Drop);
    drop(reader);
    for log in [full, gone] {
        let writer = log.writer();
        for number in 0..100 {
            assert!(writer.push(&numbered(number)));
        }
        writer.flush();
        wait_for("all are counted", || log.dropped() == 100);
        assert!(writer.push(&numbered(100)), "there is room again");
    }
}

#[test]
fn a_file_that_is_renamed_and_re_opened_keeps_every_line_whole_and_once() {
    const LINES: u64 = 60_000;
    let scratch = Scratch::new("reopen");
    let path = scratch.file("access.log");
    let log = AccessLog::start(to_file(&path)).unwrap();
    let writer = log.writer();
    let rotated: Vec<PathBuf> = (0..20).map(|number| scratch.file(&format!("access.log.{number}"))).collect();
    let worker = thread::spawn(move || {
        for number in 0..LINES {
            while !writer.push(&numbered(number)) {
                thread::yield_now(); // not what is looked at here
            }
            if number % 64 == 0 {
                writer.flush();
            }
        }
    });
    for old in &rotated {
        fs::rename(&path, old).unwrap();
        log.reopen();
        wait_for("the file is there again", || path.exists());
    }
    worker.join().unwrap();
    drop(log);
    let written: Vec<u64> = rotated.iter().chain([&path]).flat_map(|path| numbers(path)).collect();
    assert_eq!(written, (0..LINES).collect::<Vec<_>>());
}

#[test]
fn a_file_that_cannot_be_re_opened_goes_on_as_it_was() {
    let scratch = Scratch::new("stays");
    let (folder, moved) = (scratch.file("a"), scratch.file("b"));
    fs::create_dir(&folder).unwrap();
    let log = AccessLog::start(to_file(&folder.join("access.log"))).unwrap();
    let writer = log.writer();
    assert!(writer.push(&numbered(1)));
    fs::rename(&folder, &moved).unwrap();
    log.reopen();
    assert!(writer.push(&numbered(2)));
    drop(log);
    assert_eq!(numbers(&moved.join("access.log")), [1, 2]);
}

#[test]
fn what_was_pushed_before_a_change_is_written_in_the_old_form_and_place() {
    let scratch = Scratch::new("change");
    let (old, new) = (scratch.file("old.log"), scratch.file("new.log"));
    let log = AccessLog::start(to_file(&old)).unwrap();
    let writer = log.writer();
    let (before, after) = (["request:a".to_owned()], ["request:b".to_owned()]);
    assert!(writer.push(&Entry { extra_names: &before, extra: &[Some(b"1")], ..numbered(1) }));
    let combined = Settings { format: Format::Combined, ..to_file(&new) };
    log.reconfigure(combined).unwrap();
    assert!(writer.push(&numbered(2)));
    assert!(log.reconfigure(to_file(&scratch.file("no/new.log"))).is_err(), "and nothing has changed");
    assert!(writer.push(&numbered(3)));
    log.reconfigure(Settings { instance: "lb-2".into(), ..to_file(&new) }).unwrap();
    // An exchange that began before the change, and one after it.
    assert!(writer.push(&Entry { extra_names: &before, extra: &[Some(b"1")], ..numbered(4) }));
    assert!(writer.push(&Entry { extra_names: &after, extra: &[Some(b"2")], ..numbered(5) }));
    drop(log);

    assert_eq!(numbers(&old), [1]);
    let text = fs::read_to_string(&new).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[..2].iter().all(|line| line.starts_with("unix - - [10/Oct/2000")), "{text}");
    let json: Vec<Value> = lines[2..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&json[0]["request:a"], &json[0]["instance"]), (&json!("1"), &json!("lb-2")));
    assert_eq!((&json[1]["request:b"], &json[1]["generation"]), (&json!("2"), &json!(5)));
}

#[test]
fn lines_of_all_workers_come_in_the_order_that_each_pushed_them() {
    let scratch = Scratch::new("order");
    let path = scratch.file("access.log");
    let log = AccessLog::start(settings(Sink::File(path.clone()), Overflow::Wait)).unwrap();
    let workers = (0..4).map(|worker| {
        let writer = log.writer();
        thread::spawn(move || {
            for number in 0..1_000 {
                assert!(writer.push(&numbered(worker * 1_000 + number)));
                writer.flush();
            }
        })
    });
    workers.collect::<Vec<_>>().into_iter().for_each(|worker| worker.join().unwrap());
    drop(log);
    let written = numbers(&path);
    assert_eq!(written.iter().copied().collect::<BTreeSet<_>>().len(), 4_000);
    for worker in 0..4 {
        let own: Vec<u64> = written.iter().copied().filter(|number| number / 1_000 == worker).collect();
        assert!(own.is_sorted(), "worker {worker}");
    }
}

#[test]
fn a_writer_that_has_gone_leaves_its_lines_and_nothing_else() {
    let (log, reader) = slow(Overflow::Drop);
    for number in 0..100 {
        assert!(log.writer().push(&numbered(number)));
    }
    wait_for("nothing is queued", || log.queued() == 0);
    drop(log);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().map(number).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
}
