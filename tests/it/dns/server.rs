//! A DNS server of the real kind: UDP and TCP on one port of 127.0.0.1, with records that a test changes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The most that goes into one datagram without EDNS (RFC 1035 section 4.2.1).
const DATAGRAM: usize = 512;

/// What is answered for a name.
#[derive(Clone, Debug)]
enum Zone {
    /// Records of one kind each, with their TTL.
    Records(Vec<RData>, u32),
    /// SERVFAIL, for questions of one kind alone if that is given.
    Broken,
}

#[derive(Default)]
struct Shared {
    zones: Mutex<HashMap<String, Zone>>,
    /// Kinds that are not answered at all.
    lost: Mutex<Vec<(String, RecordType)>>,
    asked: Mutex<HashMap<String, usize>>,
    by_tcp: Mutex<usize>,
    dead: AtomicBool,
}

/// A name server; its threads end with the test's process.
pub(super) struct Dns {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Dns {
    pub(super) fn start() -> Self {
        let (udp, tcp) = (0..100).find_map(|_| sockets()).expect("a port that is free for UDP and TCP");
        let address = udp.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let of_udp = Arc::clone(&shared);
        thread::spawn(move || by_udp(&udp, &of_udp));
        let of_tcp = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let shared = Arc::clone(&of_tcp);
                thread::spawn(move || by_tcp(stream, &shared));
            }
        });
        Self { shared, address }
    }

    /// The line of `[server]` that has it asked.
    pub(super) fn line(&self) -> String {
        format!("resolvers = [\"{}\"]", self.address)
    }

    /// `name` has these addresses from now on.
    pub(super) fn set(&self, name: &str, ips: &[&str], ttl: u32) {
        let data = ips.iter().map(|ip| match ip.parse().unwrap() {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        });
        self.put(name, Zone::Records(data.collect(), ttl));
    }

    /// `name` is a service with these records: priority, weight, port, target.
    pub(super) fn set_srv(&self, name: &str, records: &[(u16, u16, u16, &str)], ttl: u32) {
        let srv = |&(priority, weight, port, target): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
        };
        self.put(name, Zone::Records(records.iter().map(srv).collect(), ttl));
    }

    /// There is no such name any more.
    pub(super) fn remove(&self, name: &str) {
        self.shared.zones.lock().unwrap().remove(name);
    }

    /// SERVFAIL for `name`.
    pub(super) fn fail(&self, name: &str) {
        self.put(name, Zone::Broken);
    }

    /// Questions of that kind get no answer.
    pub(super) fn lose(&self, name: &str, kind: RecordType) {
        self.shared.lost.lock().unwrap().push((name.to_owned(), kind));
    }

    /// Answers nothing while it is dead.
    pub(super) fn die(&self, dead: bool) {
        self.shared.dead.store(dead, SeqCst);
    }

    /// How often `name` was asked for, of all kinds and ways together.
    pub(super) fn asked(&self, name: &str) -> usize {
        self.shared.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// How many questions came in all.
    pub(super) fn all_asked(&self) -> usize {
        self.shared.asked.lock().unwrap().values().sum()
    }

    /// How many questions came by TCP.
    pub(super) fn asked_by_tcp(&self) -> usize {
        *self.shared.by_tcp.lock().unwrap()
    }

    fn put(&self, name: &str, zone: Zone) {
        self.shared.zones.lock().unwrap().insert(name.to_owned(), zone);
    }
}

fn sockets() -> Option<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
    Some((udp, tcp))
}

fn by_udp(socket: &UdpSocket, shared: &Shared) {
    let mut room = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut room) {
        let Some(answer) = answer(&room[..length], shared) else { continue };
        let mut bytes = answer.to_vec().unwrap();
        if bytes.len() > DATAGRAM {
            bytes = answer.truncate().to_vec().unwrap();
        }
        let _ = socket.send_to(&bytes, peer);
    }
}

fn by_tcp(mut stream: TcpStream, shared: &Shared) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        *shared.by_tcp.lock().unwrap() += 1;
        let Some(answer) = answer(&question, shared) else { return };
        let bytes = answer.to_vec().unwrap();
        let framed = [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
        if stream.write_all(&framed).is_err() {
            return;
        }
    }
}

fn answer(question: &[u8], shared: &Shared) -> Option<Message> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    *shared.asked.lock().unwrap().entry(name.clone()).or_default() += 1;
    let kind = query.query_type();
    if shared.dead.load(SeqCst) || shared.lost.lock().unwrap().contains(&(name.clone(), kind)) {
        return None;
    }
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    match shared.zones.lock().unwrap().get(&name) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Zone::Broken) => answer.metadata.response_code = ResponseCode::ServFail,
        Some(Zone::Records(data, ttl)) => {
            let of_kind = data.iter().filter(|data| data.record_type() == kind).cloned();
            answer.add_answers(of_kind.map(|data| Record::from_rdata(query.name().clone(), *ttl, data)));
        }
    }
    answer.add_query(query);
    Some(answer)
}
