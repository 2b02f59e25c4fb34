//! The monitor with real sockets, and its schedule in virtual time.

use super::{
    probe::{Outcome, Probe as Probing},
    *,
};
use crate::config::HttpProbe;
use crate::health::testing::{backend, http_probe};
use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
    task::JoinSet,
    time::{sleep, timeout},
};

/// A probe that follows a script: each check takes its time and has its outcome; the last one goes on.
#[derive(Clone)]
struct Scripted {
    script: Vec<(Duration, Option<&'static str>)>,
    done: usize,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    /// When each check began.
    began: Mutex<Vec<Instant>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Probing for Scripted {
    async fn check(&mut self) -> Outcome {
        let (takes, outcome) = self.script[self.done.min(self.script.len() - 1)];
        self.done += 1;
        lock(&self.log.began).push(Instant::now());
        self.log.most.fetch_max(self.log.running.fetch_add(1, SeqCst) + 1, SeqCst);
        sleep(takes).await;
        self.log.running.fetch_sub(1, SeqCst);
        match outcome {
            None => Outcome::Passed,
            Some("unasked") => Outcome::Unasked(io::Error::from_raw_os_error(libc::EMFILE)),
            Some(reason) => Outcome::Failed(reason.into()),
        }
    }
}

const QUICK: Duration = Duration::from_millis(1);

fn scripted(script: &[(Duration, Option<&'static str>)], log: &Arc<Log>) -> Scripted {
    Scripted { script: script.to_vec(), done: 0, log: Arc::clone(log) }
}

/// Starts `probe` as the only check of a backend of its own.
fn start(
    monitor: &Monitor,
    probe: Scripted,
    place: Place,
    seed: u64,
) -> (Arc<Backend>, impl Future<Output = ()> + use<>) {
    let backend = backend("127.0.0.1:1".parse().unwrap());
    let checks: Arc<[HealthCheck]> = [HealthCheck::tcp()].into();
    let task = Task {
        backend: Arc::clone(&backend),
        judge: Arc::new(Mutex::new(Judge::new(&checks, None))),
        checks,
        number: 0,
        shared: Arc::clone(&monitor.shared),
        place,
        random: Random::new(seed),
    };
    (backend, task.run(move |_| probe))
}

const ALONE: Place = Place { number: 0, of: 1 };

/// Seconds between checks, of a probe that runs `script` for so many seconds.
async fn gaps(script: &[(Duration, Option<&'static str>)], seconds: u64) -> (Arc<Backend>, Vec<f64>) {
    let log = Arc::default();
    let monitor = Monitor::with(|_| {}, 10, 1);
    let (backend, running) = start(&monitor, scripted(script, &log), ALONE, 5);
    let _ = timeout(Duration::from_secs(seconds), running).await;
    let began = lock(&log.began).clone();
    (backend, began.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect())
}

#[tokio::test(start_paused = true)]
async fn steady_checks_have_time_and_others_do_not() {
    let (pass, fail) = ((QUICK, None), (QUICK, Some("x")));
    let (backend, gaps) = gaps(&[pass, pass, fail, fail, fail, fail, pass, pass, pass], 50).await;
    let wanted = [10.0, 10.0, 2.0, 2.0, 2.0, 2.0, 2.0, 10.0];
    for (at, (gap, wanted)) in gaps.iter().zip(wanted).enumerate() {
        assert!((wanted * 0.9 - 0.01..wanted * 1.1 + 0.01).contains(gap), "gap {at} of {gaps:?}");
    }
    assert!(gaps.len() >= wanted.len(), "{gaps:?}");
    assert_eq!(backend.health.verdict().up, Some(true));
    let (passed, failed, took) = backend.health.checks();
    assert_eq!((passed + failed, failed, took), (gaps.len() as u64 + 1, 4, QUICK));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_times_out_fails_and_does_not_stretch_the_interval() {
    let (backend, gaps) = gaps(&[(Duration::from_secs(60), None)], 30).await;
    assert_eq!(backend.health.verdict().reason, "timed out");
    assert!(gaps.iter().all(|gap| (5.15..5.25).contains(gap)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn want_of_descriptors_says_nothing_of_a_backend() {
    let (backend, gaps) = gaps(&[(QUICK, Some("unasked"))], 30).await;
    assert_eq!((backend.health.verdict().up, backend.health.checks().1), (None, 0));
    assert!(gaps.len() > 10, "asked again soon: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_slot_is_no_part_of_the_time() {
    let log = Arc::default();
    let monitor = Monitor::with(|_| {}, 2, 1);
    let mut tasks = JoinSet::new();
    let mut backends = Vec::new();
    for seed in 0..10 {
        // 4 s of 5 each: the last ones wait for 16 s.
        let (backend, running) = start(&monitor, scripted(&[(Duration::from_secs(4), None)], &log), ALONE, seed);
        tasks.spawn(running);
        backends.push(backend);
    }
    sleep(Duration::from_secs(21)).await;
    for backend in backends {
        let (passed, failed, took) = backend.health.checks();
        assert!(passed >= 1 && failed == 0, "{passed} passed, {failed} failed");
        assert_eq!(took, Duration::from_secs(4));
    }
    assert_eq!(log.most.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_checks_never_herd() {
    let seed = getrandom::u64().unwrap();
    println!("seed {seed}");
    let log: Arc<Log> = Arc::default();
    let monitor = Monitor::with(|_| {}, 512, seed);
    let mut tasks = JoinSet::new();
    let mut seeds = Random::new(seed);
    let begin = Instant::now();
    for number in 0..10_000 {
        let place = Place { number, of: 10_000 };
        tasks.spawn(start(&monitor, scripted(&[(QUICK, None)], &log), place, seeds.bits()).1);
    }
    sleep(Duration::from_secs(60)).await;
    let mut buckets = vec![0usize; 600];
    for began in lock(&log.began).iter() {
        buckets[(*began - begin).as_millis() as usize / 100] += 1;
    }
    assert_eq!(buckets[..11].iter().sum::<usize>() / 10_000, 1, "the first ones come within a second, seed {seed}");
    let most = buckets[..11].iter().max().unwrap();
    assert!(*most <= 1100, "{most} first ones in 100 ms, seed {seed}");
    let later = &buckets[20..599];
    let mean = later.iter().sum::<usize>() as f64 / later.len() as f64;
    assert!((95.0..105.0).contains(&mean), "mean {mean}, seed {seed}");
    let most = *later.iter().max().unwrap();
    assert!(most as f64 <= 2.0 * mean, "{most} in 100 ms, mean {mean}, seed {seed}");
}

/// A listener that counts those who come. Dropped, it closes.
struct Counting {
    address: SocketAddr,
    came: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Counting {
    fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let (address, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let mut accepting = JoinSet::new();
        let counter = Arc::clone(&came);
        accepting.spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, SeqCst);
            }
        });
        Self { address, came, _accepting: accepting }
    }

    fn new() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn came(&self) -> usize {
        self.came.load(SeqCst)
    }

    async fn close(mut self) {
        self._accepting.shutdown().await;
    }
}

/// A check that comes often.
fn often() -> HealthCheck {
    let interval = Duration::from_millis(10);
    HealthCheck { interval, interval_down: interval, timeout: Duration::from_secs(10), ..HealthCheck::tcp() }
}

fn watched(backend: &Arc<Backend>, checks: impl IntoIterator<Item = HealthCheck>) -> Vec<Watched> {
    vec![Watched {
        backend: Arc::clone(backend),
        checks: checks.into_iter().collect(),
        sources: Arc::default(),
        proxy: None,
        tls: Arc::default(),
    }]
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(QUICK).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A monitor, and the verdicts that it told.
fn monitor() -> (Monitor, Arc<Mutex<Vec<Option<bool>>>>) {
    let told: Arc<Mutex<Vec<_>>> = Arc::default();
    let log = Arc::clone(&told);
    (Monitor::new(move |backend| lock(&log).push(backend.health.verdict().up)), told)
}

#[tokio::test]
async fn a_backend_goes_down_and_comes_back_and_control_hears_of_it() {
    let listener = Counting::new();
    let (address, backend) = (listener.address, backend(listener.address));
    let (monitor, told) = monitor();
    monitor.watch(watched(&backend, [often()]));
    until("up", || backend.health.verdict().up == Some(true)).await;
    listener.close().await;
    until("down", || backend.health.verdict().up == Some(false)).await;
    assert_eq!(backend.health.verdict().reason, "connection refused");
    let _again = Counting::at(address);
    until("up again", || backend.health.verdict().up == Some(true)).await;
    assert_eq!(backend.health.verdict().reason, "");
    assert_eq!(*lock(&told), [Some(true), Some(false), Some(true)]);
}

#[tokio::test]
async fn a_list_with_equal_checks_keeps_the_streaks() {
    let refused = Counting::new();
    let backend = backend(refused.address);
    refused.close().await;
    let told: Arc<Mutex<Vec<_>>> = Arc::default();
    let log = Arc::clone(&told);
    let monitor = Monitor::new(move |backend| lock(&log).push(backend.health.checks().1));
    for failures in 1..=3 {
        monitor.watch(watched(&backend, [often()]));
        until("one more check", || backend.health.checks().1 >= failures).await;
    }
    until("down", || backend.health.verdict().up == Some(false)).await;
    assert_eq!(*lock(&told), [3], "three failures in a row, whatever came between them");
}

#[tokio::test]
async fn changed_checks_start_over_at_once_and_the_verdict_stands() {
    let refused = Counting::new();
    let backend = backend(refused.address);
    refused.close().await;
    let (monitor, told) = monitor();
    monitor.watch(watched(&backend, [often()]));
    until("down", || backend.health.verdict().up == Some(false)).await;
    let before = backend.health.checks().1;
    let patient = HealthCheck { unhealthy_threshold: 1000, ..often() };
    monitor.watch(watched(&backend, [patient.clone()]));
    until("new checks", || backend.health.checks().1 > before + 5).await;
    assert_eq!(backend.health.verdict().up, Some(false));
    let mut elsewhere = watched(&backend, [patient]);
    elsewhere[0].sources = Arc::new([Ipv4Addr::LOCALHOST.into()]);
    monitor.watch(elsewhere);
    assert_eq!(backend.health.verdict().up, Some(false));
    assert_eq!(*lock(&told), [Some(false)]);
}

#[tokio::test]
async fn all_checks_of_a_backend_must_pass_and_the_last_failure_is_the_reason() {
    let listener = Counting::new();
    let dead = Counting::new();
    let port = dead.address.port();
    dead.close().await;
    let backend = backend(listener.address);
    let (monitor, told) = monitor();
    monitor.watch(watched(&backend, [often(), HealthCheck { port, ..often() }]));
    until("down", || backend.health.verdict().up == Some(false)).await;
    until("both ask", || backend.health.checks().0 > 5).await;
    assert_eq!((backend.health.verdict().up, &*backend.health.verdict().reason), (Some(false), "connection refused"));
    monitor.watch(watched(&backend, [often()]));
    until("up", || backend.health.verdict().up == Some(true)).await;
    assert_eq!(*lock(&told), [Some(false), Some(true)]);
}

#[tokio::test]
async fn without_checks_nothing_is_known() {
    let refused = Counting::new();
    let backend = backend(refused.address);
    refused.close().await;
    let (monitor, told) = monitor();
    monitor.watch(watched(&backend, []));
    assert_eq!(backend.health.verdict().up, None);
    monitor.watch(watched(&backend, [often()]));
    until("down", || backend.health.verdict().up == Some(false)).await;
    monitor.watch(watched(&backend, []));
    until("forgotten", || lock(&told).len() == 2).await;
    assert_eq!(*lock(&told), [Some(false), None]);
    assert_eq!(backend.health.verdict().reason, "");
}

#[tokio::test]
async fn http_checks_run_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = backend(listener.local_addr().unwrap());
    let (monitor, _told) = monitor();
    monitor.watch(watched(&backend, [HealthCheck { probe: Probe::Http(http_probe().into()), ..often() }]));
    let _serving = answering(listener, "503 Busy");
    until("down", || backend.health.verdict().up == Some(false)).await;
    assert_eq!(backend.health.verdict().reason, "status 503");
}

#[tokio::test]
async fn checks_of_gone_backends_and_of_a_dropped_monitor_stop_and_leave_nothing() {
    let listener = Counting::new();
    let (stays, goes) = (backend(listener.address), backend(listener.address));
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let (monitor, _told) = monitor();
    let list = [watched(&stays, [often(), often()]), watched(&goes, [often()]), watched(&stays, [often()])].concat();
    monitor.watch(list);
    assert_eq!(alive(), before + 3, "one for each check, none for a repetition");
    until("both are checked", || stays.health.checks().0 > 0 && goes.health.checks().0 > 0).await;
    monitor.watch(watched(&stays, [often(), often()]));
    until("the task has gone", || alive() == before + 2 && Arc::strong_count(&goes) == 1).await;
    for round in 0..100 {
        let interval = Duration::from_millis(20 + round % 2);
        monitor.watch(watched(&stays, [HealthCheck { interval, ..often() }]));
        until("one task", || alive() == before + 1).await;
    }
    let (passed, came) = (goes.health.checks().0, listener.came());
    until("others go on", || listener.came() > came + 3).await;
    assert_eq!(goes.health.checks().0, passed);
    drop(monitor);
    until("no task is left", || alive() == before && Arc::strong_count(&stays) == 1).await;
}

/// Answers every request on `listener` with `status`, and closes.
fn answering(listener: TcpListener, status: &'static str) -> JoinSet<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                let _ = stream.write_all(head.as_bytes()).await;
            });
        }
    });
    serving
}

/// Nanoseconds that this thread has run.
fn ran() -> u64 {
    let mut text = String::new();
    std::fs::File::open("/proc/thread-self/schedstat").unwrap().read_to_string(&mut text).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Prints what 10,000 backends cost: `cargo test --release --lib health::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, of 25 s for each kind"]
fn cost() {
    let (tell, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("0.0.0.0:0".parse().unwrap()).unwrap();
            let listener = socket.listen(4096).unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            answering(listener, "200 OK").join_all().await;
        });
    });
    let port = port.recv().unwrap();
    let http = HealthCheck { probe: Probe::Http(http_probe().into()), ..HealthCheck::tcp() };
    let kept = HealthCheck { probe: Probe::Http(HttpProbe { reuse: true, ..http_probe() }.into()), ..http.clone() };
    for (name, check) in [("tcp", HealthCheck::tcp()), ("http", http), ("http, reuse asked for", kept)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(measure(name, check, port));
    }
}

async fn measure(name: &str, check: HealthCheck, port: u16) {
    let backends: Vec<_> = (0..10_000u16)
        .map(|at| backend(SocketAddr::from(([127, 1, (at / 250) as u8, (at % 250 + 1) as u8], port))))
        .collect();
    let checks: Arc<[HealthCheck]> = [check].into();
    let one = |backend: &Arc<Backend>| Watched {
        backend: Arc::clone(backend),
        checks: Arc::clone(&checks),
        sources: Arc::default(),
        proxy: None,
        tls: Arc::default(),
    };
    let list: Vec<_> = backends.iter().map(one).collect();
    let (monitor, _told) = monitor();
    let count = || backends.iter().map(|backend| backend.health.checks()).map(|(up, down, _)| (up, down));
    let sum = || count().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let (ran_before, began) = (ran(), Instant::now());
    monitor.watch(list.clone());
    println!("{name}: the first list takes {:?}", began.elapsed());
    sleep(Duration::from_secs(3)).await;
    println!("{name}: the first 3 s cost {:.1} % of a core", (ran() - ran_before) as f64 / 3e7);
    let again = Instant::now();
    monitor.watch(list);
    println!("{name}: an equal list takes {:?}", again.elapsed());
    let (ran_before, before) = (ran(), sum());
    sleep(Duration::from_secs(20)).await;
    let (passed, failed) = sum();
    let cost = (ran() - ran_before) as f64 / 2e8;
    let checks = passed + failed - before.0 - before.1;
    println!("{name}: {checks} checks in 20 s cost {cost:.1} % of a core; {} failed", failed - before.1);
    assert_eq!(failed, 0);
}
