//! `health_check = { type = "grpc" }`: a service says by itself whether it serves.

use serde_json::Value;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::health_reporter};

use super::{Backend, pool};
use crate::support::{Evenkeel, h2, told, wait_for};

/// A quick check of `service`.
fn check(service: &str) -> String {
    let quick = "interval = \"20ms\", interval_down = \"20ms\", unhealthy_threshold = 2, initial_state = \"down\"";
    format!("health_check = {{ type = \"grpc\", service = {service:?}, {quick} }}")
}

fn seen(evenkeel: &Evenkeel) -> (String, String) {
    let pools = told(evenkeel.admin(), "/api/v1/pools");
    let backend = &pools["pools"][0]["backends"][0];
    let word = |key: &str| backend.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    (word("state"), word("reason"))
}

#[track_caller]
fn becomes(evenkeel: &Evenkeel, state: &str, reason: &str) {
    wait_for(&format!("the backend is {state} {reason}"), || seen(evenkeel) == (state.to_owned(), reason.to_owned()));
}

#[test]
fn a_backend_comes_and_goes_as_its_service_says() {
    let (reporter, health) = health_reporter();
    let backend = Backend::of(Routes::new(health));
    let evenkeel = pool(&[backend.address()], &check("shop.v1.Orders")).start();
    becomes(&evenkeel, "down", "service is not known");
    for (status, state, reason) in [
        (ServingStatus::Serving, "ready", ""),
        (ServingStatus::NotServing, "down", "not serving"),
        (ServingStatus::Serving, "ready", ""),
    ] {
        h2::run(reporter.set_service_status("shop.v1.Orders", status));
        becomes(&evenkeel, state, reason);
    }
    let up = evenkeel.metric("evenkeel_backend_up", &[("pool", "web")]);
    assert_eq!(up, 1.0);
}

#[test]
fn the_server_as_a_whole_is_asked_for_by_default_and_its_end_is_seen() {
    let (_reporter, health) = health_reporter();
    let mut backend = Backend::of(Routes::new(health));
    let evenkeel = pool(&[backend.address()], &check("")).start();
    becomes(&evenkeel, "ready", "");
    backend.kill();
    becomes(&evenkeel, "down", "connection refused");
}

#[test]
fn a_server_without_the_service_is_down_and_says_why() {
    let backend = Backend::start();
    let evenkeel = pool(&[backend.address()], &check("")).start();
    becomes(&evenkeel, "down", "grpc.health.v1 is not implemented");
}
