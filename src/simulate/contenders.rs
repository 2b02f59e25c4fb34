//! The algorithms that are compared: ours by their names in the configuration, and some of textbooks beside them.

use super::textbook;
use crate::balance::Algorithm;

/// As long as a pool believes what its backends say of themselves if the file is silent, in milliseconds.
const EXPIRE: u32 = 180_000;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// `round_robin`
    RoundRobin,
    /// `random`
    Random,
    /// `power_of_two_choices`
    PowerOfTwoChoices,
    /// `least_connections`
    LeastConnections,
    /// `least_response_time`
    LeastResponseTime,
    /// `least_bandwidth`
    LeastBandwidth,
    /// `custom_load`, where backends tell their utilisation with each answer
    CustomLoad,
    /// `ip_hash`
    IpHash,
    /// `hash`, by the client as well
    Hash,
    /// Least connections that looks at all members, however many
    ExactLeastConnections,
    /// A hash modulo the number of members
    ModuloHash,
}

/// All of them: those of the configuration, then the textbooks'.
pub const EVERY: [Contender; 11] = [
    Contender::RoundRobin,
    Contender::Random,
    Contender::PowerOfTwoChoices,
    Contender::LeastConnections,
    Contender::LeastResponseTime,
    Contender::LeastBandwidth,
    Contender::CustomLoad,
    Contender::IpHash,
    Contender::Hash,
    Contender::ExactLeastConnections,
    Contender::ModuloHash,
];

/// Every algorithm of the configuration.
pub const ALL: &[Contender] = EVERY.split_at(9).0;

impl Contender {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::PowerOfTwoChoices => "power_of_two_choices",
            Self::LeastConnections => "least_connections",
            Self::LeastResponseTime => "least_response_time",
            Self::LeastBandwidth => "least_bandwidth",
            Self::CustomLoad => "custom_load",
            Self::IpHash => "ip_hash",
            Self::Hash => "hash",
            Self::ExactLeastConnections => "exact_least_connections",
            Self::ModuloHash => "modulo_hash",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        EVERY.into_iter().find(|contender| contender.name() == name)
    }

    /// As the balancer knows it; for the hashes nobody carries more than `bound` percent of the mean.
    pub(super) fn algorithm(self, bound: u32) -> Algorithm {
        match self {
            Self::RoundRobin => Algorithm::RoundRobin,
            Self::Random => Algorithm::Random,
            Self::PowerOfTwoChoices => Algorithm::PowerOfTwoChoices,
            Self::LeastConnections => Algorithm::LeastConnections,
            Self::LeastResponseTime => Algorithm::LeastResponseTime,
            Self::LeastBandwidth => Algorithm::LeastBandwidth,
            Self::CustomLoad => Algorithm::CustomLoad { expire: EXPIRE },
            Self::IpHash | Self::Hash => Algorithm::Hash { bound },
            Self::ExactLeastConnections => Algorithm::Custom(textbook::exact_least_connections),
            Self::ModuloHash => Algorithm::Custom(textbook::modulo_hash),
        }
    }

    /// Backends tell it how busy they are.
    pub(super) fn listens(self) -> bool {
        self == Self::CustomLoad
    }

    /// It picks by the client.
    pub(super) fn hashes(self) -> bool {
        matches!(self, Self::IpHash | Self::Hash | Self::ModuloHash)
    }
}
