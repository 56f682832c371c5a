//! A database that kine has made, written without kine: filled at the beginning, and for the day that is not waited for.
//! The statements are kine's own.

use std::{cell::Cell, path::Path};

use e2e::cluster;
use rusqlite::{Connection, params};

use crate::workload::{Change, Write};

/// A connection that writes as kine does.
pub(crate) struct Database {
    connection: Connection,
    /// What kine's compaction has got to, and where the last one found the newest revision.
    compacted: Cell<(i64, i64)>,
}

/// kine never compacts these.
const RETAINED: i64 = 1000;

impl Database {
    /// Has kine make `<folder>/state.db`, and opens it once kine has ended.
    pub(crate) fn make(folder: &Path, logs: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("writable");
        let (kine, _) = cluster::kine("kine", logs, folder, &[]);
        kine.stop();
        Self::open(&folder.join("state.db"))
    }

    pub(crate) fn open(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database");
        // As kine has it.
        connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        connection.pragma_update(None, "synchronous", "NORMAL").expect("set");
        let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, Option<i64>>(0)).expect("a row");
        let compacted = number("SELECT MAX(prev_revision) FROM kine WHERE name = 'compact_rev_key'").unwrap_or(0);
        let newest = number("SELECT MAX(id) FROM kine").unwrap_or(0);
        Self { connection, compacted: Cell::new((compacted, newest)) }
    }

    /// Pages that are in the file or on their way into it, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let number = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (pages, size) = (number("page_count").expect("a number"), number("page_size").expect("a number"));
        u64::try_from(pages * size).expect("no less than nothing")
    }

    pub(crate) fn transaction<T>(&self, work: impl FnOnce() -> T) -> T {
        self.connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
        let done = work();
        self.connection.execute_batch("COMMIT").expect("committed");
        done
    }

    /// Gives the revision.
    pub(crate) fn write(&self, write: &Write) -> i64 {
        // The row of an update holds the value before it, too; that of a deletion holds it twice.
        const INSERT: &str = "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) \
             VALUES (?1, ?2, ?3, ?4, ?5, 0, \
                CASE ?3 WHEN 1 THEN (SELECT value FROM kine WHERE id = ?5) ELSE ?6 END, \
                (SELECT value FROM kine WHERE id = ?5))";
        let (created, deleted, before) = match write.change {
            Change::Create => (1, 0, None),
            Change::Update(before) => (0, 0, Some(before)),
            Change::Delete(before) => (0, 1, Some(before)),
        };
        let (create_revision, revision) = before.map_or((0, 0), |before| (before.created, before.revision));
        let mut insert = self.connection.prepare_cached(INSERT).expect("kine's table");
        insert
            .execute(params![write.key, created, deleted, create_revision, revision, write.value])
            .expect("a new revision of its key");
        self.connection.last_insert_rowid()
    }

    /// What kine does every five minutes: removes what was replaced or deleted before the last time it did that.
    pub(crate) fn compact(&self) {
        const DELETE: &str = "DELETE FROM kine AS kv WHERE kv.id IN (\
                SELECT kp.prev_revision FROM kine AS kp \
                WHERE kp.name != 'compact_rev_key' AND kp.prev_revision != 0 AND kp.id > ?1 AND kp.id <= ?2 \
                UNION ALL \
                SELECT kd.id FROM kine AS kd WHERE kd.deleted != 0 AND kd.id > ?1 AND kd.id <= ?2)";
        let newest: i64 = self.connection.query_row("SELECT MAX(id) FROM kine", [], |row| row.get(0)).expect("rows");
        let (from, before) = self.compacted.get();
        let to = before.min(newest - RETAINED).max(from);
        self.compacted.set((to, newest));
        if to > from {
            self.transaction(|| {
                let mark = "UPDATE kine SET prev_revision = ?1 WHERE name = 'compact_rev_key'";
                assert_eq!(self.connection.execute(mark, [to]).expect("kine's row"), 1, "kine has made it");
                self.connection.execute(DELETE, [from, to]).expect("compacted");
            });
        }
        self.connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).expect("a checkpoint");
    }

    /// Into the file with everything; no companion stays.
    pub(crate) fn close(self) {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
        self.connection.close().expect("closed");
    }
}

/// What a restored database holds.
pub(crate) struct Found {
    /// The newest revision.
    pub(crate) revision: i64,
    /// Keys that were written when and later, with their newest revision.
    pub(crate) keys: std::collections::BTreeMap<String, i64>,
}

impl Found {
    /// Looks into a database that nobody writes.
    pub(crate) fn of(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database");
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
        assert_eq!(sound, "ok", "{}", path.display());
        let mut newest = connection.prepare("SELECT name, MAX(id) FROM kine GROUP BY name").expect("kine's table");
        let rows = newest.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        let keys = rows.collect::<Result<std::collections::BTreeMap<String, i64>, _>>().expect("rows");
        Self { revision: keys.values().copied().max().unwrap_or_default(), keys }
    }
}
