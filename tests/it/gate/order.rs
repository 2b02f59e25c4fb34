//! The order of policies (PRODUCT.md section 3), where two of them would answer the same request.

use super::*;
use crate::support::{Backend, Site, request};

const PREFLIGHT: &str = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: PUT\r\n";

#[test]
fn the_earlier_one_answers() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let auth = key_auth("apps", &folder.put("keys", &key("mobile", "one")));
    let text = format!(
        "{auth}[rate_limit.all]\nkey = \"global\"\nrate = \"1/h\"\nburst = 3\n\
         [[route]]\nname = \"in\"\nrate_limit = \"all\"\nmethod = [\"GET\", \"OPTIONS\"]\nrespond = {{ status = 299, body = \"x\" }}\n\
         auth = \"apps\"\ndeny = [\"192.0.2.0/24\"]\n\
         cors = {{ origins = [\"https://app.example.com\"], methods = [\"PUT\"] }}\n"
    );
    let site = Site::new(text).server("trusted_proxies = [\"127.0.0.0/8\"]");
    let evenkeel = site.pool("web", backend.address()).start();
    let ask = |method: &str, fields: &str| {
        let mut client = evenkeel.client();
        client.send(request(method, "test", "/", fields));
        client.response_to(method)
    };
    let denied = "X-Forwarded-For: 192.0.2.7\r\n";
    // The route goes before all of them.
    ask("POST", denied).assert_refused(404, "no_route");
    // `deny` goes before preflights and `auth`.
    ask("GET", denied).assert_refused(403, "denied");
    ask("GET", &format!("{denied}X-Api-Key: one\r\n")).assert_refused(403, "denied");
    ask("OPTIONS", &format!("{denied}{PREFLIGHT}")).assert_refused(403, "denied");
    // A preflight goes before `auth`: browsers show nothing in it.
    assert_eq!(ask("OPTIONS", PREFLIGHT).status, 204);
    // `auth` goes before the answer of the route.
    ask("GET", "").assert_refused(401, "unauthorized");
    ask("GET", "X-Api-Key: two\r\n").assert_refused(401, "unauthorized");
    assert_eq!(ask("GET", "X-Api-Key: one\r\n").status, 299);
    // Those three had a token each, and nobody before them: limits go behind preflights, and before `auth`.
    ask("GET", "").assert_refused(429, "rate_limited");
    ask("GET", "X-Api-Key: one\r\n").assert_refused(429, "rate_limited");
    assert_eq!(ask("OPTIONS", PREFLIGHT).status, 204);
    ask("GET", denied).assert_refused(403, "denied");
}
