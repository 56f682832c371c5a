//! What can be written and is not served yet: refused by its path, never ignored. Pure.

use crate::{error::Refusal, platform::Platform};

/// # Errors
/// The first field that is there and would have no effect.
pub(super) fn check(platform: &Platform) -> Result<(), Refusal> {
    let fields = [("input.adopt", platform.adopt != crate::platform::Adopt::default())];
    match fields.into_iter().find(|(_, said)| *said) {
        Some((path, _)) => Err(Refusal::Later { path: path.to_owned() }),
        None => Ok(()),
    }
}
