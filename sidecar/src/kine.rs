//! What a restored database tells Kubernetes. Revisions must never run backwards: a client that has seen revision 251
//! of a database restored at 221 would otherwise be refused, or follow a wrong history without a word.
//!
//! One transaction on the work file: a marker row at a revision far above all that anybody can have seen, the
//! compaction mark right below it, the sequence at it. A watcher from before is then told 410 and lists anew.
//!
//! In the same transaction, below the marker, pods lose node and status, and a clone loses what belongs to the cluster
//! it was taken from. A pod changes as kine changes it, by a new row: a client must not find another pod at a revision it
//! knows. What a clone leaves out is removed with all its rows: everything below the marker counts as compacted, so
//! nobody can ask for its history, and a row that says "deleted" would only keep the old secrets in the file for longer.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use crate::objects::{Unbound, unbind_pod};

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

/// What the marker row says of the last restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// The backup the database was restored from.
    pub backup: String,
    /// The request that asked for it; none if an empty disk was restored, or a person did it.
    pub request: Option<String>,
}

impl Marker {
    /// Two lines: the backup, the request.
    fn to_text(&self) -> String {
        match &self.request {
            Some(request) => format!("{}\n{request}", self.backup),
            None => self.backup.clone(),
        }
    }

    fn from_text(text: &str) -> Self {
        match text.split_once('\n') {
            Some((backup, request)) => Self { backup: backup.into(), request: Some(request.into()) },
            None => Self { backup: text.into(), request: None },
        }
    }
}

/// The marker of the last restore, if this database was ever restored.
///
/// # Errors
/// SQLite refuses.
pub fn marker(connection: &Connection) -> rusqlite::Result<Option<Marker>> {
    if !has_table(connection)? {
        return Ok(None);
    }
    let value: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM kine WHERE name = ?1 ORDER BY id DESC LIMIT 1", [MARKER], |row| row.get(0))
        .optional()?;
    Ok(value.and_then(|value| String::from_utf8(value).ok()).map(|text| Marker::from_text(&text)))
}

/// The backup this database was last restored from.
///
/// # Errors
/// SQLite refuses.
pub fn restored_from(connection: &Connection) -> rusqlite::Result<Option<String>> {
    Ok(marker(connection)?.map(|marker| marker.backup))
}

/// The volume claims a database knows, as `namespace/name`. The syncer deletes the host's volumes of those it does not.
///
/// # Errors
/// SQLite refuses.
pub fn volume_claims(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    const FOLDER: &str = "/registry/persistentvolumeclaims/";
    if !has_table(connection)? {
        return Ok(BTreeSet::new());
    }
    let mut statement = connection.prepare(
        "SELECT name FROM kine WHERE id IN (SELECT MAX(id) FROM kine WHERE name >= ?1 AND name < ?2 GROUP BY name)
         AND deleted = 0",
    )?;
    let names = statement.query_map([FOLDER, "/registry/persistentvolumeclaims0"], |row| row.get::<_, String>(0))?;
    names.map(|name| Ok(name?.trim_start_matches(FOLDER).to_owned())).collect()
}

/// What is done to a restored database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The highest revision known from anywhere.
    pub seen: i64,
    /// What the marker row shall say.
    pub marker: Marker,
    /// It is another cluster's database, and this one goes on with keys and mappings of its own.
    pub clone: bool,
}

/// What was done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The revision the database begins at now.
    pub revision: i64,
    /// Pods that have neither node nor status any more.
    pub pods_unbound: usize,
    /// Keys of pods that could not be understood and stay as they are.
    pub pods_unknown: Vec<String>,
    /// Keys a clone does not take over.
    pub keys_left_out: usize,
}

/// Makes a restored database safe to serve; nothing if there is no kine table.
///
/// # Errors
/// SQLite refuses; the database is then unchanged.
pub fn make_safe(connection: &mut Connection, recipe: &Recipe) -> rusqlite::Result<Option<Made>> {
    let transaction = connection.transaction()?;
    if !has_table(&transaction)? {
        return Ok(None);
    }
    let sequence: i64 = transaction
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'kine'", [], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let highest = revision(&transaction)?.max(sequence).max(recipe.seen);
    let revision = highest
        .checked_add(STEP)
        .filter(|revision| *revision <= LARGEST)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, highest))?;
    let mut made = Made { revision, ..Made::default() };
    if recipe.clone {
        made.keys_left_out = leave_out(&transaction)?;
    }
    unbind_pods(&transaction, highest, &mut made)?;
    mark_compaction(&transaction, revision - 1)?;
    insert_marker(&transaction, revision, &recipe.marker.to_text())?;
    let updated = transaction.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'kine'", [revision])?;
    if updated == 0 {
        transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('kine', ?1)", [revision])?;
    }
    transaction.commit()?;
    Ok(Some(made))
}

