//! A headless Chromium that a test drives as its reader would: by its DevTools protocol, with a real mouse and real keys.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client::client};

use crate::support::Program;

/// A page may take its time on a machine that has none.
const PATIENCE: Duration = Duration::from_secs(40);

/// A browser with one page; it ends with its value.
pub(super) struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    /// The page.
    session: Option<String>,
    next: u64,
    /// What the page has complained of: its console, its policy, its exceptions.
    complaints: Vec<String>,
    profile: PathBuf,
}

impl Browser {
    /// `None` after a word of why its test is skipped.
    pub(super) fn start() -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let chromium = Program::find("chromium", "chromium")?.within(240);
        let name = format!("browser-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&profile);
        let data = format!("--user-data-dir={}", profile.display());
        let quiet =
            ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
        // CI runs as root in a container: no sandbox there, and a small /dev/shm.
        let ours = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let port = ["--no-proxy-server", "--remote-debugging-port=0", &data, "about:blank"];
        let mut command = chromium.command(&[&quiet[..], &ours, &port].concat());
        command.env("HOME", &profile).env("LANG", "en_US.UTF-8").env("TZ", "UTC");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url = said.find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
        let url = url.expect("chromium says where it listens");
        thread::spawn(move || said.for_each(drop));
        let host = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = client(&url, stream).unwrap();
        let mut browser = Self { child, socket, session: None, next: 0, complaints: Vec::new(), profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.look(1280, 900, "light");
        Some(browser)
    }

    /// A command of the protocol, and its result.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut heard: Value = serde_json::from_str(&text).unwrap();
            if heard["id"] == id {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].take();
            }
            self.note(&heard);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => Some(params["args"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => Some(params["entry"].to_string()),
            _ => None,
        };
        self.complaints.extend(complaint);
    }

    /// What the page has complained of since this was asked before.
    pub(super) fn complaints(&mut self) -> Vec<String> {
        self.js("0");
        std::mem::take(&mut self.complaints)
    }

    /// A screen of that size, for somebody who likes that theme.
    pub(super) fn look(&mut self, width: u32, height: u32, theme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": theme},
                              {"name": "prefers-reduced-motion", "value": "reduce"}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Goes to `url`.
    pub(super) fn open(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({"url": url}));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.wait("the page is there", "document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What `expression` is in the page.
    #[track_caller]
    pub(super) fn js(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut found = self.call("Runtime.evaluate", wanted);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].take()
    }

    /// The text of what `selector` finds first, as it is seen.
    #[track_caller]
    pub(super) fn text(&mut self, selector: &str) -> String {
        let text = self.js(&format!("document.querySelector({selector:?})?.innerText"));
        text.as_str().unwrap_or_else(|| panic!("nothing is {selector}")).to_owned()
    }

    /// Waits until `expression` holds.
    #[track_caller]
    pub(super) fn wait(&mut self, what: &str, expression: &str) {
        let start = Instant::now();
        while self.js(&format!("!!({expression})")) != json!(true) {
            let page = "document.body.innerText.slice(0, 1500)";
            assert!(start.elapsed() < PATIENCE, "in vain: waited until {what}; the page says: {}", self.js(page));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Clicks on the middle of what `selector` finds first, which must be seen there.
    #[track_caller]
    pub(super) fn click(&mut self, selector: &str) {
        let find = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}});
             const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
             return {{x, y, hit: e.contains(document.elementFromPoint(x, y))}} }})()"
        );
        let at = self.js(&find);
        assert_eq!(at["hit"], true, "{selector} is covered or out of sight: {at}");
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({"type": kind, "x": at["x"], "y": at["y"], "button": "left", "buttons": buttons, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key by its name: `Tab`, `Enter`, `Escape`, or a letter.
    pub(super) fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            letter => u32::from(letter.as_bytes()[0].to_ascii_uppercase()),
        };
        let text = match key {
            "Enter" => json!("\r"),
            key if key.len() == 1 => json!(key),
            _ => Value::Null,
        };
        let mut event = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        if !text.is_null() {
            event["text"] = text;
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types where the focus is.
    pub(super) fn type_in(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Presses Tab until what has the focus fits `selector`.
    #[track_caller]
    pub(super) fn tab_to(&mut self, selector: &str) {
        for _ in 0..60 {
            self.press("Tab");
            if self.js(&format!("document.activeElement.matches({selector:?})")) == json!(true) {
                return;
            }
        }
        panic!("no Tab leads to {selector}");
    }

    /// What is seen, as a PNG: kept where `EVENKEEL_SCREENSHOTS` says, if it does.
    pub(super) fn shot(&mut self, name: &str) -> String {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = shot["data"].as_str().unwrap().to_owned();
        if let Some(folder) = env::var_os("EVENKEEL_SCREENSHOTS") {
            let folder = PathBuf::from(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{name}.png")), BASE64_STANDARD.decode(&data).unwrap()).unwrap();
        }
        data
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        // It may be gone already, and then its child ends at once.
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        if self.socket.send(Message::text(close)).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}
