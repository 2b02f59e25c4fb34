//! `split` and `sticky` agree: a client's session is on one side.

use super::*;

/// The pools `old` and `new` of two backends each (`a`, `b` and `c`, `d`), and a route that `split` divides.
fn divided(backends: &[Backend], keys: &str, split: &str) -> Site {
    let addresses = addresses(backends);
    Site::new(format!("[[route]]\n{split}\n")).pool_with("old", &addresses[..2], keys).pool_with(
        "new",
        &addresses[2..],
        keys,
    )
}

fn weights(old: u32, new: u32) -> String {
    format!("split = [{{ pool = \"old\", weight = {old} }}, {{ pool = \"new\", weight = {new} }}]")
}

#[test]
fn a_cookie_keeps_its_client_on_its_side() {
    let (backends, secrets) = (backends(4), Secrets::new(&[ONE]));
    let with = |old, new| divided(&backends, &secrets.cookie(""), &weights(old, new)).toml();
    let process = Process::spawn(&with(50, 50));
    let mut clients: Vec<_> = (0..40).map(|_| process.client().get("/")).collect();
    assert!((0..4).all(|backend| clients.iter().any(|first| place(first) == backend)));
    let stay = |clients: &[Response]| {
        for first in clients {
            let again = show(process.address(), &given(first));
            assert_eq!((place(&again), set(&again)), (place(first), None));
        }
    };
    stay(&clients);
    process.reload(&with(1, 99));
    stay(&clients);
    process.reload(&with(0, 1));
    for first in &mut clients {
        let moved = show(process.address(), &given(first));
        assert!(place(&moved) >= 2, "a weight of 0 gets nobody");
        assert_eq!(set(&moved).is_some(), place(first) < 2);
        if set(&moved).is_some() {
            *first = moved;
        }
    }
    process.reload(&with(50, 50));
    // Some have a ticket of each side: the later one counts.
    stay(&clients);
}

#[test]
fn a_session_of_the_application_keeps_its_client_on_its_side() {
    let backends = ["a", "b", "c", "d"].map(|name| {
        Backend::http(move |request| {
            let id = request.target.split_once('?').map_or("", |(_, id)| id);
            let line = if id.is_empty() { String::new() } else { format!("Set-Cookie: SID={id}\r\n") };
            Reply::new("200 OK", &line, name)
        })
    });
    let keys = "sticky = { type = \"app_cookie\", name = \"SID\" }";
    let evenkeel: Evenkeel = divided(&backends, keys, &weights(50, 50)).start();
    let homes: Vec<_> = (0..20).map(|user| place(&evenkeel.get(&format!("/?{user}")))).collect();
    for (user, home) in homes.iter().enumerate() {
        assert_eq!(place(&show(evenkeel.address(), &format!("SID={user}"))), *home);
    }
}

#[test]
fn split_by_decides_before_a_cookie_does() {
    let (backends, secrets) = (backends(4), Secrets::new(&[ONE]));
    let split = format!("{}\nsplit_by = \"header:X-User\"", weights(50, 50));
    let evenkeel = divided(&backends, &secrets.cookie(""), &split).start();
    let sides = (0..20).map(|user| {
        let user = format!("X-User: {user}\r\n");
        let first = get(evenkeel.address(), &user);
        let cookie = format!("Cookie: {}\r\n", given(&first));
        assert_eq!(place(&get(evenkeel.address(), &(user + &cookie))), place(&first));
        // Without its key the cookie says it.
        assert_eq!(place(&get(evenkeel.address(), &cookie)), place(&first));
        (place(&first) / 2, cookie)
    });
    let sides: Vec<_> = sides.collect();
    let (_, old) = sides.iter().find(|(side, _)| *side == 0).unwrap();
    for (user, (side, _)) in sides.iter().enumerate() {
        assert_eq!(place(&get(evenkeel.address(), &format!("X-User: {user}\r\n{old}"))) / 2, *side);
    }
}
