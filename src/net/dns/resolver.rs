//! One question to DNS and its outcome: /etc/hosts first, then the servers, by way of the search list. On control's
//! runtime; called by `names`.

use super::{Ask, Endpoint};
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata::SRV},
    },
    system_conf::read_system_conf,
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

/// Names that are asked for at a time.
const AT_ONCE: usize = 12;
/// One question takes no longer, whatever resolv.conf says.
const PATIENCE: Duration = Duration::from_secs(4);
/// So long the first answer to a name waits for its other family, which nobody may answer for.
const OTHER_FAMILY: Duration = Duration::from_millis(300);
/// A name of which one family is not known is asked for again no later.
const PARTIAL_TTL: Duration = Duration::from_secs(10);
/// As resolv.conf has it by default, but sooner: one of several servers that is dead should not hold names up.
const OF_SERVER: Duration = Duration::from_secs(2);
/// Hosts that one service has. Further ones are left out, which is said.
const MAX_HOSTS: usize = 1000;
/// What stands in /etc/hosts has no TTL.
const HOSTS_TTL: Duration = Duration::from_secs(10);
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// An answer.
#[derive(Debug)]
pub struct Found {
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// The shortest time for which a part of it holds.
    pub ttl: Duration,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such name.
    NxDomain,
    /// The name has no such records.
    Empty,
    /// Nobody has answered in time.
    Timeout,
    /// A server has refused, failed, or could not be reached.
    Error(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NxDomain => f.write_str("there is no such name"),
            Self::Empty => f.write_str("the name has no such records"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Error(why) => f.write_str(why),
        }
    }
}

/// Asks DNS servers.
pub struct Resolver {
    /// Empty: the system's.
    servers: Vec<SocketAddr>,
    /// As the files were when they were last looked at; `None`: nobody has asked yet.
    system: Mutex<Option<Arc<System>>>,
    slots: Arc<Semaphore>,
}

/// What the files of this machine say, and whom to ask.
struct System {
    changed: [Option<SystemTime>; 2],
    hosts: Hosts,
    dns: TokioResolver,
    search: Vec<Name>,
    /// A name with fewer dots is looked for in the search list first.
    ndots: usize,
}

impl Resolver {
    /// Asks `servers`, or if there are none those of /etc/resolv.conf, which is read with the first question and when it
    /// has changed, as is /etc/hosts.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), system: Mutex::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The outcome of one question. `before` is the answer before: where only a part of it could be had now, the other one
    /// stays.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask(self: &Arc<Self>, ask: &Ask, before: &[Endpoint]) -> Result<Found, Failure> {
        match ask {
            Ask::Addresses(name) => self.host(name, before).await,
            Ask::Services(name) => self.service(name).await,
        }
    }

    async fn host(&self, host: &str, before: &[Endpoint]) -> Result<Found, Failure> {
        // Nobody closes the semaphore.
        let _slot = self.slots.acquire().await;
        let system = self.system()?;
        let name = Name::from_ascii(host).map_err(|error| Failure::Error(error.to_string()))?;
        match system.in_hosts(&name) {
            Some(found) => Ok(found),
            None => first(system.candidates(name), |name| system.addresses(name, before)).await,
        }
    }

    /// All hosts of a service must be known, but for those that DNS says are not: part of a service is not the service.
    async fn service(self: &Arc<Self>, service: &str) -> Result<Found, Failure> {
        let (records, mut ttl) = self.records(service).await?;
        let mut tasks = JoinSet::new();
        for record in records {
            let resolver = Arc::clone(self);
            tasks.spawn(async move {
                let found = resolver.host(&record.target.to_ascii().to_ascii_lowercase(), &[]).await;
                (record, found)
            });
        }
        let mut endpoints = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let (record, found) = ended.map_err(|error| Failure::Error(error.to_string()))?;
            match found {
                Ok(found) => {
                    ttl = ttl.min(found.ttl);
                    let SRV { priority, weight, port, .. } = record;
                    endpoints.extend(found.endpoints.iter().map(|at| Endpoint { priority, weight, port, ip: at.ip }));
                }
                Err(Failure::NxDomain | Failure::Empty) => {}
                Err(why) => return Err(why),
            }
        }
        if endpoints.is_empty() { Err(Failure::Empty) } else { Ok(Found { endpoints, ttl }) }
    }

    /// Its SRV records, and how long they hold.
    async fn records(&self, service: &str) -> Result<(Vec<SRV>, Duration), Failure> {
        let _slot = self.slots.acquire().await;
        let system = self.system()?;
        let name = Name::from_ascii(service).map_err(|error| Failure::Error(error.to_string()))?;
        let (answers, ttl) = first(system.candidates(name), |name| system.lookup(name, RecordType::SRV)).await?;
        let srv = |record: Record| match record.data {
            // The root: the service is decidedly not there (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() => Some(srv),
            _ => None,
        };
        let mut records: Vec<_> = answers.into_iter().filter_map(srv).collect();
        if records.len() > MAX_HOSTS {
            tracing::warn!(
                service,
                records = records.len(),
                "the service has more than {MAX_HOSTS} hosts: the others are left out"
            );
            records.sort_by(|one, other| (one.priority, &one.target).cmp(&(other.priority, &other.target)));
            records.truncate(MAX_HOSTS);
        }
        if records.is_empty() { Err(Failure::Empty) } else { Ok((records, ttl)) }
    }

    /// What the files say now. Two calls of stat(2); they are small, and read only when they have changed.
    fn system(&self) -> Result<Arc<System>, Failure> {
        let mut known = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changed();
        if let Some(system) = known.as_ref().filter(|system| system.changed == changed) {
            return Ok(Arc::clone(system));
        }
        let read = System::read(&self.servers, changed).map_err(|error| Failure::Error(error.to_string()))?;
        Ok(Arc::clone(known.insert(Arc::new(read))))
    }
}

