//! A stand-in for the tenant's API server: a writer with kine's schema that remembers every row it had an answer for,
//! and the proof that they are all there again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use vcluster_proto::status::Status;

use crate::Failure;

/// Every value begins with this; the store must not show it.
pub(crate) const TELLTALE: &[u8] = b"a tenant's secret";
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
        create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
    CREATE INDEX kine_name_index ON kine (name);
    CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);
    INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
        VALUES ('compact_rev_key', 1, 0, 0, 0, 0, '', '');";
const PAUSE: Duration = Duration::from_millis(2);

/// Revision and value of every row that was acknowledged.
pub(crate) type Acknowledged = Vec<(i64, String)>;

/// A cluster that is being used.
pub(crate) struct Tenant {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    writer: JoinHandle<Result<Acknowledged, rusqlite::Error>>,
}

impl Tenant {
    /// Makes PKI and database in `data` and begins to write.
    pub(crate) fn start(data: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(data.join("pki"))?;
        std::fs::write(data.join("pki/ca.crt"), "a certificate\n")?;
        let connection = Connection::open(data.join("state.db"))?;
        connection.busy_timeout(Duration::from_secs(30))?;
        connection.execute_batch(SCHEMA)?;
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let writer = std::thread::spawn(move || write(&connection, &stopped, &counted));
        Ok(Self { stop, count, writer })
    }

    /// Rows acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Stops writing.
    pub(crate) fn stop(self) -> Result<Acknowledged, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.writer.join().map_err(|_| "the writer panicked")??)
    }
}

fn write(connection: &Connection, stop: &AtomicBool, count: &AtomicUsize) -> Result<Acknowledged, rusqlite::Error> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = acknowledged.len();
        let value = format!("{} no. {number}: {}", String::from_utf8_lossy(TELLTALE), "x".repeat(number % 700));
        connection.execute(
            "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
             VALUES (?1, 1, 0, 0, 0, 0, ?2, '')",
            params![format!("/registry/configmaps/default/c{number}"), value.as_bytes()],
        )?;
        acknowledged.push((connection.last_insert_rowid(), value));
        count.store(acknowledged.len(), Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    Ok(acknowledged)
}

/// The newest backup, as soon as the status document names one.
pub(crate) fn wait_for_backup(status: &Path, patience: Duration) -> Result<String, Failure> {
    let newest = wait(status, patience, |status| status.newest.clone())?;
    Ok(format!("{}, {} KiB sealed, revision {}", newest.id, newest.size_bytes / 1024, newest.revision))
}

/// The status document's sentence, as soon as it gives this reason.
pub(crate) fn wait_for_reason(status: &Path, reason: &str, patience: Duration) -> Result<String, Failure> {
    wait(status, patience, |status| (status.reason == reason).then(|| status.message.clone()))
}

fn wait<T>(path: &Path, patience: Duration, look: impl Fn(&Status) -> Option<T>) -> Result<T, Failure> {
    let until = Instant::now() + patience;
    let mut last = String::from("there is no status document");
    while Instant::now() < until {
        if let Ok(text) = std::fs::read_to_string(path) {
            let status = Status::from_yaml(&text)?;
            if let Some(found) = look(&status) {
                return Ok(found);
            }
            last = status.message;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("nothing came of it: {last}").into())
}

/// Compares every acknowledged row with what is there.
pub(crate) fn prove(data: &Path, acknowledged: &Acknowledged) -> Result<Vec<String>, Failure> {
    let path: PathBuf = data.join("state.db");
    let connection = Connection::open(&path)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(format!("SQLite says: {verdict}").into());
    }
    let mut statement = connection.prepare("SELECT value FROM kine WHERE id = ?1")?;
    for (revision, value) in acknowledged {
        let there: Vec<u8> =
            statement.query_row([revision], |row| row.get(0)).map_err(|e| format!("row {revision}: {e}"))?;
        if there != value.as_bytes() {
            return Err(format!("row {revision} is not what was acknowledged").into());
        }
    }
    let last = acknowledged.last().map_or(0, |(revision, _)| *revision);
    let now: i64 = connection.query_row("SELECT MAX(id) FROM kine", [], |row| row.get(0))?;
    if now <= last {
        return Err("revisions run backwards".into());
    }
    let ca = std::fs::read_to_string(data.join("pki/ca.crt"))?;
    Ok(vec![
        format!(
            "{0} of {0} acknowledged rows are there, byte for byte; integrity_check: {verdict}",
            acknowledged.len()
        ),
        format!("PKI is back: pki/ca.crt holds {:?}", ca.trim()),
        format!("revisions go on from {now}, far beyond {last}: every watcher lists anew"),
    ])
}
