//! Whom restored files belong to: to whom their surroundings do, as far as we may give them away.

use std::{io, os::unix::fs::MetadataExt, path::Path};

/// Gives `path` the owner and group of `model`. Who may not give files away keeps them: on a fresh disk in a pod of
/// another user that is exactly who will read them.
///
/// # Errors
/// Either cannot be looked at, or the disk fails.
pub fn take_from(path: &Path, model: &Path) -> io::Result<()> {
    match give(path, &model.metadata()?) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Gives `path` exactly this owner and group.
///
/// # Errors
/// We may not, or the disk fails.
pub fn give(path: &Path, model: &std::fs::Metadata) -> io::Result<()> {
    let own = path.metadata()?;
    if (own.uid(), own.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(model.uid()), Some(model.gid()))
}
