//! The entry point for fuzzing: any bytes as a PROXY header. It must not panic, and checks what must hold of what is
//! accepted.

use super::{LONGEST, Proxied, parse, write_v1, write_v2};

/// A header: the first verdict on a beginning is the verdict on the whole; and what is accepted is bounded, is written
/// out, and then says the same.
pub fn header(data: &[u8]) {
    let whole = parse(data);
    for end in 0..=data.len().min(LONGEST) {
        let part = parse(&data[..end]);
        if part != Ok(None) {
            assert_eq!(part, whole, "decided after {end} bytes");
            break;
        }
    }
    let Ok(Some((proxied, used))) = whole else {
        assert!(whole != Ok(None) || data.len() < LONGEST, "it waits for ever");
        return;
    };
    assert!(used <= data.len().min(LONGEST));
    let mut second = Vec::new();
    write_v2(proxied.addresses, &proxied.tlvs, &mut second);
    let Ok(Some((again, length))) = parse(&second) else { panic!("what was accepted is accepted again") };
    assert_eq!(length, second.len());
    let canonical = |proxied: &Proxied| {
        let addresses = proxied.addresses?;
        Some([addresses.0, addresses.1].map(|address| (address.ip().to_canonical(), address.port())))
    };
    assert_eq!(canonical(&again), canonical(&proxied));
    assert!(proxied.addresses.is_none() || again.tlvs == proxied.tlvs, "the additions are the same");
    let mut first = Vec::new();
    write_v1(proxied.addresses, &mut first);
    let Ok(Some((again, length))) = parse(&first) else { panic!("a line too") };
    assert_eq!((length, canonical(&again)), (first.len(), canonical(&proxied)));
}
