//! The one connection to the live database; the only room that opens it. It never writes and never checkpoints.
//!
//! No other code in this process may open `state.db` or its `-shm`: closing any descriptor of a file drops SQLite's
//! POSIX locks on it.

use std::{
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Rows, Transaction, config::DbConfig};

use crate::{error::Error, manifest::Layout};

/// kine's writers wait for at most 30 s; ours lets go long before.
pub const READ_LIMIT: Duration = Duration::from_secs(10);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages are read once each: a cache would only cost memory. In KiB, negative as SQLite wants it.
const CACHE_KIB: i64 = -512;
/// Pages read ahead in one short transaction: a MiB of the usual ones.
const WARM_PAGES: u32 = 256;

/// Where the database of a data directory is: k8s first, then k3s, since a migrated disk has both folders for a while.
///
/// # Errors
/// The disk does not answer: then nobody knows whether there is one.
pub fn find(data_dir: &Path) -> Result<Option<(PathBuf, Layout)>, Error> {
    for layout in [Layout::K8s, Layout::K3s] {
        let path = data_dir.join(layout.database());
        match path.metadata() {
            Ok(found) if found.is_file() && found.len() > 0 => return Ok(Some((path, layout))),
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(Error::file("look for the database", &path)(e));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// What the marker of a database says that nobody has open: only for programs that run before the vcluster does. Nothing
/// of a database that cannot be read.
#[must_use]
pub fn marker(path: &Path) -> Option<crate::kine::Marker> {
    if !crate::install::is_database(path) {
        return None;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    crate::kine::marker(&connection).ok().flatten()
}

/// The live database, held open between backups.
pub struct Live {
    connection: Connection,
    path: PathBuf,
    files: Files,
}

/// Device and inode of the database, its WAL and its index. Another of either means another database, even under the
/// same inode: what is committed through a new WAL never reaches a connection that has the old one.
type Files = [Option<(u64, u64)>; 3];

impl Live {
    /// Opens a database that is there; never makes one.
    ///
    /// # Errors
    /// It is not there, or is no database.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |e| Error::database("open the database", path)(e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        for (pragma, value) in
            [("query_only", 1), ("wal_autocheckpoint", 0), ("mmap_size", 0), ("cache_size", CACHE_KIB)]
        {
            connection.pragma_update(None, pragma, value).map_err(failed)?;
        }
        let mut live = Self { connection, path: path.to_owned(), files: [None; 3] };
        // The first read makes or maps the companions.
        live.version()?;
        live.files = files(path);
        Ok(live)
    }

    /// Whether the path still leads to the file that is open.
    #[must_use]
    pub fn is_current(&self, path: &Path) -> bool {
        self.path == path && files(path) == self.files
    }

    /// Changes whenever another connection has committed.
    ///
    /// # Errors
    /// SQLite refuses.
    pub fn version(&self) -> Result<i64, Error> {
        self.connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(Error::database("look at", &self.path))
    }

    /// Brings the pages nearer before a backup reads them, in transactions so short that no writer waits for one: what a
    /// slow disk costs is then paid outside of the backup's own.
    ///
    /// # Errors
    /// SQLite refuses.
    pub fn warm(&self) -> Result<(), Error> {
        let failed = |e| Error::database("read ahead", &self.path)(e);
        let count: u32 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(failed)?;
        let mut page = self
            .connection
            .prepare("SELECT length(data) FROM sqlite_dbpage('main') WHERE pgno = ?1")
            .map_err(failed)?;
        for first in (1..=count).step_by(WARM_PAGES as usize) {
            let transaction = self.connection.unchecked_transaction().map_err(failed)?;
            for number in first..first.saturating_add(WARM_PAGES).min(count.saturating_add(1)) {
                // It may have shrunk meanwhile.
                page.query_row([number], |_| Ok(())).optional().map_err(failed)?;
            }
            transaction.rollback().map_err(failed)?;
        }
        Ok(())
    }

    /// Begins one read transaction: everything acknowledged before is in it, nothing after.
    ///
    /// # Errors
    /// SQLite refuses.
    pub fn snapshot(&mut self) -> Result<Snapshot<'_>, Error> {
        let path = self.path.clone();
        let failed = |e| Error::database("read", &path)(e);
        let transaction = self.connection.transaction().map_err(failed)?;
        let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        // The first read pins the snapshot; the version is asked for inside it, so that it is the snapshot's own.
        let page_count = pragma("page_count").map_err(failed)?;
        let revision = crate::kine::revision(&transaction).map_err(failed)?;
        let restored_from = crate::kine::restored_from(&transaction).map_err(failed)?;
        let page_size = pragma("page_size").map_err(failed)?;
        let version = pragma("data_version").map_err(failed)?;
        let bounded =
            |value: i64| u32::try_from(value).map_err(|_| failed(rusqlite::Error::IntegralValueOutOfRange(0, value)));
        Ok(Snapshot {
            page_size: bounded(page_size)?,
            page_count: bounded(page_count)?,
            revision,
            restored_from,
            version,
            deadline: Instant::now() + READ_LIMIT,
            transaction,
            path,
        })
    }
}

/// A consistent view of the whole database.
pub struct Snapshot<'a> {
    transaction: Transaction<'a>,
    path: PathBuf,
    deadline: Instant,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub page_count: u32,
    /// The highest kine revision.
    pub revision: i64,
    /// The backup this database was restored from.
    pub restored_from: Option<String>,
    /// See [`Live::version`].
    pub version: i64,
}

impl Snapshot<'_> {
    /// Bytes of the database.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from(self.page_size) * u64::from(self.page_count)
    }

    /// Gives every page in order to `consume`. May be called again: the pages are the same.
    ///
    /// # Errors
    /// SQLite refuses, it takes longer than [`READ_LIMIT`] from the beginning of the snapshot, or `consume` fails.
    pub fn pages<T>(&self, consume: impl FnOnce(&mut Pages<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let failed = |e| Error::database("read the pages of", &self.path)(e);
        let mut statement =
            self.transaction.prepare("SELECT pgno, data FROM sqlite_dbpage('main') ORDER BY pgno").map_err(failed)?;
        consume(&mut Pages {
            rows: statement.query([]).map_err(failed)?,
            number: 0,
            page: Vec::new(),
            page_size: self.page_size as usize,
            page_count: self.page_count,
            deadline: self.deadline,
            path: &self.path,
        })
    }
}

