//! What HAProxy refuses, redirects or overwrites is not let through by what is made of it. Tests of `import::haproxy`, whose
//! result is asked as `explain` asks it.

use super::fixtures::{call, made};
use crate::import::From::Haproxy;

const BACKEND: &str = "backend b\n server s 10.0.0.1:80\n";

/// The file of one frontend with these lines, which leads to a backend.
fn front(lines: &str) -> String {
    format!("defaults\n mode http\nfrontend f\n bind :80\n{lines}\n default_backend b\n{BACKEND}")
}

/// Each request, without `GET http://`, ends there; gives the report and the file that was made.
fn asked(text: &str, ends: &[(&str, &str)]) -> String {
    let (made, told) = made(Haproxy, text);
    made.holds();
    for (url, end) in ends {
        let found = made.end(&format!("GET http://{url}"));
        let same = found == *end || found.split_once(' ').is_some_and(|(pool, _)| pool == *end);
        assert!(same, "{url}: {found}, not {end}\n{text}\n{told}");
    }
    told
}

#[test]
fn what_is_accepted_before_http_is_asked_the_rules_of_http() {
    let deny = " http-request deny if { path_beg /admin }";
    for accept in ["content accept if HTTP", "content accept", "connection accept if { src 10.0.0.0/8 }"] {
        let reject = " tcp-request connection reject if { src 10.0.0.9 }\n";
        let text = front(&format!(" tcp-request {accept}\n{reject}{deny}"));
        let early = if accept.contains("connection") { "b" } else { "403" };
        asked(
            &text,
            &[("a/admin", "403"), ("a/", "b"), ("a/ from: 10.0.0.9", early), ("a/admin from: 10.0.0.9", "403")],
        );
    }
    asked(&front(&format!(" http-request allow if {{ path_beg /admin/ok }}\n{deny}")), &[("a/admin/ok", "b")]);
}

#[test]
fn rules_of_named_defaults_hold_for_whoever_is_from_them() {
    let text = |front: &str| {
        format!(
            "defaults base\n mode http\n acl adm path_beg /admin\n http-request deny if adm\n http-request del-header x-user\n \
             http-response set-header x-a 1\ndefaults plain\n mode http\nfrontend f from base\n bind :80\n{front} \
             default_backend b\nbackend b from plain\n server s 10.0.0.1:80\n"
        )
    };
    let own = " acl adm path_beg /own\n http-request deny unless adm\n";
    let told = asked(&text(own), &[("a/admin", "403"), ("a/own", "b"), ("a/", "403")]);
    assert!(told.contains("remove = \"x-user\"") && told.contains("response_headers.set"), "{told}");
    asked(&text(" http-request allow\n"), &[("a/admin/", "403"), ("a/x", "b")]);
}

#[test]
fn a_header_that_cannot_be_written_is_not_the_clients_either() {
    for rule in [
        "set-header X-DN %[ssl_c_s_dn]",
        "set-header X-DN a if { ssl_c_verify 0 }",
        "set-header X-DN a if { hdr(x-a) -m reg a+ } !{ hdr(x-a) -m reg b+ }",
        "del-header X-DN if { ssl_c_verify 0 }",
        "replace-header X-DN (.*) \\1x",
        "replace-value X-DN a b",
    ] {
        let told = asked(&front(&format!(" http-request set-header x-dn early\n http-request {rule}")), &[("a/", "b")]);
        assert!(told.contains("remove = \"x-dn\"") && !told.contains("early\""), "{rule}\n{told}");
    }
    let many = " http-request del-header x-auth- -m beg if { path_beg /in }";
    let told = asked(&front(many), &[("a/in", "503"), ("a/", "b")]);
    assert!(told.contains("CLOSED: `http-request del-header"), "{told}");
}

