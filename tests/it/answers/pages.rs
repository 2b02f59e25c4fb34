//! The bodies of our own errors: problem documents, and the pages of `[error_pages]`.

use std::fs;
use std::path::{Path, PathBuf};

use super::DOWN;
use crate::support::{Backend, Evenkeel, Process, Reply, Response, Site, request};

/// Files of a test, in a folder of their own.
fn folder(test: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{}-{test}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

const HTML: &str = "Accept: text/html,*/*;q=0.8\r\n";
const JSON: &str = "Accept: application/json\r\n";

/// The answer to a GET from whom `lines` says that it accepts.
fn get(evenkeel: &Evenkeel, target: &str, lines: &str) -> Response {
    evenkeel.client().exchange(request("GET", "test", target, lines))
}

/// Routes to pools that are down, refuse, or answer 503 themselves, with pages for some errors.
fn paged(folder: &Path, backend: &Backend) -> Evenkeel {
    let dead = Backend::refused();
    let page = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "[error_pages]\n503 = {{ html = \"{}\", json = \"{}\" }}\n502 = {{ html = \"{}\" }}\n404 = {{ json = \"{}\" }}\n\
         [[route]]\npath = \"/down\"\npool = \"down\"\n[[route]]\npath = \"/dead\"\npool = \"dead\"\n\
         [[route]]\npath = \"/web\"\npool = \"web\"\n[[route]]\npath = \"/small\"\npool = \"web\"\nmax_body_size = \"1KiB\"\n\
         [[route]]\npath = \"/said\"\nrespond = {{ status = 503, body = \"said\" }}\n\
         [[route]]\npath = \"/excused\"\npool = \"down\"\nfallback = {{ respond = {{ status = 503, body = \"excused\" }} }}\n",
        page("503.html"),
        page("503.json"),
        page("502.html"),
        page("404.json"),
    );
    let site = Site::new(text).pool("web", backend.address()).pool("dead", dead.address());
    site.pool_with("down", &[dead.address()], DOWN).start()
}

const FILES: &[(&str, &str)] = &[
    ("503.html", "<p>soon</p>"),
    ("503.json", "{\"soon\": true}"),
    ("502.html", "<p>bad</p>"),
    ("404.json", "{\"none\": 1}"),
];

#[test]
fn an_error_has_the_page_for_its_status_and_its_reader() {
    let backend = Backend::http(|_| Reply::new("503 Service Unavailable", "Content-Type: text/x\r\n", "mine"));
    let evenkeel = paged(&folder("readers", FILES), &backend);
    let table = [
        ("/down", HTML, 503, "no_backend", "<p>soon</p>", "text/html"),
        ("/down", JSON, 503, "no_backend", "{\"soon\": true}", "application/"),
        ("/down", "", 503, "no_backend", "{\"soon\": true}", "application/"),
        ("/dead", HTML, 502, "connect_refused", "<p>bad</p>", "text/html"),
        ("/none", JSON, 404, "no_route", "{\"none\": 1}", "application/"),
    ];
    for (target, accept, status, word, body, kind) in table {
        let response = get(&evenkeel, target, accept);
        response.assert_refused(status, word);
        assert_eq!(response.text(), body, "{target} {accept}");
        let said = response.field("content-type").unwrap();
        assert!(said.starts_with(kind) && (kind == "text/html" || said.contains("json")), "{target} {accept}: {said}");
    }
    assert!(get(&evenkeel, "/down", HTML).head.fields.has("retry-after"));
}

#[test]
fn where_there_is_no_page_it_is_ours() {
    let backend = Backend::ok("fine");
    let evenkeel = paged(&folder("ours", FILES), &backend);
    for (target, accept, kind) in [("/dead", JSON, "application/problem+json"), ("/none", HTML, "text/html")] {
        let response = get(&evenkeel, target, accept);
        assert!(response.field("content-type").unwrap().starts_with(kind), "{response:?}");
        assert!(!FILES.iter().any(|(_, text)| response.text() == *text), "{response:?}");
    }
    let response = evenkeel.client().with_body("POST", "/small", &[b'x'; 2_000]);
    response.assert_refused(413, "body_too_large");
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
}

#[test]
fn pages_are_for_errors_of_ours_alone() {
    let backend = Backend::http(|_| Reply::new("503 Service Unavailable", "Content-Type: text/x\r\n", "mine"));
    let evenkeel = paged(&folder("alone", FILES), &backend);
    for (target, body) in [("/web", "mine"), ("/said", "said"), ("/excused", "excused")] {
        let response = get(&evenkeel, target, HTML);
        assert_eq!((response.status, response.text().as_str()), (503, body), "{target}");
    }
}

#[test]
fn head_gets_the_head_of_a_page() {
    let evenkeel = paged(&folder("head", FILES), &Backend::ok("fine"));
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let response = client.exchange(request("HEAD", "test", "/down", HTML));
        assert_eq!((response.status, response.field("content-length"), response.body.len()), (503, Some("11"), 0));
    }
}

#[test]
fn a_page_stands_beside_the_file_that_names_it() {
    let backend = Backend::ok("fine");
    let text = "[error_pages]\n404 = { html = \"pages/none.html\" }\n[[route]]\nhost = \"a.test\"\npool = \"web\"\n";
    let site = Site::new(text).pool("web", backend.address());
    // It starts without the page, to have a file, and reloads with it.
    let plain = site.toml().replace("[error_pages]\n404 = { html = \"pages/none.html\" }\n", "");
    let process = Process::spawn(&plain);
    let pages = process.file().parent().unwrap().join("pages");
    fs::create_dir_all(&pages).unwrap();
    fs::write(pages.join("none.html"), "<p>none</p>").unwrap();
    let ask = request("GET", "test", "/", HTML);
    assert_ne!(process.client().exchange(&ask).text(), "<p>none</p>");
    process.reload(&site.toml());
    assert_eq!(process.client().exchange(&ask).text(), "<p>none</p>");
}

#[test]
fn a_problem_document_names_the_request() {
    let evenkeel =
        Site::new("[[route]]\nhost = \"a.test\"\nrespond = {}\n").server("trusted_proxies = [\"127.0.0.1\"]").start();
    let response = get(&evenkeel, "/", "X-Request-Id: from-the-front-17\r\n");
    response.assert_refused(404, "no_route");
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    let compact: String = response.text().split_whitespace().collect();
    assert!(compact.contains("\"request_id\":\"from-the-front-17\""), "{compact}");
    assert!(compact.contains("\"status\":404"), "{compact}");
}
