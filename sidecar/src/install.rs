//! Puts a restored database in its place: one rename is the commit, the old file is kept beside it, and nothing that is
//! open is ever replaced. [`Work`] is the new database until then, `plan.rs` the steps that replace the old one and what
//! becomes of them in a crash, `database.rs` what SQLite says of a file that nobody may have open.

mod database;
mod files;
mod plan;

use std::{
    fs::File,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

pub(crate) use self::database::look_into;
pub use self::{
    database::is_database,
    plan::{Plan, roll_forward, set_databases_aside},
};
use self::{
    database::{check_integrity, close_old, open, set_journal},
    files::{folder_of, remove_with_companions, with_suffix},
    plan::{INTENT_SUFFIX, KEPT_INFIX},
};
use crate::{
    error::Error,
    kine::{self, Made, Recipe},
    owner,
};

/// Beside the target, so that the rename stays within one file system. A leftover of a crash is overwritten.
const WORK_SUFFIX: &str = ".restoring";

/// Tells a restore under way that nobody wants it any more. Past the rename it is too late, and the restore stands.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the restore to end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Goes on unless it was asked to end.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// A restored database that is not in its place yet; dropped, nothing of it stays unless an intent names it.
pub struct Work {
    target: PathBuf,
    path: PathBuf,
    /// Open for writing until [`Work::finish`].
    pub file: File,
}

/// Looks whether a database of `size` bytes fits, before any of it is written.
///
/// # Errors
/// It does not.
pub fn check_room(folder: &Path, size: u64) -> Result<(), Error> {
    let room = rustix::fs::statvfs(folder)
        .map(|s| s.f_bavail.saturating_mul(s.f_frsize))
        .map_err(|e| Error::file("look at", folder)(e.into()))?;
    if room >= size {
        return Ok(());
    }
    let why = std::io::Error::other(format!("the database needs {size} bytes, {room} are free; make room first"));
    Err(Error::file("restore into", folder)(why))
}

impl Drop for Work {
    fn drop(&mut self) {
        // After the commit it bears another name; before, a leftover is overwritten by the next restore. An intent that
        // could not be taken back will need it.
        if with_suffix(&self.target, INTENT_SUFFIX).exists() {
            return;
        }
        let _ = remove_with_companions(&self.path);
    }
}

impl Work {
    /// Makes the work file beside `target` (0600), if there is room for `size` bytes.
    ///
    /// # Errors
    /// No room, or the folder cannot be written.
    pub fn create(target: &Path, size: u64) -> Result<Self, Error> {
        let folder = folder_of(target);
        std::fs::create_dir_all(folder).map_err(Error::file("make the folder", folder))?;
        check_room(folder, size)?;
        let path = with_suffix(target, WORK_SUFFIX);
        remove_with_companions(&path)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("make", &path))?;
        Ok(Self { target: target.to_owned(), path, file })
    }

    /// Checks the work file and tells it what Kubernetes must know: `integrity_check` and the recipe of [`kine`]. It ends
    /// in the journal mode it was backed up in, without companions: kine, which wants WAL, then need not wait for an
    /// exclusive lock while our first backup reads. Gives what was done to it; nothing if it is no kine database.
    ///
    /// # Errors
    /// [`Error::Damaged`] when SQLite finds the database broken.
    pub fn finish(&self, recipe: &Recipe) -> Result<Option<Made>, Error> {
        let failed = |e| Error::database("check the restored database", &self.path)(e);
        let mut connection = open(&self.path).map_err(failed)?;
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
        set_journal(&connection, "DELETE").map_err(failed)?;
        check_integrity(&connection, &recipe.marker.backup)?;
        let made = kine::make_safe(&mut connection, recipe).map_err(failed)?;
        if mode.eq_ignore_ascii_case("wal") {
            set_journal(&connection, "WAL").map_err(failed)?;
        }
        connection.close().map_err(|(_, e)| failed(e))?;
        self.file.sync_all().map_err(Error::file("write", &self.path))?;
        Ok(made)
    }

    /// The highest revision of the database that is there; 0 if none can be read.
    #[must_use]
    pub fn old_revision(&self) -> i64 {
        let read = || open(&self.target).and_then(|connection| kine::revision(&connection));
        if self.target.is_file() { read().unwrap_or(0) } else { 0 }
    }

    /// Volume claims the old database knows and the new one does not: the syncer will delete their volumes.
    #[must_use]
    pub fn lost_volumes(&self) -> Vec<String> {
        let claims = |path: &Path| open(path).and_then(|connection| kine::volume_claims(&connection));
        match (self.target.is_file().then(|| claims(&self.target)), claims(&self.path)) {
            (Some(Ok(old)), Ok(new)) => old.difference(&new).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Plans to put the work file in the place of what is there. The old database is kept as
    /// `<name>.before-<backup>-<nanoseconds>`, one of its kind; its owner, group and mode are given to the new one.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody has the old one open, or the owner cannot be kept. Nothing has changed then.
    pub fn plan(&self, backup: &str) -> Result<Plan, Error> {
        // Two restores may fall into one second.
        let now = Timestamp::now().as_nanosecond();
        let kept = with_suffix(&self.target, &format!("{KEPT_INFIX}{}-{now}", backup.replace('/', "-")));
        let old = match self.target.metadata() {
            Ok(old) => Some(old),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::file("look at", &self.target)(e)),
        };
        let readable = match &old {
            None => false,
            Some(old) => {
                let readable = close_old(&self.target)?;
                owner::give(&self.path, old).map_err(Error::file("give its owner to", &self.path))?;
                let mode = PermissionsExt::from_mode(old.mode() & 0o7777);
                std::fs::set_permissions(&self.path, mode).map_err(Error::file("set the mode of", &self.path))?;
                readable
            }
        };
        if old.is_none() {
            owner::take_from(&self.path, folder_of(&self.target))
                .map_err(Error::file("give its owner to", &self.path))?;
        }
        Ok(if readable {
            Plan::over_a_sound_one(&self.target, &self.path, &kept)
        } else {
            // Also when only a WAL is left: without its database it would be taken for the new one's.
            Plan::aside(&self.target, &self.path, &kept)
        })
    }

    /// Carries out a plan; `prepare` runs when nothing can refuse any more and nothing has changed yet.
    ///
    /// # Errors
    /// Before the new database is in its place; after that nothing fails.
    pub fn commit<T>(self, plan: &Plan, prepare: impl FnOnce() -> Result<T, Error>) -> Result<(PathBuf, T), Error> {
        let prepared = prepare()?;
        plan.carry_out()?;
        Ok((self.target.clone(), prepared))
    }
}

#[cfg(test)]
mod tests;
