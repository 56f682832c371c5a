//! Puts a restored database in its place: one rename is the commit, the old file is kept beside it, and nothing that is
//! open is ever replaced.

use std::{
    fs::File,
    io::Read,
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
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    kine::{self, Made, Recipe},
    manifest::Layout,
    owner,
};

/// Beside the target, so that the rename stays within one file system. A leftover of a crash is overwritten.
const WORK_SUFFIX: &str = ".restoring";
const KEPT_INFIX: &str = ".before-";
/// There while files are being moved.
const INTENT_SUFFIX: &str = ".intent";
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

/// A restored database that is not in its place yet; dropped, nothing of it stays unless an intent names it.
pub struct Work {
    target: PathBuf,
    path: PathBuf,
    /// Open for writing until [`Work::finish`].
    pub file: File,
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

/// One change to a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The old database gets a second name.
    Link { from: PathBuf, to: PathBuf },
    /// A file is moved, if it is there.
    MoveAside { from: PathBuf, to: PathBuf },
    /// What is about to happen is written down, so that the next start can end it.
    WriteIntent { path: PathBuf, intent: Intent },
    /// The new database takes its place: the commit.
    Rename { from: PathBuf, to: PathBuf },
    /// It has happened.
    RemoveIntent { path: PathBuf },
    /// What was done so far survives a loss of power.
    Sync { folder: PathBuf },
}

/// A replacement as a list of steps: after each of them a program that is killed leaves the old database or the new
/// one, or an intent that [`roll_forward`] brings to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    target: PathBuf,
    kept: PathBuf,
}

/// A replacement that needs more than one rename: the names of the work file and of what is kept, beside the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    work: String,
    kept: String,
}

impl Plan {
    /// A sound database is one file, so one rename replaces it.
    fn over_a_sound_one(target: &Path, work: &Path, kept: &Path) -> Self {
        let folder = folder_of(target).to_owned();
        let steps = vec![
            Step::Link { from: target.to_owned(), to: kept.to_owned() },
            Step::Sync { folder: folder.clone() },
            Step::Rename { from: work.to_owned(), to: target.to_owned() },
            Step::Sync { folder },
        ];
        Self { steps, target: target.to_owned(), kept: kept.to_owned() }
    }

    /// What SQLite cannot read may be up to four files that belong together, and so do those of a database that is gone.
    fn aside(target: &Path, work: &Path, kept: &Path) -> Self {
        let folder = folder_of(target).to_owned();
        let intent = Intent { work: file_name(work), kept: file_name(kept) };
        let path = with_suffix(target, INTENT_SUFFIX);
        let mut steps = vec![Step::WriteIntent { path: path.clone(), intent }, Step::Sync { folder: folder.clone() }];
        steps.extend(Self::moves(target, kept));
        steps.extend([
            Step::Sync { folder: folder.clone() },
            Step::Rename { from: work.to_owned(), to: target.to_owned() },
            Step::Sync { folder: folder.clone() },
            Step::RemoveIntent { path },
            Step::Sync { folder },
        ]);
        Self { steps, target: target.to_owned(), kept: kept.to_owned() }
    }

    fn moves(target: &Path, kept: &Path) -> impl Iterator<Item = Step> {
        let companions = COMPANIONS.into_iter().chain([""]);
        companions.map(|suffix| Step::MoveAside { from: with_suffix(target, suffix), to: with_suffix(kept, suffix) })
    }

    /// Whether the new database has its place after this many steps.
    fn is_committed_after(&self, count: usize) -> bool {
        self.steps.iter().take(count).any(|step| matches!(step, Step::Rename { .. }))
    }

