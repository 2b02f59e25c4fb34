//! What we would answer ourselves: made by the functions that make real answers.

use super::{Answer, Explanation, REQUEST_ID, Setting, Walk};
use crate::{
    config::{Respond, Template},
    error::Kind,
    http::{Head, grpc, reply},
    policy::{self, Values},
};

/// An answer of ours.
pub(super) enum Ours<'a> {
    /// It is refused so.
    Failure(Kind),
    /// The same over https.
    Https,
    /// Elsewhere, with that status.
    Redirect(&'a Template, u16),
    /// That status and no body: policies have said the rest.
    Empty(u16),
    /// What the route says.
    Respond(&'a Respond),
}

impl Walk<'_> {
    /// It is answered so, because of `why`.
    pub(super) fn answered(mut self, ours: Ours<'_>, why: impl Into<String>) -> Explanation {
        let (head, kind) = self.make(&ours);
        let mut why = why.into();
        if matches!(ours, Ours::Https | Ours::Redirect(..)) && kind.is_some() {
            why = format!("{why} needs a host, and the request names none");
        }
        self.said.answer = Some(Answer {
            status: Some(head.status()),
            word: kind.map(|kind| kind.word().to_owned()),
            why,
            location: head.find(b"location").map(|value| String::from_utf8_lossy(value).into_owned()),
            headers: fields(&head),
        });
        self.said
    }

    /// Its head, and the failure that it tells of.
    fn make(&self, ours: &Ours<'_>) -> (Head, Option<Kind>) {
        let values = Values { request: &self.head, facts: self.facts() };
        let (mut head, mut scratch, mut body) = (Head::default(), Vec::new(), Vec::new());
        let made = match ours {
            Ours::Failure(kind) => Err(*kind),
            Ours::Https => match policy::https_location(&self.head, &mut scratch) {
                true => {
                    policy::redirect_to(308, &scratch, &mut head);
                    Ok(())
                }
                // Who names no host cannot be sent anywhere.
                false => Err(Kind::BadRequest),
            },
            Ours::Redirect(to, status) => match policy::redirect(to, *status, &values, &mut head, &mut scratch) {
                true => Ok(()),
                false => Err(Kind::BadRequest),
            },
            Ours::Empty(status) => {
                policy::empty(*status, &mut head);
                Ok(())
            }
            Ours::Respond(respond) => {
                policy::respond(respond, &values, &mut head, &mut body);
                Ok(())
            }
        };
        if let Err(kind) = made {
            self.fail(kind, &mut head);
        }
        self.finish(&mut head, &values);
        (head, made.err())
    }

    fn fail(&self, kind: Kind, head: &mut Head) {
        let (via, status) = (&self.plan.via, kind.status());
        let failure = reply::Failure { kind, status, request_id: REQUEST_ID, via };
        if grpc::is_call(&self.head) {
            return failure.make_for_call(head);
        }
        let html = reply::wants_html(&self.head);
        failure.make(html, self.plan.error_pages.find(status, html), head);
    }

    /// What policies and rules make of any answer.
    fn finish(&self, head: &mut Head, values: &Values<'_>) {
        self.visit.say(head);
        if let Some(place) = self.route {
            self.plan.routes[place].response_headers.apply(head, values, &mut Vec::new());
        }
    }

    /// What they make of a backend's, as far as that does not depend on it.
    pub(super) fn added(&self) -> Vec<Setting> {
        let mut head = Head::default();
        self.finish(&mut head, &Values { request: &self.head, facts: self.facts() });
        fields(&head)
    }
}

fn fields(head: &Head) -> Vec<Setting> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.iter().map(|(name, value)| Setting { name: text(name), value: text(value) }).collect()
}
