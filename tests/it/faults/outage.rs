//! Whole backends that die and come back, as processes, behind a daemon with every key at its default.

use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{Load, Process, wait_for};

/// A port that is ours: nobody else gets it while its backend is dead.
struct Port(Socket);

impl Port {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        Self(socket)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().as_socket().unwrap().to_string()
    }

    /// A process that answers there: evenkeel itself.
    fn backend(&self) -> Process {
        Process::spawn(&format!(
            "[server]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\n\
             [[listener]]\nname = \"web\"\naddress = \"{}\"\n\n\
             [[route]]\nname = \"all\"\nrespond = {{ status = 200, body = \"fine\" }}\n",
            self.address()
        ))
    }
}

/// Every key at its default but for the ports.
fn daemon(ports: &[Port]) -> Process {
    let backends: Vec<_> = ports.iter().map(Port::address).collect();
    Process::spawn(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\n\
         [pool.web]\nbackends = {backends:?}\n"
    ))
}

/// A metric of the backend at `port`.
fn metric(evenkeel: &Process, name: &str, port: &Port) -> f64 {
    evenkeel.metric(name, &[("pool", "web"), ("backend", &port.address())])
}

/// The weight in effect while it begins slowly: more than nothing, and not all.
fn is_ramped(evenkeel: &Process, port: &Port) -> bool {
    let weight = metric(evenkeel, "evenkeel_backend_weight", port);
    weight > 0.0 && weight < 0.9
}

#[test]
fn a_killed_backend_is_not_noticed() {
    let ports = [Port::new(), Port::new(), Port::new()];
    let mut backends = ports.each_ref().map(Port::backend);
    let evenkeel = daemon(&ports);
    let load = Load::start(evenkeel.address(), 8);
    load.wait_for(500);
    backends[1].signal("KILL");
    backends[1].wait();
    let requests = metric(&evenkeel, "evenkeel_backend_requests_total", &ports[1]);
    // Until it is known to be down, and beyond.
    let start = Instant::now();
    wait_for_long("it is out", || metric(&evenkeel, "evenkeel_backend_weight", &ports[1]) == 0.0);
    println!("out after {:?}", start.elapsed());
    load.wait_for(500);
    let tried = metric(&evenkeel, "evenkeel_backend_requests_total", &ports[1]) - requests;
    println!("{tried} attempts at it meanwhile, for {} requests", load.fine());
    backends[1] = ports[1].backend();
    let start = Instant::now();
    let before = metric(&evenkeel, "evenkeel_backend_requests_total", &ports[1]);
    wait_for_long("it is used again", || metric(&evenkeel, "evenkeel_backend_requests_total", &ports[1]) > before);
    println!("used again after {:?}", start.elapsed());
    wait_for("it begins slowly", || is_ramped(&evenkeel, &ports[1]));
    load.wait_for(200);
    load.stop().assert_all_fine();
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
}

#[test]
fn a_backend_that_comes_back_is_soon_used_and_ramped() {
    let ports = [Port::new(), Port::new(), Port::new()];
    let mut backends = ports.each_ref().map(Port::backend);
    let evenkeel = daemon(&ports);
    let load = Load::start(evenkeel.address(), 2);
    load.wait_for(100);
    backends[0].signal("KILL");
    backends[0].wait();
    // Its circuit opens long before. An outage that no check has seen ends with `open_for` instead.
    wait_for_long("its checks have found out", || {
        evenkeel.log().iter().any(|line| line.contains("the backend is down") && line.contains(&ports[0].address()))
    });
    let before = metric(&evenkeel, "evenkeel_backend_requests_total", &ports[0]);
    backends[0] = ports[0].backend();
    let back = Instant::now();
    wait_for("it is used again", || metric(&evenkeel, "evenkeel_backend_requests_total", &ports[0]) > before);
    let took = back.elapsed();
    println!("used again {took:?} after its return");
    // interval_down x healthy_threshold + 1 s, both at their defaults; jitter is part of the second.
    assert!(took <= Duration::from_secs(2 * 2 + 1), "{took:?}");
    wait_for("it begins slowly", || is_ramped(&evenkeel, &ports[0]));
    load.stop().assert_all_fine();
}

/// As [`wait_for`], twice as long: unhealthy_threshold checks at the default interval take up to 16 s.
#[track_caller]
fn wait_for_long(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(14) && !condition() {
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_for(what, condition);
}
