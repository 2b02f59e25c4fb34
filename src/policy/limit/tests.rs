//! What a route's limits say together.
