//! The OpenAPI document of the admin API, as others read it.

use std::fs;

use serde_json::Value;

use crate::support::{Backend, Program, Setup, call, json};

#[test]
fn the_document_is_valid_and_what_can_be_read_answers() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    let admin = evenkeel.listener("admin");
    let answer = call(admin, "GET /api/v1/openapi.json", "", "");
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")));
    let document: Value = json(&answer);
    // Events have no end: their story is the dashboard's.
    let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != "/api/v1/events");
    for (path, methods) in paths {
        let path = path.replace("{pool}", "web").replace("{backend}", "none");
        for (method, operation) in methods.as_object().unwrap() {
            let line = format!("{} {path}", method.to_uppercase());
            let status = call(admin, &line, "", "").status;
            // Without a token: what it is needed for is refused, and whatever else there is answers.
            let guarded = operation["security"] != serde_json::json!([]);
            assert_eq!(status == 403, guarded, "{line}: {status}");
            assert!(guarded || status == 200 || method == "post", "{line}: {status}");
        }
    }
    let Some(validator) = Program::find("openapi-spec-validator", "python3-openapi-spec-validator") else { return };
    let file = evenkeel.file().with_file_name("openapi.json");
    fs::write(&file, &answer.body).unwrap();
    validator.run(&[file.to_str().unwrap()]).fine();
}
