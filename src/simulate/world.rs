//! One algorithm before the backends of a scenario: takes what happens next, and goes on to the next. Hot path of the
//! simulator: nothing is allocated for a request.

use super::{
    arrivals::{Arrival, Stream, Traffic},
    contenders::Contender,
    end,
    members::Members,
    nanos,
    outcome::{Outcome, Record},
    random::Bits,
    requests::{GENERATIONS, Requests, Stage},
    server::Server,
    timeline::{self, Change},
};
use crate::{
    balance::{Pick, Picked, Report, Taken, Tried},
    config::scenario::Scenario,
};
use std::{cmp::Reverse, collections::BinaryHeap};

/// So often progress is told, in requests.
const TOLD: u64 = 1 << 16;

/// Something that was begun will be done, at that time in nanoseconds. `what`: a bit for the kind, 30 for the generation
/// of the request, 32 for its place: the heap moves 16 bytes.
type Due = Reverse<(u64, u64)>;

const SENT: u64 = 1 << 63;

/// All of it.
pub(super) struct World<'t> {
    contender: Contender,
    arrivals: Stream<'t>,
    next: Option<Arrival>,
    changes: std::iter::Peekable<std::vec::IntoIter<(u64, Change)>>,
    due: BinaryHeap<Due>,
    requests: Requests,
    servers: Vec<Server>,
    members: Members,
    record: Record,
    bits: Bits,
    /// Who has failed a request that nobody has failed.
    nobody: Tried,
    now: u64,
    timeout: u64,
    retries: u32,
    end: u64,
}

/// What happens next.
enum Next {
    Change(Change),
    Due(u64),
    Late,
    Arrival(Arrival),
}

impl<'t> World<'t> {
    pub(super) fn new(scenario: &Scenario, traffic: &'t Traffic, contender: Contender) -> Self {
        let mut arrivals = Stream::new(scenario, traffic);
        let servers: Vec<_> =
            timeline::backends(scenario).map(|(group, _)| Server::new(&scenario.backends[group])).collect();
        let end = end(scenario, traffic);
        Self {
            contender,
            next: arrivals.next(),
            arrivals,
            changes: timeline::changes(scenario).into_iter().peekable(),
            due: BinaryHeap::with_capacity(1024),
            requests: Requests::new(),
            servers,
            members: Members::new(scenario, contender),
            record: Record::new(traffic.clients(scenario), nanos(scenario.warm_up), end),
            bits: Bits::new(!scenario.seed),
            nobody: Tried::default(),
            now: 0,
            timeout: nanos(scenario.timeout),
            retries: scenario.retries,
            end,
        }
    }

    /// To the end: until the last request is over. `progress` hears of virtual milliseconds.
    pub(super) fn run(mut self, progress: &dyn Fn(u64)) -> Outcome {
        self.play(progress);
        let imbalance = self.imbalance();
        self.record.finish(self.contender, imbalance)
    }

    fn play(&mut self, progress: &dyn Fn(u64)) {
        let (mut count, mut told) = (0, 0);
        while self.next.is_some() || self.requests.alive > 0 {
            match self.happens() {
                Next::Change(change) => self.change(change),
                Next::Due(what) => self.done(what),
                Next::Late => self.late(),
                Next::Arrival(arrival) => {
                    self.next = self.arrivals.next();
                    self.arrives(arrival);
                    count += 1;
                    if count % TOLD == 0 {
                        progress(self.now / 1_000_000 - told);
                        told = self.now / 1_000_000;
                    }
                }
            }
        }
        progress((self.end / 1_000_000).saturating_sub(told));
    }

    /// The first of what may be next. Of what is at the same time, changes come first, and requests last.
    fn happens(&mut self) -> Next {
        let change = self.changes.peek().map_or(u64::MAX, |(at, _)| *at);
        let due = self.due.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        let late = self.requests.oldest().map_or(u64::MAX, |at| at.saturating_add(self.timeout));
        let arrival = self.next.as_ref().map_or(u64::MAX, |arrival| arrival.at);
        self.now = change.min(due).min(late).min(arrival);
        let servers = &self.servers;
        self.record.goes_on(self.now, || servers.iter().map(Server::waiting).max().unwrap_or(0));
        if self.now == change
            && let Some((_, change)) = self.changes.next()
        {
            return Next::Change(change);
        }
        if self.now == due
            && let Some(Reverse((_, what))) = self.due.pop()
        {
            return Next::Due(what);
        }
        match self.next {
            Some(next) if self.now != late => Next::Arrival(next),
            _ => Next::Late,
        }
    }

    fn arrives(&mut self, arrival: Arrival) {
        let instances = self.members.instances.len() as u64;
        let instance = if instances == 1 { 0 } else { self.bits.below(instances) as u32 };
        let id = self.requests.add(arrival, instance);
        self.attempt(id);
    }

