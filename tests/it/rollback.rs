//! The configuration before, in force again until the file changes: `evenkeel rollback`, `POST /api/v1/rollback`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Backend, Process, Setup, bearer, call, json, told, wait_for, with_token};

/// A configuration that tells its version, with further lines for the pool.
fn version(number: u32, backend: &Backend, more: &str) -> String {
    let toml = with_token(&Setup::to(&[backend.address()]).pool(more).toml());
    format!(
        "{toml}\n[[route]]\nname = \"version\"\npath = \"/version\"\nrespond = {{ status = 200, body = \"{number}\" }}\n[[route]]\npool = \"web\"\n"
    )
}

/// Which version is in force.
fn now(evenkeel: &Process) -> String {
    evenkeel.client().get("/version").text()
}

/// What is kept, oldest first, once there are so many.
fn kept(evenkeel: &Process, count: usize) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).map(|list| list.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
    };
    let all = || {
        let folders = list(&evenkeel.state());
        let mut files: Vec<_> = folders.iter().flat_map(|folder| list(folder)).collect();
        files
            .retain(|file| file.file_stem().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit)));
        files.sort();
        files
    };
    wait_for("the configurations are kept", || all().len() == count);
    all()
}

/// Waits for what is said in the log.
fn says(evenkeel: &Process, what: &str) {
    wait_for(what, || evenkeel.log().iter().any(|line| line.contains(what)));
}

#[test]
fn the_one_before_is_in_force_until_the_file_changes() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&version(1, &backend, ""));
    // What a process has left that was killed while it wrote.
    fs::write(kept(&evenkeel, 1)[0].with_file_name("0000000002.new"), "{").unwrap();
    evenkeel.reload(&version(2, &backend, ""));
    evenkeel.reload(&version(3, &backend, ""));
    kept(&evenkeel, 3);
    let (code, out, err) = evenkeel.operate(&["rollback"]);
    assert_eq!((code, now(&evenkeel).as_str()), (Some(0), "2"), "{err}");
    assert!(out.contains("generation 4") && out.contains("until the file changes"), "{out}");
    let status = told(evenkeel.listener("admin"), "/api/v1/status");
    assert!(status["config"]["rolled_back_to"].is_string(), "{status}");

    // The file is as it was: HUP and the command keep what is in force, and say so.
    evenkeel.signal("HUP");
    says(&evenkeel, "the file is as it was when it was rolled back");
    let (code, out, _) = evenkeel.operate(&["reload"]);
    assert!(code == Some(0) && out.contains("as it was when it was rolled back"), "{out}");
    let (code, out, _) = evenkeel.operate(&["reload", "--if-drops", "9"]);
    assert!(code == Some(0) && out.contains("as it was when it was rolled back"), "{out}");
    assert_eq!((now(&evenkeel).as_str(), evenkeel.generation()), ("2", 4.0));

    let answer = call(evenkeel.listener("admin"), "POST /api/v1/rollback", &bearer(), "");
    assert_eq!((answer.status, now(&evenkeel).as_str()), (200, "1"), "once more goes one further back");
    assert_eq!(json(&answer)["generation"], 5);
    let none = call(evenkeel.listener("admin"), "POST /api/v1/rollback", &bearer(), "");
    assert_eq!((none.status, now(&evenkeel).as_str()), (409, "1"), "{}", none.text());
    assert!(none.text().contains("no configuration before"), "{}", none.text());

    evenkeel.reload(&version(4, &backend, ""));
    assert_eq!(now(&evenkeel), "4");
    let status = told(evenkeel.listener("admin"), "/api/v1/status");
    assert!(status["config"]["rolled_back_to"].is_null(), "it is over: {status}");
    // What was passed over once is a file like any other.
    evenkeel.reload(&version(3, &backend, ""));
    assert_eq!(now(&evenkeel), "3");
    assert_eq!((evenkeel.operate(&["rollback"]).0, now(&evenkeel).as_str()), (Some(0), "4"));
    kept(&evenkeel, 3);
    let (code, _, err) = evenkeel.operate(&["rollback"]);
    assert_eq!((code, now(&evenkeel).as_str()), (Some(0), "1"), "what was passed over is forgotten: {err}");
}

#[test]
fn what_is_answered_is_on_disk() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&version(1, &backend, ""));
    let on_disk = || {
        let folder = fs::read_dir(evenkeel.state()).unwrap().next().unwrap().unwrap().path();
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".json")).count()
    };
    kept(&evenkeel, 1);
    for number in 2..6 {
        evenkeel.rewrite(&version(number, &backend, ""));
        assert_eq!(call(evenkeel.listener("admin"), "POST /api/v1/reload", &bearer(), "").status, 200);
        assert_eq!(on_disk(), number as usize);
    }
    assert_eq!(call(evenkeel.listener("admin"), "POST /api/v1/rollback", &bearer(), "").status, 200);
    assert_eq!(on_disk(), 6, "what it was rolled back to stands beside them");
}

