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
    let placed: Vec<String> = assets(&deb)
        .into_iter()
        .map(|(source, place)| match place.strip_suffix('/') {
            Some(folder) => format!("/{folder}/{}", source.rsplit('/').next().unwrap()),
            None => format!("/{place}"),
        })
        .collect();
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
}

#[test]
fn the_configurations_of_package_and_image_are_fine() {
    for path in ["config/deb/evenkeel.toml", "config/docker/evenkeel.toml"] {
        let (code, said) = command(&["check", "--strict", "-c"], &read(path));
        assert_eq!(code, Some(0), "{path}: {said}");
    }
    // With what is commented out, too.
    let all = read("config/deb/evenkeel.toml").replace("# [admin]", "[admin]").replace("# address", "address");
    let all = all.replace("# metrics_address", "metrics_address");
    assert!(all.contains("\n[admin]\naddress = ") && all.contains("\nmetrics_address = "));
    let (code, said) = command(&["check", "--strict", "-c"], &all);
    assert_eq!(code, Some(0), "{said}");
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
    let link = regex::Regex::new(r"\]\(([^)#]+)(?:#[^)]*)?\)").unwrap();
    let folders =
        ["", "config", "config/deb", "config/docker", "config/prometheus", "config/systemd", "config/algorithms"];
    for folder in folders.map(|folder| root().join(folder)) {
        for name in ["README.md", "RUNBOOK.md"] {
            let Ok(text) = fs::read_to_string(folder.join(name)) else { continue };
            for target in link.captures_iter(&text).map(|found| found[1].to_owned()) {
                let leads = target.starts_with("http") || folder.join(&target).exists();
                assert!(leads, "{}/{name}: nothing is at {target}", folder.display());
            }
        }
    }
}
