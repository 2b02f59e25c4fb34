//! A ramp never falls, never stops and never gives a backend nothing, whatever happens to it and whenever it is looked at.

use std::time::Duration;

use evenkeel::{pool::SlowStart, telemetry::metrics::State};
use tokio::time::Instant;

use super::{Dice, sweep};

#[test]
fn a_ramp_grows_from_a_tenth_to_all_in_its_time() {
    sweep(2_000, |dice| {
        let (slow, mut now) = (SlowStart::default(), Instant::now());
        let time = Duration::from_millis(1 + dice.below(100_000));
        let mut begun: Option<(Instant, f64)> = None;
        let founds = dice.one_in(2);
        let mut first = true;
        for _ in 0..200 {
            now += Duration::from_millis(dice.below(1 + dice.0 % 3_000));
            let away = [State::Down, State::Drain, State::Maintenance, State::Ejected];
            let state = if dice.one_in(5) { dice.pick(&away) } else { dice.pick(&[State::Ready, State::Degraded]) };
            let share = slow.stands(state, first && founds, Some(time), now);
            assert!(share > 0.0 && share <= 1.0, "{share}");
            if state.is_up() {
                let ramps = begun.is_some() || !(first && founds);
                let (since, before) = *begun.get_or_insert((now, 0.0));
                if ramps && since + time > now && !(founds && before == 1.0) {
                    let wanted = 0.1 + 0.9 * (now - since).as_secs_f64() / time.as_secs_f64();
                    assert!((share - wanted).abs() < 1e-9 && share >= before, "{share} for {wanted} after {before}");
                } else {
                    assert_eq!(share, 1.0, "it is over, or there was none");
                }
                begun = Some((since, share));
                let next = slow.next_step(Some(time), now);
                assert_eq!(next.is_some(), share < 1.0 || ramps && since + time > now && before < 1.0);
                assert!(next.is_none_or(|next| next >= Duration::from_millis(250)), "no faster than that: {next:?}");
            } else {
                begun = None;
                assert_eq!(slow.next_step(Some(time), now), None, "who is away needs no table");
            }
            first = false;
        }
    });
}

#[test]
fn it_ends_when_it_is_looked_at_as_often_as_it_asks_for() {
    sweep(500, |dice: &mut Dice| {
        let (slow, start) = (SlowStart::default(), Instant::now());
        let time = Duration::from_millis(1 + dice.below(3_600_000));
        let (mut now, mut looks) = (start, 0);
        slow.stands(State::Ready, false, Some(time), now);
        while let Some(step) = slow.next_step(Some(time), now) {
            // Control may come late.
            now += step + Duration::from_millis(dice.below(100));
            slow.stands(State::Ready, false, Some(time), now);
            looks += 1;
            assert!(looks <= 21, "twenty steps, and no more");
        }
        assert_eq!(slow.stands(State::Ready, false, Some(time), now), 1.0);
        assert!(now - start >= time, "not before its time");
    });
}