    /// Sends `id` to somebody; again to somebody else, if that one refuses.
    fn attempt(&mut self, id: u32) {
        loop {
            let request = self.requests.at(id);
            let random = self.bits.next();
            let key = if self.contender.hashes() { request.arrival.key } else { random };
            let tried = request.tried.as_deref().unwrap_or(&self.nobody);
            let instance = &self.members.instances[request.instance as usize];
            let pick = Pick { key, worker: 0, random, now: self.now / 1000, tried };
            let Picked::Member(place) = instance.balancer.pick(&pick) else { return self.fails(id) };
            let backend = instance.places[place];
            instance.loads[backend as usize].begin();
            instance.common.in_flight.begin(0);
            (request.backend, request.begun) = (backend, self.now);
            match request.retries {
                0 => self.record.goes_to(request.arrival.at, request.arrival.client, backend),
                _ => self.record.retried(request.arrival.at),
            }
            if !self.servers[backend as usize].refuses {
                return self.takes(backend, id);
            }
            self.ends(id, Some(Taken::Failed));
            if !self.may_retry(id) {
                return self.fails(id);
            }
        }
    }

    /// `backend` takes `id`: serves it, or lets it wait.
    fn takes(&mut self, backend: u32, id: u32) {
        let server = &mut self.servers[backend as usize];
        if server.is_free() {
            return self.serves(backend, id);
        }
        self.requests.at(id).stage = Stage::Waiting;
        server.push(id, &mut self.requests);
        self.record.waits(server.waiting());
    }

    fn serves(&mut self, backend: u32, id: u32) {
        let request = self.requests.at(id);
        request.stage = Stage::Serving;
        let until = self.servers[backend as usize].serve(self.now, request);
        self.due.push(Reverse((until, u64::from(request.generation) << 32 | u64::from(id))));
    }

    /// What was planned happens, if it was not planned for somebody who is over.
    fn done(&mut self, what: u64) {
        let (id, generation) = (what as u32, (what >> 32) as u32 & GENERATIONS);
        if self.requests.at(id).generation != generation {
            return;
        }
        if what & SENT != 0 { self.sent(id) } else { self.served(id) }
    }

    /// The backend of `id` has served it, and goes on to the next.
    fn served(&mut self, id: u32) {
        let backend = self.requests.at(id).backend;
        let server = &mut self.servers[backend as usize];
        server.served(self.now);
        while let Some(next) = self.servers[backend as usize].pop(&mut self.requests) {
            match self.requests.at(next).stage {
                Stage::Gone => self.requests.free(next),
                _ => {
                    self.serves(backend, next);
                    break;
                }
            }
        }
        if self.requests.at(id).stage == Stage::Gone {
            return self.requests.free(id);
        }
        self.answers(id);
    }

    /// The head of the answer to `id` has come.
    fn answers(&mut self, id: u32) {
        let (now, request) = (self.now, self.requests.at(id));
        let server = &mut self.servers[request.backend as usize];
        let load = &self.members.instances[request.instance as usize].loads[request.backend as usize];
        load.took(now / 1000, (now - request.begun) / 1000, Taken::Answered);
        if self.contender.listens() {
            load.report(now / 1000, Report { load: server.utilisation(now), over: false });
        }
        match server.send(now, request.arrival.size) {
            Some(at) => {
                request.stage = Stage::Sending;
                self.due.push(Reverse((at, SENT | u64::from(request.generation) << 32 | u64::from(id))));
            }
            None => self.sent(id),
        }
    }

    /// The last byte of the answer to `id` has come.
    fn sent(&mut self, id: u32) {
        self.ends(id, None);
        let (arrived, now) = (self.requests.at(id).arrival.at, self.now);
        self.record.answered(arrived, now);
        self.requests.alive -= 1;
        self.requests.free(id);
    }

    /// The oldest request has taken too long.
    fn late(&mut self) {
        let Some(id) = self.requests.take_oldest() else { return };
        self.ends(id, Some(Taken::Failed));
        let was = self.requests.at(id).stage;
        self.over(id);
        // Its backend finds out when it comes to it.
        match was {
            Stage::Waiting | Stage::Serving => self.requests.at(id).stage = Stage::Gone,
            _ => self.requests.free(id),
        }
    }

    /// The attempt of `id` has ended; with a failure at its backend, or with an answer that has been told.
    fn ends(&mut self, id: u32, failure: Option<Taken>) {
        let (now, request) = (self.now, self.requests.at(id));
        let instance = &self.members.instances[request.instance as usize];
        let load = &instance.loads[request.backend as usize];
        match failure {
            Some(taken) => load.took(now / 1000, (now - request.begun) / 1000, taken),
            None => load.passed(now / 1000, request.arrival.size),
        }
        load.ended(now / 1000);
        load.end();
        instance.common.in_flight.end(0);
    }

    /// `id` may be sent to somebody else: whom it was sent to is remembered.
    fn may_retry(&mut self, id: u32) -> bool {
        let request = self.requests.at(id);
        if request.retries >= self.retries {
            return false;
        }
        request.retries += 1;
        request.tried.get_or_insert_default().add(request.backend);
        true
    }

