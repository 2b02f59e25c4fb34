//! The balancer under test as the real binary, for what only a process shows: memory, descriptors, signals, exit codes.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::client::Client;
use super::operator::{ANY_PORT, TOKEN, TOKEN_NAME};
use super::{metrics, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

/// A running `evenkeel run -c FILE`; killed with its value.
pub(crate) struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
    log: Arc<Mutex<Vec<String>>>,
    addresses: Arc<Mutex<HashMap<String, SocketAddr>>>,
    file: PathBuf,
}

impl Process {
    /// Starts the binary on the configuration `toml` and waits until it listens.
    pub(crate) fn spawn(toml: &str) -> Self {
        Self::spawn_under(&[], toml)
    }

    /// As [`Process::spawn`], as the last arguments of the command `under`.
    pub(crate) fn spawn_under(under: &[&str], toml: &str) -> Self {
        let process = Self::launch(under, toml);
        let expected = toml.matches("[[listener]]").count() + 1;
        let ready = || process.addresses.lock().unwrap().len() >= expected;
        wait_for(&format!("{expected} lines `listening listener=NAME address=IP:PORT` on stderr"), ready);
        process
    }

    /// Starts the binary without waiting, for a start that fails.
    pub(crate) fn launch(under: &[&str], toml: &str) -> Self {
        Self::on(under, write(toml))
    }

    /// Ends it, and starts the binary again on the same file, with what it has kept; waits until it listens.
    pub(crate) fn restart(self) -> Self {
        let file = self.file.clone();
        drop(self);
        let expected = fs::read_to_string(&file).unwrap().matches("[[listener]]").count() + 1;
        let process = Self::on(&[], file);
        wait_for("it listens again", || process.addresses.lock().unwrap().len() >= expected);
        process
    }

    /// Where it keeps what it has accepted.
    pub(crate) fn state(&self) -> PathBuf {
        self.file.with_file_name("state")
    }

    fn on(under: &[&str], file: PathBuf) -> Self {
        let path = file.clone();
        let words: Vec<&str> = [under, &[BINARY, "run", "-c", file.to_str().unwrap()]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("NO_COLOR", "1").env(TOKEN_NAME, TOKEN).env_remove("RUST_LOG");
        command.env("STATE_DIRECTORY", file.with_file_name("state"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, addresses) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<HashMap<_, _>>>::default());
        let (lines, found) = (Arc::clone(&log), Arc::clone(&addresses));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((name, address)) = listening(&line) {
                    found.lock().unwrap().insert(name, address);
                }
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, reader: Some(reader), log, addresses, file: path }
    }

    /// Its configuration's file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Puts another text in its configuration's file, at once: a reload never sees half of it.
    pub(crate) fn rewrite(&self, toml: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, toml).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    /// The number of configurations that it has accepted.
    pub(crate) fn generation(&self) -> f64 {
        self.metric("evenkeel_config_generation", &[])
    }

    /// Rewrites its configuration, sends HUP, and waits until that is in force.
    pub(crate) fn reload(&self, toml: &str) {
        let before = self.generation();
        self.rewrite(toml);
        self.signal("HUP");
        wait_for("the new configuration is in force", || self.generation() > before);
    }

    /// Where the listener `name` is; `admin` is the admin API.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.said(name).unwrap_or_else(|| panic!("no listener {name}"))
    }

    /// Where the log says that the listener `name` is, if it has said so.
    pub(crate) fn said(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.lock().unwrap().get(name).copied()
    }

    /// Whether the last reload was accepted.
    pub(crate) fn last_reload(&self) -> bool {
        self.metric("evenkeel_config_last_reload_successful", &[]) == 1.0
    }

    /// Rewrites its configuration, sends HUP, and waits until that is refused; the reload before must have been accepted.
    pub(crate) fn reload_in_vain(&self, toml: &str) {
        assert!(self.last_reload(), "the reload before this one was refused: {:?}", self.log());
        self.rewrite(toml);
        self.signal("HUP");
        wait_for("the new configuration is refused", || !self.last_reload());
    }

    /// Runs `evenkeel` with `words` against this process and its file; exit code, stdout and stderr. The file says port 0:
    /// a command that talks to a process is told the port that it got.
    pub(crate) fn operate(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(BINARY);
        command.args(words);
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        if let Some(admin) = self.said("admin").filter(|_| words[0] != "check" && text.contains(ANY_PORT)) {
            let token = self.file.with_file_name("operators.token");
            fs::write(&token, TOKEN).unwrap();
            command.args(["--admin", &admin.to_string(), "--token-file"]).arg(token);
        }
        output(command.arg("-c").arg(&self.file).env(TOKEN_NAME, TOKEN))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener("web")
    }

    pub(crate) fn client(&self) -> Client {
        Client::h1(self.address())
    }

    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(self.listener("admin"), name, labels).unwrap_or(0.0)
    }

    /// The lines on stderr so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// Resident memory in bytes, without what is mapped from files: programs and libraries.
    pub(crate) fn anonymous(&self) -> usize {
        self.memory("RssAnon:")
    }

    fn memory(&self, kind: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Processor time so far, in clock ticks (a hundred a second on Linux).
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for the end of the process; its log is whole then.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.expect("wait_for saw it")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("stderr of evenkeel:\n{}", self.log().join("\n"));
        }
    }
}

/// Runs `evenkeel` with `words`, then the path of a file that contains `toml`; exit code and stderr.
pub(crate) fn command(words: &[&str], toml: &str) -> (Option<i32>, String) {
    let (code, _, err) = run_on(toml, words);
    (code, err)
}

/// As [`command`], with stdout before stderr.
pub(crate) fn run_on(toml: &str, words: &[&str]) -> (Option<i32>, String, String) {
    output(Command::new(BINARY).args(words).arg(write(toml)))
}

/// Runs `evenkeel` with `words`; exit code, stdout and stderr.
pub(crate) fn run(words: &[&str]) -> (Option<i32>, String, String) {
    output(Command::new(BINARY).args(words))
}

/// As [`run`], in `folder`.
pub(crate) fn run_in(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    output(Command::new(BINARY).args(words).current_dir(folder))
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let done = command.env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// Writes a configuration into a directory of its own: `conf.d` beside it would be read too.
fn write(toml: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("it-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("evenkeel.toml");
    fs::write(&file, toml).unwrap();
    file
}

/// `… listening listener=web address=127.0.0.1:8080` in any log format; colours are taken out.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let plain: String = line.split('\u{1b}').enumerate().map(|(part, text)| strip_colour(part, text)).collect();
    if !plain.contains("listening") {
        return None;
    }
    if let Ok(line) = serde_json::from_str::<serde_json::Value>(&plain) {
        return Some((line["listener"].as_str()?.to_owned(), line["address"].as_str()?.parse().ok()?));
    }
    let value = |key: &str| {
        let (_, rest) = plain.split_once(key)?;
        Some(rest.trim_start_matches('"').split([' ', '"', ',', '}']).next()?.to_owned())
    };
    Some((value("listener=")?, value("address=")?.parse().ok()?))
}

fn strip_colour(part: usize, text: &str) -> &str {
    if part == 0 { text } else { text.split_once('m').map_or("", |(_, rest)| rest) }
}
