//! When requests come, whose they are and what they want: by a Poisson process, or as a log has it.
//! Hot path of the simulator.

use super::{
    end,
    log::{self, LogError, Logged},
    nanos,
    random::{Bits, sample},
};
use crate::{
    balance::hash,
    config::scenario::{Arrivals, Bursts, Clients, Distribution, Scenario},
};
use rand_distr::{Distribution as _, Zipf};

/// What all algorithms share of the traffic: the log, if there is one.
#[derive(Debug)]
pub struct Traffic {
    log: Option<log::Log>,
}

impl Traffic {
    /// Reads the log of `scenario`, if it has one.
    ///
    /// # Errors
    /// It cannot be read, or has a line that is none of ours.
    pub fn load(scenario: &Scenario) -> Result<Self, LogError> {
        let log = match &scenario.arrivals {
            Arrivals::Poisson { .. } => None,
            Arrivals::Log { file, speed } => Some(log::Log::load(file, *speed)?),
        };
        Ok(Self { log })
    }

    /// From the first request of the log to the last, in nanoseconds.
    pub(super) fn length(&self) -> Option<u64> {
        self.log.as_ref().map(|log| log.lines.last().map_or(0, |last| last.at + 1))
    }

    /// How many clients there are.
    pub(super) fn clients(&self, scenario: &Scenario) -> u32 {
        self.log.as_ref().map_or(scenario.clients.count, |log| log.clients.len() as u32)
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// When, in nanoseconds.
    pub(super) at: u64,
    /// Whose it is, from 0.
    pub(super) client: u32,
    /// By which it is hashed.
    pub(super) key: u64,
    /// Bytes of its answer.
    pub(super) size: u64,
    /// How long the log says that it took; 0 = there is no log.
    pub(super) service: u64,
    /// Its own randomness: it wants the same work whatever the algorithm does.
    pub(super) random: u64,
}

/// All requests of a simulation, one after the other.
pub(super) struct Stream<'t> {
    source: Source<'t>,
    end: u64,
    bits: Bits,
    sizes: Distribution,
}

enum Source<'t> {
    Poisson(Poisson),
    Log { log: &'t log::Log, next: usize },
}

impl<'t> Stream<'t> {
    pub(super) fn new(scenario: &Scenario, traffic: &'t Traffic) -> Self {
        let source = match (&traffic.log, &scenario.arrivals) {
            (Some(log), _) => Source::Log { log, next: 0 },
            (None, Arrivals::Poisson { rate, bursts }) => {
                Source::Poisson(Poisson::new(*rate, *bursts, scenario.clients))
            }
            (None, Arrivals::Log { .. }) => unreachable!("`Traffic::load` has read the log"),
        };
        let bits = Bits::new(scenario.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Self { source, end: end(scenario, traffic), bits, sizes: scenario.response }
    }

    /// The next one; `None`: that was the last.
    pub(super) fn next(&mut self) -> Option<Arrival> {
        let arrival = match &mut self.source {
            Source::Poisson(poisson) => {
                let at = poisson.next(&mut self.bits, self.end)?;
                let client = poisson.client(&mut self.bits);
                let size = sample(self.sizes, &mut self.bits) as u64;
                Arrival { at, client, key: hash(&client.to_le_bytes()), size, service: 0, random: self.bits.next() }
            }
            Source::Log { log, next } => {
                let Logged { at, client, size, service } = *log.lines.get(*next)?;
                *next += 1;
                Arrival { at, client, key: log.clients[client as usize], size, service, random: self.bits.next() }
            }
        };
        (arrival.at < self.end).then_some(arrival)
    }
}

/// A Poisson process whose rate changes in steps: the time to the next is drawn anew at each step, which is exact, as it
/// has no memory.
struct Poisson {
    /// Requests a nanosecond.
    rate: f64,
    bursts: Option<Steps>,
    now: u64,
    clients: u32,
    zipf: Option<Zipf<f64>>,
}

/// Bursts, in nanoseconds.
#[derive(Clone, Copy)]
struct Steps {
    factor: f64,
    every: u64,
    length: u64,
}

impl Poisson {
    fn new(rate: f64, bursts: Option<Bursts>, clients: Clients) -> Self {
        let steps =
            |bursts: Bursts| Steps { factor: bursts.factor, every: nanos(bursts.every), length: nanos(bursts.length) };
        let zipf = (clients.zipf > 0.0).then(|| Zipf::new(f64::from(clients.count), clients.zipf));
        Self {
            rate: rate / 1e9,
            bursts: bursts.map(steps),
            now: 0,
            clients: clients.count,
            zipf: zipf.map(|zipf| zipf.expect("at least one client, and an exponent of at least 0")),
        }
    }

