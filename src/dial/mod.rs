//! From a lease to a connection: kept ones first, new ones where none is left. One dialer a worker, shared with nobody.
//! Hot path.

mod connect;
mod idle;
mod place;
mod shared;

pub use connect::connect;
pub use idle::{Checkout, Connection, Dialer, Own};
pub use shared::{Dial, Room, Share, Shared};
