//! The parsers under mutated input, for a bounded time: no bytes may make them panic.
//!
//! The stable sibling of `tests/fuzz` (cargo-fuzz): the same six functions, the same dictionary. It has no feedback
//! from coverage, so it starts from messages that are nearly right. `EVENKEEL_FUZZ_SECONDS` bounds it (default 1);
//! `EVENKEEL_FUZZ_SEED` repeats a run, whose seed is printed.

use std::panic::catch_unwind;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fmt::Write as _, iter};

use evenkeel::http::fuzz;
use evenkeel::net::proxy_protocol::fuzz as proxy_protocol;
use evenkeel::policy::fuzz as policy;

const MAX_LEN: usize = 64 << 10;
const DICTIONARY: &str = include_str!("../fuzz/http.dict");

struct Target {
    name: &'static str,
    parse: fn(&[u8]),
    seeds: &'static [&'static [u8]],
}

const TARGETS: [Target; 6] = [
    Target {
        name: "request_head",
        parse: fuzz::request_head,
        seeds: &[
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n0\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n",
            b"GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\nVia: 1.1 evenkeel, 1.1 b\r\n\r\n",
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x-hop\r\nUpgrade: websocket\r\nx-hop: 1\r\n\r\n",
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nX-Forwarded-For: 10.0.0.1, ::1\r\nx_y: z\r\n\r\n",
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    },
    Target {
        name: "response_head",
        parse: fuzz::response_head,
        seeds: &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 503 \r\nRetry-After: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nKeep-Alive: timeout=5, max=100\r\n\r\nuntil close",
        ],
    },
    Target {
        name: "chunked",
        parse: fuzz::chunked,
        seeds: &[
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;name=value;quoted=\"a;\\\"b\"\r\nhello\r\n1\r\n!\r\n0\r\nx-t: v\r\n\r\n",
            b"A\r\n0123456789\r\n00a\r\n0123456789\r\n000\r\n\r\n",
            b"7fffffffffffffff\r\nhello",
            b"0\r\n\r\nGET / HTTP/1.1\r\n",
        ],
    },
    Target {
        name: "target",
        parse: fuzz::target,
        seeds: &[
            b"/",
            b"/a/b/c?d=e&f=%20",
            b"/a/./b/../c//d/%2e%2e/%2F/%41",
            b"*",
            b"http://user@example.com:8080/a?b#c",
            b"https://[2001:db8::1]:443/",
            b"example.com:443",
            b"/\xc3\xa9/%C3%A9",
        ],
    },
    Target {
        name: "proxy_header",
        parse: proxy_protocol::header,
        seeds: &[
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n",
            b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535\r\n",
            b"PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x36\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb\
                \x01\x00\x02h2\x02\x00\x09a.example\x20\x00\x0f\x03\0\0\0\0\x21\x00\x07TLSv1.3\x04\x00\x04\0\0\0\0GET /",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
                \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x04",
        ],
    },
    Target {
        name: "cookies",
        parse: policy::cookies,
        seeds: &[
            b"a=1; evenkeel=x; b=\"2\"",
            b"JSESSIONID=a.b; Path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly",
            b"SID=; expires=Thu, 01-Jan-1970 00:00:01 GMT; max-age=-1",
            b"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIz",
            b"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIz.AQIDBA",
        ],
    },
];

#[test]
fn parsers_survive_mutated_input() {
    let seconds = number("EVENKEEL_FUZZ_SECONDS").unwrap_or(1);
    let seed = number("EVENKEEL_FUZZ_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
        now.as_nanos() as u64
    });
    println!("EVENKEEL_FUZZ_SEED={seed}");
    let words = dictionary();
    let mut random = Random(seed | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut inputs = 0u64;
    for target in &TARGETS {
        for seed in target.seeds {
            check(target, seed);
        }
    }
    while Instant::now() < end {
        for target in &TARGETS {
            for _ in 0..64 {
                check(target, &mutant(target.seeds, &words, &mut random));
                inputs += 1;
            }
        }
    }
    println!("{inputs} inputs in {seconds} s");
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn check(target: &Target, input: &[u8]) {
    let parse = target.parse;
    if catch_unwind(|| parse(input)).is_err() {
        let hex = input.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes everything");
            hex
        });
        panic!("{} panicked on {:?}, in hex {hex}", target.name, input.escape_ascii().to_string());
    }
}

/// A seed after one to eight changes.
fn mutant(seeds: &[&[u8]], words: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.of(seeds).to_vec();
    for _ in 0..=random.below(8) {
        change(&mut input, seeds, words, random);
    }
    input.truncate(MAX_LEN);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[&[u8]], words: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let rest = input.len() - at;
    match random.below(8) {
        // Flip a bit.
        0 if rest > 0 => input[at] ^= 1 << random.below(8),
        // Put any byte in the place of another.
        1 if rest > 0 => input[at] = random.next() as u8,
        // Insert any byte, some of them many times: lengths and limits.
        2 => {
            let (byte, times) = (random.next() as u8, if random.below(16) == 0 { random.below(40_000) } else { 1 });
            drop(input.splice(at..at, iter::repeat_n(byte, times)));
        }
        // Insert a word of the protocol, or write it over what is there.
        3 | 4 => {
            let word = random.of(words);
            let over = if random.below(2) == 0 { 0 } else { word.len().min(rest) };
            drop(input.splice(at..at + over, word.iter().copied()));
        }
        // Go on as another seed does.
        5 => {
            let other = random.of(seeds);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        // Say a part twice.
        6 => {
            let part = input[at..at + random.below(rest + 1)].to_vec();
            drop(input.splice(at..at, part));
        }
        // Leave a part out; often the whole end.
        _ => {
            let gone = if random.below(2) == 0 { rest } else { random.below(rest + 1) };
            drop(input.drain(at..at + gone));
        }
    }
}

/// The quoted words of libFuzzer's dictionary, `\xHH` and `\"` resolved.
fn dictionary() -> Vec<Vec<u8>> {
    let quoted = DICTIONARY.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let words: Vec<_> = quoted.map(unescape).collect();
    assert!(words.len() > 20, "the dictionary was not read");
    words
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut word, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        (word, rest) = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).expect("the dictionary is ASCII");
                word.push(u8::from_str_radix(digits, 16).expect("\\x has two hex digits"));
                (word, after)
            }
            (b'\\', [escaped, after @ ..]) => {
                word.push(*escaped);
                (word, after)
            }
            _ => {
                word.push(byte);
                (word, after)
            }
        };
    }
    word
}

/// xorshift64*: small, fast, the same everywhere. The state is never zero.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 24
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
