//! The one connection to the live database; the only room that opens it. It never writes and never checkpoints.
//!
//! No other code in this process may open `state.db` or its `-shm`: closing any descriptor of a file drops SQLite's
//! POSIX locks on it.

use std::{
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Row, Rows, Transaction, config::DbConfig};

use crate::{error::Error, manifest::Layout, pages};

/// kine's writers wait for at most 30 s; ours lets go long before.
pub const READ_LIMIT: Duration = Duration::from_secs(10);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages are read once each: a cache would only cost memory. In KiB, negative as SQLite wants it.
const CACHE_KIB: i64 = -512;

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

    /// Reads every page in order through `consume` and gives the root of what was read.
    ///
    /// # Errors
    /// SQLite refuses, pages are missing, it takes longer than [`READ_LIMIT`], or `consume` fails.
    pub fn read_pages<T>(&self, consume: impl FnOnce(&mut dyn Read) -> Result<T, Error>) -> Result<(T, String), Error> {
        let failed = |e| Error::database("read the pages of", &self.path)(e);
        let mut statement =
            self.transaction.prepare("SELECT pgno, data FROM sqlite_dbpage('main') ORDER BY pgno").map_err(failed)?;
        let mut reader = PageReader {
            rows: statement.query([]).map_err(failed)?,
            root: pages::Root::new(self.page_size, self.page_count),
            page: Vec::new(),
            offset: 0,
            page_size: self.page_size as usize,
            deadline: self.deadline,
            failure: None,
        };
        let outcome = consume(&mut reader);
        match (reader.failure, outcome) {
            (Some(Failure::Late), _) => {
                Err(Error::TooSlow { path: self.path.clone(), limit_seconds: READ_LIMIT.as_secs() })
            }
            (Some(Failure::Sqlite(e)), _) => Err(failed(e)),
            (None, Err(e)) => Err(e),
            (None, Ok(value)) => {
                let root = reader.root.finish().ok_or_else(|| Error::Damaged {
                    object: self.path.display().to_string(),
                    why: "SQLite gave another number of pages than it announced".into(),
                })?;
                Ok((value, root))
            }
        }
    }
}

enum Failure {
    Sqlite(rusqlite::Error),
    Late,
}

/// Pages as one stream of bytes.
struct PageReader<'s> {
    rows: Rows<'s>,
    root: pages::Root,
    page: Vec<u8>,
    offset: usize,
    page_size: usize,
    deadline: Instant,
    failure: Option<Failure>,
}

impl PageReader<'_> {
    fn next_page(&mut self) -> Result<bool, Failure> {
        if Instant::now() > self.deadline {
            return Err(Failure::Late);
        }
        let Some(row) = self.rows.next().map_err(Failure::Sqlite)? else { return Ok(false) };
        self.page.clear();
        copy_page(row, &mut self.page, self.page_size).map_err(Failure::Sqlite)?;
        self.root.push(&self.page);
        self.offset = 0;
        Ok(true)
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

impl Read for PageReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.offset == self.page.len() {
            match self.next_page() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(failure) => {
                    self.failure = Some(failure);
                    return Err(std::io::Error::other("the database could not be read to its end"));
                }
            }
        }
        let count = buffer.len().min(self.page.len() - self.offset);
        buffer[..count].copy_from_slice(&self.page[self.offset..self.offset + count]);
        self.offset += count;
        Ok(count)
    }
}

/// Looked at, never opened.
fn files(path: &Path) -> Files {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).metadata().ok().map(|found| (found.dev(), found.ino()))
    })
}