#[test]
fn gates_that_are_no_deny_are_closed_where_they_cannot_be_said() {
    let guards = " server s 10.0.0.2:80\n http-request deny if { path_beg /in }\n";
    for (lines, ends) in [
        (
            " http-request redirect location https://sso/?u=%[var(txn.u)] unless { req.cook(session) -m found }",
            [("a/", "503"), ("a/ cookie: session=1", "b")],
        ),
        (" redirect location /in if { path_beg /x } { var(txn.u) -m found }", [("a/x", "503"), ("a/", "b")]),
        (" http-request return status 200 if { path_beg /x } !{ var(txn.u) -m found }", [("a/x", "503"), ("a/", "b")]),
        (" use_backend none if { path_beg /x } { src -f NOT-HERE }", [("a/x", "503"), ("a/", "b")]),
        (" use_backend some if { path_beg /x } { src -f NOT-HERE }", [("a/x", "503"), ("a/", "b")]),
        (" use_backend other if { path_beg /x } { src -f NOT-HERE }", [("a/x", "b"), ("a/", "b")]),
        (" use_backend some if { hdr(x-a) -m reg a+ } { hdr(x-a) -m reg b+ }", [("a/ x-a: ab", "503"), ("a/", "b")]),
    ] {
        let backends = format!("backend none\nbackend some\n{guards}backend other\n server s 10.0.0.3:80\n");
        asked(&(front(lines) + &backends), &ends);
    }
}

#[test]
fn what_is_compared_is_what_theirs_compares() {
    for (deny, ends) in [
        ("if { req.hdr(x-role) admin }", [("a/ x-role: user, admin", "403"), ("a/ x-role: administrator", "b")]),
        ("unless { req.hdr(x-role) admin }", [("a/ x-role: user,admin", "b"), ("a/ x-role: user", "403")]),
        ("if { req.hdr(x-role) -i -m beg adm }", [("a/ x-role: user, Admin", "403"), ("a/ x-role: user", "b")]),
        ("if { req.hdr(x-role) -m end -- min }", [("a/ x-role: admin , user", "403"), ("a/ x-role: mine", "b")]),
        ("if { req.hdr(x-role) -m reg ^ad.*n$ }", [("a/ x-role: user, admin", "403"), ("a/ x-role: user", "b")]),
        ("if { req.fhdr(x-role) admin }", [("a/ x-role: user, admin", "b"), ("a/ x-role: admin", "403")]),
        ("if { req.hdr(x-role),word(1,:) admin } { path /x }", [("a/x x-role: admin:1", "503"), ("a/", "b")]),
        ("if { method -m reg PUT|DELETE } { path /x }", [("a/x", "503"), ("a/", "b")]),
        ("if { method put } { path /x }", [("a/x", "503"), ("a/", "b")]),
        ("if { hdr_end(host) internal.example } { path /x }", [("badinternal.example/x", "503"), ("a/", "b")]),
        ("if { hdr_end(host) .internal.example }", [("x.internal.example/", "403"), ("a/", "b")]),
        ("if { hdr_dom(host) internal } { path /x }", [("a.internal.example/x", "503"), ("a/", "b")]),
        ("unless { hdr(host) -m reg ^[^.]+\\.a$ }", [("x.y.a/", "503"), ("a/", "503")]),
        ("unless { ssl_fc_sni a }", [("a/", "403"), ("b/", "403")]),
        ("unless { ssl_fc_has_sni }", [("a/", "403"), ("b/", "403")]),
        ("if { url_sub -i union } { path /x }", [("a/x?q=UNION", "503"), ("a/?q=union", "b")]),
        ("if { url_beg /x }", [("a/xy?q", "403"), ("a/", "b")]),
        ("if { url_beg /x?a } { src 10.0.0.0/8 }", [("a/x?ab from: 10.0.0.1", "503"), ("a/", "b")]),
    ] {
        asked(&front(&format!(" http-request deny {deny}")), &ends);
    }
    let ends = " use_backend o if { hdr_end(host) p.example }";
    asked(&(front(ends) + "backend o\n server s 10.0.0.2:80\n"), &[("x.p.example/", "o"), ("a/", "b")]);
}

#[test]
fn what_counts_is_told_by_what_it_fetches() {
    let table = " stick-table type ip size 1m expire 10s store http_req_rate(10s),conn_cur\n";
    for (deny, end) in [
        ("unless { path /x } or !{ src_is_local }", "503"),
        ("if src_many", "503"),
        ("unless { src_conn_rate gt 9 }", "503"),
        ("if !{ src_http_req_rate gt 9 }", "503"),
        ("if { sc_get_gpt0(0) gt 0 }", "503"),
        ("if { src_conn_rate gt 9 }", "b"),
        ("if { src_conn_rate gt 9 } or { path /y }", "b"),
        ("if { src_conn_rate gt 9 } or { path / }", "403"),
        ("if { be_conn gt 100 }", "b"),
    ] {
        let acl = " acl src_many src_http_req_rate gt 9\n acl src_many src 10.0.0.0/8\n";
        asked(&front(&format!("{table}{acl} http-request deny {deny}")), &[("a/", end)]);
    }
}

