//! What `evenkeel check` says of bad files, by the real command: the golden messages of src/config/golden, on stderr for
//! people and on stdout for tools, and its exit codes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{read, run_in};

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
const POOL: &str = "[pool.web]\nbackends = \"10.0.0.1:80\"\n";

/// A file, and what is said of it.
struct Case {
    title: String,
    text: String,
    said: String,
}

/// Every `step`th case of a golden file, and `suffix` behind each.
fn cases(file: &str, suffix: &str, step: usize) -> Vec<Case> {
    let all = read(&format!("src/config/golden/{file}"));
    let case = |case: &str| {
        let (title, rest) = case.split_once('\n').unwrap();
        let (input, said) = rest.split_once("-----\n").unwrap();
        let text = format!("{}\n{suffix}", input.trim_end());
        Case { title: format!("{file}: {title}"), text, said: said.trim_end().to_owned() }
    };
    // Some name a file of the sources, which is not where the command runs.
    all.split("===== ").skip(1).filter(|case| !case.contains("src/config/golden")).step_by(step).map(case).collect()
}

/// An empty folder of this process; the file in it is called as in the golden messages.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// `evenkeel check` on `text`: exit code, stdout, stderr.
fn check(folder: &Path, text: &str, options: &[&str]) -> (Option<i32>, String, String) {
    fs::write(folder.join("evenkeel.toml"), text).unwrap();
    run_in(folder, &[&["check", "-c", "evenkeel.toml"], options].concat())
}

/// The array that tools get: each element has a place, a severity, a key, a message, and a help or null.
fn problems(out: &str) -> Vec<Value> {
    const FIELDS: [&str; 7] = ["column", "file", "help", "key", "line", "message", "severity"];
    let Value::Array(problems) = serde_json::from_str(out).unwrap() else { panic!("no array: {out}") };
    for problem in &problems {
        let mut names: Vec<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, FIELDS);
        assert!(problem["file"] == "evenkeel.toml" && problem["line"].is_u64() && problem["column"].is_u64());
        assert!(problem["message"].as_str().is_some_and(|message| !message.is_empty()), "{problem}");
        assert!(
            problem["help"].is_null() || problem["help"].as_str().is_some_and(|help| !help.is_empty()),
            "{problem}"
        );
    }
    problems
}

#[test]
fn bad_files_are_explained_to_people_and_to_tools() {
    let folder = folder("bad");
    let both = format!("{LISTENER}{POOL}");
    let mut count = 0;
    let all = [
        cases("file.txt", "", 2),
        cases("syntax.txt", "", 2),
        cases("process.txt", &both, 3),
        cases("listener.txt", POOL, 3),
        cases("pool.txt", LISTENER, 4),
        cases("balance.txt", LISTENER, 3),
        cases("limit.txt", &both, 1),
        cases("route.txt", &both, 3),
        cases("test.txt", &both, 1),
    ];
    for case in all.into_iter().flatten() {
        let (code, out, err) = check(&folder, &case.text, &[]);
        if err.contains("the configuration is valid") {
            // It has a warning alone.
            assert_eq!(code, Some(0), "{}", case.title);
            continue;
        }
        assert_eq!((code, &*out, err.trim_end()), (Some(1), "", &*case.said), "{}", case.title);
        let (code, out, err) = check(&folder, &case.text, &["--format", "json"]);
        assert_eq!((code, &*err), (Some(1), ""), "{}", case.title);
        let found = problems(&out);
        assert!(found.iter().any(|problem| problem["severity"] == "error"), "{}", case.title);
        for problem in &found {
            let (line, column) = (&problem["line"], &problem["column"]);
            let message = problem["message"].as_str().unwrap();
            assert!(case.said.contains(message), "{}: {message}", case.title);
            let place = format!("evenkeel.toml:{line}:{column}");
            assert!(*line == 1 || case.said.contains(&place), "{}: {place}\n{}", case.title, case.said);
        }
        count += 1;
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn what_is_hardly_meant_is_told_and_fails_when_strict() {
    let folder = folder("odd");
    let mut count = 0;
    for case in cases("warning.txt", &format!("{LISTENER}{POOL}"), 1) {
        let (code, _, err) = check(&folder, &case.text, &[]);
        if code != Some(0) {
            // A problem stands beside it.
            continue;
        }
        let (told, last) = err.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(told.trim_end(), case.said, "{}", case.title);
        assert!(last.starts_with("evenkeel.toml: the configuration is valid ("), "{last}");
        let (code, _, err) = check(&folder, &case.text, &["--strict"]);
        assert_eq!((code, err.trim_end()), (Some(1), &*case.said), "{}", case.title);
        let (code, out, err) = check(&folder, &case.text, &["--strict", "--format", "json"]);
        assert_eq!((code, &*err), (Some(1), ""), "{}", case.title);
        assert!(problems(&out).iter().all(|problem| problem["severity"] == "warning"), "{}", case.title);
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn a_file_that_is_fine_is_an_empty_array() {
    let text = format!("{LISTENER}{POOL}");
    for options in [&["--format", "json"][..], &["--format", "json", "--strict"]] {
        let (code, out, err) = check(&folder("fine"), &text, options);
        assert!(code == Some(0) && problems(&out).is_empty(), "{code:?} {out}");
        assert_eq!(err, "evenkeel.toml: the configuration is valid (1 listener, 1 pool, 1 backend)\n");
    }
}

#[test]
fn a_file_that_is_not_there_has_a_place_and_a_key_as_well() {
    let (code, out, _) = run_in(&folder("none"), &["check", "-c", "evenkeel.toml", "--format", "json"]);
    assert_eq!((code, problems(&out).len()), (Some(1), 1));
}
