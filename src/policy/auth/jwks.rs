//! Where keys of tokens come from, and which they are today. Pure: `runtime` fetches and watches, workers look. `Memory` has
//! one [`Keys`] a place, so that a reload keeps what was fetched.

use crate::config::{Url, auth::KeySet};
use arc_swap::ArcSwapOption;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// A key that nobody knows makes us ask for the set before its time, but not sooner than this after the last time.
const EARLY: Duration = Duration::from_secs(10);
/// Where a set is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// At an `http` or `https` URL.
    Url(Url),
}

/// The keys of one place, as they are today.
#[derive(Debug)]
pub struct Keys {
    /// Where they are from.
    pub place: Place,
    today: ArcSwapOption<KeySet>,
    /// Somebody wants them anew.
    wanted: Notify,
    progress: Mutex<Progress>,
    /// How many looks have ended.
    looks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Somebody wants a look that has not ended.
    is_wanted: bool,
    /// It has begun.
    has_begun: bool,
    /// When the last one that somebody wanted ended.
    ended: Option<Instant>,
}

impl Keys {
    /// Of a place where nobody has looked yet.
    pub fn new(place: Place) -> Self {
        let (today, wanted, progress) = Default::default();
        Self { place, today, wanted, progress, looks: watch::Sender::new(0) }
    }

    /// Today's. `None`: there have never been any.
    pub fn today(&self) -> Option<Arc<KeySet>> {
        self.today.load_full()
    }

    /// From now on it is `set`. False: it is the same as before, and what was believed by it stays so.
    pub fn replace(&self, set: KeySet) -> bool {
        let news = self.today.load().as_ref().is_none_or(|today| !today.is_same(&set));
        if news {
            self.today.store(Some(Arc::new(set)));
        }
        news
    }

    /// A token has a key that today's set does not have. Asks for another look, if none was asked for a while: then the
    /// news can be waited for.
    pub fn ask(&self, now: Instant) -> Option<News> {
        if matches!(self.place, Place::File(_)) {
            // It is looked at all the time.
            return None;
        }
        let mut progress = self.progress();
        if !progress.is_wanted {
            if progress.ended.is_some_and(|last| now < last + EARLY) {
                return None;
            }
            progress.is_wanted = true;
            self.wanted.notify_one();
        }
        Some(News { looks: self.looks.subscribe() })
    }

    /// Waits until somebody wants another look.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A look begins: whoever has asked until now hears of it.
    pub fn looks(&self) {
        let mut progress = self.progress();
        progress.has_begun = progress.is_wanted;
    }

    /// It has ended, whatever it has shown.
    pub fn looked(&self, now: Instant) {
        let mut progress = self.progress();
        if std::mem::take(&mut progress.has_begun) {
            *progress = Progress { is_wanted: false, has_begun: false, ended: Some(now) };
            self.looks.send_modify(|looks| *looks += 1);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look that goes on.
#[derive(Debug)]
pub struct News {
    looks: watch::Receiver<u64>,
}

impl News {
    /// Waits until it has ended. The caller bounds the time.
    pub async fn come(mut self) {
        // It is an error if nobody looks any more.
        let _ = self.looks.changed().await;
    }
}

/// All places that plans look at. One is forgotten with its last plan.
#[derive(Debug, Default)]
pub(in super::super) struct Places(Mutex<HashMap<Place, Weak<Keys>>>);

impl Places {
    /// The keys of `place`: the same for all plans that are alive together.
    pub(super) fn keys(&self, place: &Place) -> Arc<Keys> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, keys| keys.strong_count() > 0);
        if let Some(keys) = places.get(place).and_then(Weak::upgrade) {
            return keys;
        }
        let keys = Arc::new(Keys::new(place.clone()));
        places.insert(place.clone(), Arc::downgrade(&keys));
        keys
    }
}

/// How long a set is good that came with that `Cache-Control` (RFC 9111 section 5.2.2): five minutes where it does not
/// say, never less than one minute nor more than a day.
pub fn good_for(cache_control: Option<&str>) -> Duration {
    const USUAL: u64 = 5 * 60;
    let directives = cache_control.into_iter().flat_map(|value| value.split(','));
    let age = |directive: &str| {
        let (name, value) = directive.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("max-age");
        is_it.then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    };
    let age = directives.filter_map(age).next().unwrap_or(USUAL);
    Duration::from_secs(age.clamp(60, 24 * 60 * 60))
}

/// When it is looked again after so many failures in a row: soon at first, each minute in the end.
pub fn after_failures(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::auth::testing::Signer;
    use serde_json::json;

    #[test]
    fn a_set_is_good_for_as_long_as_it_says_within_bounds() {
        for (value, wanted) in [
            (None, 300),
            (Some("no-cache"), 300),
            (Some("public, Max-Age=600, must-revalidate"), 600),
            (Some("max-age=\"120\""), 120),
            (Some("max-age=0"), 60),
            (Some("max-age=99999999"), 86_400),
            (Some("max-age=x"), 300),
            (Some("s-maxage=7200"), 300),
        ] {
            assert_eq!(good_for(value), Duration::from_secs(wanted), "{value:?}");
        }
        let waits: Vec<_> = [1, 2, 3, 6, 7, 100].map(|failures| after_failures(failures).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
    }

    fn url() -> Place {
        let address = crate::config::Address::Tcp("127.0.0.1:80".parse().unwrap());
        Place::Url(Url { tls: false, address, authority: "127.0.0.1".into(), path: "/".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_asked_for_at_most_once_in_ten_seconds() {
        let keys = Keys::new(url());
        // A look on time is nobody's, and keeps nobody from asking.
        keys.looks();
        let first = keys.ask(Instant::now()).unwrap();
        keys.looked(Instant::now());
        keys.wanted().await;
        keys.looks();
        let second = keys.ask(Instant::now()).expect("it goes on: one may wait for it");
        let again = tokio::time::timeout(Duration::from_secs(1), keys.wanted());
        assert!(again.await.is_err(), "it is asked for once");
        let early = tokio::time::timeout(Duration::from_secs(1), first.come());
        assert!(early.await.is_err(), "the look that had begun before was not for it");
        keys.looked(Instant::now());
        second.come().await;
        assert!(keys.ask(Instant::now()).is_none());
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(keys.ask(Instant::now()).is_none());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(keys.ask(Instant::now()).is_some());
        assert!(Keys::new(Place::File("a".into())).ask(Instant::now()).is_none(), "a file is looked at anyhow");
    }

    #[test]
    fn the_same_set_is_no_news() {
        let keys = Keys::new(url());
        let text = |kid: &str| json!({ "keys": [Signer::p256().jwk(kid)] }).to_string();
        let set = |kid: &str| KeySet::parse(text(kid).as_bytes()).unwrap().0;
        assert!(keys.replace(set("a")) && !keys.replace(set("a")) && keys.replace(set("b")));
    }

    #[test]
    fn a_place_is_the_same_while_somebody_looks_at_it() {
        let places = Places::default();
        let place = Place::File("a".into());
        let keys = places.keys(&place);
        keys.replace(KeySet::secret(b"x"));
        assert!(Arc::ptr_eq(&keys, &places.keys(&place)));
        assert!(!Arc::ptr_eq(&keys, &places.keys(&Place::File("b".into()))));
        drop(keys);
        assert!(places.keys(&place).today().is_none(), "nobody had it");
    }
}
