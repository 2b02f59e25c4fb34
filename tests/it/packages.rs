//! What packages are made of is there and fits together: Cargo.toml's `[package.metadata.deb]`, the units, the image's
//! Dockerfile, and the configurations that they begin with. `tests/package/run` installs the package itself.

use std::fs;

use toml::{Table, Value};

use crate::support::{command, read, root};

fn deb() -> Table {
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// Source and place of each file of the package.
fn assets(deb: &Table) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    deb["assets"].as_array().unwrap().iter().map(|asset| (text(&asset[0]), text(&asset[1]))).collect()
}

/// The same, one by one: each file that a pattern stands for, at the path that it gets.
fn files(deb: &Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (source, place) in assets(deb) {
        let sources = match source.split_once('*') {
            Some((folder, end)) => {
                let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name.ends_with(end)).map(|name| format!("{folder}{name}")).collect()
            }
            None => vec![source],
        };
        for source in sources {
            let place = match place.strip_suffix('/') {
                Some(folder) => format!("/{folder}/{}", source.rsplit('/').next().unwrap()),
                None => format!("/{place}"),
            };
            found.push((source, place));
        }
    }
    found
}

#[test]
fn every_file_of_the_package_is_there() {
    let script = read("config/deb/assets");
    for (source, _) in assets(&deb()) {
        if let Some(made) = source.strip_prefix("target/release/package/") {
            assert!(script.contains(&format!("\"$package/{made}\"")), "config/deb/assets does not write {made}");
        } else if let Some((folder, end)) = source.split_once('*') {
            let mut files = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
            let found = files.any(|file| file.unwrap().file_name().to_str().unwrap().ends_with(end));
            assert!(found, "{source} is nothing");
        } else if source != "target/release/evenkeel" {
            assert!(root().join(&source).is_file(), "{source}");
        }
    }
}