    /// `None` = not before `end`.
    fn next(&mut self, bits: &mut Bits, end: u64) -> Option<u64> {
        while self.now < end {
            let (factor, step) = self.bursts.map_or((1.0, u64::MAX), |steps| steps.at(self.now));
            // More than 2^64 is no time at all.
            let at = self.now.saturating_add((bits.gap() / (self.rate * factor)) as u64);
            if at < step {
                self.now = at;
                return Some(at);
            }
            self.now = step;
        }
        None
    }

    fn client(&mut self, bits: &mut Bits) -> u32 {
        match &self.zipf {
            // From 1.
            Some(zipf) => zipf.sample(bits) as u32 - 1,
            None => bits.below(u64::from(self.clients)) as u32,
        }
    }
}

impl Steps {
    /// How many times as often at `now`, and when that ends.
    fn at(self, now: u64) -> (f64, u64) {
        let phase = now % self.every;
        match phase < self.length && now >= self.every {
            true => (self.factor, now - phase + self.length),
            false => (1.0, now - phase + self.every),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn stream(text: &str) -> Vec<Arrival> {
        let scenario = testing::scenario(text);
        let traffic = Traffic::load(&scenario).unwrap();
        let mut stream = Stream::new(&scenario, &traffic);
        std::iter::from_fn(|| stream.next()).collect()
    }

    fn within(arrivals: &[Arrival], from: f64, to: f64) -> f64 {
        arrivals.iter().filter(|one| (from * 1e9..to * 1e9).contains(&(one.at as f64))).count() as f64
    }

    #[test]
    fn they_come_at_the_rate_and_in_bursts() {
        let all = stream(
            "duration = \"100s\"\narrivals = { rate = \"1000/s\", bursts = { factor = 5, every = \"50s\", for = \"10s\" } }",
        );
        assert!(all.is_sorted_by_key(|arrival| arrival.at));
        for (from, to, wanted) in [(0.0, 50.0, 50_000.0), (50.0, 60.0, 50_000.0), (60.0, 100.0, 40_000.0)] {
            let count = within(&all, from, to);
            assert!((count - wanted).abs() < 4.0 * f64::sqrt(wanted), "{count} for {wanted} from {from} to {to}");
        }
        // Counts of a Poisson process vary as much as their mean.
        let seconds: Vec<f64> = (0..50).map(|at| within(&all, f64::from(at), f64::from(at + 1))).collect();
        let variance = seconds.iter().map(|count| (count - 1000.0).powi(2)).sum::<f64>() / 50.0;
        assert!((500.0..1700.0).contains(&variance), "{variance}");
    }

    #[test]
    fn a_pause_is_a_burst_of_nothing() {
        let all = stream(
            "duration = \"25s\"\narrivals = { rate = \"100/s\", bursts = { factor = 0, every = \"10s\", for = \"5s\" } }",
        );
        assert_eq!(within(&all, 10.0, 15.0) + within(&all, 20.0, 25.0), 0.0);
        assert!(within(&all, 15.0, 20.0) > 400.0);
    }

    #[test]
    fn few_clients_make_most_requests() {
        let all = stream(
            "duration = \"20s\"\narrivals = { rate = \"1000/s\" }\nclients = { count = 100, zipf = 1 }\n\
             response = { size = \"3KiB\" }",
        );
        let of = |client| all.iter().filter(|one| one.client == client).count() as f64;
        assert!((of(0) / of(9) - 10.0).abs() < 2.5, "{} to {}", of(0), of(9));
        assert!(all.iter().all(|one| one.client < 100 && one.size == 3072 && one.service == 0));
        assert!(all.iter().all(|one| one.key == hash(&one.client.to_le_bytes())));
    }
}
