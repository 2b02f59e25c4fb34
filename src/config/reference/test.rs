//! What `[[test]]` says of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    kinds::{Count, Many, Method, Name, Or},
    route::Text,
};

/// A request, and what should become of it. `evenkeel check` asks, and so does every start and every reload: where one is
/// not as expected nothing starts, and what is in force stays (exit code 3). Nothing is sent anywhere: routes and policies
/// are asked as they are for requests, by the same code; `evenkeel explain` says why.
#[derive(JsonSchema)]
pub(super) struct Test {
    /// What messages call it. Default: its method and URL.
    #[schemars(extend("examples" = ["api goes to api"]))]
    name: Name,
    #[schemars(extend("x-required" = true))]
    request: Sample,
    #[schemars(extend("x-required" = true))]
    expect: Expect,
}

/// What is asked about.
#[derive(JsonSchema)]
pub(super) struct Sample {
    /// The method. Default: GET.
    #[schemars(extend("examples" = ["POST"]))]
    method: Method,
    /// Scheme, host and path; with a port, the listener that has it is asked, else the first that speaks TLS or does not, as
    /// the scheme says. A path alone names no host. For CONNECT host:port.
    #[schemars(extend("examples" = ["https://api.example.com/v1/x"], "x-required" = true))]
    url: String,
    /// Further headers: text, or a list where there are several of one name. A credential is taken for good where it is shown.
    #[schemars(extend("examples" = [{"x-tier": "gold"}]))]
    headers: BTreeMap<String, Many<String>>,
    /// Who connects: an IP address, or "unix". One of `trusted_proxies` is believed its X-Forwarded-For. Default: 192.0.2.1,
    /// which is nobody's.
    #[schemars(extend("examples" = ["10.0.0.1"]))]
    from: String,
}

/// What is expected; what is not named may be as it likes.
#[derive(JsonSchema)]
pub(super) struct Expect {
    /// The route that it takes.
    #[schemars(extend("examples" = ["api"]))]
    route: String,
    /// The pool that it goes to. Where chance decides between several, none can be expected.
    #[schemars(extend("examples" = ["api"]))]
    pool: String,
    /// The status of an answer of ours: redirect, respond, a preflight's, 401, 403, 404. A backend's cannot be known.
    #[schemars(extend("examples" = [404]))]
    status: Count<100, 599>,
    /// Where a redirect leads to.
    #[schemars(extend("examples" = ["https://www.example.com/"]))]
    location: String,
    /// Headers of the answer, matched as in a route's `header`: all of an answer of ours; of a backend's those that
    /// `response_headers` makes.
    #[schemars(extend("examples" = [{"x-frame-options": "DENY"}]))]
    header: BTreeMap<String, Or<String, Text>>,
}