#[test]
fn the_package_puts_things_where_others_look_for_them() {
    let deb = deb();
    let placed: Vec<String> = files(&deb).into_iter().map(|(_, place)| place).collect();
    let unit = read("config/systemd/evenkeel.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert!(placed.contains(&start.split(' ').next().unwrap().to_owned()), "{start} is none of {placed:?}");
    let config = evenkeel::cli::DEFAULT_CONFIG.to_owned();
    assert!(placed.contains(&config) && start.ends_with(&config), "{start}");
    for kept in deb["conf-files"].as_array().unwrap() {
        assert!(placed.iter().any(|place| place == kept.as_str().unwrap()), "{kept} is not in the package");
    }
    for file in placed.iter().filter(|place| place.starts_with("/etc/")) {
        let kept = deb["conf-files"].as_array().unwrap().iter().any(|kept| kept.as_str() == Some(file));
        assert!(kept, "an upgrade would overwrite {file}");
    }
    // Alerts lead to the runbook there.
    assert!(placed.iter().any(|place| place.starts_with("/usr/share/evenkeel/prometheus/")), "{placed:?}");
    assert!(read("config/prometheus/prometheus.yml").contains("/usr/share/evenkeel/prometheus/alerts.yml"));
}

#[test]
fn the_maintainer_scripts_are_scripts() {
    for name in ["postinst", "postrm"] {
        let script = read(&format!("config/deb/{name}"));
        assert!(script.starts_with("#!/bin/sh\n") && script.contains("\nset -e\n"), "{name}");
        assert!(script.contains("\n#DEBHELPER#\n"), "{name}: the units' part has no place");
    }
    assert!(read("config/systemd/evenkeel.service").contains("User=evenkeel\n"));
    assert!(read("config/deb/postinst").contains(" evenkeel\n"));
    // The script that debhelper would write restarts the socket too, and who waits in it would be reset.
    let units = deb()["systemd-units"].clone();
    assert_eq!(units["restart-after-upgrade"].as_bool(), Some(false));
    assert!(read("config/deb/postinst").contains("\n        deb-systemd-invoke try-restart evenkeel.service >"));
}

#[test]
fn the_configurations_of_package_and_image_are_fine() {
    let folder = std::env::temp_dir().join(format!("evenkeel-packages-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // What postinst makes.
    let token = folder.join("admin.token");
    fs::write(&token, "0123456789abcdef".repeat(4)).unwrap();
    let own = read("config/deb/evenkeel.toml");
    assert!(own.contains("\n[admin]\ntoken = { file = \"/etc/evenkeel/admin.token\" }\n"), "commands find no token");
    assert!(read("config/deb/postinst").contains("token=/etc/evenkeel/admin.token\n"));
    let own = own.replace("/etc/evenkeel/admin.token", token.to_str().unwrap());
    // With the socket in the token's place, as its comment has it.
    let socket = own.replace("\n[admin]\n", "\n").replace("\ntoken = ", "\n# token = ");
    let socket = socket.replace("# [admin]", "[admin]").replace("# address", "address");
    let socket = socket.replace("# metrics_address", "metrics_address");
    assert!(socket.contains("\n[admin]\naddress = ") && socket.contains("\nmetrics_address = "));
    for text in [own, socket, read("config/docker/evenkeel.toml")] {
        let (code, said) = command(&["check", "--strict", "-c"], &text);
        assert_eq!(code, Some(0), "{text}: {said}");
    }
    let _ = fs::remove_dir_all(&folder);
}

/// The image's last stage has no shell, and starts what it has.
#[test]
fn the_image_runs_as_nobody_and_without_a_shell() {
    let file = read("config/docker/Dockerfile");
    let last = file.rsplit("\nFROM ").next().unwrap();
    assert!(last.lines().any(|line| line.starts_with("USER ") && !line.contains("root") && line != "USER 0"), "{last}");
    for word in ["ENTRYPOINT [", "HEALTHCHECK ", "CMD [\"run\", \"-c\", \"/etc/evenkeel/evenkeel.toml\"]"] {
        assert!(last.contains(word), "{word}");
    }
    assert!(!last.contains("\nRUN "), "there is no shell for RUN");
    for line in file.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from")) {
        let sources = line.rsplit_once(' ').unwrap().0.split(' ');
        sources.for_each(|source| assert!(root().join(source).exists(), "COPY {source}"));
    }
}

#[test]
fn the_index_has_every_recipe_and_links_lead_somewhere() {
    let index = read("config/README.md");
    for file in fs::read_dir(root().join("config")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let wanted = name.ends_with(".toml") || !name.contains('.') && name != "pages";
        assert!(!wanted || index.contains(&format!("]({name}")), "config/README.md does not mention {name}");
    }
    let pages = pages("");
    assert!(pages.len() > 8, "{pages:?}");
    for page in &pages {
        let folder = root().join(page).parent().unwrap().to_owned();
        for target in links(&read(page)) {
            assert!(target.starts_with("http") || folder.join(&target).exists(), "{page}: nothing is at {target}");
        }
    }
}

/// README.md and every page below config/.
fn pages(folder: &str) -> Vec<String> {
    if folder.is_empty() {
        return [vec!["README.md".to_owned()], pages("config")].concat();
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.append(&mut pages(&path));
        } else if path.ends_with(".md") {
            found.push(path);
        }
    }
    found
}

/// Where the links of a page lead, without what comes after `#`.
fn links(text: &str) -> Vec<String> {
    let link = regex::Regex::new(r"\]\(([^)#]+)(?:#[^)]*)?\)").unwrap();
    link.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// Pages that are installed link to what is installed. README.md is one that config/deb/assets writes anew;
/// tests/package/run reads it where it stands then.
#[test]
fn links_of_installed_pages_lead_to_what_is_installed() {
    let files = files(&deb());
    let placed: Vec<&str> = files.iter().map(|(_, place)| place.as_str()).collect();
    let installed = files.iter().filter(|(source, _)| source.starts_with("config/") && source.ends_with(".md"));
    let mut pages: Vec<(String, &str)> = installed.map(|(source, place)| (read(source), place.as_str())).collect();
    assert_eq!(pages.len() + 1, self::pages("").len(), "a page of config/ is not installed");
    let linked = read("README.md").replace("](config/", "](../../evenkeel/");
    pages.push((linked, "/usr/share/doc/evenkeel/README.md"));
    for (text, place) in &pages {
        for target in links(text) {
            let outside = ["src/", "examples", "benches", ".ci/", "LICENSE"];
            if target.starts_with("http")
                || place.starts_with("/usr/share/doc/") && outside.iter().any(|from| target.starts_with(from))
            {
                continue;
            }
            let mut at: Vec<&str> = place.split('/').collect();
            at.pop();
            for step in target.trim_end_matches('/').split('/') {
                match step {
                    ".." => drop(at.pop()),
                    "." => {}
                    step => at.push(step),
                }
            }
            let at = at.join("/");
            let there = placed.iter().any(|place| *place == at || place.starts_with(&format!("{at}/")));
            assert!(there, "{place}: {target} is not in the package");
        }
    }
}