#[test]
fn a_rollback_holds_over_a_restart() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&version(1, &backend, ""));
    evenkeel.reload(&version(2, &backend, ""));
    kept(&evenkeel, 2);
    assert_eq!(evenkeel.operate(&["rollback"]).0, Some(0));
    let record = || {
        fs::read_dir(evenkeel.state()).unwrap().any(|folder| folder.unwrap().path().join("rolled-back.json").exists())
    };
    wait_for("it is on record", record);
    let evenkeel = evenkeel.restart();
    assert_eq!(now(&evenkeel), "1");
    says(&evenkeel, "was rolled back: the configuration of");
    evenkeel.signal("HUP");
    says(&evenkeel, "the file is as it was when it was rolled back");

    // Whatever is read from the file ends it, over a restart too.
    let evenkeel = evenkeel.restart();
    evenkeel.rewrite(&version(3, &backend, ""));
    let evenkeel = evenkeel.restart();
    assert_eq!(now(&evenkeel), "3");
    kept(&evenkeel, 2);
    assert_eq!((evenkeel.operate(&["rollback"]).0, now(&evenkeel).as_str()), (Some(0), "1"));
}

#[test]
fn a_rollback_that_cannot_be_used_changes_nothing() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&version(1, &backend, ""));
    let keys = evenkeel.file().with_file_name("sticky.key");
    fs::write(&keys, "0123456789abcdef0123456789abcdef\n").unwrap();
    let sticky = "sticky = { type = \"cookie\", secret = { file = \"sticky.key\" } }";
    evenkeel.reload(&version(2, &backend, sticky));
    evenkeel.reload(&version(3, &backend, ""));
    kept(&evenkeel, 3);
    fs::remove_file(&keys).unwrap();
    let answer = call(evenkeel.listener("admin"), "POST /api/v1/rollback", &bearer(), "");
    assert_eq!((answer.status, now(&evenkeel).as_str()), (422, "3"), "{}", answer.text());
    assert!(answer.text().contains("sticky.key"), "{}", answer.text());
    fs::write(&keys, "0123456789abcdef0123456789abcdef\n").unwrap();
    assert_eq!(evenkeel.operate(&["rollback"]).0, Some(0), "its relative paths start where the file stood");
    assert_eq!(now(&evenkeel), "2");
    let stale =
        call(evenkeel.listener("admin"), "POST /api/v1/rollback", &format!("{}If-Match: \"3\"\r\n", bearer()), "");
    assert_eq!((stale.status, now(&evenkeel).as_str()), (412, "2"), "{}", stale.text());

    // A start takes the file, and says why.
    let folder = kept(&evenkeel, 3)[0].with_file_name("rolled-back.json");
    wait_for("it is on record", || folder.exists());
    fs::remove_file(&keys).unwrap();
    let evenkeel = evenkeel.restart();
    assert_eq!(now(&evenkeel), "3");
    says(&evenkeel, "which cannot be used any more");
}

#[test]
fn what_is_kept_is_for_us_alone_and_what_is_included_too() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&version(1, &backend, ""));
    let folder = evenkeel.file().with_file_name("conf.d");
    fs::create_dir(&folder).unwrap();
    let more = |text: &str| {
        format!("[[route]]\nname = \"more\"\npath = \"/more\"\nrespond = {{ status = 200, body = \"{text}\" }}\n")
    };
    let write = |text: &str| {
        fs::write(folder.join("a.toml"), more(text)).unwrap();
        evenkeel.reload(&version(1, &backend, ""));
    };
    write("one");
    write("two");
    for file in kept(&evenkeel, 3) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(evenkeel.client().get("/more").text(), "two");
    assert_eq!(evenkeel.operate(&["rollback"]).0, Some(0));
    assert_eq!(evenkeel.client().get("/more").text(), "one");
    assert_eq!(evenkeel.operate(&["rollback"]).0, Some(0));
    assert_eq!(evenkeel.client().get("/more").text(), "fine", "there was no such file then");
    // An included file that changes is a change.
    write("three");
    assert_eq!(evenkeel.client().get("/more").text(), "three");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said_once_and_refuses() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&version(1, &backend, ""));
    kept(&evenkeel, 1);
    let state = evenkeel.state();
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "no folder").unwrap();
    evenkeel.reload(&version(2, &backend, ""));
    evenkeel.reload(&version(3, &backend, ""));
    let answer = call(evenkeel.listener("admin"), "POST /api/v1/rollback", &bearer(), "");
    assert_eq!((answer.status, now(&evenkeel).as_str()), (409, "3"), "{}", answer.text());
    assert!(answer.text().contains("the log says why"), "{}", answer.text());
    let warnings = evenkeel.log().iter().filter(|line| line.contains("the configuration cannot be kept")).count();
    assert_eq!(warnings, 1);
}
