//! Who a request comes from (`auth` of a route). Called by `policies`.

mod jwks;
#[cfg(test)]
mod testing;
mod token;