/// The first answer of several names: as the C library does, the next is asked for only where this one is not there.
async fn first<T, F: Future<Output = Result<T, Failure>>>(
    names: Vec<Name>,
    ask: impl Fn(Name) -> F,
) -> Result<T, Failure> {
    let mut last = Failure::NxDomain;
    for name in names {
        match ask(name).await {
            Err(why @ (Failure::NxDomain | Failure::Empty)) => last = why.min(last),
            outcome => return outcome,
        }
    }
    Err(last)
}

/// Both outcomes. With `hurry`, one that is good waits for the other a moment only.
async fn both<T>(
    one: impl Future<Output = Result<T, Failure>>,
    other: impl Future<Output = Result<T, Failure>>,
    hurry: bool,
) -> [Result<T, Failure>; 2] {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let wait = |first: &Result<T, Failure>| if hurry && first.is_ok() { OTHER_FAMILY } else { PATIENCE };
    tokio::select! {
        first = &mut one => {
            let second = timeout(wait(&first), other).await.unwrap_or(Err(Failure::Timeout));
            [first, second]
        }
        second = &mut other => {
            let first = timeout(wait(&second), one).await.unwrap_or(Err(Failure::Timeout));
            [first, second]
        }
    }
}

impl Failure {
    /// That a name is there without addresses says more than that another one is not there.
    fn min(self, other: Self) -> Self {
        if other == Self::Empty { other } else { self }
    }
}

fn changed() -> [Option<SystemTime>; 2] {
    FILES.map(|file| Path::new(file).metadata().and_then(|data| data.modified()).ok())
}

impl System {
    fn read(servers: &[SocketAddr], changed: [Option<SystemTime>; 2]) -> io::Result<Self> {
        let (config, mut options) = match servers {
            // As the C library has it: without a file, the server of this host is asked.
            [] => read_system_conf().unwrap_or_else(|_| of(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))])),
            servers => of(servers),
        };
        // Ours has the searching, the files and the keeping.
        let search = match config.search() {
            [] => config.domain().cloned().into_iter().collect(),
            list => list.to_vec(),
        };
        let ndots = options.ndots;
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.negative_max_ttl = Some(Duration::ZERO);
        let config = ResolverConfig::from_parts(None, Vec::new(), config.name_servers().to_vec());
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        let dns = builder.build().map_err(io::Error::other)?;
        Ok(Self { changed, hosts: Hosts::from_system().unwrap_or_default(), dns, search, ndots })
    }

    /// What /etc/hosts says of the name; that is then all of it.
    fn in_hosts(&self, name: &Name) -> Option<Found> {
        let mut endpoints = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let known = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            endpoints.extend(known.iter().flat_map(|lookup| lookup.answers()).filter_map(endpoint));
        }
        (!endpoints.is_empty()).then_some(Found { endpoints, ttl: HOSTS_TTL })
    }

    /// What `name` may stand for, in the order in which it is asked for (resolv.conf(5)).
    fn candidates(&self, name: Name) -> Vec<Name> {
        let absolute = |mut name: Name| {
            name.set_fqdn(true);
            name
        };
        if name.is_fqdn() {
            return vec![name];
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let mut names: Vec<_> =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).map(absolute).collect();
        let place = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(place, absolute(name));
        names
    }

    /// The addresses of a whole name, of both families. One of them that fails leaves the other as it was `before`.
    async fn addresses(&self, name: Name, before: &[Endpoint]) -> Result<Found, Failure> {
        let (v4, v6) = (self.lookup(name.clone(), RecordType::A), self.lookup(name.clone(), RecordType::AAAA));
        let mut endpoints = Vec::new();
        let mut ttl = Duration::MAX;
        let (mut missing, mut failed) = (Failure::NxDomain, None);
        for (outcome, is_v6) in both(v4, v6, before.is_empty()).await.into_iter().zip([false, true]) {
            match outcome {
                Ok((records, holds)) => {
                    endpoints.extend(records.iter().filter_map(endpoint));
                    ttl = ttl.min(holds);
                }
                Err(why @ (Failure::NxDomain | Failure::Empty)) => missing = why.min(missing),
                Err(why) => {
                    endpoints.extend(before.iter().filter(|endpoint| endpoint.ip.is_ipv6() == is_v6));
                    failed = Some(why);
                }
            }
        }
        match failed {
            // Nothing is new: the answer before stays by itself.
            Some(why) if ttl == Duration::MAX => Err(why),
            _ if endpoints.is_empty() => Err(failed.unwrap_or(missing)),
            Some(_) => Ok(Found { endpoints, ttl: ttl.min(PARTIAL_TTL) }),
            None => Ok(Found { endpoints, ttl }),
        }
    }

    /// The records of that kind of a whole name, and how long they hold.
    async fn lookup(&self, name: Name, kind: RecordType) -> Result<(Vec<Record>, Duration), Failure> {
        // What the library keeps is let go of only later.
        self.dns.clear_lookup_cache(name.clone(), kind);
        let lookup = timeout(PATIENCE, self.dns.lookup(name, kind)).await.map_err(|_| Failure::Timeout)?;
        let lookup = lookup.map_err(|error| failure(&error))?;
        // Of names that lead to it as well.
        let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        Ok((lookup.answers().to_vec(), Duration::from_secs(u64::from(ttl))))
    }
}

