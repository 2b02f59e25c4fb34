//! The command line as far as a configuration and a start go: PRODUCT.md section 4.

use std::net::TcpListener;

use crate::support::{Backend, Process, Setup, command, wait_for};

#[test]
fn check_says_fine_in_one_line() {
    let backend = Backend::refused();
    let (code, said) = command(&["check", "-c"], &Setup::to(&[backend.address()]).toml());
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
}

#[test]
fn check_names_what_is_wrong_and_where() {
    let backend = Backend::refused();
    let toml = Setup::to(&[backend.address()]).listener("hedaer_timeout = \"1s\"").toml();
    let (code, said) = command(&["check", "-c"], &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("hedaer_timeout") && said.contains("header_timeout"), "{said}");
    assert!(said.contains("evenkeel.toml"), "{said}");
}

#[test]
fn check_names_all_that_is_wrong_at_once() {
    let backend = Backend::refused();
    let setup = Setup::to(&[backend.address()]).listener("idle_timeout = \"soon\"").pool("connect_timeout = 7");
    let (code, said) = command(&["check", "-c"], &setup.toml());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("idle_timeout") && said.contains("connect_timeout"), "{said}");
}

#[test]
fn a_key_that_is_not_built_yet_is_refused() {
    let backend = Backend::refused();
    let toml = format!("{}\n[cache.static]\nsize = \"1GiB\"\n", Setup::to(&[backend.address()]).toml());
    let (code, said) = command(&["check", "-c"], &toml);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not supported yet"), "{said}");
}

#[test]
fn a_bad_configuration_does_not_start() {
    let backend = Backend::refused();
    let toml = Setup::to(&[backend.address()]).server("worker = 2").toml();
    let mut evenkeel = Process::launch(&[], &toml);
    assert_eq!(evenkeel.wait().code(), Some(1), "{:?}", evenkeel.log());
}

#[test]
fn an_address_in_use_is_an_error_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let backend = Backend::refused();
    let toml = Setup::to(&[backend.address()]).toml();
    let listener = format!("name = \"web\"\naddress = \"{address}\"");
    let mut evenkeel = Process::launch(&[], &toml.replace("name = \"web\"\naddress = \"127.0.0.1:0\"", &listener));
    assert_eq!(evenkeel.wait().code(), Some(1));
    wait_for("it says which", || evenkeel.log().iter().any(|line| line.contains(&address)));
}

#[test]
fn two_processes_never_share_a_port() {
    let backend = Backend::ok("fine");
    let first = Setup::to(&[backend.address()]).spawn();
    let toml = Setup::to(&[backend.address()]).toml();
    let listener = format!("name = \"web\"\naddress = \"{}\"", first.address());
    let mut second = Process::launch(&[], &toml.replace("name = \"web\"\naddress = \"127.0.0.1:0\"", &listener));
    assert_eq!(second.wait().code(), Some(1), "{:?}", second.log());
    assert_eq!(first.client().get("/").status, 200);
}

#[test]
fn wrong_usage_is_2() {
    assert_eq!(command(&["no-such-command", "-c"], "").0, Some(2));
    assert_eq!(command(&["run", "--no-such-flag", "-c"], "").0, Some(2));
}
