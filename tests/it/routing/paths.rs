//! Paths: exact, a prefix on a segment boundary, a regex; always of the normalised path alone.

use super::{assert_taken, routes};

#[test]
fn a_prefix_ends_on_a_segments_boundary() {
    let evenkeel = routes(&[("v1", "path = \"/v1/*\"")]);
    assert_taken(
        &evenkeel,
        &[
            ("test", "/v1", "v1"),
            ("test", "/v1/", "v1"),
            ("test", "/v1/a/b", "v1"),
            ("test", "/v1//", "v1"),
            ("test", "/v1?a", "v1"),
            ("test", "/v1/?/v2", "v1"),
            ("test", "/v10", ""),
            ("test", "/v1x/", ""),
            ("test", "/v1.", ""),
            ("test", "/v1%2Fa", ""),
            ("test", "/V1/", ""),
            ("test", "/a/v1/", ""),
            ("test", "//v1/", ""),
            ("test", "/", ""),
            ("test", "/?/v1/", ""),
        ],
    );
}

#[test]
fn an_exact_path_is_that_path_alone() {
    let evenkeel = routes(&[("v1", "path = \"/v1\""), ("root", "path = \"/\"")]);
    assert_taken(
        &evenkeel,
        &[
            ("test", "/v1", "v1"),
            ("test", "/v1?a=/b", "v1"),
            ("test", "/v1/", ""),
            ("test", "/v1/a", ""),
            ("test", "/V1", ""),
            ("test", "/", "root"),
            ("test", "/?a", "root"),
            ("test", "//", ""),
        ],
    );
}

#[test]
fn every_path_has_the_prefix_of_all() {
    let evenkeel = routes(&[("all", "path = \"/*\"")]);
    assert_taken(
        &evenkeel,
        &[("test", "/", "all"), ("test", "/a", "all"), ("test", "//", "all"), ("test", "/a/b?c", "all")],
    );
}

#[test]
fn a_regex_sees_the_path_and_nothing_else() {
    let evenkeel = routes(&[("php", "path = { regex = '\\.php$' }"), ("id", "path = { regex = '^/id/[0-9]+$' }")]);
    assert_taken(
        &evenkeel,
        &[
            ("test", "/a/b.php", "php"),
            ("test", "/b.php?x=1", "php"),
            ("test", "/b.%70hp", "php"),
            ("test", "/b.phpx", ""),
            ("test", "/b?x=.php", ""),
            ("test", "/id/42", "id"),
            ("test", "/id/42?a", "id"),
            ("test", "/id/42/", ""),
            ("test", "/x/id/42", ""),
        ],
    );
}

#[test]
fn the_first_regex_of_the_file_goes_first() {
    let evenkeel = routes(&[("first", "path = { regex = \"a\" }"), ("second", "path = { regex = \"^/abc$\" }")]);
    assert_taken(&evenkeel, &[("test", "/abc", "first"), ("test", "/bc", "")]);
}

#[test]
fn nobody_gets_round_a_route_by_writing_its_path_differently() {
    let evenkeel = routes(&[("admin", "path = \"/admin/*\""), ("public", "path = \"/*\"")]);
    assert_taken(
        &evenkeel,
        &[
            ("test", "/admin", "admin"),
            ("test", "/%61dmin/x", "admin"),
            ("test", "/adm%69n", "admin"),
            ("test", "/public/../admin/", "admin"),
            ("test", "/public/%2e%2e/admin", "admin"),
            ("test", "/public/.%2E/./admin", "admin"),
            ("test", "/../admin", "admin"),
            ("test", "/./admin", "admin"),
            ("test", "http://test/x/../admin", "admin"),
            ("test", "/admin/../public", "public"),
            // Other resources, for the backend as well.
            ("test", "//admin", "public"),
            ("test", "/x/..%2Fadmin", "public"),
            ("test", "/ADMIN", "public"),
        ],
    );
}
