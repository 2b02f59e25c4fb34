//! What nginx refuses is refused by what is made of it, by whatever spelling, and never open. Tests of `import::nginx`, whose
//! result is asked as `explain` asks it.

use super::fixtures::made;
use crate::import::From::Nginx;

/// What becomes of each request, by what is made of `text`; `check` accepts it, and its tests hold.
fn ends(text: &str, asked: &[(&str, &str)]) {
    let (made, told) = made(Nginx, text);
    made.holds();
    for (request, end) in asked {
        let found = made.end(&format!("GET {request}"));
        let same = found == *end || found.split_once(' ').is_some_and(|(pool, _)| pool == *end);
        assert!(same, "{request}: {found}, not {end}\n{text}\n{told}");
    }
}

/// A server of nginx with these lines, whose backend is `u`.
fn nginx(lines: &str, asked: &[(&str, &str)]) {
    let text = format!(
        "http {{ upstream u {{ server 10.0.0.1:80; }} server {{ listen 80; server_name a.example b.example; {lines} }} }}"
    );
    ends(&text, asked);
}

const A: &str = "http://a.example/";

#[test]
fn ifs_of_one_header_are_all_asked() {
    let x = "http://a.example/x";
    let two =
        "location /x { if ($http_x_a != 1) { return 403; } if ($http_x_a != 2) { return 403; } proxy_pass http://u; }";
    let [none, one, other, both] = ["", " x-a: 1", " x-a: 2", " x-a: 1 + x-a: 2"].map(|field| format!("{x}{field}"));
    nginx(two, &[(&none, "403"), (&one, "403"), (&other, "403"), (&both, "403")]);
    let regexes =
        "location /x { if ($http_x_a !~ a) { return 403; } if ($http_x_a !~ b) { return 403; } proxy_pass http://u; }";
    nginx(regexes, &[(x, "403"), (&format!("{x} x-a: ab"), "503")]);
    let once = "location /x { if ($http_x_a != 1) { return 403; } proxy_pass http://u; }";
    nginx(once, &[(&one, "u"), (&other, "403"), (&both, "403"), (&none, "403")]);
    let anchored = "location /x { if ($http_x_a !~ ^[0-9]$) { return 403; } proxy_pass http://u; }";
    nginx(anchored, &[(&one, "503")]);
    let begins = "location /x { if ($http_x_a !~ \"^Bearer \") { return 403; } proxy_pass http://u; }";
    nginx(begins, &[(&format!("{x} x-a: Bearer 1"), "u"), (&format!("{x} x-a: Bearer 1 + x-a: 2"), "403")]);
}

#[test]
fn ifs_are_asked_in_their_order() {
    let ifs =
        "if ($http_a = bad) { return 403; } if ($http_b != ok) { return 403; } if ($http_c != ok) { return 403; }";
    for location in ["location /", "location = /", "location ^~ /", "location ~ ^/"] {
        let text = format!("{ifs} {location} {{ proxy_pass http://u; }}");
        let fine = format!("{A} b: ok + c: ok");
        nginx(&text, &[(&fine, "u"), (&format!("{fine} + a: bad"), "403"), (&format!("{A} b: ok"), "403")]);
    }
    let hosts = "if ($http_a = bad) { return 403; } if ($host != a.example) { return 301 http://a.example$request_uri; } \
                 location / { proxy_pass http://u; }";
    let b = "http://b.example/";
    nginx(
        hosts,
        &[
            (A, "u"),
            (&format!("{A} a: bad"), "403"),
            (b, "301 http://a.example/"),
            (&format!("{b} a: bad"), "301 http://a.example/"),
        ],
    );
    let never = "if ($host != a.example) { return 403; } if ($host != b.example) { return 404; } location / { proxy_pass http://u; }";
    nginx(never, &[(A, "404"), ("http://b.example/", "403")]);
    nginx("if ($server_port != 443) { return 403; } location / { proxy_pass http://u; }", &[(A, "403")]);
    // True of all, and before what would be done without it.
    nginx("if ($scheme = http) { return 403; } return 200 secret;", &[(A, "403")]);
    nginx("location / { if ($server_port = 80) { return 403; } return 200 secret; }", &[(A, "403")]);
}

