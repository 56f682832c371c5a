//! Puts a restored database in its place: one rename is the commit, the old file is kept beside it, and nothing that is
//! open is ever replaced.

use std::{
    fs::File,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{error::Error, kine};

/// Beside the target, so that the rename stays within one file system. A leftover of a crash is overwritten.
const WORK_SUFFIX: &str = ".restoring";
const KEPT_INFIX: &str = ".before-";
/// What SQLite may leave beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A restored database that is not in its place yet.
pub struct Work {
    target: PathBuf,
    path: PathBuf,
    /// Open for writing until [`Work::finish`].
    pub file: File,
}

impl Work {
    /// Makes the work file beside `target` (0600), if there is room for `size` bytes.
    ///
    /// # Errors
    /// No room, or the folder cannot be written.
    pub fn create(target: &Path, size: u64) -> Result<Self, Error> {
        let folder = folder_of(target);
        std::fs::create_dir_all(folder).map_err(Error::file("make the folder", folder))?;
        let room = rustix::fs::statvfs(folder)
            .map(|s| s.f_bavail.saturating_mul(s.f_frsize))
            .map_err(|e| Error::file("look at", folder)(e.into()))?;
        if room < size {
            let why =
                std::io::Error::other(format!("the database needs {size} bytes, {room} are free; make room first"));
            return Err(Error::file("restore into", folder)(why));
        }
        let path = with_suffix(target, WORK_SUFFIX);
        remove_with_companions(&path)?;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("make", &path))?;
        Ok(Self { target: target.to_owned(), path, file })
    }

    /// Checks the work file and tells it what Kubernetes must know: `integrity_check`, the recipe of [`kine`], no WAL.
    /// Gives the revision it begins at.
    ///
    /// # Errors
    /// [`Error::Damaged`] when SQLite finds the database broken.
    pub fn finish(&self, seen: i64, backup: &str) -> Result<Option<i64>, Error> {
        let failed = |e| Error::database("check the restored database", &self.path)(e);
        let mut connection = open(&self.path).map_err(failed)?;
        leave_wal(&connection).map_err(failed)?;
        check_integrity(&connection, backup)?;
        let revision = kine::make_safe(&mut connection, seen, backup).map_err(failed)?;
        connection.close().map_err(|(_, e)| failed(e))?;
        self.file.sync_all().map_err(Error::file("write", &self.path))?;
        Ok(revision)
    }

    /// Commits: the old database is kept as `<name>.before-<backup>`, one of its kind, and the new one takes its name.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody has the old one open. Before the rename nothing has changed.
    pub fn commit(self, backup: &str) -> Result<PathBuf, Error> {
        let kept = with_suffix(&self.target, &format!("{KEPT_INFIX}{}", backup.replace('/', "-")));
        let folder = folder_of(&self.target).to_owned();
        match self.target.metadata() {
            Ok(old) => {
                close_old(&self.target)?;
                same_owner(&self.path, &old, Some(old.mode()))?;
                remove_if_there(&kept)?;
                std::fs::hard_link(&self.target, &kept).map_err(Error::file("keep the old database as", &kept))?;
            }
            Err(_) => {
                let owner = folder.metadata().map_err(Error::file("look at", &folder))?;
                same_owner(&self.path, &owner, None)?;
                // A WAL without its database would be taken for the new one's.
                for companion in COMPANIONS {
                    set_aside(&with_suffix(&self.target, companion), &with_suffix(&kept, companion))?;
                }
            }
        }
        sync_folder(&folder)?;
        std::fs::rename(&self.path, &self.target).map_err(Error::file("put in place", &self.target))?;
        sync_folder(&folder)?;
        forget_older(&self.target, &kept)?;
        Ok(self.target)
    }

    /// Gives up: nothing of the work file stays.
    pub fn discard(self) {
        // A leftover is overwritten by the next restore, so a failure here costs space only.
        let _ = remove_with_companions(&self.path);
    }
}

/// Makes a database self-contained and proves that nobody has it open: leaving WAL mode takes an exclusive lock, which
/// works across processes and for an idle kine, too.
fn close_old(path: &Path) -> Result<(), Error> {
    let failed = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { path: path.to_owned() },
        _ => Error::Database {
            action: "read the old database (move it aside by hand to go on)",
            path: path.to_owned(),
            source: e,
        },
    };
    let connection = open(path).map_err(failed)?;
    leave_wal(&connection).map_err(failed)?;
    connection.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").map_err(failed)?;
    connection.close().map_err(|(_, e)| failed(e))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

