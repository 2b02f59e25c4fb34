//! What an act becomes that our routes cannot say, or of which they cannot say for whom it is: what protects is never dropped.
//! Used by `rules`, `frontend` and, through it, `decide`. Pure.

use super::{
    decide::Act,
    rules::{Edit, End},
};

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