#[test]
fn what_is_disabled_is_not_served() {
    let text = front(" use_backend off if { path_beg /off }\n http-request deny if { path /x }");
    let off = |name: &str, more: &str| format!("frontend {name}\n bind :81\n {more}\n default_backend b\n");
    let text = format!("{text}backend off\n disabled\n server s 10.0.0.1:80\n{}", off("g", "disabled"));
    let told = asked(&text, &[("a/", "b"), ("a/off", "503")]);
    assert!(
        !told.contains(":81\"") && !told.contains("[pool.off]") && told.contains("`frontend g`: it is disabled"),
        "{told}"
    );
    let text = format!("{}defaults\n mode http\n disabled\n{}{}", front(""), off("h", "enabled"), off("i", ""));
    let told = asked(&text, &[("a/", "b")]);
    assert!(told.contains("\"h\"") && !told.contains("\"i\""), "{told}");
}

#[test]
fn binds_are_one_listener_where_they_mean_the_same() {
    let other = |bind: &str| {
        format!("{}frontend c\n bind {bind}\n http-request deny\n", front("").replace(":80\n\n", "0.0.0.0:80\n"))
    };
    let told = asked(&other("[::]:80 v6only"), &[("a/", "b")]);
    assert!(told.contains("ipv6_only = true") && told.contains("listener = \"c\""), "{told}");
    let told = asked(&other("[::]:80"), &[("a/", "b")]);
    assert!(told.contains("ipv6_only = true") && told.contains("listener = \"c\""), "{told}");
    let told = asked(&other("*:80"), &[("a/", "b")]);
    assert!(told.contains("NOT SUPPORTED, CLOSED: `bind *:80`"), "{told}");
    // What comes to the old address is not for who has the new one.
    let text = front("").replace(":80\n\n", "[::]:80\n") + "frontend c\n bind :80\n http-request deny\n";
    let told = asked(&text, &[]);
    assert_eq!((told.matches("[[listener]]").count(), told.contains("ipv6_only = true")), (2, true), "{told}");
    let told = asked(&front(" bind [::]:80 v4v6"), &[("a/", "b")]);
    assert_eq!(told.matches("[[listener]]").count(), 1, "{told}");
    let asks = "ssl crt /c.pem ca-file /ca.pem verify required";
    let told = asked(&front(&format!(" bind 0.0.0.0:443 ssl crt /c.pem\n bind [::]:443 {asks}")), &[]);
    assert_eq!((told.matches("client_ca").count(), told.matches("ipv6_only").count()), (1, 1), "{told}");
}

#[test]
fn certificates_that_may_be_revoked_are_not_let_in() {
    for (verify, end) in [("required", "closed"), ("optional", "closed"), ("none", "b /")] {
        let bind = format!(" bind :443 ssl crt /c.pem ca-file /ca.pem crl-file /crl.pem verify {verify}");
        let (made, told) = made(Haproxy, &front(&bind));
        assert_eq!((made.end("GET https://a/").as_str(), made.end("GET http://a/").as_str()), (end, "b /"), "{told}");
        assert_eq!(told.contains("NOT SUPPORTED, CLOSED: "), end == "closed", "{told}");
    }
}

#[test]
fn listeners_are_shut_that_would_let_in_more_than_theirs() {
    for (more, told) in [("crt-list /list.txt", "crt-list may ask"), ("interface eth1", "every interface")] {
        let (made, report) = made(Haproxy, &front(&format!(" bind :443 ssl crt /c.pem {more}")));
        assert_eq!((made.end("GET https://a/").as_str(), report.contains(told)), ("closed", true), "{report}");
    }
}

#[test]
fn rules_that_nobody_knows_may_refuse() {
    for (rule, end) in [
        ("http-request lua.check", "503"),
        ("http-request lua.check if { path_beg /x }", "b"),
        ("tcp-request content lua.check", "503"),
        ("http-request frobnicate", "503"),
        ("http-request sc-inc-gpc0(0)", "b"),
        ("http-request set-timeout server 5s", "b"),
        ("tcp-request content set-var(txn.a) src", "b"),
    ] {
        let told =
            asked(&front(&format!(" {rule}")), &[("a/", end), ("a/x", if rule.contains("lua") { "503" } else { end })]);
        assert_eq!(told.contains(&format!("CLOSED: `{rule}")), rule.contains("lua") || end == "503", "{told}");
    }
}