/// Asks these servers, and takes names as they are.
fn of(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let server = |address: &SocketAddr| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections.iter_mut().for_each(|connection| connection.port = address.port());
        server
    };
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
    let mut options = ResolverOpts::default();
    (options.timeout, options.attempts) = (OF_SERVER, 2);
    (config, options)
}

fn endpoint(record: &Record) -> Option<Endpoint> {
    let ip = match &record.data {
        RData::A(address) => IpAddr::V4(address.0),
        RData::AAAA(address) => IpAddr::V6(address.0),
        _ => return None,
    };
    Some(Endpoint { priority: 0, ip, port: 0, weight: 0 })
}

fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Timeout => Failure::Timeout,
        NetError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Failure::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Failure::NxDomain,
            ResponseCode::NoError => Failure::Empty,
            code => Failure::Error(code.to_string()),
        },
        error => Failure::Error(error.to_string()),
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("servers", &self.servers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(search: &[&str], ndots: usize) -> System {
        let mut system = System::read(&["127.0.0.1:53".parse().unwrap()], [None; 2]).unwrap();
        system.search = search.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
        system.ndots = ndots;
        system
    }

    #[test]
    fn the_search_list_is_gone_through_as_the_c_library_does() {
        let names = |system: &System, name: &str| {
            let names = system.candidates(Name::from_ascii(name).unwrap());
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let one = system(&["a.local", "b.local."], 1);
        assert_eq!(names(&one, "app"), "app.a.local. app.b.local. app.");
        assert_eq!(names(&one, "app.internal"), "app.internal. app.internal.a.local. app.internal.b.local.");
        assert_eq!(names(&one, "app."), "app.");
        assert_eq!(names(&system(&["a.local"], 5), "api.service"), "api.service.a.local. api.service.");
        assert_eq!(names(&system(&[], 1), "app"), "app.");
    }

    #[test]
    fn what_stands_in_hosts_is_all_of_it() {
        let mut system = system(&[], 1);
        system.hosts.read_hosts_conf(&b"10.0.0.1 app app.internal\n2001:db8::1 app\n10.0.0.2 other\n"[..]).unwrap();
        let found = |name: &str| {
            let found = system.in_hosts(&Name::from_ascii(name).unwrap());
            found.map(|found| {
                found.endpoints.iter().map(|endpoint| endpoint.ip.to_string()).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(found("app").as_deref(), Some("10.0.0.1 2001:db8::1"));
        assert_eq!(found("app.internal").as_deref(), Some("10.0.0.1"));
        assert_eq!(found("nobody"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_does_not_wait_for_a_family_that_nobody_answers_for() {
        let good = || async { Ok::<_, Failure>(1) };
        let silent = std::future::pending::<Result<i32, Failure>>;
        let bad = || async { Err::<i32, _>(Failure::Empty) };
        let begun = tokio::time::Instant::now();
        let took = || begun.elapsed().as_millis();
        assert_eq!(both(good(), silent(), true).await, [Ok(1), Err(Failure::Timeout)]);
        assert_eq!(took(), 300);
        assert_eq!(both(silent(), good(), true).await, [Err(Failure::Timeout), Ok(1)]);
        assert_eq!(took(), 600);
        assert_eq!(both(good(), silent(), false).await, [Ok(1), Err(Failure::Timeout)]);
        assert_eq!(took(), 4600);
        assert_eq!(both(bad(), silent(), true).await, [Err(Failure::Empty), Err(Failure::Timeout)], "it may have some");
        assert_eq!(took(), 8600);
    }

    #[test]
    fn a_name_without_addresses_says_more_than_none() {
        assert_eq!(Failure::NxDomain.min(Failure::Empty), Failure::Empty);
        assert_eq!(Failure::Empty.min(Failure::NxDomain), Failure::Empty);
    }
}
