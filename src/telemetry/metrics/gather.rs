//! What a scrape sees: the shards of all workers added up. Runs on a blocking thread of control; not hot.
//!
//! Workers go on counting meanwhile, so the families of one scrape may differ by the exchanges that end during it.

use std::env::consts::{ARCH, OS};
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{self, Samples};
use super::histogram::{Histogram, Total};
use super::shard::{Closed, ListenerCells, RouteCells};
use super::{BackendGauges, Codes, Count, State};

/// The collector that the registry holds.
pub(super) struct Gather {
    descs: Vec<Desc>,
    state: Arc<State>,
}

impl Gather {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { descs: family::ALL.iter().map(|family| family.desc()).collect(), state }
    }
}

impl Collector for Gather {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::with_capacity(family::ALL.len());
        self.state.gather_process(&mut families);
        self.state.gather_listeners(&mut families);
        self.state.gather_routes(&mut families);
        self.state.gather_backends(&mut families);
        self.state.gather_workers(&mut families);
        families
    }
}

impl State {
    fn gather_process(&self, out: &mut Vec<MetricFamily>) {
        let one = |family, labels: &[&str], value| {
            let mut samples = Samples::of(family);
            samples.add(labels, value);
            samples.finish()
        };
        let (generation, accepted, at) = self.config();
        out.push(one(&family::BUILD, &[env!("CARGO_PKG_VERSION"), OS, ARCH], 1.0));
        out.push(one(&family::GENERATION, &[], generation as f64));
        out.push(one(&family::RELOAD_OK, &[], f64::from(u8::from(accepted))));
        out.push(one(&family::RELOAD_AT, &[], at));
        out.push(one(&family::PANICS, &[], self.panics() as f64));
    }

    fn gather_listeners(&self, out: &mut Vec<MetricFamily>) {
        let mut each = |family, value: &dyn Fn(usize) -> f64| {
            let mut samples = Samples::of(family);
            for (number, listener) in self.layout.listeners.iter().enumerate() {
                samples.add(&[&listener.name], value(number));
            }
            out.push(samples.finish());
        };
        each(&family::CONNECTIONS, &|l| self.still(l, |cells| (&cells.closed, &cells.opened)));
        each(&family::CONNECTIONS_OPENED, &|l| self.of_listener(l, |cells| &cells.opened));
        each(&family::REQUESTS_IN_FLIGHT, &|l| self.still(l, |cells| (&cells.finished, &cells.started)));
        each(&family::CONNECTIONS_LIMIT, &|l| {
            self.layout.listeners[l].connections_limit.map_or(f64::INFINITY, |limit| limit as f64)
        });
        let mut closed = Samples::of(&family::CONNECTIONS_CLOSED);
        for (number, listener) in self.layout.listeners.iter().enumerate() {
            for (reason, word) in Closed::WORDS.iter().enumerate() {
                closed.add(&[&listener.name, word], self.of_listener(number, |cells| &cells.closed_by[reason]));
            }
        }
        out.push(closed.finish());
        out.push(self.requests());
    }

    fn requests(&self) -> MetricFamily {
        let mut samples = Samples::of(&family::REQUESTS);
        for (number, listener) in self.layout.listeners.iter().enumerate() {
            for route in 0..self.layout.route_count() {
                let codes = Codes::total(self.shards.iter().map(|shard| shard.codes(number, route)));
                for (code, count) in codes {
                    let labels = [&listener.name, self.layout.route_name(route), &code.to_string()];
                    samples.add(&labels, count as f64);
                }
            }
        }
        samples.finish()
    }

