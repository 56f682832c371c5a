//! Puts a restored database in its place: one rename is the commit, the old file is kept beside it, and nothing that is
//! open is ever replaced.

use std::{
    fs::File,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{error::Error, kine, owner};

/// Beside the target, so that the rename stays within one file system. A leftover of a crash is overwritten.
const WORK_SUFFIX: &str = ".restoring";
const KEPT_INFIX: &str = ".before-";
/// What SQLite may leave beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

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

/// A restored database that is not in its place yet; dropped, nothing of it stays.
pub struct Work {
    target: PathBuf,
    path: PathBuf,
    /// Open for writing until [`Work::finish`].
    pub file: File,
}

impl Drop for Work {
    fn drop(&mut self) {
        // After the commit it bears another name; before, a leftover is overwritten by the next restore.
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
    /// exclusive lock while our first backup reads. Gives the revision it begins at.
    ///
    /// # Errors
    /// [`Error::Damaged`] when SQLite finds the database broken.
    pub fn finish(&self, seen: i64, backup: &str) -> Result<Option<i64>, Error> {
        let failed = |e| Error::database("check the restored database", &self.path)(e);
        let mut connection = open(&self.path).map_err(failed)?;
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
        set_journal(&connection, "DELETE").map_err(failed)?;
        check_integrity(&connection, backup)?;
        let revision = kine::make_safe(&mut connection, seen, backup).map_err(failed)?;
        if mode.eq_ignore_ascii_case("wal") {
            set_journal(&connection, "WAL").map_err(failed)?;
        }
        connection.close().map_err(|(_, e)| failed(e))?;
        self.file.sync_all().map_err(Error::file("write", &self.path))?;
        Ok(revision)
    }

    /// Commits: the old database is kept as `<name>.before-<backup>-<seconds>`, one of its kind, and the new one takes
    /// its name. `prepare` runs when nothing can refuse any more and nothing has changed yet.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody has the old one open. Before the rename nothing has changed; after it nothing fails.
    pub fn commit<T>(self, backup: &str, prepare: impl FnOnce() -> Result<T, Error>) -> Result<(PathBuf, T), Error> {
        let now = Timestamp::now().as_second();
        let kept = with_suffix(&self.target, &format!("{KEPT_INFIX}{}-{now}", backup.replace('/', "-")));
        let folder = folder_of(&self.target).to_owned();
        let old = match self.target.metadata() {
            Ok(old) => Some(old),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::file("look at", &self.target)(e)),
        };
        if let Some(old) = &old {
            close_old(&self.target)?;
            owner::give(&self.path, old).map_err(Error::file("give its owner to", &self.path))?;
            let mode = PermissionsExt::from_mode(old.mode() & 0o7777);
            std::fs::set_permissions(&self.path, mode).map_err(Error::file("set the mode of", &self.path))?;
        } else {
            owner::take_from(&self.path, &folder).map_err(Error::file("give its owner to", &self.path))?;
        }
        let prepared = prepare()?;
        if old.is_some() {
            std::fs::hard_link(&self.target, &kept).map_err(Error::file("keep the old database as", &kept))?;
        } else {
            // A WAL without its database would be taken for the new one's.
            for companion in COMPANIONS {
                set_aside(&with_suffix(&self.target, companion), &with_suffix(&kept, companion))?;
            }
        }
        sync_folder(&folder)?;
        std::fs::rename(&self.path, &self.target).map_err(Error::file("put in place", &self.target))?;
        // It is done. What fails from here on is said, and is no failure of the restore.
        if let Err(error) = sync_folder(&folder).and_then(|()| forget_older(&self.target, &kept)) {
            tracing::warn!("the restore is in place, but: {}", error.chain());
        }
        Ok((self.target.clone(), prepared))
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
    set_journal(&connection, "DELETE").map_err(failed)?;
    connection.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").map_err(failed)?;
    connection.close().map_err(|(_, e)| failed(e))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

fn set_journal(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get::<_, String>(0)).map(drop)
}

fn check_integrity(connection: &Connection, backup: &str) -> Result<(), Error> {
    let damaged = |why: String| Error::Damaged { object: format!("backup {backup}"), why };
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|e| damaged(format!("SQLite cannot check it ({e})")))?;
    if verdict == "ok" { Ok(()) } else { Err(damaged(format!("SQLite says: {verdict}"))) }
}

/// Older kept copies go only after the new one is in place, and only those that bear a name of ours.
fn forget_older(target: &Path, kept: &Path) -> Result<(), Error> {
    let folder = folder_of(target);
    let prefix = format!("{}{KEPT_INFIX}", file_name(target));
    for entry in std::fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let name = file_name(&path);
        let ours = name.strip_prefix(&prefix).is_some_and(is_backup_name);
        if ours && !name.starts_with(&file_name(kept)) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Whether this begins like a backup's id: a start time as `YYYYMMDDThhmmssZ-`. A person's own copies do not.
fn is_backup_name(rest: &str) -> bool {
    let digits = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    digits(rest.get(..8)) && rest.get(8..9) == Some("T") && digits(rest.get(9..15)) && rest.get(15..17) == Some("Z-")
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

    const FIRST: &str = "20261122T080000Z-aaaaaaaaaaaaaaaa/00000001";
    const SECOND: &str = "20261122T080000Z-aaaaaaaaaaaaaaaa/00000002";

    fn commit(work: Work, id: &str) -> Result<(), Error> {
        work.finish(0, id).expect("sound");
        work.commit(id, || Ok(())).map(drop)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).expect("lists").map(|e| file_name(&e.expect("entry").path())).collect();
        names.sort();
        names
    }

    #[test]
    fn an_open_database_is_not_replaced_and_nothing_is_prepared() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        let owner = database(&target, 3);
        let work = work(&target, 5);
        work.finish(0, FIRST).expect("sound");
        let outcome =
            work.commit(FIRST, || -> Result<(), Error> { panic!("nothing may be written before this refusal") });
        assert!(matches!(outcome, Err(Error::Busy { .. })), "an idle connection counts");
        assert_eq!(owner.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).expect("reads"), 3);
        assert!(!names(dir.path()).iter().any(|name| name.contains("restoring")), "no plaintext is left behind");
    }

    #[test]
    fn the_old_database_is_kept_whole_and_only_the_last_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        database(&target, 3).close().expect("closed");
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).expect("mode");
        std::fs::write(dir.path().join("state.db.before-upgrade"), "a person's own").expect("written");
        for (id, count) in [(FIRST, 5), (SECOND, 6)] {
            commit(work(&target, count), id).expect("committed");
        }
        assert_eq!((rows(&target), target.metadata().expect("there").mode() & 0o777), (6, 0o640));
        let kept: Vec<_> = names(dir.path()).into_iter().filter(|name| name.contains("before-2026")).collect();
        assert!(kept.len() == 1 && kept[0].contains("00000002"), "{kept:?}");
        assert_eq!(rows(&dir.path().join(&kept[0])), 5);
        assert!(dir.path().join("state.db.before-upgrade").exists());
    }

    #[test]
    fn a_wal_without_its_database_is_set_aside() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        std::fs::write(dir.path().join("state.db-wal"), b"from another life").expect("written");
        commit(work(&target, 2), FIRST).expect("committed");
        assert_eq!(rows(&target), 2);
        assert!(names(dir.path()).iter().any(|name| name.contains("before-") && name.ends_with("-wal")));
    }

    #[test]
    fn a_restored_database_is_in_the_mode_it_was_backed_up_in_and_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        commit(work(&target, 2), FIRST).expect("committed");
        assert_eq!(names(dir.path()), ["state.db"]);
        assert_eq!(std::fs::read(&target).expect("read")[18..20], [2, 2], "the header says WAL");
    }

    #[test]
    fn a_broken_database_never_gets_to_the_rename() {
        use std::io::{Seek, SeekFrom};
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        let mut work = work(&target, 2_000);
        work.file.seek(SeekFrom::Start(4096 * 3)).expect("seek");
        work.file.write_all(&[0xAA; 4096]).expect("written");
        assert!(matches!(work.finish(0, FIRST), Err(Error::Damaged { .. })));
        drop(work);
        assert!(names(dir.path()).is_empty());
    }
}
