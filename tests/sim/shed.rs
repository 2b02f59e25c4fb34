//! Load shedding (src/policy/shed.rs, src/policy/fit.rs): against a model, and a process whose allocator gives nothing back.

use evenkeel::config::Priority;
use evenkeel::policy::{Fit, Level, Shed};

use crate::{Dice, sweep};

const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

/// Requests come and go on some workers. Nobody is let in above his mark, nobody is refused who is a tenth and more below
/// it, and what has left is not counted.
#[test]
fn each_priority_has_its_mark() {
    sweep(300, |dice| {
        let workers = 1 + dice.below(4) as usize;
        let shed = Shed::new(workers);
        let mut inside: Vec<usize> = Vec::new();
        let (mut most, mut refused) = (None, 0);
        for _ in 0..2000 {
            if dice.one_in(200) {
                most = (!dice.one_in(5)).then(|| 1 + dice.below(60));
                shed.set(most, false);
            }
            if dice.below(100) < 52 || inside.is_empty() {
                let (worker, priority) = (dice.below(workers as u64) as usize, dice.pick(&ALL));
                let (held, let_in) = (inside.len() as u64, shed.admit(worker, priority));
                let Some(most) = most else {
                    assert!(let_in, "there is no mark");
                    inside.push(worker);
                    continue;
                };
                let tenth = most.div_ceil(10);
                let begins = match priority {
                    Priority::Low => (most - tenth).max(1),
                    Priority::Normal => most,
                    Priority::High => most + tenth,
                };
                assert!(!let_in || held < begins, "{priority:?} is let in with {held} of {most}");
                assert!(let_in || held + tenth > begins, "{priority:?} is refused with {held} of {most}");
                if let_in {
                    inside.push(worker);
                } else {
                    refused += 1;
                }
            } else {
                let worker = inside.swap_remove(dice.below(inside.len() as u64) as usize);
                shed.leave(worker);
            }
            assert_eq!((shed.in_flight(), shed.refused()), (inside.len() as u64, refused));
        }
        inside.drain(..).for_each(|worker| shed.leave(worker));
        shed.settle();
        assert_eq!((shed.in_flight(), shed.by_flight()), (0, Level::NONE));
    });
}

/// A process whose requests take memory each, and whose allocator gives all of it back, or nothing, or something.
struct Process {
    base: u64,
    each: u64,
    /// What of the memory that is free stays resident, in percent.
    keeps: u64,
    resident: u64,
}

impl Process {
    fn with(&mut self, in_flight: u64) -> u64 {
        let needed = self.base + in_flight * self.each;
        let free = self.resident.saturating_sub(needed);
        self.resident = needed + free * self.keeps / 100;
        self.resident
    }
}

/// Load comes in waves. Memory stays below its last end, and whatever has been: a load that fits is served in the end.
#[test]
fn memory_is_bounded_and_nobody_is_shed_for_ever() {
    sweep(300, |dice| {
        let mut process = Process {
            base: 100 + dice.below(300),
            each: 1 + dice.below(8),
            keeps: dice.pick(&[0, 50, 95, 99, 100]),
            resident: 0,
        };
        let (mark, last) = (1000, 1200 + dice.below(100));
        let (shed, mut fit) = (Shed::new(1), Fit::new(mark, last));
        shed.set(None, true);
        let (mut ends, mut top): (Vec<u64>, u64) = (Vec::new(), 0);
        // A tenth of a second each.
        let mut step = |now: u64, offered: u64, dice: &mut Dice| {
            ends.retain(|end| {
                let goes_on = *end > now;
                if !goes_on {
                    shed.leave(0);
                }
                goes_on
            });
            let mut refused = 0;
            for _ in 0..offered {
                if shed.admit(0, Priority::Normal) {
                    ends.push(now + 1 + dice.below(10));
                } else {
                    refused += 1;
                }
            }
            let resident = process.with(shed.in_flight());
            let (level, most) = fit.look(resident, shed.peak());
            shed.set_memory(level, most);
            top = top.max(resident);
            refused
        };
        // In flight are about six times as many: more than fit, by far.
        let wave = 1 + dice.below(40) * 8 / 10;
        let mut all_refused = 0;
        for now in 0..2000 {
            let offered = if now / 200 % 2 == 0 { now % 200 * wave / 200 } else { wave / 4 };
            all_refused += step(now, offered, dice);
        }
        // One request a second, for a while to recover, and for a while to be served.
        let mut late = 0;
        for now in 2000..3000 {
            let refused = step(now, u64::from(now % 10 == 0), dice);
            if now >= 2300 {
                late += refused;
            }
        }
        assert_eq!(late, 0, "a load that fits is shed, after {all_refused}");
        // What comes in a tenth of a second comes before anybody looks.
        let overshoot = wave * process.each;
        assert!(top <= last + overshoot, "{top} of {last} were held, {overshoot} may come between two looks");
    });
}
