//! Which trace a request says it is of, so that a line of the log can tell it. Called where something is logged, not before.

use super::{Head, Name};
use crate::telemetry::trace::{TraceId, parse};

/// The trace of `request`; after ours has begun, that is the one in both logs.
pub fn trace_id(request: &Head) -> TraceId {
    let parent = request.get(Name::Traceparent).and_then(parse);
    TraceId(parent.map(|parent| parent.trace).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_its_first_field_if_that_can_be_read() {
        let mut head = Head::default();
        assert_eq!(trace_id(&head), TraceId::default());
        head.add(Name::Traceparent, b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace_id(&head).to_string(), "0af7651916cd43dd8448eb211c80319c");
        head.remove(Name::Traceparent);
        head.add(Name::Traceparent, b"nonsense");
        assert_eq!(trace_id(&head), TraceId::default());
    }
}