#[test]
fn a_number_that_is_too_large_is_one_of_ours() {
    let told = asked(&format!("global\n maxconn 18446744073709551615\n{}", front("")), &[("a/", "b")]);
    assert!(told.contains("max_connections = "), "{told}");
}

#[test]
fn the_json_says_why_check_refuses() {
    let missing = " bind :443 ssl crt /nowhere/none.pem";
    for (more, refused) in [(missing, true), ("", false)] {
        let file = std::env::temp_dir().join(format!("evenkeel-json-{}-{refused}.cfg", std::process::id()));
        std::fs::write(&file, front(more)).unwrap();
        let imported = crate::import::import(&file, Some(Haproxy)).unwrap();
        std::fs::remove_file(&file).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(super::tell(&imported, &call(true, false), (&mut out, &mut err)).unwrap(), !refused);
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&err).unwrap();
        let last = rows.last().unwrap();
        assert_eq!(last["outcome"] == "refused", refused, "{last}");
        assert_eq!(last["note"].as_str().unwrap().contains("/nowhere/none.pem"), refused, "{last}");
    }
}

/// A frontend with these lines, whose backend is `b`; `d` refuses.
fn ruled(lines: &[&str], ends: &[(&str, &str)]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| format!(" {line}")).collect();
    asked(&(front(&lines.join("\n")) + "backend d\n http-request deny\n server s 10.0.0.2:80\n"), ends)
}

#[test]
fn rules_see_what_rules_before_them_have_made() {
    let set = "http-request set-header x-in no";
    let deny = "http-request deny unless { hdr(x-in) yes }";
    ruled(&[deny], &[("a/ x-in: yes", "b"), ("a/", "403")]);
    ruled(&[set, deny], &[("a/ x-in: yes", "503")]);
    ruled(&["http-request del-header x-in", deny], &[("a/ x-in: yes", "503")]);
    ruled(&["http-request replace-value x-in a b", deny], &[("a/ x-in: yes", "503")]);
    // Nobody knows for whom.
    ruled(&["http-request set-header x-in no if { nosuch 1 }", deny], &[("a/ x-in: yes", "503")]);
    let path =
        ["http-request replace-path ^/p/(.*) /\\1 if { path_beg /p/ }", "http-request deny if { path_beg /admin }"];
    ruled(&path, &[("a/p/admin", "503"), ("a/admin", "403"), ("a/", "b")]);
    let client = ["http-request set-src hdr(x-forwarded-for)", "http-request deny unless { src 10.0.0.0/8 }"];
    ruled(&client, &[("a/ from: 10.0.0.1", "503")]);
}

#[test]
fn nobody_is_asked_where_nobody_comes_in() {
    let text = front("").replace(" bind :80\n", " bind :443 ssl crt /c.pem verify required\n bind :80\n");
    let (made, told) = made(Haproxy, &text);
    made.holds();
    assert_eq!([made.end("GET https://a/"), made.end("GET http://a/")], ["closed", "b /"], "{told}");
}

#[test]
fn what_haproxy_compares_is_compared() {
    let role = "http-request deny if { hdr(x-role) admin }";
    let [list, one, first, longer] =
        ["user, admin", "admin", "admin ,x", "administrator"].map(|role| format!("a/ x-role: {role}"));
    ruled(&[role], &[(&list, "403"), (&one, "403"), (&first, "403"), (&longer, "b")]);
    ruled(&["http-request deny if { hdr_beg(x-role) admin }"], &[(&list, "403"), (&longer, "403")]);
    ruled(&["http-request deny if { hdr_reg(x-role) ^a.*n$ }"], &[(&list, "403"), (&longer, "b")]);
    ruled(&["http-request deny if { req.fhdr(x-role) admin }"], &[(&list, "b"), (&one, "403")]);
    // With the query, which is no path.
    ruled(&["http-request deny if { url_sub <script }"], &[("a/", "503")]);
    ruled(&["http-request deny if { url_beg /x }"], &[("a/x?y", "403"), ("a/", "b")]);
    // As it was sent, and with other marks between parameters.
    for condition in ["if { urlp(x) a+b }", "if { urlp(y) v }", "unless { url_param(t) s }"] {
        ruled(&[&format!("http-request deny {condition}")], &[("a/", "503")]);
    }
    ruled(&["use_backend d if { urlp(x) 1 }"], &[("a/", "503")]);
    ruled(&["http-request allow if { urlp(x) 1 }", "http-request deny"], &[("a/?x=%31", "403")]);
    ruled(&["http-request deny unless HTTP_1.1"], &[("a/", "503")]);
    ruled(&["http-request deny unless { ssl_fc_sni a.example }"], &[("a.example/", "403")]);
}

