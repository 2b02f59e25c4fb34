//! `evenkeel reload`: has the running process read its configuration anew. Called by `main`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use http::Method;

use super::{
    TEST_FAILED,
    remote::{Failure, Remote, finish},
    table::printable,
};
use crate::admin::command::{ReloadOrder, Reloaded};

/// Reloads; exit code 1 if that is refused, with every problem on stderr, and 3 if it is a test that has failed.
pub fn reload(remote: &Remote, if_drops: Option<u64>) -> ExitCode {
    match try_reload(remote, if_drops, &mut io::stdout().lock()) {
        Err(failure) if failure.is_of_test() => {
            finish(Err(failure));
            ExitCode::from(TEST_FAILED)
        }
        outcome => finish(outcome),
    }
}

fn try_reload(remote: &Remote, if_drops: Option<u64>, out: &mut impl Write) -> Result<(), Failure> {
    let order = ReloadOrder { if_drops };
    let body = serde_json::to_string(&order).map_err(io::Error::from)?;
    tell(&remote.caller()?.change(Method::POST, "/api/v1/reload", body)?, out)
}

/// What is in use, and what an operator should know of it.
pub(super) fn tell(reloaded: &Reloaded, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "the configuration is in use (generation {})", reloaded.generation)?;
    for note in &reloaded.notes {
        writeln!(out, "note: {}", printable(note))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::testing::{file, remote, said};
    use super::*;
    use crate::admin::testing::{Admin, Play, TOKEN};

    fn told(admin: &Admin, shown: Option<&str>) -> Result<String, String> {
        let token = shown.map(file);
        said(|out| try_reload(&remote(admin, token.as_ref()), None, out))
    }

    #[test]
    fn what_is_in_use_is_told_with_its_notes() {
        let expected = Ok("the configuration is in use (generation 8)\nnote: workers: needs a restart\n".into());
        assert_eq!(told(&Admin::tcp(Play::default(), Some(TOKEN)), Some(TOKEN)), expected);
        assert_eq!(told(&Admin::unix(Play::default()), None), expected);
    }

    #[test]
    fn a_refusal_says_why() {
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        assert_eq!(told(&admin, None), Err("refused: a token is needed (401 Unauthorized)".into()));
        assert_eq!(told(&admin, Some("wrong")), Err("refused: the token is wrong (401 Unauthorized)".into()));
        let admin = Admin::tcp(Play::default(), None);
        assert!(told(&admin, Some(TOKEN)).unwrap_err().contains("admin.token"));
        let problems = "error: x\n --> evenkeel.toml:1:1";
        let admin = Admin::unix(Play { file: Some(problems.into()), ..Play::default() });
        assert_eq!(told(&admin, None), Err(format!("refused (422 Unprocessable Entity):\n{problems}")));
    }

    #[test]
    fn a_test_that_has_failed_is_told_from_a_file_that_is_wrong() {
        let admin = |play| Admin::unix(play);
        let outcome = |admin: &Admin| try_reload(&remote(admin, None), None, &mut Vec::new()).unwrap_err().is_of_test();
        assert!(outcome(&admin(Play { test: Some("error: x".into()), ..Play::default() })));
        assert!(!outcome(&admin(Play { file: Some("error: x".into()), ..Play::default() })));
    }

    #[test]
    fn too_many_that_would_be_drained_refuse_it() {
        let admin = Admin::unix(Play::default());
        let told = |most| said(|out| try_reload(&remote(&admin, None), Some(most), out));
        assert_eq!(told(2), Err("refused: 3 live connections would be drained (409 Conflict)".into()));
        assert!(told(3).is_ok());
    }

    #[test]
    fn the_connection_ends_with_its_answer() {
        let admin = Admin::unix(Play::default());
        let start = Instant::now();
        told(&admin, None).unwrap();
        // The process keeps an idle connection for 10 s.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let admin = Admin::tcp(Play::default(), None);
        let gone = remote(&admin, None);
        let address = admin.address.to_string();
        drop(admin);
        let why = said(|out| try_reload(&gone, None, out)).unwrap_err();
        assert!(why.starts_with(&format!("cannot reach {address}: ")) && why.contains("refused"), "{why}");
    }
}
