//! `max_in_flight` and `queue` of a pool: how much its backends take at a time, and who waits then.

use super::super::{
    MaxInFlight, Pool, Queue, keys,
    report::Wrong,
    section::{Field, Section},
    values,
};

/// Each holds some memory.
const MAX_SIZE: u64 = 1_000_000;

/// A number, `"auto"` or `"off"`.
pub(super) fn max_in_flight(field: &Field<'_>) -> Result<MaxInFlight, Wrong> {
    const WHAT: &str = "a number up to 1000000000, \"auto\" or \"off\"";
    if field.value().as_str() == Some("auto") {
        return Ok(MaxInFlight::Auto);
    }
    match values::limit(field) {
        Ok(None) => Ok(MaxInFlight::Off),
        Ok(Some(most)) => Ok(MaxInFlight::Most(u32::try_from(most).expect("limits fit"))),
        Err(wrong) => Err(Wrong { message: values::wanted(field.value(), WHAT).message, ..wrong }),
    }
}

/// `queue` of `pool`, or its defaults; `"off"` and a size of 0 are none.
pub(super) fn queue(pool: &Section<'_>) -> Option<Queue> {
    let default = Queue::default();
    if pool.field("queue").is_some_and(|field| field.value().as_str() == Some("off")) {
        return None;
    }
    let Some(section) = pool.section("queue", &keys::QUEUE) else { return Some(default) };
    let queue = Queue {
        // "off" is 0 here: whoever wants no bound is not served by a longer line.
        size: section.read("size", default.size, values::count_or_off(MAX_SIZE)),
        timeout: section.read("timeout", default.timeout, values::timeout),
    };
    Some(queue).filter(|queue| queue.size > 0)
}

/// Warns of a queue that nobody will ever stand in.
pub(super) fn doubt(pool: &Pool, section: &Section<'_>) {
    let bound = |most: MaxInFlight| most != MaxInFlight::Off;
    let each = |most: Option<MaxInFlight>| bound(most.unwrap_or(pool.max_in_flight));
    let bounded = pool.max_connections.is_some() || pool.backends.iter().any(|backend| each(backend.max_in_flight));
    let own = pool.queue.is_some_and(|queue| queue != Queue::default());
    if let Some(field) = section.field("queue").filter(|_| own && !bounded) {
        let wrong = Wrong::new("no backend has a bound, so that nobody waits");
        field.warn(wrong.help("write max_in_flight = 100 as well, for example, or \"auto\""));
    }
}
