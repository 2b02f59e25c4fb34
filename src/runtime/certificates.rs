//! Certificates that change on disk, and those that end soon; `disk` has them looked at.

use super::disk::Watch;
use crate::{
    config::{self, tls::load_pair, tls::validity},
    plan::{Plan, Pool},
    telemetry::metrics::{CertificateMetrics, Telemetry},
    tls::{Client, Expiry, Look, Server, Watched},
};
use rustls::sign::CertifiedKey;
use std::{sync::Arc, time::SystemTime};

/// The certificates of a plan.
#[derive(Debug, Default)]
pub(super) struct Certificates(Vec<Entry>);

/// A certificate, by its files.
#[derive(Debug)]
struct Entry {
    label: String,
    watched: Watched,
    /// At least one.
    users: Vec<User>,
    metrics: Arc<CertificateMetrics>,
}

/// Who shows it.
#[derive(Debug)]
enum User {
    /// A listener, by the place among its certificates.
    Listener(Arc<Server>, usize),
    /// A pool, to its backends, in exchanges or checks.
    Pool(Arc<Client>),
}

impl User {
    fn pair(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Listener(server, place) => server.pair(*place),
            Self::Pool(client) => client.pair(),
        }
    }

    fn replace(&self, pair: &Arc<CertifiedKey>) {
        match self {
            Self::Listener(server, place) => server.replace(*place, pair),
            Self::Pool(client) => client.replace(pair),
        }
    }
}

impl Certificates {
    /// Those of `plan`. Their ends are known to `telemetry` from now on.
    pub(super) fn of(plan: &Plan, telemetry: &Telemetry) -> Self {
        let mut all = Self::default();
        for server in plan.listeners().filter_map(|listener| listener.tls.as_ref()) {
            for (place, certificate) in server.certificates().iter().enumerate() {
                all.add(certificate, User::Listener(Arc::clone(server), place), telemetry);
            }
        }
        for client in plan.pools.iter().flat_map(Pool::tls_clients) {
            if let Some(certificate) = client.certificate() {
                all.add(certificate, User::Pool(Arc::clone(client)), telemetry);
            }
        }
        all
    }

    fn add(&mut self, certificate: &config::Certificate, user: User, telemetry: &Telemetry) {
        let same =
            |entry: &&mut Entry| (&entry.watched.cert, &entry.watched.key) == (&certificate.cert, &certificate.key);
        if let Some(entry) = self.0.iter_mut().find(same) {
            return entry.users.push(user);
        }
        let metrics = telemetry.certificate(&certificate.label);
        if let Some((_, not_after)) = user.pair().and_then(|pair| validity(&pair)) {
            metrics.set_not_after(not_after);
        }
        let (label, watched) = (certificate.label.clone(), Watched::new(certificate));
        self.0.push(Entry { label, watched, users: vec![user], metrics });
    }
}

impl Watch for Certificates {
    const WHAT: &'static str = "certificates";

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn follow(&mut self, before: &Self) {
        for entry in &mut self.0 {
            before.0.iter().for_each(|other| entry.watched.follow(&other.watched));
        }
    }

    fn look(&mut self) {
        let now = SystemTime::now();
        self.0.iter_mut().for_each(|entry| entry.look(now));
    }
}

impl Entry {
    fn look(&mut self, now: SystemTime) {
        let Some(mut current) = self.users.first().and_then(User::pair) else { return };
        let certificate = &self.label;
        let load = |cert: &_, key: &_| load_pair(cert, key).map_err(|error| error.to_string());
        match self.watched.look(&current, load) {
            Look::Same | Look::StillRefused => {}
            Look::Changed(pair) => {
                current = Arc::new(*pair);
                self.users.iter().for_each(|user| user.replace(&current));
                tracing::info!(%certificate, "a new certificate is in use");
            }
            Look::Refused(why) => {
                tracing::error!(%certificate, %why, "the certificate on disk cannot be used, the one in use stays");
            }
        }
        let Some((_, not_after)) = validity(&current) else { return };
        self.metrics.set_not_after(not_after);
        match self.watched.speak(not_after, now) {
            None | Some(Expiry::Far) => {}
            Some(Expiry::Soon(days)) => tracing::warn!(%certificate, days, "the certificate ends soon"),
            Some(Expiry::Over) => tracing::error!(%certificate, "the certificate has expired"),
        }
    }
}
