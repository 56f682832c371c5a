//! What SQLite says of a file that nobody may have open: the old database and the new one, never the live one of a
//! running sidecar.

use std::{fs::File, io::Read, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::Error;

/// Makes a database self-contained and proves that nobody has it open: leaving WAL mode takes an exclusive lock, which
/// works across processes and for an idle kine, too. `false`: it is none that SQLite can read.
pub(super) fn close_old(path: &Path) -> Result<bool, Error> {
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

pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    if !is_database(path) {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(rusqlite::Error::SqliteFailure(code, None));
    }
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

pub(super) fn set_journal(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get::<_, String>(0)).map(drop)
}

pub(super) fn check_integrity(connection: &Connection, backup: &str) -> Result<(), Error> {
    let damaged = |why: String| Error::Damaged { object: format!("backup {backup}"), why };
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|e| damaged(format!("SQLite cannot check it ({e})")))?;
    if verdict == "ok" { Ok(()) } else { Err(damaged(format!("SQLite says: {verdict}"))) }
}
