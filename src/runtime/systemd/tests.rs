//! The environment is a process's own and never changed by a test: each story runs in a process of its own, which is
//! this test binary again.

use super::*;
use crate::{
    config::Config,
    net::{Listening, adopt},
};
use std::{
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The child's words of the shell: descriptors 0 and 1 become 3 and 4, as the service manager passes them.
const PASS: &str = "exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$; exec \"$@\"";

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("evenkeel-systemd-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The words that run the ignored test `story` of this file alone.
fn words(story: &str) -> Vec<String> {
    let binary = std::env::current_exe().unwrap().display().to_string();
    [&binary, &format!("runtime::systemd::tests::{story}"), "--exact", "--ignored", "--nocapture"]
        .map(str::to_owned)
        .to_vec()
}

/// Waits for a child that runs one story; what it said.
fn passed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && said.contains("1 passed"), "{said}");
    said
}

#[test]
fn each_message_reaches_the_socket() {
    let folder = scratch("notify");
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let words = words("says_all_it_can");
    passed(Command::new(&words[0]).args(&words[1..]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000"));
    socket.set_nonblocking(true).unwrap();
    let mut messages = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(length) = socket.recv(&mut buffer) {
        messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    let reloading = messages.remove(1);
    assert_eq!(messages, ["READY=1\n", "WATCHDOG=1\n", "STATUS=2 of 3 up READY=1\n", "STOPPING=1\n"]);
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(at.trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
#[ignore = "a part of each_message_reaches_the_socket, which gives it an environment"]
fn says_all_it_can() {
    assert_eq!(watchdog(), Some(Duration::from_secs(15)));
    ready();
    reloading();
    pet();
    status("2 of 3 up\nREADY=1");
    stopping();
}

#[test]
fn without_a_service_manager_nothing_is_said_and_nobody_watches() {
    let words = words("says_nothing");
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_remove("NOTIFY_SOCKET").env("WATCHDOG_USEC", "30000000").env("WATCHDOG_PID", "1");
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    assert!(!passed(&mut command).contains("cannot be told"));
}

#[test]
#[ignore = "a part of without_a_service_manager_nothing_is_said_and_nobody_watches, which gives it an environment"]
fn says_nothing() {
    assert_eq!(watchdog(), None, "the watchdog is another process's");
    ready();
    reloading();
    assert!(inherited().unwrap().is_empty(), "the sockets are another process's");
}

/// A child that runs `story` with these two descriptors.
fn with_sockets(story: &str, names: &str, first: OwnedFd, second: OwnedFd) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", PASS, "sh"]).args(words(story)).env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    command.stdin(Stdio::from(first)).stdout(Stdio::from(second)).stderr(Stdio::piped());
    command
}

#[test]
fn sockets_come_with_their_names_and_serve() {
    let folder = scratch("sockets");
    let path = folder.join("local");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, unix) = (tcp.local_addr().unwrap(), UnixListener::bind(&path).unwrap());
    let mut command = with_sockets("takes_the_sockets", "web:local", tcp.into(), unix.into());
    passed(command.env("EXPECTED_TCP", address.to_string()).env("EXPECTED_UNIX", &path));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
#[ignore = "a part of sockets_come_with_their_names_and_serve, which gives it sockets"]
fn takes_the_sockets() {
    let (tcp, unix) = (std::env::var("EXPECTED_TCP").unwrap(), std::env::var("EXPECTED_UNIX").unwrap());
    let sockets = inherited().unwrap();
    let names: Vec<&str> = sockets.iter().map(|socket| socket.name.as_str()).collect();
    assert_eq!(names, ["web", "local"]);
    let listeners = listeners(&format!(
        "[[listener]]\nname = \"local\"\naddress = \"unix:{unix}\"\n[[listener]]\nname = \"web\"\naddress = \"{tcp}\"\n"
    ));
    let mut dealt = assign(sockets, &listeners).unwrap();
    assert_eq!(dealt[1].as_ref().unwrap().address().unwrap().to_string(), tcp);
    let unix_socket = adopt(&listeners[0], dealt[0].take().unwrap(), 3).unwrap();
    assert!(matches!(unix_socket, Listening::Unix(_)));
    let Listening::Tcp(copies) = adopt(&listeners[1], dealt[1].take().unwrap(), 3).unwrap() else { panic!("not TCP") };
    assert_eq!(copies.len(), 3);
    for copy in &copies {
        let client = TcpStream::connect(&tcp).unwrap();
        assert_eq!(copy.accept().unwrap().1, client.local_addr().unwrap());
        let none = copy.accept().map(drop).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
    assert!(inherited().unwrap().is_empty(), "they are taken once");
}

#[test]
fn what_does_not_listen_for_streams_is_refused_by_its_name() {
    let folder = scratch("wrong");
    let datagrams = UnixDatagram::bind(folder.join("datagrams")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    passed(&mut with_sockets("refuses_the_second", "web:odd", listener.into(), datagrams.into()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    passed(&mut with_sockets("refuses_the_second", "web:odd", listener.into(), connected.into()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
#[ignore = "a part of what_does_not_listen_for_streams_is_refused_by_its_name, which gives it sockets"]
fn refuses_the_second() {
    let refused = inherited().unwrap_err().to_string();
    assert!(refused.starts_with("the inherited socket odd cannot be used: it "), "{refused}");
}

fn listeners(toml: &str) -> Vec<Listener> {
    let toml = format!("{toml}[pool.web]\nbackends = [\"127.0.0.1:1\"]\n");
    Config::parse(&toml, Path::new("x.toml")).unwrap().listeners
}

fn socket(name: &str) -> Inherited {
    let socket = Passed::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
    Inherited { name: name.to_owned(), socket }
}

#[test]
fn a_socket_without_a_listener_is_refused_with_both_names() {
    let listeners = listeners("[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n");
    let refused = assign(vec![socket("web"), socket("evenkeel.socket")], &listeners).unwrap_err().to_string();
    assert!(refused.contains("evenkeel.socket") && refused.contains("listeners: web"), "{refused}");
    let refused = assign(vec![socket("web"), socket("web")], &listeners).unwrap_err().to_string();
    assert!(refused.contains("two inherited sockets are named web"), "{refused}");
    assert!(assign(Vec::new(), &listeners).unwrap()[0].is_none());
}

#[test]
fn addresses_agree_when_they_are_equal_but_for_a_port_that_was_left_open() {
    let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
    assert!(agrees(&tcp("127.0.0.1:80"), &tcp("127.0.0.1:80")));
    assert!(agrees(&tcp("127.0.0.1:0"), &tcp("127.0.0.1:4711")));
    assert!(!agrees(&tcp("127.0.0.1:80"), &tcp("127.0.0.1:81")));
    assert!(!agrees(&tcp("0.0.0.0:0"), &tcp("[::]:4711")));
    assert!(!agrees(&tcp("127.0.0.1:80"), &Address::Unix("/run/x".into())));
}
