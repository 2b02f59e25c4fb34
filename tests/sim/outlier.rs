//! Who is told to be slow has been, without a break; medians agree with sorted lists; and 10,000 backends take no time.

use std::time::Instant;

use evenkeel::pool::{News, Outlier, OutlierRule, judge};

use super::sweep;

#[test]
fn those_who_are_far_above_the_median_of_the_others_are_found() {
    sweep(2_000, |dice| {
        let count = dice.below(12) as usize;
        let time = |dice: &mut super::Dice| (!dice.one_in(6)).then(|| (1_000 + dice.below(100_000)) as f32);
        let times: Vec<_> = (0..count).map(|_| time(dice)).collect();
        let rule = OutlierRule { factor: 1.0 + dice.below(500) as f32 / 100.0, lasts: 1 };
        for (at, far) in judge(&times, &rule).into_iter().enumerate() {
            let mut others: Vec<f32> =
                times.iter().enumerate().filter(|(other, _)| *other != at).filter_map(|(_, time)| *time).collect();
            others.sort_by(f32::total_cmp);
            let median = others.get(others.len().saturating_sub(1) / 2).copied();
            let wanted = times[at]
                .zip(median)
                .is_some_and(|(own, median)| own > median * rule.factor && own - median >= 10_000.0);
            assert_eq!(far, wanted, "{at} of {times:?} by {rule:?}");
        }
    });
}

#[test]
fn it_begins_and_ends_after_its_time_without_a_break() {
    sweep(2_000, |dice| {
        let (outlier, rule) = (Outlier::default(), OutlierRule { factor: 3.0, lasts: 30 + dice.below(30) });
        let (mut now, mut run, mut is) = (0, None::<(bool, u64)>, false);
        let calm = dice.pick(&[2, 20, 60]);
        let mut far = false;
        for _ in 0..500 {
            now += 1;
            far ^= dice.one_in(calm);
            run = run.filter(|(which, _)| *which == far).or(Some((far, now)));
            let lasted = now - run.unwrap().1 >= rule.lasts;
            let wanted = (far != is && lasted).then_some(if far { News::Begins } else { News::Ends });
            assert_eq!(outlier.look(far, &rule, now), wanted);
            is = if wanted.is_some() { far } else { is };
            assert_eq!(outlier.is_one(), is);
        }
    });
}

#[test]
fn ten_thousand_backends_are_compared_in_no_time() {
    let times: Vec<_> = (0..10_000_u64).map(|number| Some((number * 7_919 % 10_007 * 10) as f32)).collect();
    let (rule, start) = (OutlierRule { factor: 1.5, lasts: 1 }, Instant::now());
    assert!(judge(&times, &rule).iter().any(|far| *far));
    let took = start.elapsed();
    println!("10,000 backends: {took:?}");
    // Without optimisation, on a machine that has other things to do; 5 ms is what control has.
    assert!(took.as_millis() < 250, "{took:?}");
}