/// What ties a database to the cluster it was taken from: the syncer's map of host names; certificates of a foreign
/// authority; Rancher's agent, which would log in as the other cluster; k3s's own keys, sealed by another token.
fn leave_out(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(
        "DELETE FROM kine WHERE name LIKE '/vcluster/mappings/%' OR name LIKE '/bootstrap/%'
           OR (name LIKE '/registry/configmaps/%/kube-root-ca.crt')
           OR name LIKE '/registry/%/cattle-system/%' OR name = '/registry/namespaces/cattle-system'",
        [],
    )
}

/// Each by a new row, as kine itself updates; `highest` is below every id used here.
fn unbind_pods(connection: &Connection, highest: i64, made: &mut Made) -> rusqlite::Result<()> {
    let mut pods = connection.prepare(
        "SELECT id, name, created, create_revision, value, lease FROM kine
         WHERE id IN (SELECT MAX(id) FROM kine WHERE name >= '/registry/pods/' AND name < '/registry/pods0' GROUP BY name)
           AND deleted = 0 AND id <= ?1 ORDER BY id",
    )?;
    let mut insert = connection.prepare(
        "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
         VALUES (?1, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut rows = pods.query([highest])?;
    let mut next = highest;
    while let Some(row) = rows.next()? {
        let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let created_at = if row.get::<_, i64>(2)? == 0 { row.get(3)? } else { id };
        let value: Vec<u8> = row.get::<_, Option<Vec<u8>>>(4)?.unwrap_or_default();
        match unbind_pod(&value) {
            Unbound::Changed(unbound) => {
                next += 1;
                if next - highest >= STEP {
                    return Err(rusqlite::Error::IntegralValueOutOfRange(0, next));
                }
                insert.execute(params![next, name, created_at, id, row.get::<_, Option<i64>>(5)?, unbound, value])?;
                made.pods_unbound += 1;
            }
            Unbound::AsItWas => {}
            Unbound::Unknown => made.pods_unknown.push(name),
        }
    }
    Ok(())
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
fn insert_marker(connection: &Connection, revision: i64, text: &str) -> rusqlite::Result<()> {
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
        params![revision, MARKER, created, create_revision, previous, text.as_bytes(), old],
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

    fn recipe(seen: i64, backup: &str) -> Recipe {
        Recipe { seen, marker: Marker { backup: backup.into(), request: None }, clone: false }
    }

    fn restored(connection: &mut Connection, seen: i64, backup: &str) -> i64 {
        make_safe(connection, &recipe(seen, backup)).expect("safe").expect("kine").revision
    }

    fn put(connection: &Connection, name: &str, value: &[u8]) {
        connection
            .execute(
                "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
                 VALUES (?1, 1, 0, 0, 0, 0, ?2, '')",
                params![name, value],
            )
            .expect("written");
    }

    fn number(connection: &Connection, query: &str) -> i64 {
        connection.query_row(query, [], |row| row.get(0)).expect(query)
    }

    #[test]
    fn mark_marker_and_sequence_go_together() {
        let mut connection = kine();
        let revision = restored(&mut connection, 251, "g/1");
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
        let first = restored(&mut connection, 0, "g/1");
        let second = restored(&mut connection, 0, "g/2");
        let third = restored(&mut connection, 0, "g/3");
        assert_eq!((second, third), (first + STEP, second + STEP));
        let query = format!("SELECT create_revision FROM kine WHERE id = {third}");
        assert_eq!(number(&connection, &query), first, "the marker was created once");
    }

    #[test]
    fn a_revision_without_room_above_is_refused() {
        let mut connection = kine();
        assert!(make_safe(&mut connection, &recipe(i64::MAX - 5, "g/1")).is_err());
        assert_eq!(number(&connection, "SELECT MAX(id) FROM kine"), 3, "nothing was changed");
    }

    #[test]
    fn a_missing_mark_is_made_and_a_foreign_database_left_alone() {
        let mut connection = kine();
        connection.execute("DELETE FROM kine WHERE name = 'compact_rev_key'", []).expect("deleted");
        let revision = restored(&mut connection, 0, "g/1");
        assert_eq!(number(&connection, "SELECT prev_revision FROM kine WHERE name = 'compact_rev_key'"), revision - 1);
        let mut foreign = Connection::open_in_memory().expect("SQLite");
        assert_eq!(make_safe(&mut foreign, &recipe(0, "g/1")).expect("left alone"), None);
    }

    #[test]
    fn the_marker_names_the_request_it_serves() {
        let mut connection = kine();
        let marker = Marker { backup: "g/1".into(), request: Some("2026-11-22a".into()) };
        make_safe(&mut connection, &Recipe { marker: marker.clone(), ..Recipe::default() }).expect("safe");
        assert_eq!(super::marker(&connection).expect("readable"), Some(marker));
        assert_eq!(restored_from(&connection).expect("readable").as_deref(), Some("g/1"));
    }

    #[test]
    fn pods_are_updated_as_kine_updates_and_others_stay() {
        let mut connection = kine();
        put(&connection, "/registry/pods/default/web", br#"{"metadata":{},"spec":{"nodeName":"n"},"status":{}}"#);
        put(&connection, "/registry/pods/default/idle", br#"{"metadata":{},"spec":{}}"#);
        put(&connection, "/registry/pods/default/odd", b"k8s:enc:secretbox");
        put(&connection, "/registry/podsecurity/x", br#"{"spec":{"nodeName":"n"}}"#);
        let made = make_safe(&mut connection, &recipe(0, "g/1")).expect("safe").expect("kine");
        assert_eq!((made.pods_unbound, made.pods_unknown), (1, vec!["/registry/pods/default/odd".to_owned()]));
        let (id, created, born, previous, value): (i64, i64, i64, i64, Vec<u8>) = connection
            .query_row(
                "SELECT id, created, create_revision, prev_revision, value FROM kine
                 WHERE name = '/registry/pods/default/web' ORDER BY id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .expect("the pod");
        assert_eq!((id, created, born, previous), (8, 0, 4, 4), "a new row, below the marker, born where it was");
        assert_eq!(value, br#"{"metadata":{},"spec":{}}"#);
        // The second restore of the same database finds it done.
        assert_eq!(make_safe(&mut connection, &recipe(0, "g/2")).expect("safe").expect("kine").pods_unbound, 0);
    }

    #[test]
    fn a_clone_leaves_behind_what_ties_it_to_the_other_cluster() {
        let tied = [
            "/vcluster/mappings/v1/Pod/x",
            "/registry/configmaps/default/kube-root-ca.crt",
            "/registry/secrets/cattle-system/token",
            "/registry/management.cattle.io/settings/cattle-system/x",
            "/registry/namespaces/cattle-system",
            "/bootstrap/abc",
        ];
        let own = ["/registry/configmaps/default/kube-root-ca.crt-mine", "/registry/secrets/default/cattle-system"];
        for clone in [false, true] {
            let mut connection = kine();
            tied.iter().chain(&own).for_each(|name| put(&connection, name, b"x"));
            let made = make_safe(&mut connection, &Recipe { clone, ..recipe(0, "g/1") }).expect("safe").expect("kine");
            assert_eq!(made.keys_left_out, if clone { tied.len() } else { 0 });
            for (names, there) in [(&tied[..], !clone), (&own[..], true)] {
                for name in names {
                    let count = number(&connection, &format!("SELECT COUNT(*) FROM kine WHERE name = '{name}'"));
                    assert_eq!(count == 1, there, "{name}");
                }
            }
        }
    }

    #[test]
    fn volume_claims_are_those_that_are_there_now() {
        let connection = kine();
        put(&connection, "/registry/persistentvolumeclaims/default/a", b"x");
        put(&connection, "/registry/persistentvolumeclaims/default/gone", b"x");
        connection
            .execute(
                "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
                 VALUES ('/registry/persistentvolumeclaims/default/gone', 0, 1, 5, 5, 0, '', '')",
                [],
            )
            .expect("deleted");
        assert_eq!(volume_claims(&connection).expect("readable"), BTreeSet::from(["default/a".to_owned()]));
    }
}
