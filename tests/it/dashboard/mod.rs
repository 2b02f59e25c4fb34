//! The dashboard, as its reader meets it: a real browser looks, clicks and types. PRODUCT.md section 11.

mod browser;

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use self::browser::Browser;
use crate::support::{Backend, Process, Setup, TOKEN, bearer, call, told, wait_for, with_token};

/// A name that is nothing but a name.
const SCRIPT: &str = "<script>alert(1)</script><b>x";
const ONE: &str = "tr[data-name='one']";
/// What the button that has the focus would do.
const FOCUS: &str = "document.activeElement.dataset.to";
/// How wide the page is. What is too wide for a phone makes its screen wider, too.
const WIDTH: &str = "Math.max(document.documentElement.scrollWidth, innerWidth)";

/// Two backends, `one` and one with an odd name, and perhaps a token.
struct Story {
    one: Backend,
    other: Backend,
    evenkeel: Process,
    admin: SocketAddr,
}

impl Story {
    fn new(token: bool) -> Self {
        let (one, other) = (Backend::ok("one"), Backend::ok("other"));
        let check =
            "health_check = { type = \"tcp\", interval = \"100ms\", interval_down = \"100ms\", timeout = \"1s\" }";
        let setup = Setup::to(&[one.address(), other.address()]).server("name = \"lb-test\"").pool(check);
        let mut text = setup.toml();
        for (backend, name) in [(&one, "one"), (&other, SCRIPT)] {
            let address = format!("\"{}\"", backend.address());
            text = text.replace(&address, &format!("{{ address = {address}, name = \"{name}\" }}"));
        }
        if token {
            text = with_token(&text);
        }
        let evenkeel = Process::spawn(&text);
        let admin = evenkeel.listener("admin");
        Self { one, other, evenkeel, admin }
    }

    /// The page, with figures.
    fn page(&self, browser: &mut Browser) {
        browser.open(&format!("http://{}/", self.admin));
        browser
            .wait("figures have come", "document.body.dataset.link === 'live' && document.querySelector('tbody tr')");
    }

    /// What the API tells of a backend.
    fn backend(&self, name: &str) -> Value {
        let pools = told(self.admin, "/api/v1/pools");
        let backends = pools["pools"][0]["backends"].as_array().unwrap().clone();
        backends.into_iter().find(|backend| backend["name"] == name).unwrap_or_else(|| panic!("no {name}: {pools}"))
    }
}