    /// `id` has failed.
    fn fails(&mut self, id: u32) {
        self.over(id);
        self.requests.free(id);
    }

    fn over(&mut self, id: u32) {
        let arrived = self.requests.at(id).arrival.at;
        self.record.failed(arrived);
        self.requests.alive -= 1;
    }

    /// Something happens to a backend. Tables are made anew once for all that happens at a time.
    fn change(&mut self, change: Change) {
        let now = self.now;
        match change {
            Change::Measure => {
                self.members.measure(now);
                self.servers.iter_mut().for_each(|server| server.worked = 0);
                self.record.measure(self.servers.iter().map(Server::waiting).max().unwrap_or(0));
            }
            Change::Fails(backend) => self.dies(backend),
            Change::Heals(backend) => {
                let server = &mut self.servers[backend as usize];
                server.refuses = false;
                server.begin(now);
            }
            Change::Slows(backend, factor) => self.servers[backend as usize].slowness = factor,
            Change::Out(backend) => self.members.set(backend, false, now),
            Change::In(backend) => {
                self.members.set(backend, true, now);
                self.servers[backend as usize].begin(now);
            }
            Change::Ramp => {}
        }
        let counts = |change: Change| matches!(change, Change::Out(_) | Change::In(_) | Change::Ramp);
        let more = self.changes.peek().is_some_and(|(at, next)| *at == now && counts(*next));
        if counts(change) && !more {
            self.members.rebuild(now);
        }
    }

    /// `backend` refuses what comes, and what it has is lost: it is sent to others.
    fn dies(&mut self, backend: u32) {
        self.servers[backend as usize].refuses = true;
        let mut lost = Vec::new();
        for id in self.requests.ids() {
            let request = self.requests.at(id);
            if request.backend != backend || request.stage == Stage::Free {
                continue;
            }
            if request.stage == Stage::Serving || request.stage == Stage::Gone && request.until > self.now {
                // It was counted with the whole of its time.
                let left = request.until - self.now;
                let server = &mut self.servers[backend as usize];
                server.worked = server.worked.saturating_sub(left);
            }
            match request.stage {
                Stage::Gone => self.requests.free(id),
                _ => lost.push(id),
            }
        }
        self.servers[backend as usize].die(self.now);
        for id in lost {
            self.requests.forget_plans(id);
            self.ends(id, Some(Taken::Failed));
            if self.may_retry(id) { self.attempt(id) } else { self.fails(id) }
        }
    }

    /// The most work for its weight and its time, of the mean.
    fn imbalance(&mut self) -> f64 {
        let dues = self.members.dues(self.now);
        let work: Vec<f64> = self
            .servers
            .iter()
            .zip(&dues)
            .filter(|(_, due)| **due > 0.0)
            .map(|(server, due)| server.worked as f64 / due)
            .collect();
        let most = work.iter().copied().fold(0.0, f64::max);
        let mean = work.iter().sum::<f64>() / work.len().max(1) as f64;
        if mean > 0.0 { most / mean } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    /// With failures, timeouts and answers that are on their way for a while, over all ways that a request can go.
    const ROUGH: &str = "duration = \"20s\"\ntimeout = \"300ms\"\ndown_after = \"1s\"\nup_after = \"1s\"\n\
        arrivals = { rate = \"400/s\" }\nresponse = { size = { type = \"pareto\", mean = \"100KiB\" } }\n\
        backend = [{ count = 2, concurrency = 2, service = { mean = \"10ms\" }, bandwidth = \"20MiB/s\", \
        fails = [{ at = \"5s\", for = \"3s\" }, { at = \"15s\", for = \"200ms\" }] }, \
        { name = \"b\", service = { type = \"lognormal\", mean = \"8ms\" }, joins = \"3s\", leaves = \"16s\" }]";

    #[test]
    fn all_that_was_taken_is_given_back() {
        let scenario = testing::scenario(ROUGH);
        let traffic = Traffic::load(&scenario).unwrap();
        for contender in [Contender::RoundRobin, Contender::PowerOfTwoChoices, Contender::LeastBandwidth] {
            let mut world = World::new(&scenario, &traffic, contender);
            world.play(&|_| {});
            assert_eq!(world.requests.alive, 0);
            for instance in &world.members.instances {
                assert_eq!(instance.common.in_flight.sum(), 0);
                assert!(instance.loads.iter().all(|load| load.in_flight() == 0), "{contender:?}");
            }
            let places = world.requests.ids().count();
            assert!(places < 1000, "places are used again: {places}");
            let outcome = world.record.finish(contender, 1.0);
            assert!(outcome.failures > 0 && outcome.retries > 0, "{outcome:?}");
            assert_eq!(outcome.latency.len() + outcome.failures, outcome.requests);
            assert!((7_600..8_400).contains(&outcome.requests), "{}", outcome.requests);
        }
    }
}
