//! Whatever stands in a file: both readers end, soon, with a bounded answer that is TOML.

use std::path::Path;

use proptest::prelude::*;

use super::{files::Files, haproxy, nginx};

/// Words of nginx, so that chance makes blocks that mean something.
const NGINX: &str = "http|server|location|upstream|if|return|rewrite|proxy_pass|listen|server_name|allow|deny|set|map|\\{|\\}|;|\
                     /|/a/|~|~\\*|=|\\^~|@x|\\$host|\\$x|\\(|\\)|80|443 ssl|http://u|http://u/|all|10.0.0.0/8|301|403|break|permanent|\
                     ssl_certificate|ssl_certificate_key|x.pem|hash|split_clients|5%|\\*|limit_req|zone=a|\"|'|#|\n|include|fuzz";
/// The same of HAProxy; a line break is as likely as a word.
const HAPROXY: &str = "global|defaults|frontend f|backend b|backend c|listen l|mode http|bind :80|bind :443 ssl crt x|acl a|path_beg|\
                       hdr\\(host\\)|src|if|unless|or|!|\\{|\\}|a|use_backend b|default_backend c|http-request|deny|set-header X y|\
                       redirect scheme https|server s 10.0.0.1:80|balance|uri|stick-table|10.0.0.0/8|/x|\\\\|\"|'|#|\n|\n|\n|\n|\n";

fn words(choices: &'static str) -> impl Strategy<Value = String> {
    let word = prop_oneof![9 => proptest::string::string_regex(choices).expect("it compiles"), 1 => "\\PC{0,6}"];
    proptest::collection::vec(word, 0..120).prop_map(|words| words.join(" "))
}

/// What came of `text`, if anything.
fn fine(toml: Option<String>) -> Result<(), TestCaseError> {
    let Some(toml) = toml else { return Ok(()) };
    prop_assert!(toml.len() < 16 << 20);
    let read = toml.parse::<::toml::Table>();
    prop_assert!(read.is_ok(), "{}\n{toml}", read.unwrap_err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nginx_ends(text in words(NGINX)) {
        let mut files = Files::new(Path::new("/nowhere/fuzz"));
        fine(nginx::import(&format!("server {{ listen 80; }} {text}"), &mut files).ok().map(|imported| imported.toml))?;
        fine(nginx::import(&format!("http {{ server {{ {text} }} }}"), &mut files).ok().map(|imported| imported.toml))?;
    }

    #[test]
    fn haproxy_ends(text in words(HAPROXY)) {
        let files = Files::new(Path::new("/nowhere/fuzz"));
        let front = format!("defaults\n mode http\nfrontend z\n bind :80\n {text}\n default_backend b\nbackend b\n server s a:1\n");
        for text in [&front, &text] {
            fine(haproxy::import(text, &files).ok().map(|imported| imported.toml))?;
        }
    }

    #[test]
    fn any_text_ends(text in "\\PC{0,300}|[ -~\n]{0,300}") {
        let mut files = Files::new(Path::new("/nowhere/fuzz"));
        let _ = nginx::import(&text, &mut files);
        let _ = haproxy::import(&text, &files);
    }
}

#[test]
fn a_file_that_includes_itself_ends() {
    let folder = std::env::temp_dir().join(format!("evenkeel-import-loop-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("nginx.conf");
    std::fs::write(&path, "include *.conf;\ninclude nginx.conf;\n").unwrap();
    let why = super::import(&path, Some(super::From::Nginx)).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(why.contains("deep") || why.contains("files"), "{why}");
}