#[test]
fn commas_within_quotes_let_nobody_in() {
    let deny = |condition: &str| front(&format!(" http-request deny {condition}"));
    let [inside, behind] = ["a/ x-role: \"user, admin\"", "a/ x-role: \"user, admin"];
    asked(&deny("if { hdr(x-role) admin }"), &[(behind, "403"), ("a/ x-role: a, admin", "403")]);
    asked(&deny("unless { hdr(x-role) admin }"), &[(inside, "403"), (behind, "403"), ("a/ x-role: a, admin", "b")]);
    asked(&deny("if !{ hdr(x-role) -m reg ^a.*n$ }"), &[(behind, "403"), ("a/ x-role: a, admin", "b")]);
    ruled(&["http-request allow if { hdr(x-role) admin }", "http-request deny"], &[(behind, "403")]);
    let gate = "use_backend d unless { hdr(x-role) admin }";
    ruled(&[gate], &[(behind, "403"), ("a/ x-role: a, admin", "b"), ("a/", "403")]);
}

#[test]
fn a_backend_whose_name_is_made_up_is_no_way_round_what_another_refuses() {
    let led = "use_backend %[req.hdr(host),lower,map(/etc/hosts.map)]";
    let beyond = format!("{led} if {{ path_beg /x }}");
    let told = ruled(&[&beyond], &[("a/x", "503"), ("a/", "b")]);
    assert!(told.contains("NOT SUPPORTED, CLOSED: `use_backend"), "{told}");
    for (other, end) in [
        ("server s 10.0.0.2:80", "b"),
        ("server s 10.0.0.2:80\n http-request set-path /y", "b"),
        ("stick-table type ip size 1m expire 10s store conn_cur", "b"),
        ("server s 10.0.0.2:80\n http-request del-header x-user", "503"),
        ("balance roundrobin", "503"),
    ] {
        asked(&(front(&format!(" {led}")) + &format!("backend other\n {other}\n")), &[("a/", end)]);
    }
    let both = "\n http-request deny if { path /y }\n";
    let text = front(&format!(" {led}")) + both + "backend other\n server s 10.0.0.2:80" + both;
    asked(&text, &[("a/", "b"), ("a/y", "403")]);
}

#[test]
fn a_name_of_tls_is_asked_for_where_there_is_tls() {
    let tls = " bind :443 ssl crt /c.pem\n";
    let others = "backend o\n server s 10.0.0.2:80\nbackend d\n http-request deny\n server s 10.0.0.2:80\n";
    let acl = " acl o ssl_fc_sni o\n acl o ssl_fc_sni p\n";
    for (lines, plain, other, secure) in [
        ("use_backend o if { ssl_fc_sni o }", "b /", "b /", "o /"),
        ("use_backend o unless { ssl_fc_sni o }", "o /", "o /", "b /"),
        ("use_backend d if !{ ssl_fc_sni o }", "503", "503", "503"),
        ("use_backend d unless { ssl_fc_sni o }", "403", "403", "b /"),
        ("use_backend d if !o", "503", "503", "503"),
        ("http-request deny unless { ssl_fc_sni o }", "503", "503", "503"),
    ] {
        let (made, told) = made(Haproxy, &(front(&format!("{tls}{acl} {lines}")) + others));
        made.holds();
        let ends = ["http://o/", "http://a/", "https://o/"].map(|url| made.end(&format!("GET {url}")));
        assert_eq!(ends, [plain, other, secure], "{lines}\n{told}");
    }
    asked(&(front(" use_backend o if { ssl_fc_sni o }") + others), &[("o/", "b")]);
}