    fn carry_out(&self) -> Result<(), Error> {
        for (done, step) in self.steps.iter().enumerate() {
            match step.take() {
                Err(error) if self.is_committed_after(done) => {
                    tracing::warn!("the restore is in place, but: {}", error.chain());
                }
                Err(error) => {
                    self.undo(done);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        if let Err(error) = forget_older(&self.target, &self.kept) {
            tracing::warn!("the restore is in place, but: {}", error.chain());
        }
        Ok(())
    }

    /// Takes back what was done before a step that failed; what cannot be taken back is brought to its end by the next
    /// start.
    fn undo(&self, done: usize) {
        for step in self.steps.iter().take(done).rev() {
            let undone = match step {
                Step::Link { to, .. } => std::fs::remove_file(to),
                Step::MoveAside { from, to } if to.exists() => std::fs::rename(to, from),
                Step::WriteIntent { path, .. } => std::fs::remove_file(path),
                _ => Ok(()),
            };
            if let Err(error) = undone {
                tracing::error!("cannot take back a step of the restore: {error}");
                return;
            }
        }
    }
}

impl Step {
    fn take(&self) -> Result<(), Error> {
        match self {
            Self::Link { from, to } => {
                std::fs::hard_link(from, to).map_err(Error::file("keep the old database as", to))
            }
            Self::MoveAside { from, to } => set_aside(from, to),
            Self::WriteIntent { path, intent } => write_intent(path, intent),
            Self::Rename { from, to } => std::fs::rename(from, to).map_err(Error::file("put in place", to)),
            Self::RemoveIntent { path } => remove_if_there(path),
            Self::Sync { folder } => sync_folder(folder),
        }
    }
}

fn write_intent(path: &Path, intent: &Intent) -> Result<(), Error> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
        serde_json::to_writer(&mut file, intent)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(Error::file("write down what is about to happen in", path))
}

/// Ends what a killed restore began, if it had begun to move files: at every start, before anybody looks for a database.
/// Gives the path of the database that is in place now.
///
/// # Errors
/// The data directory cannot be written, or an intent cannot be understood.
pub fn roll_forward(data_dir: &Path) -> Result<Option<PathBuf>, Error> {
    for layout in [Layout::K8s, Layout::K3s] {
        let target = data_dir.join(layout.database());
        let path = with_suffix(&target, INTENT_SUFFIX);
        let bytes = match std::fs::read(&path) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => continue,
            other => other.map_err(Error::file("read", &path))?,
        };
        let intent: Intent = serde_json::from_slice(&bytes)
            .map_err(|e| Error::file("understand (a restore was cut short)", &path)(std::io::Error::other(e)))?;
        let folder = folder_of(&target);
        // Names, not paths: an intent never leads out of its folder.
        let beside = |name: &str| folder.join(Path::new(name).file_name().unwrap_or_default());
        let (work, kept) = (beside(&intent.work), beside(&intent.kept));
        if work.is_file() {
            let rename = Step::Rename { from: work, to: target.clone() };
            let sync = Step::Sync { folder: folder.to_owned() };
            for step in Plan::moves(&target, &kept).chain([sync.clone(), rename, sync]) {
                step.take()?;
            }
        }
        remove_if_there(&path)?;
        sync_folder(folder)?;
        return Ok(Some(target));
    }
    Ok(None)
}

/// Moves every database of a data directory aside, with all that belongs to it, for an empty one to begin. Killed in
/// between, it is simply done again.
///
/// # Errors
/// [`Error::Busy`], or the data directory cannot be written.
pub fn set_databases_aside(data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let now = Timestamp::now();
    let suffix = format!("{KEPT_INFIX}{}-empty-{}", now.strftime("%Y%m%dT%H%M%SZ"), now.as_nanosecond());
    let mut moved = Vec::new();
    for target in [Layout::K8s, Layout::K3s].map(|layout| data_dir.join(layout.database())) {
        let kept = with_suffix(&target, &suffix);
        let there = target.is_file();
        if there {
            close_old(&target)?;
        }
        if folder_of(&target).is_dir() {
            for step in Plan::moves(&target, &kept) {
                step.take()?;
            }
            sync_folder(folder_of(&target))?;
        }
        if there {
            // Only now that there is a newer one: done again, it must not take what the first time kept.
            forget_older(&target, &kept)?;
            moved.push(kept);
        }
    }
    Ok(moved)
}

/// Makes a database self-contained and proves that nobody has it open: leaving WAL mode takes an exclusive lock, which
/// works across processes and for an idle kine, too. `false`: it is none that SQLite can read.
fn close_old(path: &Path) -> Result<bool, Error> {
    let closed = open(path).and_then(|connection| {
        set_journal(&connection, "DELETE")?;
        connection.execute_batch("BEGIN EXCLUSIVE; ROLLBACK")?;
        connection.close().map_err(|(_, e)| e)
    });
    let busy = || Error::Busy { path: path.to_owned() };
    match closed.map_err(|e| (e.sqlite_error_code(), e)) {
        Ok(()) => Ok(true),
        Err((Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _)) => Err(busy()),
        Err((Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt), _)) => {
            // SQLite cannot tell who has it open; its locks can.
            let file = File::options().read(true).write(true).open(path).map_err(Error::file("look at", path))?;
            match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(false),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(busy()),
                Err(e) => Err(Error::file("look who has open", path)(e.into())),
            }
        }
        Err((_, e)) => Err(Error::database("close the old database", path)(e)),
    }
}

/// Whether a file begins as SQLite's do. One that does not is not even opened by SQLite, which would remove its WAL.
/// Only for files nobody in this process has open: closing a descriptor drops SQLite's locks.
#[must_use]
pub fn is_database(path: &Path) -> bool {
    let mut magic = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"SQLite format 3\0"
}

