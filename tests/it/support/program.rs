//! Programs that others have written, run for a bounded time. What is not installed is skipped and says so, unless
//! `EVENKEEL_TEST_PROGRAMS` is `all`, as in tests/run: there it fails.

use std::env;
use std::fs::File;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The variable that forbids to skip.
const REQUIRED: &str = "EVENKEEL_TEST_PROGRAMS";

/// One of them, which is installed.
pub(crate) struct Program {
    name: &'static str,
    seconds: u32,
}

/// What it said and how it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    /// The program `name` of Debian's `package`, or `None` after a word of why its test is skipped.
    pub(crate) fn find(name: &'static str, package: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        if env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
            return Some(Self { name, seconds: 60 });
        }
        let missing = format!("{name} is not in PATH (Debian's package {package} has it)");
        assert!(env::var(REQUIRED).as_deref() != Ok("all"), "{missing}");
        // Not by a macro: those are silent in a test that passes.
        stderr().write_all(format!("SKIPPED: {missing}\n").as_bytes()).unwrap();
        None
    }

    /// It may take so long; 60 seconds otherwise.
    pub(crate) fn within(self, seconds: u32) -> Self {
        Self { seconds, ..self }
    }

    /// Runs it with `words`.
    pub(crate) fn run<W: AsRef<str>>(&self, words: &[W]) -> Said {
        self.finish(self.command(words).stdin(Stdio::null()))
    }

    /// As [`Program::run`], where it reads `input`, which then ends.
    pub(crate) fn run_on<W: AsRef<str>>(&self, input: &[u8], words: &[W]) -> Said {
        let (file, path) = scratch(input);
        let said = self.finish(self.command(words).stdin(file));
        let _ = std::fs::remove_file(path);
        said
    }

    /// As it is started, for variables of its own.
    pub(crate) fn command<W: AsRef<str>>(&self, words: &[W]) -> Command {
        // Of coreutils. It ends all that the program has started.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &self.seconds.to_string(), self.name]);
        command.args(words.iter().map(AsRef::as_ref)).env_remove("SSLKEYLOGFILE").env_remove("http_proxy");
        command.env_remove("https_proxy").env_remove("HTTPS_PROXY").env_remove("ALL_PROXY").env_remove("all_proxy");
        command
    }

    /// Waits for the end of `command`, which is one of this program.
    #[track_caller]
    pub(crate) fn finish(&self, command: &mut Command) -> Said {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = Said { code: status.code(), out: text(stdout), err: text(stderr) };
        assert!(!matches!(said.code, Some(124 | 137) | None), "{} took over {} s: {said:?}", self.name, self.seconds);
        said
    }
}

impl Said {
    /// Standard output of a program that was content.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert!(self.code == Some(0), "{self:?}");
        self.out
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\nstdout:\n{}\nstderr:\n{}", self.code, self.out, self.err)
    }
}

/// A file with `bytes`, open at its beginning.
fn scratch(bytes: &[u8]) -> (File, PathBuf) {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("input-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    (File::open(&path).unwrap(), path)
}
