//! What travels beside messages: metadata, and the status of an error with all that belongs to it.

use tonic::codegen::{BoxStream, tokio_stream};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};

use super::{Backend, Caller, in_front_of, text};
use crate::support::h2;

/// Bytes that are no text.
const BYTES: [u8; 5] = [0, 255, 10, 13, 128];

#[test]
fn metadata_passes_both_ways_as_text_and_as_bytes() {
    let backend = Backend::start();
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let mut request = Request::new(text("hello"));
        request.metadata_mut().append("x-many", "one".parse().unwrap());
        request.metadata_mut().append("x-many", "two".parse().unwrap());
        request.metadata_mut().insert_bin("x-bytes-bin", MetadataValue::from_bytes(&BYTES));
        let answer = caller.unary("Say", request).await.unwrap();
        let many: Vec<_> = answer.metadata().get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"]);
        assert_eq!(answer.metadata().get_bin("x-bytes-bin").unwrap().to_bytes().unwrap(), &BYTES[..]);
        // What evenkeel tells the backend is metadata, too.
        assert_eq!(answer.metadata().get("x-forwarded-for").unwrap(), "127.0.0.1");
    });
}

fn told() -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "quota".parse().unwrap());
    metadata.insert_bin("x-why-bin", MetadataValue::from_bytes(&BYTES));
    metadata
}

fn check(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "zu viel: 100 % verbraucht, schöne Grüße"));
    assert_eq!(status.details(), BYTES);
    assert_eq!(status.metadata().get("x-why").unwrap(), "quota");
    assert_eq!(status.metadata().get_bin("x-why-bin").unwrap().to_bytes().unwrap(), &BYTES[..]);
    assert_eq!(status.metadata().get("proxy-status"), None, "it is no error of evenkeel's");
}

#[test]
fn a_status_passes_with_its_message_details_and_metadata_alone_and_after_messages() {
    let backend = Backend::with(|method, _| async move {
        let message = "zu viel: 100 % verbraucht, schöne Grüße";
        let status = Status::with_details_and_metadata(Code::ResourceExhausted, message, BYTES.to_vec().into(), told());
        if method == "Refuse" {
            return Err(status);
        }
        let some: BoxStream<_> = Box::pin(tokio_stream::iter([Ok(text("one")), Err(status)]));
        Ok(Response::new(some))
    });
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        check(&caller.unary("Refuse", Request::new(text(""))).await.unwrap_err());
        let mut heard = caller.listen("Begin", "").await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("one")));
        check(&heard.message().await.unwrap_err());
    });
    evenkeel.assert_no_failure();
    // Over HTTP it went well.
    assert_eq!(evenkeel.metric("evenkeel_requests_total", &[("code", "200")]), 2.0);
}