#[test]
fn what_is_compared_otherwise_is_closed() {
    for condition in
        ["$arg_x = 1", "$arg_x != 1", "$cookie_x = 1", "$cookie_x != 1", "$arg_x", "$arg_x = \"\"", "$arg_x ~ a"]
    {
        nginx(&format!("location / {{ if ({condition}) {{ return 403; }} proxy_pass http://u; }}"), &[(A, "503")]);
    }
    nginx("location / { if ($arg_x = 1) { return 302 /y; } proxy_pass http://u; }", &[(A, "u")]);
    let octets = "location / { if ($http_x ~ evil.bot) { return 403; } proxy_pass http://u; }";
    nginx(octets, &[(&format!("{A} x: evil\u{e9}bot"), "u"), (&format!("{A} x: evil-bot"), "403")]);
}

#[test]
fn what_a_location_comes_to_protects_as_well() {
    nginx("location / { try_files $uri @u; } location @u { deny all; proxy_pass http://u; }", &[(A, "403")]);
    let refused = "location / { try_files $uri @u; } location @u { if ($http_x) { return 403; } proxy_pass http://u; }";
    nginx(refused, &[(A, "u"), (&format!("{A} x: 1"), "403")]);
    let both = "location / { deny 10.0.0.1; try_files $uri @u; } location @u { deny 10.0.0.2; proxy_pass http://u; }";
    nginx(both, &[(A, "503")]);
    nginx("deny 10.0.0.1; location / { try_files $uri @u; } location @u { proxy_pass http://u; }", &[(A, "u")]);
}

#[test]
fn of_servers_with_one_name_the_first_has_it() {
    let text = "http { server { listen 80; server_name a.example; location / { deny all; } }\n\
                server { listen 80; server_name a.example b.example; location /x { proxy_pass http://10.0.0.1; } } }";
    ends(text, &[("http://a.example/x", "403"), ("http://b.example/x", "10.0.0.1")]);
}

#[test]
fn exceptions_are_not_a_way_in() {
    let a = |path: &str| format!("{A}{path}");
    let carved = "location / { deny all; } location /pub/ { proxy_pass http://u; }";
    nginx(carved, &[(&a("pub/x"), "u"), (&a("x"), "403"), (&a("pub/..%2Fx"), "400")]);
    let off = "deny all; location / { proxy_pass http://u; } location /pub/ { allow all; proxy_pass http://u; }";
    nginx(off, &[(&a("pub/x"), "u"), (&a("x"), "403"), (&a("pub/..%2Fx"), "400")]);
    // Found in an escape, and not in what it means.
    let digits = "location / { deny all; } location ~ [0-9]+$ { proxy_pass http://u; }";
    nginx(digits, &[(&a("x1"), "u"), (&a("x%20"), "400")]);
    let octet = "location / { proxy_pass http://u; } location ~ ^/x/.$ { deny all; }";
    nginx(octet, &[(&a("x/y"), "403"), (&a("x/%FF"), "400"), (&a("x/%20"), "400"), (&a("y"), "u")]);
    let php = "location / { proxy_pass http://u; } location ~ \\.php$ { deny all; }";
    nginx(php, &[(&a("a%20b"), "u"), (&a("a%20b.php"), "403")]);
}

#[test]
fn nobody_is_asked_where_nobody_comes_in() {
    let text = "http { server { listen 443 ssl; server_name a.example; ssl_certificate /a.pem; ssl_certificate_key /a.key; \
                ssl_verify_client on; location / { proxy_pass http://10.0.0.1; } }\n\
                server { listen 80; server_name a.example; location / { proxy_pass http://10.0.0.2; } } }";
    ends(text, &[("https://a.example/", "closed"), (A, "10.0.0.2")]);
}
