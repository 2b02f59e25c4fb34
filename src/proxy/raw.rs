//! CONNECT where a route allows it (RFC 9110 section 9.3.6): a connection of its own to a backend becomes a tunnel. The
//! CONNECT itself is not sent. Called by `forward`, which has chosen the backend and connected to it.

use super::{Record, Way, attempt::Outcome, meter::Meter, trace, tunnel};
use crate::{
    dial::Connection,
    error::Kind,
    http::{Exchange, Framing, Inlet, body::Outlet, exchange::Announced, guard::Upgrade, h1::Writer},
    plan::Pool,
    pool::Lease,
};
use tokio::time::Instant;

/// Answers 200 and runs the tunnel between `exchange`'s client and `connection`, which ends with it.
pub(super) async fn run(
    way: &Way<'_>,
    pool: &Pool,
    (lease, meter): (&Lease<'_>, &Meter<'_>),
    exchange: &mut Exchange<'_>,
    connection: Connection,
    record: &mut Record,
) -> Outcome {
    let Connection::H1(own) = &connection else { return Outcome::Failed(Kind::Internal) };
    let mut head = way.local.spares.heads.take();
    head.begin_answer(200, "OK");
    record.status = 200;
    trace::answered(record, 200);
    lease.backend().metrics.attempt(way.local.worker, 200, None);
    record.again = false;
    lease.answered(200, way.local.micros(Instant::now()));
    lease.switched();
    way.edit_response(&mut head, &exchange.request, exchange.client, record);
    let announced = Announced { framing: Framing::None, length: None, upgrade: Some(Upgrade::Raw) };
    let staged = exchange.sink.head(&head, &announced);
    way.local.spares.heads.give(head);
    if staged.is_err() {
        record.failure = Some(Kind::ClientGone);
        return Outcome::Failed(Kind::ClientGone);
    }
    let ends = (Inlet::H1(&own.wire), Outlet::H1(Writer::new(&own.wire)));
    let (timeout, route) = (pool.settings.tunnel_timeout, &way.route.metrics);
    tunnel::run(exchange, ends, (way.local, meter), timeout, route, record).await
}
