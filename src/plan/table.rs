//! Which backends of a pool make today's table: what their checks say, operators, and circuits. Called by control, whenever
//! one of them has something new, or time brings it.

use super::{Member, Pool};
use crate::{
    balance::Member as Share,
    error::Kind,
    pool::{Backend, Build, Circuit, Ordered, Table},
    telemetry::metrics::State,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The share of its weight that a backend with slow checks has.
const DEGRADED: f64 = 0.5;

/// A backend, and what it is now.
struct Standing<'p> {
    member: &'p Member,
    state: State,
    /// In hundredths.
    weight: u32,
    /// It is ejected, and takes trials.
    trials: bool,
}

/// Who makes a table, with weights in hundredths.
struct Chosen {
    usable: Vec<(Arc<Backend>, u32)>,
    /// Backups that stand by while others serve.
    spare: Vec<(Arc<Backend>, u32)>,
    /// Nobody is fit, and there is nobody else.
    last_resort: bool,
}

impl Pool {
    /// The state of `member` now.
    pub fn state(&self, member: &Member) -> State {
        match self.checked(member) {
            state if state.is_up() && self.circuit(member) != Circuit::Closed => State::Ejected,
            state => state,
        }
    }

    /// What the circuit of `member` does; closed where backends have none of their own.
    pub fn circuit(&self, member: &Member) -> Circuit {
        let own = self.guard.as_ref().is_some_and(|guard| !guard.whole);
        if own { member.backend.breaker.circuit() } else { Circuit::Closed }
    }

    /// Why `member` is in its state, for people; empty = nothing to say.
    pub fn reason(&self, member: &Member) -> String {
        let (backend, verdict) = (&member.backend, member.backend.health.verdict());
        match backend.ordered() {
            Ordered::Ready if backend.is_unresolved() => "dns".to_owned(),
            Ordered::Drain | Ordered::Maintenance => "admin".to_owned(),
            Ordered::Ready if self.state(member) == State::Ejected => backend.breaker.look().1,
            Ordered::Ready if backend.outlier.is_one() && verdict.reason.is_empty() => "latency outlier".to_owned(),
            Ordered::Ready => verdict.reason,
        }
    }

    /// The state of `member`, but for its circuit.
    fn checked(&self, member: &Member) -> State {
        match member.backend.ordered() {
            Ordered::Drain => State::Drain,
            Ordered::Maintenance => State::Maintenance,
            Ordered::Ready if member.backend.is_unresolved() => State::Down,
            Ordered::Ready if self.checks.is_empty() => State::Ready,
            Ordered::Ready => match member.backend.health.verdict() {
                verdict if verdict.up == Some(true) && verdict.degraded => State::Degraded,
                verdict if verdict.up == Some(true) => State::Ready,
                verdict if verdict.up == Some(false) => State::Down,
                _ if self.initially_up => State::Ready,
                _ => State::Starting,
            },
        }
    }

    /// Why nobody of it can be chosen: `dns` where names that have never resolved are all there is, else `no_backend`.
    pub fn nobody(&self) -> Kind {
        let mut in_use = self.members.iter().filter(|member| member.backend.ordered() == Ordered::Ready).peekable();
        let waits = self.discovers.as_ref().is_some_and(|question| !question.is_answered());
        let has_names = waits || in_use.peek().is_some();
        if has_names && in_use.all(|member| member.backend.is_unresolved()) { Kind::Dns } else { Kind::NoBackend }
    }

    /// Leaves `member` alone for being slow, if that may be. True if it is out now.
    pub fn eject_slow(&self, member: &Member, micros: u64) -> bool {
        let Some(guard) = self.guard.as_deref().filter(|guard| !guard.whole) else { return false };
        self.slot.eject(&member.backend, guard, micros, self.outlier.lasts)
    }

