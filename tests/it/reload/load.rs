//! Reloads under load, and a great number of them.

use std::process::Command;

use super::*;
use crate::support::{Load, Rng};

/// Two valid files that differ in routes, backends and listeners, and a broken one.
fn files(a: &Backend, b: &Backend) -> [String; 3] {
    let more = ("more", "127.0.0.2:0");
    let one = file(&[WEB], &[("web", &[a, b])], &version("one"));
    let two = file(&[WEB, more], &[("web", &[b]), ("spare", &[a])], &version("two"));
    [one.clone(), format!("{one}\nbroken = \"yes\"\n"), two]
}

/// Sends HUP every 50 to 200 ms with the next file, until `done`; how many.
fn storm(evenkeel: &Process, files: &[String], rng: &mut Rng, mut done: impl FnMut() -> bool) -> usize {
    let mut count = 0;
    while !done() {
        // Not a wait for something: the pace of the storm.
        std::thread::sleep(Duration::from_millis(50 + rng.below(150) as u64));
        count += 1;
        evenkeel.rewrite(&files[count % files.len()]);
        evenkeel.signal("HUP");
    }
    count
}

#[test]
fn no_request_notices_five_seconds_of_reloads() {
    let mut rng = Rng::for_test("no_request_notices_five_seconds_of_reloads");
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let files = files(&a, &b);
    let evenkeel = Process::spawn(&files[0]);
    let before = evenkeel.generation();
    let load = Load::start(evenkeel.address(), 16);
    load.wait_for(100);
    let start = std::time::Instant::now();
    let count = storm(&evenkeel, &files, &mut rng, || start.elapsed() > Duration::from_secs(5));
    load.wait_for(100);
    let tally = load.stop();
    tally.assert_all_fine();
    println!("{} answers over {count} reloads", tally.fine);
    wait_for("the reloads were made", || evenkeel.generation() - before >= (count / 2) as f64);
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
    assert_eq!(evenkeel.metric("evenkeel_panics_total", &[]), 0.0);
}

#[test]
fn wrk_notices_no_reload() {
    if Command::new("wrk").arg("-v").output().is_err() {
        println!("SKIPPED: wrk is not installed");
        return;
    }
    let mut rng = Rng::for_test("wrk_notices_no_reload");
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let files = files(&a, &b);
    let evenkeel = Process::spawn(&files[0]);
    let url = format!("http://{}/", evenkeel.address());
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "2", "-c", "100", "-d", "5s", "--timeout", "8s", &url]).stdout(std::process::Stdio::piped());
    let mut wrk = wrk.spawn().unwrap();
    let count = storm(&evenkeel, &files, &mut rng, || wrk.try_wait().unwrap().is_some());
    let said = String::from_utf8(wrk.wait_with_output().unwrap().stdout).unwrap();
    println!("{count} reloads\n{said}");
    assert!(said.contains("requests in") && count > 10, "{said}");
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}

/// Reloads one file after the other, with a request in between.
fn reload_often(evenkeel: &Process, files: &[String], count: usize) {
    let mut client = evenkeel.client();
    for number in 0..count {
        evenkeel.reload(&files[number % files.len()]);
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn three_hundred_reloads_leave_no_memory_behind() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let [one, _, two] = files(&a, &b);
    // So large that one forgotten plan in ten would show.
    let routes: String = (0..50).map(|n| format!("[[route]]\npath = \"/{n}/*\"\npool = \"web\"\n\n")).collect();
    let files = [format!("{one}\n{routes}"), format!("{two}\n{routes}")];
    // What the allocator holds back for later is not what we forget: here it gives all of it back at once.
    let evenkeel = Process::spawn_under(&["env", "MIMALLOC_PURGE_DELAY=0"], &files[0]);
    reload_often(&evenkeel, &files, 50);
    let early = evenkeel.resident();
    reload_often(&evenkeel, &files, 250);
    let late = evenkeel.resident();
    println!("{} KiB after 50 reloads, {} KiB after 300", early / 1024, late / 1024);
    assert!(late <= early + early / 10, "{early} bytes after 50 reloads, {late} after 300");
}

#[test]
fn reloads_leave_no_descriptor_behind() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = taken.local_addr().unwrap().to_string();
    let [one, broken, two] = files(&a, &b);
    let refused = file(&[WEB, ("free", "127.0.0.3:0"), ("taken", &in_use)], &[("web", &[&a])], "");
    let evenkeel = Process::spawn(&one);
    let round = || {
        evenkeel.reload(&two);
        assert_eq!(evenkeel.client().get("/").status, 200);
        evenkeel.reload_in_vain(&broken);
        evenkeel.reload(&one);
        assert_eq!(evenkeel.client().get("/").status, 200);
        evenkeel.reload_in_vain(&refused);
        evenkeel.reload(&one);
    };
    (0..5).for_each(|_| round());
    let before = evenkeel.descriptors();
    (0..20).for_each(|_| round());
    wait_for("as many descriptors as before", || evenkeel.descriptors() <= before + 2);
}