#[test]
fn the_page_is_live_and_says_why_a_backend_is_down() {
    let Some(mut browser) = Browser::start() else { return };
    let story = Story::new(true);
    story.page(&mut browser);
    assert_eq!(browser.text("#instance"), "lb-test");
    browser.wait("both are ready", "document.querySelectorAll('tr[data-state=ready]').length === 2");
    // Names are text.
    let names = browser.js("[...document.querySelectorAll('td .name')].filter(e => !e.hidden).map(e => e.textContent)");
    assert!(names.as_array().unwrap().contains(&json!(SCRIPT)), "{names}");
    assert_eq!(browser.js("document.querySelectorAll('script, td b').length"), 1, "{SCRIPT}");
    let mut client = story.evenkeel.client();
    browser.js("window.begun = Date.now()");
    while browser.js("+document.getElementById('req').textContent.replace(',', '') > 0 || Date.now() - begun > 30000")
        != true
    {
        client.get("/");
    }
    assert_ne!(browser.text("#p50"), "–");
    browser.shot("live");
    story.one.kill();
    browser.wait("one is down", &format!("document.querySelector(\"{ONE}\").dataset.state === 'down'"));
    let why = browser.text(&format!("{ONE} .why"));
    assert!(why.contains("refused"), "{why}");
    assert!(browser.text(".standing").contains("1 of 2 up"));
    assert!(browser.js("document.title").as_str().unwrap().starts_with("1 not up"));
    browser.wait("it is read out", "document.getElementById('say').textContent.includes('one is down')");
    browser.shot("down");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_rollback_is_shown_until_the_file_changes() {
    let Some(mut browser) = Browser::start() else { return };
    let story = Story::new(true);
    story.page(&mut browser);
    let shown = "!document.getElementById('rolled').hidden";
    assert_eq!(browser.js(shown), false);
    let change = |line: &str| {
        let text = fs::read_to_string(story.evenkeel.file()).unwrap();
        story.evenkeel.rewrite(&format!("{text}\n# {line}\n"));
        assert_eq!(story.evenkeel.operate(&["reload"]).0, Some(0));
    };
    change("one");
    assert_eq!(story.evenkeel.operate(&["rollback"]).0, Some(0));
    browser.wait("it is shown", shown);
    browser.shot("rolled");
    change("two");
    browser.wait("it is over", &format!("!({shown})"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_click_drains_with_the_token_and_a_wrong_one_is_told() {
    let Some(mut browser) = Browser::start() else { return };
    let story = Story::new(true);
    story.page(&mut browser);
    browser.click(&format!("{ONE} button"));
    browser.wait("the dialog is open", "document.getElementById('manage').open");
    assert_eq!(browser.js("document.activeElement.id"), "m-token");
    browser.click("[data-to=drain]");
    assert!(browser.text("#m-said").contains("need the admin token"));
    browser.type_in("not-the-token-of-this-one");
    browser.click("[data-to=drain]");
    browser.wait("it is refused", "document.getElementById('m-said').textContent.includes('the token is wrong')");
    assert_eq!(story.backend("one")["state"], "ready");
    // The log of the browser tells of the refusal, too.
    assert!(browser.complaints().iter().all(|complaint| complaint.contains("401")));
    browser.shot("refused");
    browser.type_in(TOKEN);
    browser.click("[data-to=drain]");
    browser.wait("it is done", "document.getElementById('m-said').textContent === 'one is now: drain.'");
    assert_eq!(browser.js(FOCUS), "drain", "the focus stays where it was");
    assert_eq!(story.backend("one")["state"], "drain");
    browser.wait("the row shows it", &format!("document.querySelector(\"{ONE}\").dataset.state === 'drain'"));
    browser.press("Escape");
    browser.wait("the dialog is closed", "!document.getElementById('manage').open");
    let differs = format!("document.querySelector(\"{ONE}\").innerText.includes('differs from file')");
    browser.wait("the row says that the file says something else", &differs);
    assert_eq!(browser.js("localStorage.length + document.cookie.length"), 0, "the token is in memory alone");
    // The other one is the last: it is asked before.
    browser.click("tr[data-name^='<script'] button");
    browser.wait("the dialog is open", "document.getElementById('manage').open");
    browser.click("[data-to=maintenance]");
    assert!(browser.text("#m-ask").contains("last backend of web"));
    browser.shot("last");
    assert_eq!(browser.js("document.activeElement.id"), "m-no");
    assert_eq!(story.backend(SCRIPT)["state"], "ready");
    browser.click("#m-yes");
    wait_for("the last one is in maintenance", || story.backend(SCRIPT)["state"] == "maintenance");
    browser.wait("it is said", "document.getElementById('m-said').textContent.endsWith('is now: maintenance.')");
    assert_eq!(browser.js(FOCUS), "maintenance", "it has taken the place of what was clicked");
    assert!(story.evenkeel.log().iter().any(|line| line.contains("changed over the admin API")));
    browser.press("Escape");
    browser.click("#forget");
    browser.click(&format!("{ONE} button"));
    browser.wait("the token is forgotten", "!document.getElementById('m-form').hidden");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_keyboard_alone_is_enough() {
    let Some(mut browser) = Browser::start() else { return };
    let story = Story::new(true);
    story.page(&mut browser);
    browser.press("/");
    assert_eq!(browser.js("document.activeElement.id"), "filter");
    browser.type_in("one");
    browser.wait("one row is left", "document.querySelectorAll('tbody tr[data-name]:not([hidden])').length === 1");
    assert_eq!(browser.text("#shown"), "1 of 2 backends");
    browser.tab_to(&format!("{ONE} button"));
    assert_ne!(browser.js("getComputedStyle(document.activeElement).outlineStyle"), "none", "the focus is seen");
    browser.press("Enter");
    browser.wait("the dialog is open", "document.getElementById('manage').open");
    browser.type_in("not-the-token-of-this-one");
    browser.press("Enter");
    browser.wait("it is checked at once", "document.getElementById('m-said').textContent.startsWith('Not taken: ')");
    assert_eq!(browser.js("document.activeElement.id"), "m-token");
    assert!(browser.complaints().iter().all(|complaint| complaint.contains("401")));
    browser.type_in(TOKEN);
    browser.press("Enter");
    browser.wait("it is right", "document.getElementById('m-said').textContent.startsWith('The token is right.')");
    assert_eq!(browser.js(FOCUS), "drain", "the first that can be done");
    assert!(
        story.evenkeel.log().iter().all(|line| !line.contains("changed over the admin API")),
        "nothing was changed"
    );
    browser.tab_to("[data-to=maintenance]");
    browser.press("Enter");
    wait_for("one is in maintenance", || story.backend("one")["state"] == "maintenance");
    browser.wait("it is said", "document.getElementById('m-said').textContent.includes('maintenance')");
    assert_eq!(browser.js(FOCUS), "maintenance", "the focus stays where it was");
    browser.press("Escape");
    browser.wait("the focus is where it was", &format!("document.activeElement.matches(\"{ONE} button\")"));
    browser.press("/");
    browser.press("Escape");
    browser.wait("all rows are back", "document.querySelectorAll('tbody tr[data-name]:not([hidden])').length === 2");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn it_fits_a_phone_and_both_themes() {
    let Some(mut browser) = Browser::start() else { return };
    let story = Story::new(false);
    story.other.kill();
    story.page(&mut browser);
    browser.wait("one is down", "document.querySelector('tr[data-state=down]')");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = (browser.js(ground), browser.shot("light"));
    browser.look(1280, 900, "dark");
    let dark = (browser.js(ground), browser.shot("dark"));
    assert_ne!(light, dark);
    assert_ne!(light.0, dark.0);
    browser.click("input[name=theme][value=light]");
    assert_eq!(browser.js(ground), light.0, "the switch outweighs the system");
    browser.click("input[name=theme][value=auto]");
    for width in [320, 360, 768] {
        for theme in ["light", "dark"] {
            browser.look(width, 1000, theme);
            browser.shot(&format!("{width}-{theme}"));
            assert_eq!(browser.js(WIDTH), width, "it scrolls sideways");
            let contrast = browser.js(include_str!("contrast.js"));
            assert_eq!(contrast, json!([]), "text of too little contrast, {theme}");
        }
    }
    // The pools are there without scrolling: the figures stand in pairs, the switch beside the name.
    browser.look(375, 667, "light");
    let top = |selector: &str| format!("document.querySelector({selector:?}).getBoundingClientRect().top");
    assert!(browser.js(&top(".pool")).as_f64().unwrap() < 500.0);
    let below = format!("{} - {}", top("#themes"), top("h1"));
    assert!(browser.js(&below).as_f64().unwrap().abs() < 20.0, "they stand in one row");
    browser.click("tr[data-state=down] button");
    browser.wait("the dialog is open", "document.getElementById('manage').open");
    browser.look(360, 1000, "light");
    assert_eq!(browser.js(WIDTH), 360, "it scrolls sideways");
    browser.shot("360-dialog");
    browser.type_in("any-token-at-all");
    browser.click("[data-to=drain]");
    browser
        .wait("it is said why not", "document.getElementById('m-said').textContent.includes('no token is configured')");
}

#[test]
fn a_lost_connection_is_seen_and_comes_back() {
    let Some(mut browser) = Browser::start() else { return };
    let mut story = Story::new(true);
    story.page(&mut browser);
    assert_eq!(browser.js("document.getElementById('lost').hidden"), true);
    story.evenkeel.signal("STOP");
    browser
        .wait("it is said that nothing comes", "document.getElementById('link').textContent.startsWith('No word for')");
    story.evenkeel.signal("CONT");
    browser.wait("it is live again", "document.body.dataset.link === 'live'");
    // A drain ends the events, and says so.
    story.evenkeel.signal("TERM");
    browser.wait("it is told", "['draining', 'lost'].includes(document.body.dataset.link)");
    story.evenkeel.wait();
    // The same instance, started again where it was.
    let text = fs::read_to_string(story.evenkeel.file()).unwrap();
    let again = text.replacen("127.0.0.1:0", &story.admin.to_string(), 1);
    let second = Process::spawn(&again);
    browser.wait("it is live again", "document.body.dataset.link === 'live'");
    drop(second);
    browser.wait("it is lost", "document.body.dataset.link === 'lost'");
    assert!(browser.text("#lost").contains("These figures are from"));
    browser.shot("lost");
}

#[test]
fn a_thousand_backends_stay_fluid() {
    let Some(mut browser) = Browser::start() else { return };
    let names: String = (0..1_000).map(|n| format!("\"127.1.{}.{}:9\",", n / 250, n % 250 + 1)).collect();
    let text = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n\n[log]\naccess = \"off\"\n\n[[listener]]\nname = \"web\"\n\
         address = \"127.0.0.1:0\"\n\n[pool.many]\nhealth_check = {{ type = \"off\" }}\nbackends = [{names}]\n"
    );
    let evenkeel = Process::spawn(&text);
    browser.open(&format!("http://{}/", evenkeel.listener("admin")));
    browser.wait("all rows are there", "document.querySelectorAll('tbody tr[data-name]').length === 1000");
    browser.js("window.row = document.querySelector('tbody tr[data-name]'), window.first = latest.at_ms");
    browser.wait("figures have come again", "latest.at_ms > first + 1500");
    assert_eq!(browser.js("row.isConnected && row === document.querySelector('tbody tr[data-name]')"), true);
    // The work of one event, with the layout of what is seen: a median, as the machine has other work, too.
    let spent = "(() => { const all = []; for (let n = 0; n < 9; n++) { for (const b of latest.pools[0].backends)
                 b.in_flight = n + 1; const from = performance.now(); show(latest); document.body.offsetHeight;
                 all.push(performance.now() - from) } return all.sort((a, b) => a - b)[4] })()";
    let spent = browser.js(spent).as_f64().unwrap();
    println!("an event takes the page {spent:.0} ms");
    assert!(spent < 500.0, "{spent} ms of each second");
    browser.click("#filter");
    browser.type_in("127.1.3.250");
    browser.wait("one is found", "document.querySelectorAll('tbody tr[data-name]:not([hidden])').length === 1");
    browser.shot("thousand");
}

#[test]
fn on_a_phone_those_of_a_large_pool_that_are_ready_are_one_line() {
    let Some(mut browser) = Browser::start() else { return };
    let names: String = (0..40).map(|n| format!("\"127.1.0.{}:9\",", n + 1)).collect();
    let text = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken = {{ env = \"EVENKEEL_TEST_TOKEN\" }}\n\n[log]\naccess = \"off\"\n\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\n\
         [pool.many]\nhealth_check = {{ type = \"off\" }}\nbackends = [{names}]\n"
    );
    let evenkeel = Process::spawn(&text);
    let admin = evenkeel.listener("admin");
    let drain = format!("{}Content-Type: application/json\r\n", bearer());
    let answer = call(admin, "PATCH /api/v1/pools/many/backends/127.1.0.7:9", &drain, "{\"state\":\"drain\"}");
    assert_eq!(answer.status, 200);
    browser.look(375, 667, "light");
    browser.open(&format!("http://{admin}/"));
    let seen = |count: u32| format!("document.querySelectorAll('tr[data-name]:not([hidden])').length === {count}");
    browser.wait("the one that drains is seen", &seen(1));
    assert_eq!(browser.text(".fold"), "39 ready");
    assert!(browser.text("tr[data-name]:not([hidden])").contains("127.1.0.7:9"));
    assert!(browser.js("document.querySelectorAll('td').length").as_u64().unwrap() < 20, "the others have no cells");
    browser.shot("375-folded");
    // What is looked for is not hidden.
    browser.press("/");
    browser.type_in("127.1.0.9:");
    browser.wait("it is found", &seen(1));
    assert!(browser.text("tr[data-name]:not([hidden])").contains("127.1.0.9:9"));
    browser.press("Escape");
    browser.tab_to(".fold");
    browser.press("Enter");
    browser.wait("all are seen", &seen(40));
    assert_eq!(browser.js("document.activeElement.getAttribute('aria-expanded')"), "true");
    browser.press("Enter");
    browser.wait("they are folded again", &seen(1));
    browser.look(1280, 900, "light");
    browser.wait("there is room for all", &seen(40));
    assert_eq!(browser.js("document.querySelector('.fold').hidden"), true);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn nobody_frames_it_and_no_other_site_reads_it() {
    let story = Story::new(false);
    let page = call(story.admin, "GET /", "", "");
    assert_eq!(page.status, 200);
    assert!(page.field("content-type").unwrap().starts_with("text/html"));
    assert!(page.field("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.field(name), Some(value), "{name}");
    }
    for path in ["/", "/api/v1/events"] {
        for fields in ["Host: evil.example\r\n", "Host: localhost\r\nOrigin: http://evil.example\r\n"] {
            assert_eq!(call(story.admin, &format!("GET {path}"), fields, "").status, 403, "{path} {fields}");
        }
        assert_eq!(call(story.admin, &format!("HEAD {path}"), "", "").status, 200);
    }
}