    /// Makes the table that backends' states and weights make now, and publishes it: those of the first tier that can
    /// serve, and with them those that are tried again; else backups that can; else those that are ejected, or, with
    /// `when_all_down = "try_any"`, all that are not drained. Gives the table before it. Control alone calls it, and once
    /// more after [`Pool::next_step`].
    pub fn refresh(&self, now: Instant) -> Arc<Table> {
        let founds = self.slot.version() == 0;
        self.step(now);
        let standing: Vec<_> = self.members.iter().map(|member| self.stand(member, founds, now)).collect();
        let all_down = !standing.iter().any(|one| one.state.is_up() || one.state == State::Ejected);
        let Chosen { usable: chosen, spare, last_resort } = self.choose(&standing, all_down);
        let holds = |one: &&Standing<'_>| match one.state {
            State::Drain => {
                let backend = &one.member.backend;
                backend.health.verdict().up != Some(false) && !backend.drain.is_over(now)
            }
            state => state.is_up() && one.weight == 0,
        };
        let held: Vec<_> = standing.iter().filter(holds).map(|one| Arc::clone(&one.member.backend)).collect();
        for one in &standing {
            let serves = one.state.is_up() || one.trials || last_resort && one.state == State::Ejected;
            one.member.backend.stands(one.state, if serves { one.weight } else { 0 });
            one.member.backend.load.set_most(self.most(one.member));
        }
        let usable = |one: &&Standing<'_>| one.weight > 0 && self.checked(one.member).is_up();
        self.slot.ejections.settle(|| {
            let usable = standing.iter().filter(usable);
            usable.fold((0, 0), |(all, out), one| {
                (all + 1, out + usize::from(self.circuit(one.member) != Circuit::Closed))
            })
        });
        self.tell_all_down(all_down, founds);
        let table = Build {
            algorithm: self.algorithm,
            sticky: self.sticky.as_ref().map(|_| self.bound),
            usable: &chosen,
            held: &held,
            spare: &spare,
            guard: self.guard.as_ref(),
            last_resort,
            common: &self.slot.common,
        };
        let before = self.slot.publish(Table::new(&table));
        self.slot.attend();
        before
    }

    /// Says so when nobody of it is left to serve, and when somebody is again.
    fn tell_all_down(&self, all_down: bool, founds: bool) {
        let before = self.slot.metrics.set_all_down(all_down);
        match (before, all_down) {
            (false, true) if !founds => tracing::error!(pool = self.name, "no backend of the pool can serve"),
            (true, false) if !founds => tracing::info!(pool = self.name, "a backend of the pool can serve again"),
            _ => {}
        }
    }

    /// How soon its table should be made anew because backends are on their way to their whole weight, or circuits to
    /// trials, or because a drain's deadline comes; `None`: none is.
    pub fn next_step(&self, now: Instant) -> Option<Duration> {
        let micros = self.slot.micros(now);
        let ramp = |member: &Member| member.backend.slow_start.next_step(self.slow_start, now);
        let circuit = |member: &Member| member.backend.breaker.next_step(micros);
        let circuits = self.members.iter().filter_map(circuit).chain(self.slot.circuit.next_step(micros)).min();
        // A moment later rather than a moment early.
        let circuits = circuits.map(|micros| Duration::from_micros(micros + 1));
        let drain = |member: &Member| Some(member.backend.drain.pending()?.saturating_duration_since(now));
        let drains = self.members.iter().filter_map(drain);
        self.members.iter().filter_map(ramp).chain(circuits).chain(drains).min()
    }

    /// Circuits come to what time and checks have brought; those that nobody wants any more are closed.
    fn step(&self, now: Instant) {
        let micros = self.slot.micros(now);
        let guard = self.guard.as_deref();
        for member in &self.members {
            let backend = &member.backend;
            match guard.filter(|guard| !guard.whole) {
                Some(guard) => {
                    // The look at the verdict is worth a lock where the circuit is not closed.
                    if backend.breaker.circuit() != Circuit::Closed {
                        let change = backend.breaker.step(&guard.rules, micros, backend.health.verdict().up);
                        self.slot.tell(Some(backend), &backend.breaker, change);
                    }
                }
                None => drop(backend.breaker.forget()),
            }
        }
        match guard.filter(|guard| guard.whole) {
            Some(guard) => {
                let change = self.slot.circuit.step(&guard.rules, micros, None);
                self.slot.tell(None, &self.slot.circuit, change);
            }
            None => drop(self.slot.circuit.forget()),
        }
    }

    fn stand<'p>(&self, member: &'p Member, founds: bool, now: Instant) -> Standing<'p> {
        let state = self.state(member);
        let share = member.backend.slow_start.stands(state, founds, self.slow_start, now);
        let share = if state == State::Degraded { share * DEGRADED } else { share };
        let trials = state == State::Ejected && self.circuit(member) == Circuit::HalfOpen;
        Standing { member, state, weight: hundredths(weight(member), share), trials }
    }

    /// Who can be chosen.
    fn choose(&self, standing: &[Standing<'_>], all_down: bool) -> Chosen {
        let tier = |backup: bool, fits: &dyn Fn(&Standing<'_>) -> bool| -> Vec<(Arc<Backend>, u32)> {
            // A name that has never resolved leads nowhere, whatever may be tried.
            let known = standing.iter().filter(|one| !one.member.backend.is_unresolved());
            let of_tier = known.filter(|one| one.member.backup == backup && fits(one));
            of_tier.map(|one| (Arc::clone(&one.member.backend), one.weight)).collect()
        };
        let usable = |list: &[(Arc<Backend>, u32)]| list.iter().any(|(_, weight)| *weight > 0);
        let is_up = |one: &Standing<'_>| one.state.is_up();
        let trials = |one: &Standing<'_>| one.trials;
        for backup in [false, true] {
            let mut chosen = tier(backup, &is_up);
            if usable(&chosen) {
                // Those of the first tier come back through trials, also while backups serve.
                chosen.extend(tier(false, &trials));
                chosen.extend(tier(true, &|one| backup && one.trials));
                let spare = if backup { Vec::new() } else { tier(true, &is_up) };
                return Chosen { usable: chosen, spare, last_resort: false };
            }
        }
        let undrained = |one: &Standing<'_>| !matches!(one.state, State::Drain | State::Maintenance);
        if all_down && self.try_any {
            let mut chosen = tier(false, &undrained);
            chosen.extend(tier(true, &undrained));
            return Chosen { usable: chosen, spare: Vec::new(), last_resort: true };
        }
        let ejected = |one: &Standing<'_>| one.state == State::Ejected;
        let first = tier(false, &ejected);
        let usable = if usable(&first) { first } else { tier(true, &ejected) };
        Chosen { usable, spare: Vec::new(), last_resort: true }
    }
}

/// An operator's, or the file's.
fn weight(member: &Member) -> u32 {
    member.backend.ordered_weight().unwrap_or(member.weight)
}

/// A weight as tables have it. A share makes nobody's weight nothing.
fn hundredths(weight: u32, share: f64) -> u32 {
    let whole = weight * Share::UNIT;
    ((f64::from(whole) * share).round() as u32).max(whole.min(1))
}
