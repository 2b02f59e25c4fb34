//! `evenkeel top`, on a terminal and without one: PRODUCT.md section 4.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::{Backend, Process, Program, Setup, TOKEN, told, wait_for, with_token};

fn evenkeel(backend: &Backend) -> Process {
    Process::spawn(&with_token(&Setup::to(&[backend.address()]).toml()))
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let backend = Backend::ok("fine");
    let evenkeel = evenkeel(&backend);
    let (code, out, said) = evenkeel.operate(&["top"]);
    assert_eq!((code, &*out), (Some(2), ""), "{said}");
    assert!(said.contains("needs a terminal") && said.contains("--once") && said.contains("--json"), "{said}");
    let (code, out, said) = evenkeel.operate(&["top", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("requests 0/s") && out.contains("1 of 1 up"), "{out}");
    assert!(out.contains(&backend.address().to_string()), "{out}");
    let (code, out, said) = evenkeel.operate(&["top", "--once", "--json"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{said}");
    let snapshot: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(snapshot["pools"][0]["requests_per_second"], 0.0);
}

/// `top` on a terminal that `script` plays; killed with its value.
struct Screen {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn new(script: &Program, evenkeel: &Process, folder: &Path) -> Self {
        let token = folder.join("top.token");
        fs::write(&token, TOKEN).unwrap();
        let admin = evenkeel.listener("admin");
        let top = format!(
            "stty cols 120 rows 20; stty -g; sh -c 'echo pid $$; exec {} top --admin {admin} --token-file {}'; \
             code=$?; echo; echo ended with $code; stty -g; exit $code",
            env!("CARGO_BIN_EXE_evenkeel"),
            token.display()
        );
        let mut command = script.command(&["-qec", &top, "/dev/null"]);
        command.env("TERM", "xterm-256color").env("SHELL", "/bin/sh").env_remove("NO_COLOR");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut out, kept) = (child.stdout.take().unwrap(), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { child, seen }
    }

    /// All that was written to the terminal.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// What stands behind `word` in a line of its own, once the line is whole.
    fn number(&self, word: &str) -> Option<u32> {
        let text = self.text();
        let whole = &text[..=text.rfind('\n')?];
        whole.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok())
    }

    /// How the terminal was set before, and how it is set after it, as `stty -g` has it.
    fn settings(&self) -> Vec<String> {
        let text = self.text();
        text.lines().map(str::trim).filter(|line| line.matches(':').count() > 10).map(str::to_owned).collect()
    }

    fn end(&mut self) -> Option<i32> {
        let mut ended = None;
        wait_for("it ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code()
    }

    fn press(&mut self, keys: &str) {
        let keyboard = self.child.stdin.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }
}

impl Screen {
    /// After its end: the settings, the other screen, and the cursor.
    #[track_caller]
    fn is_as_it_was(&self) {
        wait_for("the terminal was looked at again", || self.settings().len() == 2);
        let (text, settings) = (self.text(), self.settings());
        assert_eq!(settings[0], settings[1], "{text}");
        let at = |code: &str| text.rfind(code);
        assert!(at("\u{1b}[?1049l") > at("\u{1b}[?1049h"), "the screen of its own is left: {text:?}");
        assert!(at("\u{1b}[?25h") > at("\u{1b}[?25l"), "the cursor is back: {text:?}");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // `timeout` tells its program, and that the terminal, whose end is a signal to `top`.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn on_a_terminal_it_shows_and_changes_and_leaves_the_terminal_as_it_was() {
    let Some(script) = Program::find("script", "bsdutils") else { return };
    let backend = Backend::ok("fine");
    let evenkeel = evenkeel(&backend);
    let mut screen = Screen::new(&script, &evenkeel, evenkeel.file().parent().unwrap());
    let name = backend.address().to_string();
    wait_for("the backend is shown", || screen.text().contains(&name) && screen.text().contains("ready"));
    assert!(screen.text().contains("\u{1b}[?1049h"), "a screen of its own");
    screen.press("d");
    wait_for("it is asked", || screen.text().contains("LAST") && screen.text().contains("y = yes"));
    let state = || told(evenkeel.listener("admin"), "/api/v1/pools")["pools"][0]["backends"][0]["state"].clone();
    assert_eq!(state(), "ready");
    screen.press("y");
    wait_for("it is drained", || state() == "drain");
    wait_for("it is said", || screen.text().contains("is now: drain"));
    screen.press("q");
    assert_eq!(screen.end(), Some(0));
    screen.is_as_it_was();
}

#[test]
fn a_signal_ends_it_and_leaves_the_terminal_as_it_was() {
    let Some(script) = Program::find("script", "bsdutils") else { return };
    let backend = Backend::ok("fine");
    let evenkeel = evenkeel(&backend);
    for (name, number) in [("TERM", 15), ("HUP", 1), ("INT", 2)] {
        let mut screen = Screen::new(&script, &evenkeel, evenkeel.file().parent().unwrap());
        wait_for("it is shown", || screen.text().contains("live"));
        let pid = screen.number("pid ").unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        assert_eq!(screen.end(), Some(128 + number), "{name}");
        screen.is_as_it_was();
        assert_eq!(screen.number("ended with "), Some(128 + number as u32), "{name}");
    }
}

#[test]
fn a_process_that_hangs_is_not_shown_as_live() {
    let Some(script) = Program::find("script", "bsdutils") else { return };
    let backend = Backend::ok("fine");
    let evenkeel = evenkeel(&backend);
    let mut screen = Screen::new(&script, &evenkeel, evenkeel.file().parent().unwrap());
    wait_for("it is shown", || screen.text().contains("live"));
    evenkeel.signal("STOP");
    let said = "NO WORD FOR ";
    wait_for("it is said that nothing comes", || screen.text().contains(said));
    evenkeel.signal("CONT");
    wait_for("it is live again", || screen.text().split(said).last().unwrap().contains("live"));
    screen.press("q");
    assert_eq!(screen.end(), Some(0));
}
