//! A balancer of your own: the first backend while it has fewer than two requests, then the next, and so on.
//!
//! `cargo run --example custom_balancer` puts it in front of two built-in backends; with `-- FILE.toml` it serves each
//! pool of your configuration.

use evenkeel::balance::{Algorithm, Balancer, Member, Pick, Picked};
use evenkeel::{config::Config, runtime::Server};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, error::Error, fs, path::Path, thread, time::Duration};

const FILL: u32 = 2; // requests that a backend takes before the next one is called
const CONFIG: &str = "admin.address = 'off'\nlistener.address = '127.0.0.1:0'\npool.web.backends = ['A', 'B']";

#[derive(Debug)]
struct FirstWithRoom(Vec<Member>);

impl Balancer for FirstWithRoom {
    fn pick(&self, pick: &Pick<'_>) -> Picked {
        let fresh = || self.0.iter().enumerate().filter(|(_, member)| !pick.tried.has(member.id));
        let room = fresh().find(|(_, member)| member.load.in_flight() < FILL * member.weight / Member::UNIT);
        room.or_else(|| fresh().next()).map_or(Picked::Exhausted, |(place, _)| Picked::Member(place))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (text, name) = match env::args().nth(1) {
        Some(path) => (fs::read_to_string(&path)?, path),
        None => (CONFIG.replace("A", &backend("a")?).replace("B", &backend("b")?), "built in".to_string()),
    };
    let config = Config::parse(&text, Path::new(&name)).map_err(|problems| problems.to_string())?;
    let algorithm = Algorithm::Custom(|members| Box::new(FirstWithRoom(members.to_vec())));
    let server = Server::builder().algorithm(algorithm).start(config.clone())?;
    let addresses = config.listeners.iter().flat_map(|listener| server.address(&listener.name));
    addresses.for_each(|address| println!("curl http://{address}/"));
    thread::sleep(Duration::MAX); // until Ctrl-C
    Ok(())
}

/// Answers every request with its name, after a second: time for a second and a third `curl`.
fn backend(name: &'static str) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| answer(stream, name))));
    });
    Ok(address)
}

fn answer(stream: TcpStream, name: &str) -> io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            thread::sleep(Duration::from_secs(1));
            write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}\n", name.len() + 1)?;
        }
    }
    Ok(())
}