    fn gather_routes(&self, out: &mut Vec<MetricFamily>) {
        let mut duration = Samples::of(&family::DURATION);
        let mut bytes_in = Samples::of(&family::REQUEST_BYTES);
        let mut bytes_out = Samples::of(&family::RESPONSE_BYTES);
        let mut failures = Samples::of(&family::FAILURES);
        for number in 0..self.layout.route_count() {
            let name = self.layout.route_name(number);
            let cells: Vec<&RouteCells> = self.shards.iter().map(|shard| &shard.routes[number]).collect();
            let total = Total::of(&self.bounds, cells.iter().map(|cells| &cells.duration));
            duration.add_histogram(&[name], &self.bounds, &total);
            bytes_in.add(&[name], sum(cells.iter().map(|cells| &cells.bytes_in)) as f64);
            bytes_out.add(&[name], sum(cells.iter().map(|cells| &cells.bytes_out)) as f64);
            for (kind, word) in self.layout.failures.iter().enumerate() {
                let count = sum(cells.iter().filter_map(|cells| cells.failures.get()).map(|kinds| &kinds[kind]));
                if count > 0 {
                    failures.add(&[name, word], count as f64);
                }
            }
        }
        out.extend([duration, bytes_in, bytes_out, failures].map(Samples::finish));
    }

    fn gather_backends(&self, out: &mut Vec<MetricFamily>) {
        let [mut requests, mut response, mut in_flight, mut connections, mut weight] = [
            &family::BACKEND_REQUESTS,
            &family::BACKEND_RESPONSE,
            &family::BACKEND_IN_FLIGHT,
            &family::BACKEND_CONNECTIONS,
            &family::BACKEND_WEIGHT,
        ]
        .map(Samples::of);
        for (number, backend) in self.layout.backends.iter().enumerate() {
            let labels = [backend.pool.as_str(), backend.name.as_str()];
            let cells = || self.shards.iter().map(|shard| &shard.backends[number]);
            for (code, count) in Codes::total(cells().map(|cells| &cells.codes)) {
                requests.add(&[labels[0], labels[1], &code.to_string()], count as f64);
            }
            if self.layout.has_backend_histograms() {
                let parts: Vec<&Histogram> = cells().filter_map(|cells| cells.response.as_ref()).collect();
                response.add_histogram(&labels, &self.bounds, &Total::of(&self.bounds, parts.into_iter()));
            }
            let gauges = self.backends[number].get().map_or_else(BackendGauges::default, |read| read());
            in_flight.add(&labels, gauges.in_flight as f64);
            connections.add(&labels, gauges.connections as f64);
            weight.add(&labels, gauges.weight);
        }
        out.extend([requests, response, in_flight, connections, weight].map(Samples::finish));
    }

    fn gather_workers(&self, out: &mut Vec<MetricFamily>) {
        let mut connections = Samples::of(&family::WORKER_CONNECTIONS);
        let mut busy = Samples::of(&family::WORKER_BUSY);
        for (number, shard) in self.shards.iter().enumerate() {
            let name = number.to_string();
            let closed = sum(shard.listeners.iter().map(|cells| &cells.closed));
            let opened = sum(shard.listeners.iter().map(|cells| &cells.opened));
            connections.add(&[&name], opened.saturating_sub(closed) as f64);
            busy.add(&[&name], self.busy[number].get().map_or(0.0, |read| read().as_secs_f64()));
        }
        out.extend([connections, busy].map(Samples::finish));
    }

    fn of_listener(&self, listener: usize, cell: impl Fn(&ListenerCells) -> &Count) -> f64 {
        sum(self.shards.iter().map(|shard| cell(&shard.listeners[listener]))) as f64
    }

    /// What has begun and not ended. `cells` gives ends first and they are read first, so that what begins and ends
    /// in between does not count below 0.
    fn still(&self, listener: usize, cells: impl Fn(&ListenerCells) -> (&Count, &Count)) -> f64 {
        let ended = self.of_listener(listener, |of| cells(of).0);
        let begun = self.of_listener(listener, |of| cells(of).1);
        (begun - ended).max(0.0)
    }
}

fn sum<'a>(cells: impl Iterator<Item = &'a Count>) -> u64 {
    cells.map(Count::value).sum()
}