fn leave_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0)).map(drop)
}

fn check_integrity(connection: &Connection, backup: &str) -> Result<(), Error> {
    let damaged = |why: String| Error::Damaged { object: format!("backup {backup}"), why };
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|e| damaged(format!("SQLite cannot check it ({e})")))?;
    if verdict == "ok" { Ok(()) } else { Err(damaged(format!("SQLite says: {verdict}"))) }
}

fn same_owner(path: &Path, model: &std::fs::Metadata, mode: Option<u32>) -> Result<(), Error> {
    let own = path.metadata().map_err(Error::file("look at", path))?;
    if (own.uid(), own.gid()) != (model.uid(), model.gid()) {
        std::os::unix::fs::chown(path, Some(model.uid()), Some(model.gid()))
            .map_err(Error::file("give its owner to", path))?;
    }
    if let Some(mode) = mode {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode & 0o7777))
            .map_err(Error::file("set the mode of", path))?;
    }
    Ok(())
}

/// Older kept copies go only after the new one is in place.
fn forget_older(target: &Path, kept: &Path) -> Result<(), Error> {
    let folder = folder_of(target);
    let prefix = format!("{}{KEPT_INFIX}", file_name(target));
    for entry in std::fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let path = entry.map_err(Error::file("list", folder))?.path();
        if file_name(&path).starts_with(&prefix) && !file_name(&path).starts_with(&file_name(kept)) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

fn set_aside(from: &Path, to: &Path) -> Result<(), Error> {
    match std::fs::rename(from, to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("set aside", from)(e)),
        _ => Ok(()),
    }
}

fn remove_with_companions(path: &Path) -> Result<(), Error> {
    remove_if_there(path)?;
    COMPANIONS.iter().try_for_each(|companion| remove_if_there(&with_suffix(path, companion)))
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path)(e)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::file("sync", folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn database(path: &Path, rows: i64) -> Connection {
        let connection = Connection::open(path).expect("SQLite");
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("WAL");
        connection.execute_batch("CREATE TABLE t (n)").expect("table");
        for n in 0..rows {
            connection.execute("INSERT INTO t VALUES (?1)", [n]).expect("row");
        }
        connection
    }

    fn work(target: &Path, rows: i64) -> Work {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = dir.path().join("x.db");
        database(&source, rows).close().expect("closed");
        let mut work = Work::create(target, 1).expect("work file");
        work.file.write_all(&std::fs::read(source).expect("read")).expect("written");
        work
    }

    fn rows(path: &Path) -> i64 {
        Connection::open(path).expect("opens").query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).expect("reads")
    }

    #[test]
    fn an_open_database_is_not_replaced() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        let owner = database(&target, 3);
        let work = work(&target, 5);
        work.finish(0, "g/1").expect("sound");
        assert!(matches!(work.commit("g/1"), Err(Error::Busy { .. })), "an idle connection counts");
        assert_eq!(owner.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).expect("reads"), 3);
    }

    #[test]
    fn the_old_database_is_kept_whole_and_only_the_last_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        database(&target, 3).close().expect("closed");
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).expect("mode");
        for (id, count) in [("g/1", 5), ("g/2", 6)] {
            let work = work(&target, count);
            work.finish(0, id).expect("sound");
            work.commit(id).expect("committed");
        }
        assert_eq!(rows(&target), 6);
        assert_eq!(target.metadata().expect("there").mode() & 0o777, 0o640);
        assert_eq!(rows(&dir.path().join("state.db.before-g-2")), 5);
        assert!(!dir.path().join("state.db.before-g-1").exists());
    }

    #[test]
    fn a_wal_without_its_database_is_set_aside() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        std::fs::write(dir.path().join("state.db-wal"), b"from another life").expect("written");
        let work = work(&target, 2);
        work.finish(0, "g/1").expect("sound");
        work.commit("g/1").expect("committed");
        assert_eq!(rows(&target), 2);
        assert!(dir.path().join("state.db.before-g-1-wal").exists());
    }

    #[test]
    fn a_broken_database_never_gets_to_the_rename() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        let mut work = work(&target, 2_000);
        use std::io::{Seek, SeekFrom};
        work.file.seek(SeekFrom::Start(4096 * 3)).expect("seek");
        work.file.write_all(&[0xAA; 4096]).expect("written");
        assert!(matches!(work.finish(0, "g/1"), Err(Error::Damaged { .. })));
        work.discard();
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 0);
    }
}
