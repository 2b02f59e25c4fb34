//! What the service manager tells the process and hears from it: signals, and messages on `NOTIFY_SOCKET` (PRODUCT.md
//! section 5).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Backend, Gate, PATIENCE, Process, Setup, wait_for};

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("evenkeel-notify-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    /// Starts evenkeel as the service manager does, with further variables.
    fn start(&self, toml: &str, more: &[&str]) -> Process {
        let notify = format!("NOTIFY_SOCKET={}", self.path.display());
        Process::spawn_under(&[&["env", &notify], more].concat(), toml)
    }

    /// The next message's assignments.
    fn message(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// Every assignment up to the first that begins with `wanted`, which is the last.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let message = self.message();
            let found = message.iter().any(|line| line.starts_with(wanted));
            all.extend(message);
            if found {
                return all;
            }
        }
    }

    /// Whether no message with `unwanted` comes for `time`: for what must not come.
    fn hears_no(&self, unwanted: &str, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let start = Instant::now();
        let mut buffer = [0; 4096];
        let mut none = true;
        while start.elapsed() < time {
            if let Ok(length) = self.socket.recv(&mut buffer) {
                none &= !String::from_utf8_lossy(&buffer[..length]).contains(unwanted);
            }
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        none
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn toml(backend: &Backend) -> String {
    Setup::to(&[backend.address()]).toml()
}

#[test]
fn ready_is_said_once_it_serves_with_a_status() {
    let backend = Backend::ok("fine");
    let manager = Manager::new();
    let evenkeel = manager.start(&toml(&backend), &[]);
    let said = manager.until("READY=1");
    assert!(!said.iter().any(|line| line.starts_with("RELOADING") || line.starts_with("STOPPING")), "{said:?}");
    assert_eq!(evenkeel.client().get("/").status, 200);
    let status = if said.iter().any(|line| line.starts_with("STATUS=")) { said } else { manager.until("STATUS=") };
    let status = status.iter().find(|line| line.starts_with("STATUS=")).unwrap();
    assert!(status.len() > "STATUS=".len(), "{status}");
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let backend = Backend::ok("fine");
    let manager = Manager::new();
    let notify = format!("NOTIFY_SOCKET={}", manager.path.display());
    let mut evenkeel = Process::launch(&["env", &notify], &toml(&backend).replace("workers", "wrokers"));
    assert_eq!(evenkeel.wait().code(), Some(1));
    assert!(manager.hears_no("READY=1", Duration::from_millis(100)));
}

#[test]
fn a_reload_says_reloading_with_the_time_and_then_ready() {
    let backend = Backend::ok("fine");
    let manager = Manager::new();
    let evenkeel = manager.start(&toml(&backend), &[]);
    manager.until("READY=1");
    let mut last: Option<(Duration, Instant)> = None;
    // Files that are fine, and one that is not: systemd waits for READY=1 after any.
    for text in [toml(&backend), toml(&backend), "nonsense".to_owned()] {
        let before = Instant::now();
        evenkeel.rewrite(&text);
        evenkeel.signal("HUP");
        let said = manager.until("RELOADING=1");
        let after = Instant::now();
        assert!(!said.contains(&"READY=1".to_owned()), "{said:?}");
        let at = said.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("in the same message");
        let at = Duration::from_micros(at.parse().unwrap());
        // The clock's zero is nobody's business here; its pace is, and that it was read for this very reload.
        if let Some((then, heard)) = last {
            let apart = at - then;
            assert!(apart <= after - heard + Duration::from_secs(1) && apart > Duration::ZERO, "{apart:?}");
            assert!(apart + Duration::from_secs(1) >= before - heard, "{apart:?}");
        }
        last = Some((at, after));
        manager.until("READY=1");
    }
    wait_for("the broken file was refused", || !evenkeel.last_reload());
}

#[test]
fn stopping_is_said_when_the_drain_begins() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let manager = Manager::new();
    let mut evenkeel = manager.start(&toml(&backend), &[]);
    manager.until("READY=1");
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || backend.requests() == 1);
    evenkeel.signal("TERM");
    manager.until("STOPPING=1");
    // A reload would say that it is ready again.
    evenkeel.signal("HUP");
    wait_for("the reload is refused", || !evenkeel.last_reload());
    assert!(manager.hears_no("READY=1", Duration::from_millis(100)));
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_in_less_than_its_time() {
    let backend = Backend::ok("fine");
    let manager = Manager::new();
    let _evenkeel = manager.start(&toml(&backend), &["WATCHDOG_USEC=4000000"]);
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    for _ in 0..3 {
        let start = Instant::now();
        manager.until("WATCHDOG=1");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
}

#[test]
fn nobody_is_fed_without_a_watchdog() {
    let backend = Backend::ok("fine");
    let manager = Manager::new();
    let _evenkeel = manager.start(&toml(&backend), &[]);
    manager.until("READY=1");
    assert!(manager.hears_no("WATCHDOG=1", Duration::from_millis(1500)));
}

#[test]
fn usr1_opens_the_access_log_again() {
    let backend = Backend::ok("fine");
    let text = toml(&backend).replace("access = \"off\"", "access = \"./access.log\"");
    let evenkeel = Process::spawn(&text);
    let path = evenkeel.file().with_file_name("access.log");
    let moved = evenkeel.file().with_file_name("access.log.1");
    let holds = |path: &PathBuf, target: &str| fs::read_to_string(path).is_ok_and(|text| text.contains(target));
    let mut client = evenkeel.client();
    client.get("/before");
    wait_for("the line is written", || holds(&path, "/before"));
    // As logrotate does it.
    fs::rename(&path, &moved).unwrap();
    client.get("/between");
    wait_for("the old file is still written", || holds(&moved, "/between"));
    evenkeel.signal("USR1");
    wait_for("the new file is there", || path.exists());
    client.get("/after");
    wait_for("the new file is written", || holds(&path, "/after"));
    assert!(!holds(&moved, "/after") && !holds(&path, "/before"));
    assert_eq!(client.get("/").status, 200, "nobody noticed");
}

#[test]
fn usr2_is_refused_in_the_log_and_changes_nothing() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&toml(&backend));
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").status, 200);
    evenkeel.signal("USR2");
    wait_for("the log says so", || evenkeel.log().iter().any(|line| line.contains("USR2")));
    assert_eq!((client.get("/").status, evenkeel.client().get("/").status), (200, 200));
}

#[test]
fn usr1_without_a_file_is_harmless() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&toml(&backend));
    evenkeel.signal("USR1");
    evenkeel.signal("HUP");
    wait_for("it went on to the reload", || evenkeel.generation() > 1.0);
    assert_eq!(evenkeel.client().get("/").status, 200);
}
