//! One program at a time in a data directory: two writers would fork the chain of backups, two restores would race.

use std::{fs::File, os::unix::fs::DirBuilderExt, path::Path};

use crate::{error::Error, signing::OWN_FOLDER};

const LOCK_FILE: &str = "lock";

/// Held as long as it lives; the system lets go of it with the process, however that ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Lock {
    /// Takes the lock, or says who is in the way.
    ///
    /// # Errors
    /// [`Error::Locked`], or the data directory cannot be written.
    pub fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = make_own_folder(data_dir)?.join(LOCK_FILE);
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::file("make", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked { data_dir: data_dir.to_owned() }),
            Err(std::fs::TryLockError::Error(e)) => Err(Error::file("lock", &path)(e)),
        }
    }
}

/// The folder of our own below the data directory, 0700.
///
/// # Errors
/// The data directory cannot be written.
pub fn make_own_folder(data_dir: &Path) -> Result<std::path::PathBuf, Error> {
    let folder = data_dir.join(OWN_FOLDER);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(Error::file("make the folder", &folder))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_and_the_next_gets_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = Lock::take(dir.path()).expect("free");
        assert!(matches!(Lock::take(dir.path()), Err(Error::Locked { .. })));
        drop(first);
        assert!(Lock::take(dir.path()).is_ok());
    }
}
