//! What backends say of themselves in their responses: heard where the pool wants to know, and kept from clients in any
//! case (PRODUCT.md section 8). Hot path: without such a field it costs two looks at known names.

use super::attempt::Attempt;
use crate::http::{Head, Name, orca};
use tokio::time::Instant;

impl Attempt<'_> {
    /// Reads what the head of a response says of its backend, and takes it out. Reports in trailers and in the binary form,
    /// which gRPC's servers send, are taken out alone.
    pub(super) fn hear(&self, head: &mut Head) {
        let speaks = head.has(Name::EndpointLoadMetrics);
        if let Some(load) = self.pool.custom_load.as_deref()
            && load.is_in_responses()
            && (speaks || !load.is_expected())
        {
            let now = self.way.local.micros(Instant::now());
            load.expect(now);
            if speaks {
                load.hear(self.lease.backend(), now, |say| {
                    head.all(Name::EndpointLoadMetrics).for_each(|value| orca::read(value, say));
                });
            }
        }
        strip(head);
    }
}

/// No client is told of it.
pub(super) fn strip(head: &mut Head) {
    head.remove(Name::EndpointLoadMetrics);
    head.remove(Name::EndpointLoadMetricsBin);
}
