//! `evenkeel rollback`: has the running process put the configuration before in force again. Called by `main`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use http::Method;

use super::{
    reload::tell,
    remote::{Failure, Remote, finish},
};

/// Rolls back; exit code 1 if that is refused, with why on stderr.
pub fn rollback(remote: &Remote) -> ExitCode {
    finish(try_rollback(remote, &mut io::stdout().lock()))
}

fn try_rollback(remote: &Remote, out: &mut impl Write) -> Result<(), Failure> {
    tell(&remote.caller()?.change(Method::POST, "/api/v1/rollback", String::new())?, out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, remote, said};
    use super::*;
    use crate::admin::testing::{Admin, Play, TOKEN};

    #[test]
    fn what_is_in_use_is_told_and_a_refusal_says_why() {
        let token = file(TOKEN);
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        let told = said(|out| try_rollback(&remote(&admin, Some(&token)), out));
        assert!(
            told.as_ref().is_ok_and(|told| told.starts_with("the configuration is in use (generation 8)\n")),
            "{told:?}"
        );
        let refused = said(|out| try_rollback(&remote(&admin, None), out));
        assert_eq!(refused, Err("refused: a token is needed (401 Unauthorized)".into()));
    }
}
