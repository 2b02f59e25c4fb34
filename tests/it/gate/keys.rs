//! `type = "api_key"`.

use super::*;
use crate::support::{Backend, Site, h2, request};

fn site(folder: &Folder, backend: &Backend) -> Site {
    let file = folder.put("keys", &(key("mobile", "one") + &key("batch", "two")));
    let auth = key_auth("apps", &file);
    let text = format!(
        "{auth}[[route]]\nname = \"in\"\npath = \"/in/*\"\npool = \"web\"\nauth = \"apps\"\n\
         [[route]]\nname = \"open\"\npool = \"web\"\n"
    );
    Site::new(text).server("underscore_headers = \"allow\"").pool("web", backend.address())
}

#[test]
fn the_backend_learns_whose_key_it_was_and_clients_cannot_say_so() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let evenkeel = site(&folder, &backend).start();
    let mut client = evenkeel.client();
    let forged = "X-Api-Key-Name: admin\r\nx_api_key_name: admin\r\nX-Api_Key-Name: admin\r\n";
    let mut ask = |path: &str, fields: &str| {
        client.exchange(request("GET", "test", path, &format!("{forged}{fields}X-Other_One: 1\r\n"))).status
    };
    let told = || {
        let last = backend.last();
        let fields = last.head.fields;
        assert!(!fields.has("x_api_key_name") && !fields.has("x-api_key-name") && fields.has("x-other_one"));
        fields.all("x-api-key-name").join("+")
    };
    assert_eq!((ask("/in/a", "X-Api-Key: one\r\n"), told()), (200, "mobile".to_owned()));
    assert_eq!((ask("/in/a", "x-api-key: two\r\n"), told()), (200, "batch".to_owned()));
    // The same backend believes the field on a route that asks nobody.
    assert_eq!((ask("/open", ""), told()), (200, String::new()));
    for fields in ["", "X-Api-Key: three\r\n", "X-Api-Key: mobile\r\n", "X-Api-Key: one\r\nX-Api-Key: two\r\n"] {
        assert_eq!(ask("/in/a", fields), 401, "{fields}");
    }
    assert_eq!(backend.requests(), 3);
    let refused = evenkeel.get("/in/a");
    refused.assert_refused(401, "unauthorized");
    assert_eq!(refused.field("www-authenticate"), Some("ApiKey realm=\"apps\""));
}

#[test]
fn over_http2_it_is_the_same() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let evenkeel = site(&folder, &backend).start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let request = h2::to("GET", "/in/a").header("x-api-key", "two").header("x-api-key-name", "admin");
        assert_eq!(h2::ask(&client, request, b"").await.unwrap().status, 200);
        assert_eq!(backend.last().head.fields.all("x-api-key-name"), ["batch"]);
        let refused = h2::ask(&client, h2::to("GET", "/in/a").header("x-api-key", "no"), b"").await.unwrap();
        assert_eq!(refused.status, 401);
        assert_eq!(refused.fields["www-authenticate"], "ApiKey realm=\"apps\"");
    });
}

#[test]
fn routes_that_answer_by_themselves_ask_as_well() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let auth = key_auth("apps", &folder.put("keys", &key("mobile", "one")));
    let text = format!(
        "{auth}[[route]]\npath = \"/r\"\nredirect = {{ to = \"/new\" }}\nauth = \"apps\"\n\
         [[route]]\nrespond = {{ body = \"secret\" }}\nauth = \"apps\"\n"
    );
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    for (path, status) in [("/r", 308), ("/", 200)] {
        evenkeel.get(path).assert_refused(401, "unauthorized");
        let with = request("GET", "test", path, "X-Api-Key: one\r\n");
        assert_eq!(evenkeel.client().exchange(with).status, status);
    }
}
