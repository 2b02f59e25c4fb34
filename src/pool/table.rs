//! Who can be chosen now. Hot path.

use super::{Backend, Guard};
use crate::balance::{self, Algorithm, Balancer, Common, Member, Pick, Picked, Tried};
use std::sync::Arc;

/// The usable backends of a pool and the balancer over them; immutable, made anew by control when something changes.
#[derive(Debug)]
pub struct Table {
    /// Those that can be chosen, then those that only their own clients reach.
    backends: Vec<Arc<Backend>>,
    balancer: Box<dyn Balancer>,
    /// Where stickiness finds another backend.
    hashed: Option<Box<dyn Balancer>>,
    /// Over those from the place on that stand by for the others.
    spare: Option<(usize, Box<dyn Balancer>)>,
    /// Identities and places, in order; empty where clients are known by nothing.
    identities: Box<[(u64, u32)]>,
    /// How attempts are watched; `None`: they are not.
    guard: Option<Arc<Guard>>,
    last_resort: bool,
    /// How many can be chosen.
    open: usize,
    /// Numbers and places, in order.
    ids: Box<[(u32, u32)]>,
}

/// What a table is made of.
#[derive(Debug)]
pub struct Build<'a> {
    /// How one is chosen.
    pub algorithm: Algorithm,
    /// Clients stick to backends; above so many percent of the mean another one is found for them.
    pub sticky: Option<u32>,
    /// Those that can be chosen, with their weights in hundredths; those of weight 0 are left out.
    pub usable: &'a [(Arc<Backend>, u32)],
    /// Those that only their own clients reach: drained, or without weight.
    pub held: &'a [Arc<Backend>],
    /// Backups, for what all of the others have failed. Weights as above.
    pub spare: &'a [(Arc<Backend>, u32)],
    /// How attempts are watched; `None`: they are not.
    pub guard: Option<&'a Arc<Guard>>,
    /// Nobody here is fit, and there is nobody else.
    pub last_resort: bool,
    /// What the pool keeps over its tables.
    pub common: &'a Arc<Common>,
}

impl Table {
    /// A table of what `build` says.
    pub fn new(build: &Build<'_>) -> Self {
        let weighty =
            |list: &'_ [(Arc<Backend>, u32)]| list.iter().filter(|(_, weight)| *weight > 0).cloned().collect();
        let (usable, spare): (Vec<_>, Vec<_>) = (weighty(build.usable), weighty(build.spare));
        let member = |(backend, weight): &(Arc<Backend>, u32)| Member {
            id: backend.id,
            identity: backend.identity,
            weight: *weight,
            load: Arc::clone(&backend.load),
        };
        let members: Vec<_> = usable.iter().map(member).collect();
        let mut backends: Vec<_> = usable.iter().map(|(backend, _)| Arc::clone(backend)).collect();
        let (open, mut identities) = (backends.len(), Vec::new());
        if build.sticky.is_some() {
            backends.extend(build.held.iter().cloned());
            identities.extend(backends.iter().zip(0..).map(|(backend, place)| (backend.identity, place)));
            identities.sort_unstable();
        }
        let (balancer, hashed) = match build.sticky {
            None => (balance::build(build.algorithm, &members, build.common), None),
            Some(bound) => {
                let [own, hashed] = balance::build_sticky(build.algorithm, bound, &members, build.common);
                (own, Some(hashed))
            }
        };
        let stand_by = (!spare.is_empty()).then(|| {
            let members: Vec<_> = spare.iter().map(member).collect();
            (backends.len(), balance::build(build.algorithm, &members, build.common))
        });
        backends.extend(spare.into_iter().map(|(backend, _)| backend));
        let mut ids: Vec<_> = backends.iter().zip(0..).map(|(backend, place)| (backend.id, place)).collect();
        ids.sort_unstable();
        Self {
            backends,
            balancer,
            hashed,
            spare: stand_by,
            identities: identities.into(),
            open,
            ids: ids.into(),
            guard: build.guard.cloned(),
            last_resort: build.last_resort,
        }
    }

    /// Nobody can be chosen.
    pub(super) fn empty() -> Self {
        let common = &Arc::default();
        Self::new(&Build {
            algorithm: Algorithm::Random,
            sticky: None,
            usable: &[],
            held: &[],
            spare: &[],
            guard: None,
            last_resort: false,
            common,
        })
    }

    /// Chooses a backend that was not tried, and says where it is in this table.
    pub fn pick(&self, pick: &Pick<'_>) -> Option<usize> {
        self.place(self.balancer.pick(pick))
    }

    /// As [`Table::pick`], by the key alone, whatever the algorithm: every instance finds the same. `None` as well where
    /// clients are known by nothing.
    pub fn pick_hashed(&self, pick: &Pick<'_>) -> Option<usize> {
        self.place(self.hashed.as_ref()?.pick(pick))
    }

    /// As [`Table::pick`], among the backups: for what all of the others have failed.
    pub fn pick_spare(&self, pick: &Pick<'_>) -> Option<usize> {
        let (first, balancer) = self.spare.as_ref()?;
        match balancer.pick(pick) {
            Picked::Member(place) => Some(first + place).filter(|&place| place < self.backends.len()),
            Picked::Exhausted => None,
        }
    }

    /// Where the backend of that identity is, if it can serve its own clients.
    pub fn find(&self, identity: u64) -> Option<usize> {
        let at = self.identities.binary_search_by_key(&identity, |(identity, _)| *identity).ok()?;
        Some(self.identities[at].1 as usize)
    }

    /// How many backends it has.
    #[allow(clippy::len_without_is_empty, reason = "an empty one is a table as any other")]
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// The backend at a place that was given by one of the above.
    pub fn backend(&self, place: usize) -> &Arc<Backend> {
        &self.backends[place]
    }

    /// How attempts at its backends are watched.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_deref()
    }

    /// Its backends serve because there is nobody else: whether they are fit is not asked.
    pub fn is_last_resort(&self) -> bool {
        self.last_resort
    }

    /// How many can be chosen: they have the first places.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Who is at `place` can be chosen, not by its own clients alone.
    pub(super) fn is_open(&self, place: usize) -> bool {
        place < self.open
    }

    /// Where the backend with that number is.
    pub fn place_of(&self, id: u32) -> Option<usize> {
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.ids[at].1 as usize)
    }

    /// Somebody can be chosen who is not one of `tried`.
    pub fn has_others(&self, tried: &Tried) -> bool {
        self.backends[..self.open].iter().any(|backend| !tried.has(backend.id))
    }

    /// The backend with that number can be chosen, not by its own clients alone.
    pub fn offers(&self, id: u32) -> bool {
        self.place_of(id).is_some_and(|place| self.is_open(place))
    }

    /// Where `backend` is, or who has its load under another name.
    pub(super) fn today(&self, backend: &Backend) -> Option<usize> {
        let same = |other: &Arc<Backend>| Arc::ptr_eq(&other.load, &backend.load);
        self.place_of(backend.id).or_else(|| self.backends.iter().position(same))
    }

    fn place(&self, picked: Picked) -> Option<usize> {
        match picked {
            // A balancer from outside may name a place that is not there.
            Picked::Member(place) => (place < self.backends.len()).then_some(place),
            Picked::Exhausted => None,
        }
    }
}