/// Whether SQLite finds this file sound; `point` is named if it does not. For files nobody uses.
///
/// # Errors
/// [`Error::Damaged`], or it is no database.
pub(crate) fn look_into(path: &Path, point: &str) -> Result<(), Error> {
    let failed = |e| Error::database("check the restored database", path)(e);
    let connection = open(path).map_err(failed)?;
    // A copy says that it was in WAL mode; looking must not make one beside it.
    set_journal(&connection, "DELETE").map_err(failed)?;
    check_integrity(&connection, point)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    if !is_database(path) {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(rusqlite::Error::SqliteFailure(code, None));
    }
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

    fn recipe(id: &str) -> Recipe {
        Recipe { marker: kine::Marker { backup: id.into(), request: None }, ..Recipe::default() }
    }

    fn commit(work: Work, id: &str) -> Result<(), Error> {
        work.finish(&recipe(id)).expect("sound");
        let plan = work.plan(id)?;
        work.commit(&plan, || Ok(())).map(drop)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).expect("lists").map(|e| file_name(&e.expect("entry").path())).collect();
        names.sort();
        names
    }

    #[test]
    fn an_open_database_is_not_replaced() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        let owner = database(&target, 3);
        let work = work(&target, 5);
        work.finish(&recipe(FIRST)).expect("sound");
        assert!(matches!(work.plan(FIRST), Err(Error::Busy { .. })), "an idle connection counts");
        drop(work);
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
        assert!(matches!(work.finish(&recipe(FIRST)), Err(Error::Damaged { .. })));
        drop(work);
        assert!(names(dir.path()).is_empty());
    }

    /// What is in place after `count` steps and the next start: the number of rows, or that it is what SQLite cannot read.
    fn after(target: &Path) -> Option<i64> {
        roll_forward(target.parent().expect("a folder")).expect("rolled forward");
        if !target.exists() || std::fs::read(target).expect("read").starts_with(b"not a database") {
            return None;
        }
        let connection = Connection::open(target).expect("opens");
        check_integrity(&connection, FIRST).expect("sound");
        Some(rows(target))
    }

    #[test]
    fn killed_after_any_step_it_leaves_the_old_database_or_the_new_one() {
        // The folder as each step leaves it, with no chance to clean up, then the next start.
        for readable in [true, false] {
            let mut seen = Vec::new();
            for count in 0.. {
                let dir = tempfile::tempdir().expect("tempdir");
                let target = dir.path().join("state.db");
                if readable {
                    database(&target, 3).close().expect("closed");
                } else {
                    for suffix in ["", "-wal", "-shm"] {
                        std::fs::write(with_suffix(&target, suffix), "not a database").expect("written");
                    }
                }
                let work = work(&target, 5);
                work.finish(&recipe(FIRST)).expect("sound");
                let plan = work.plan(FIRST).expect("may be replaced");
                if count > plan.steps.len() {
                    break;
                }
                plan.steps.iter().take(count).for_each(|step| step.take().expect("taken"));
                std::mem::forget(work);
                let found = after(&target);
                assert_eq!(after(&target), found, "a second start changes nothing");
                assert!(!with_suffix(&target, INTENT_SUFFIX).exists());
                let old = readable.then_some(3);
                assert!(found == Some(5) || found == old, "step {count} of {:?}: {found:?}", plan.steps);
                assert!(found == Some(5) || !plan.is_committed_after(count), "what was committed stands");
                if found == Some(5) && !readable {
                    assert!(!with_suffix(&target, "-wal").exists(), "the old WAL is not the new database's");
                    let kept = names(dir.path()).into_iter().filter(|name| name.contains(KEPT_INFIX)).count();
                    assert_eq!(kept, 3, "the old files are kept together");
                }
                seen.push(found == Some(5));
            }
            assert!(seen.iter().any(|new| *new) && seen.iter().any(|new| !new), "{seen:?}");
        }
    }

    #[test]
    fn a_step_that_fails_is_taken_back_with_all_before_it() {
        for failing in 0.. {
            let dir = tempfile::tempdir().expect("tempdir");
            let target = dir.path().join("state.db");
            std::fs::write(&target, "not a database").expect("written");
            std::fs::write(with_suffix(&target, "-wal"), "its WAL").expect("written");
            let work = work(&target, 5);
            work.finish(&recipe(FIRST)).expect("sound");
            let mut plan = work.plan(FIRST).expect("may be replaced");
            if plan.is_committed_after(failing) {
                break;
            }
            // A rename of what is not there.
            let nothing = dir.path().join("nothing");
            plan.steps.insert(failing, Step::Rename { from: nothing.clone(), to: nothing.join("x") });
            let before: Vec<_> = names(dir.path()).into_iter().filter(|name| !name.contains("restoring")).collect();
            assert!(work.commit(&plan, || Ok(())).is_err());
            assert_eq!(names(dir.path()), before, "step {failing}");
        }
    }

    #[test]
    fn databases_of_both_layouts_are_moved_aside_for_an_empty_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("server/db")).expect("made");
        for layout in [Layout::K8s, Layout::K3s] {
            database(&dir.path().join(layout.database()), 3).close().expect("closed");
        }
        assert_eq!(set_databases_aside(dir.path()).expect("moved").len(), 2);
        assert!([Layout::K8s, Layout::K3s].iter().all(|layout| !dir.path().join(layout.database()).exists()));
        let first = names(dir.path()).into_iter().find(|name| name.contains(KEPT_INFIX)).expect("kept");
        let earlier = first.replace("-empty-", "-empty-1");
        std::fs::rename(dir.path().join(first), dir.path().join(earlier)).expect("renamed");
        assert!(set_databases_aside(dir.path()).expect("again").is_empty(), "killed in between, it is done again");
        let kept = names(dir.path()).into_iter().find(|name| name.contains(KEPT_INFIX)).expect("kept");
        assert_eq!(rows(&dir.path().join(kept)), 3);
    }
}