/// The pages of a snapshot, one at a time.
pub struct Pages<'s> {
    rows: Rows<'s>,
    number: u32,
    page: Vec<u8>,
    page_size: usize,
    page_count: u32,
    deadline: Instant,
    path: &'s Path,
}

impl Pages<'_> {
    /// Goes to the next page; `false` after the last.
    ///
    /// # Errors
    /// SQLite refuses or gives other pages than it announced, or the time is up.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if Instant::now() > self.deadline {
            return Err(Error::TooSlow { path: self.path.to_owned(), limit_seconds: READ_LIMIT.as_secs() });
        }
        let failed = |e| Error::database("read the pages of", self.path)(e);
        let others = || Error::Damaged {
            object: self.path.display().to_string(),
            why: "SQLite gave other pages than it announced".into(),
        };
        let Some(row) = self.rows.next().map_err(failed)? else {
            return if self.number == self.page_count { Ok(false) } else { Err(others()) };
        };
        if row.get::<_, i64>(0).map_err(failed)? != i64::from(self.number) + 1 || self.number == self.page_count {
            return Err(others());
        }
        self.number += 1;
        self.page.clear();
        copy_page(row, &mut self.page, self.page_size).map_err(failed)?;
        Ok(true)
    }

    /// The number of the page; they begin at 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its bytes.
    #[must_use]
    pub fn page(&self) -> &[u8] {
        &self.page
    }
}

/// The page that holds SQLite's lock bytes (at 1 GiB) has no content; SQLite may give it shorter or as NULL.
fn copy_page(row: &Row<'_>, page: &mut Vec<u8>, page_size: usize) -> rusqlite::Result<()> {
    if let Ok(blob) = row.get_ref(1)?.as_blob() {
        page.extend_from_slice(blob);
    }
    page.resize(page_size, 0);
    Ok(())
}

/// Looked at, never opened.
fn files(path: &Path) -> Files {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).metadata().ok().map(|found| (found.dev(), found.ino()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ahead_reads_every_page_and_holds_nobody_up_afterwards() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("state.db");
        let writer = Connection::open(&path).expect("opens");
        let schema = "PRAGMA journal_mode = WAL; CREATE TABLE kine (id INTEGER PRIMARY KEY, value BLOB);";
        writer.execute_batch(schema).expect("schema");
        // More than two batches, the last of them short.
        writer
            .execute("INSERT INTO kine (value) VALUES (zeroblob(?1))", [i64::from(WARM_PAGES) * 4096 * 5 / 2])
            .expect("a row");
        let live = Live::open(&path).expect("opens");
        let before = live.version().expect("a version");
        live.warm().expect("read");
        assert_eq!(live.version().expect("a version"), before);
        // A reader that holds on would keep the WAL from being emptied.
        let busy: i64 = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).expect("asked");
        assert_eq!(busy, 0);
        writer.execute("UPDATE kine SET value = zeroblob(5000)", []).expect("shrinks");
        live.warm().expect("read again");
        assert_ne!(live.version().expect("a version"), before);
    }
}
