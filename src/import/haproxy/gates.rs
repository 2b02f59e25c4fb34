//! What an act becomes that our routes cannot say, or of which they cannot say for whom it is: what protects is never dropped.
//! Used by `rules`, `frontend` and, through it, `decide`. Pure.

use super::{decide::Act, edit::Edit, read::Line, rules::End};

/// What stands for `act` where it is not known exactly for whom it is; `None`: nothing is protected by it.
pub(super) fn instead(act: &Act<Edit, End>) -> Option<Act<Edit, End>> {
    match act {
        Act::End(End::Pool(_)) | Act::Allow | Act::Goto(_) => None,
        Act::End(_) => Some(Act::End(End::Closed)),
        Act::Edit(edit) => edit.removal().map(Act::Edit),
    }
}

impl Edit {
    /// It takes the header away that this writes or removes in requests.
    fn removal(&self) -> Option<Self> {
        let remove = |name: &str| Self::Push(vec!["request_headers".to_owned(), "remove".to_owned()], name.into());
        match self {
            Self::Set(path, _) => match path.as_slice() {
                [side, way, name] if side == "request_headers" && way == "set" => Some(remove(name)),
                _ => None,
            },
            Self::Push(path, _) if *path == ["request_headers", "remove"] => Some(self.clone()),
            _ => None,
        }
    }
}

/// Actions of `http-request` and `tcp-request` that refuse nobody, by their beginning: what they change is asked for by rules
/// of their own. Whatever stands in no list may refuse.
const HARMLESS: [&str; 31] = [
    "add-acl",
    "attach-srv",
    "cache-use",
    "capture",
    "del-acl",
    "del-map",
    "disable-l7-retry",
    "do-log",
    "do-resolve",
    "early-hint",
    "expect-netscaler-cip",
    "expect-proxy",
    "normalize-uri",
    "pause",
    "replace-pathq",
    "replace-uri",
    "sc-",
    "sc0-",
    "send-spoe-group",
    "set-bandwidth-limit",
    "set-bc-",
    "set-dst",
    "set-fc-",
    "set-map",
    "set-mark",
    "set-nice",
    "set-priority-",
    "set-retries",
    "set-tos",
    "strict-mode",
    "switch-mode",
];
const SETS: [&str; 9] = [
    "set-log-level",
    "set-method",
    "set-query",
    "set-src",
    "set-timeout",
    "set-uri",
    "set-var",
    "track-sc",
    "unset-var",
];

/// What `line` of a backend does may keep somebody out, or take a header away.
pub(super) fn may_guard(line: &Line) -> bool {
    const OPEN: [&str; 6] = ["add-header", "allow", "replace-path", "set-path", "use-service", "wait-for-"];
    let name = match (line.word(0), line.word(1)) {
        ("block" | "redirect", _) => return true,
        ("http-request", name) => name,
        ("tcp-request", "inspect-delay") => return false,
        ("tcp-request", _) if line.word(2) == "accept" => return false,
        ("tcp-request", _) => line.word(2),
        _ => return false,
    };
    !is_harmless(name) && !OPEN.iter().any(|front| name.starts_with(front))
}

/// The action of that name refuses nobody.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().chain(&SETS).any(|front| name.starts_with(front))
}
