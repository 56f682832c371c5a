//! What a restored database tells Kubernetes. Revisions must never run backwards: a client that has seen revision 251
//! of a database restored at 221 would otherwise be refused, or follow a wrong history without a word.
//!
//! One transaction on the work file: a marker row at a revision far above all that anybody can have seen, the
//! compaction mark right below it, the sequence at it. A watcher from before is then told 410 and lists anew.

use rusqlite::{Connection, OptionalExtension, params};

/// A minute at 20 writes a second is 1,200 revisions; a million costs nothing.
const STEP: i64 = 1_000_000;
/// Beyond this JavaScript and many a client no longer count exactly; no cluster gets there by writing.
const LARGEST: i64 = 1 << 53;
/// Outside `/registry`, so the API server never reads it.
const MARKER: &str = "/vcluster-backup/restored";

/// The highest revision; 0 if kine has not made its table yet.
///
/// # Errors
/// SQLite refuses.
pub fn revision(connection: &Connection) -> rusqlite::Result<i64> {
    if !has_table(connection)? {
        return Ok(0);
    }
    connection.query_row("SELECT COALESCE(MAX(id), 0) FROM kine", [], |row| row.get(0))
}

/// The backup this database was last restored from, as its marker row tells.
///
/// # Errors
/// SQLite refuses.
pub fn restored_from(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if !has_table(connection)? {
        return Ok(None);
    }
    let value: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM kine WHERE name = ?1 ORDER BY id DESC LIMIT 1", [MARKER], |row| row.get(0))
        .optional()?;
    Ok(value.and_then(|value| String::from_utf8(value).ok()))
}

/// Makes a restored database safe to serve; `seen` is the highest revision known from anywhere. Gives the revision it
/// now begins at, or nothing if there is no kine table.
///
/// # Errors
/// SQLite refuses; the database is then unchanged.
pub fn make_safe(connection: &mut Connection, seen: i64, backup: &str) -> rusqlite::Result<Option<i64>> {
    let transaction = connection.transaction()?;
    if !has_table(&transaction)? {
        return Ok(None);
    }
    let sequence: i64 = transaction
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'kine'", [], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let highest = revision(&transaction)?.max(sequence).max(seen);
    let revision = highest
        .checked_add(STEP)
        .filter(|revision| *revision <= LARGEST)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, highest))?;
    mark_compaction(&transaction, revision - 1)?;
    insert_marker(&transaction, revision, backup)?;
    let updated = transaction.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'kine'", [revision])?;
    if updated == 0 {
        transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('kine', ?1)", [revision])?;
    }
    transaction.commit()?;
    Ok(Some(revision))
}

/// kine keeps its compaction mark in `prev_revision` of one row; of several it believes the highest.
/// `compact_rev_key_apiserver` is the API server's own key and stays.
fn mark_compaction(connection: &Connection, compacted: i64) -> rusqlite::Result<()> {
    let updated = connection.execute(
        "UPDATE kine SET prev_revision = ?1 WHERE id = (SELECT MAX(id) FROM kine WHERE name = 'compact_rev_key')",
        [compacted],
    )?;
    if updated == 0 {
        connection.execute(
            "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
             VALUES (?1, 'compact_rev_key', 1, 0, 0, ?1, 0, x'', x'')",
            [compacted],
        )?;
    }
    Ok(())
}

/// A second restore updates the first one's marker: kine's unique index over name and previous revision allows one
/// creation only.
fn insert_marker(connection: &Connection, revision: i64, backup: &str) -> rusqlite::Result<()> {
    let last: Option<(i64, i64, i64, Vec<u8>)> = connection
        .query_row(
            "SELECT id, created, create_revision, value FROM kine WHERE name = ?1 ORDER BY id DESC LIMIT 1",
            [MARKER],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let (created, create_revision, previous, old) = match last {
        None => (1, 0, 0, Vec::new()),
        Some((id, 1, _, value)) => (0, id, id, value),
        Some((id, _, create_revision, value)) => (0, create_revision, id, value),
    };
    connection.execute(
        "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
         VALUES (?1, ?2, ?3, 0, ?4, ?5, 0, ?6, ?7)",
        params![revision, MARKER, created, create_revision, previous, backup.as_bytes(), old],
    )?;
    Ok(())
}

fn has_table(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'kine'", [], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kine's own schema, as far as a restore touches it.
    fn kine() -> Connection {
        let connection = Connection::open_in_memory().expect("SQLite");
        connection
            .execute_batch(
                "CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
                   create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
                 CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);
                 INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
                 VALUES ('compact_rev_key', 1, 0, 0, 0, 0, '', ''), ('/registry/a', 1, 0, 0, 0, 0, 'v', ''),
                        ('compact_rev_key_apiserver', 1, 0, 0, 0, 0, '', '');",
            )
            .expect("schema");
        connection
    }

    fn number(connection: &Connection, query: &str) -> i64 {
        connection.query_row(query, [], |row| row.get(0)).expect(query)
    }

    #[test]
    fn mark_marker_and_sequence_go_together() {
        let mut connection = kine();
        let revision = make_safe(&mut connection, 251, "g/1").expect("safe").expect("kine");
        assert_eq!(revision, 251 + STEP);
        assert_eq!(number(&connection, "SELECT MAX(id) FROM kine"), revision);
        assert_eq!(number(&connection, "SELECT seq FROM sqlite_sequence WHERE name = 'kine'"), revision);
        assert_eq!(number(&connection, "SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'"), revision - 1);
        assert_eq!(number(&connection, "SELECT prev_revision FROM kine WHERE name = 'compact_rev_key_apiserver'"), 0);
        assert_eq!(restored_from(&connection).expect("readable").as_deref(), Some("g/1"));
    }

    #[test]
    fn a_second_and_third_restore_go_on_from_the_first() {
        let mut connection = kine();
        let first = make_safe(&mut connection, 0, "g/1").expect("safe").expect("kine");
        let second = make_safe(&mut connection, 0, "g/2").expect("safe").expect("kine");
        let third = make_safe(&mut connection, 0, "g/3").expect("safe").expect("kine");
        assert_eq!((second, third), (first + STEP, second + STEP));
        let query = format!("SELECT create_revision FROM kine WHERE id = {third}");
        assert_eq!(number(&connection, &query), first, "the marker was created once");
    }

    #[test]
    fn a_revision_without_room_above_is_refused() {
        let mut connection = kine();
        assert!(make_safe(&mut connection, i64::MAX - 5, "g/1").is_err());
        assert_eq!(number(&connection, "SELECT MAX(id) FROM kine"), 3, "nothing was changed");
    }

    #[test]
    fn a_missing_mark_is_made_and_a_foreign_database_left_alone() {
        let mut connection = kine();
        connection.execute("DELETE FROM kine WHERE name = 'compact_rev_key'", []).expect("deleted");
        let revision = make_safe(&mut connection, 0, "g/1").expect("safe").expect("kine");
        assert_eq!(number(&connection, "SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'"), revision - 1);
        let mut foreign = Connection::open_in_memory().expect("SQLite");
        assert_eq!(make_safe(&mut foreign, 0, "g/1").expect("left alone"), None);
    }
}
