//! A call that is open goes on over reloads, silent or not, while its pool and its backend stay.

use std::time::Duration;

use super::{Backend, Caller, open, pool, text};
use crate::support::{Process, Setup, h2};

fn setup(backends: &[&Backend], timeout: &str) -> Setup {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address()).collect();
    let lines = format!("body_timeout = \"200ms\"\nresponse_timeout = {timeout:?}\ntunnel_timeout = \"1m\"");
    let setup = pool(&addresses, &lines).server("drain_timeout = \"200ms\"");
    setup.listener("body_timeout = \"200ms\"\nidle_timeout = \"200ms\"")
}

#[test]
fn a_stream_survives_reloads_and_silences() {
    let (backend, other) = (Backend::start(), Backend::start());
    let evenkeel: Process = setup(&[&backend], "5s").spawn();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        for turn in 0..4 {
            say.send(text(turn.to_string())).await.unwrap();
            assert_eq!(heard.message().await.unwrap(), Some(text(turn.to_string())));
            // Settings change, another backend comes and goes; the call's own stays.
            let changed = match turn % 2 {
                0 => setup(&[&backend, &other], "6s"),
                _ => setup(&[&backend], "7s"),
            };
            evenkeel.reload(&changed.toml());
            // Longer than every bound but the tunnel's, and than a drain.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        say.send(text("last")).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("last")));
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);
        assert_eq!(caller.say("and new ones").await.unwrap(), "and new ones");
    });
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
    assert_eq!(backend.calls() + other.calls(), 2);
}

#[test]
fn a_stream_whose_backend_is_taken_out_is_ended() {
    let (backend, other) = (Backend::start(), Backend::start());
    let evenkeel: Process = setup(&[&backend], "5s").spawn();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        say.send(text("hello")).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("hello")));
        evenkeel.reload(&setup(&[&other], "5s").toml());
        heard.message().await.unwrap_err();
        drop(say);
        assert_eq!(caller.say("elsewhere").await.unwrap(), "elsewhere");
    });
    assert_eq!((backend.calls(), other.calls()), (1, 1));
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[("reason", "draining")]), 1.0);
}
