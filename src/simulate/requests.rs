//! The requests that are under way: places that are used again. Hot path of the simulator.

use super::arrivals::Arrival;
use crate::balance::Tried;
use std::collections::VecDeque;

/// No request.
pub(super) const NONE: u32 = u32::MAX;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The place is free.
    Free,
    /// It waits at its backend.
    Waiting,
    /// It is served.
    Serving,
    /// Its answer is on the way.
    Sending,
    /// It has failed by time, but its backend does not know that yet.
    Gone,
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) arrival: Arrival,
    /// When its attempt began.
    pub(super) begun: u64,
    /// When it will have been served, once it is.
    pub(super) until: u64,
    /// Who serves it.
    pub(super) backend: u32,
    /// Through which balancer it goes.
    pub(super) instance: u32,
    /// Further attempts.
    pub(super) retries: u32,
    /// Who comes after it: in the queue of its backend, or of places that are free.
    pub(super) next: u32,
    /// Another one each time that what is planned for this place no longer holds.
    pub(super) generation: u32,
    pub(super) stage: Stage,
    /// Who has failed it: rarely anybody.
    pub(super) tried: Option<Box<Tried>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Requests {
    places: Vec<Request>,
    free: u32,
    /// Those that have neither been answered nor failed.
    pub(super) alive: usize,
    /// In the order of their arrivals, each with its time: for the timeout. Those that are over are still there.
    begun: VecDeque<(u64, u32)>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { places: Vec::with_capacity(1024), free: NONE, alive: 0, begun: VecDeque::with_capacity(1024) }
    }

    pub(super) fn at(&mut self, id: u32) -> &mut Request {
        &mut self.places[id as usize]
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.places.len() as u32
    }

    /// A new one.
    pub(super) fn add(&mut self, arrival: Arrival, instance: u32) -> u32 {
        let fresh = |generation| Request {
            arrival,
            begun: arrival.at,
            until: 0,
            backend: NONE,
            instance,
            retries: 0,
            next: NONE,
            generation,
            stage: Stage::Waiting,
            tried: None,
        };
        let id = match self.free {
            NONE => {
                self.places.push(fresh(0));
                self.places.len() as u32 - 1
            }
            id => {
                let place = &mut self.places[id as usize];
                self.free = place.next;
                *place = fresh(place.generation);
                id
            }
        };
        self.alive += 1;
        self.begun.push_back((arrival.at, id));
        id
    }

    /// It is over: its place is free.
    pub(super) fn free(&mut self, id: u32) {
        let place = &mut self.places[id as usize];
        (place.stage, place.next, place.tried) = (Stage::Free, self.free, None);
        place.generation = place.generation.wrapping_add(1) & GENERATIONS;
        self.free = id;
    }

    /// What is planned for it no longer holds.
    pub(super) fn forget_plans(&mut self, id: u32) {
        let place = &mut self.places[id as usize];
        (place.until, place.generation) = (0, place.generation.wrapping_add(1) & GENERATIONS);
    }

    /// When the oldest one came that is under way.
    pub(super) fn oldest(&mut self) -> Option<u64> {
        while let Some(&(at, id)) = self.begun.front() {
            let place = &self.places[id as usize];
            if place.arrival.at == at && !matches!(place.stage, Stage::Free | Stage::Gone) {
                return Some(at);
            }
            self.begun.pop_front();
        }
        None
    }

    /// Takes the one that [`Requests::oldest`] has told.
    pub(super) fn take_oldest(&mut self) -> Option<u32> {
        self.begun.pop_front().map(|(_, id)| id)
    }
}

/// They are counted around.
pub(super) const GENERATIONS: u32 = (1 << 30) - 1;
