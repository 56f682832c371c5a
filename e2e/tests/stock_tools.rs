//! A full backup opens with the tools of any Linux distribution: whoever holds the identity needs nothing of ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::process::run;
use e2e::tools;

/// A database like kine's, with `rows` rows, in WAL mode with rows that no checkpoint has moved yet.
fn kine_like(path: &Path, rows: i64) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path).expect("a database can be made");
    database
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
               create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
             CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);
             INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value)
               VALUES('compact_rev_key', 1, 0, 0, 0, 0, '', '');",
        )
        .expect("a schema");
    for n in 0..rows {
        let insert = "INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value)
                      VALUES(?1, 1, 0, 0, 0, 0, randomblob(500), NULL)";
        database.execute(insert, [format!("/registry/configmaps/default/c{n}")]).expect("a row");
    }
    database
}

fn only_file_below(folder: &Path, suffix: &str) -> PathBuf {
    let said = run(Command::new("find").arg(folder).args(["-type", "f", "-name"]).arg(format!("*{suffix}")), "").ok();
    let found: Vec<&str> = said.lines().collect();
    assert_eq!(found.len(), 1, "one {suffix} is expected: {found:?}");
    PathBuf::from(found[0])
}

#[test]
#[ignore = "needs age, zstd and sqlite3"]
fn age_zstd_tar_and_sqlite3_open_a_full_backup() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| {
        let path = scratch.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        path
    };
    let (data, store, out) = (folder("data"), folder("store"), folder("out"));
    std::fs::create_dir_all(data.join("pki")).expect("a folder can be made");
    std::fs::write(data.join("pki/ca.key"), "a CA").expect("writable");
    let live = kine_like(&data.join("state.db"), 2_000);

    let program = tools::ours("vcluster-backup");
    let identity = scratch.path().join("identity");
    let recipient = run(Command::new(&program).args(["keygen", "-o"]).arg(&identity), "").ok();
    let mut backup = Command::new(&program);
    backup.arg("backup").arg("--data-dir").arg(&data).arg("--spool-dir").arg(folder("spool"));
    backup.arg("--store").arg(format!("file://{}", store.display())).arg("--recipient").arg(recipient.trim());
    backup.arg("--status-file").arg(scratch.path().join("status.yaml"));
    let _ = run(&mut backup, "").ok();

    let sealed = only_file_below(&store.join("v1/full"), ".tar.zst.age");
    let mut open = Command::new("sh");
    open.args(["-euc", r#"age -d -i "$1" "$2" | zstd -d | tar -x -C "$3""#, "sh"])
        .arg(&identity)
        .arg(&sealed)
        .arg(&out);
    let _ = run(&mut open, "").ok();

    let sqlite = |query: &str| run(Command::new("sqlite3").arg(out.join("state.db")).arg(query), "").ok();
    assert_eq!(sqlite("pragma integrity_check").trim(), "ok");
    assert_eq!(sqlite("select count(*) from kine").trim(), "2001");
    assert_eq!(std::fs::read_to_string(out.join("pki/ca.key")).expect("the PKI is in it"), "a CA");
    drop(live);
}

/// What FORMAT.md says is enough: a reader of another language, written from that page, restores whole chains.
#[test]
#[ignore = "needs python3, age, zstd and sqlite3"]
fn a_reader_written_from_the_format_page_restores_a_whole_chain() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| {
        let path = scratch.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        path
    };
    let (data, store, identity) = (folder("data"), folder("store"), scratch.path().join("identity"));
    let live = kine_like(&data.join("state.db"), 2_000);
    let program = tools::ours("vcluster-backup");
    let recipient = run(Command::new(&program).args(["keygen", "-o"]).arg(&identity), "").ok();
    let read = |store: &Path, identity: &Path, out: &Path, point: Option<&str>| {
        let mut reader = Command::new("python3");
        reader.arg(tools::repository().join("e2e/reader.py")).args([store, identity, out]).args(point);
        run(&mut reader, "")
    };
    let sqlite = |out: &Path, query: &str| run(Command::new("sqlite3").arg(out.join("state.db")).arg(query), "").ok();
    let back_up = |store: &Path, sealing: &[&str]| {
        let mut backup = Command::new(&program);
        backup.arg("backup").arg("--data-dir").arg(&data).arg("--spool-dir").arg(folder("spool"));
        backup.arg("--store").arg(format!("file://{}", store.display())).args(sealing);
        backup.arg("--status-file").arg(scratch.path().join("status.yaml"));
        let _ = run(&mut backup, "").ok();
    };
    for rows in 1..=4 {
        back_up(&store, &["--recipient", recipient.trim()]);
        let out = folder(&format!("out-{rows}"));
        let said = read(&store, &identity, &out, None).ok();
        assert!(said.contains(&format!("from {rows} objects")), "each builds on the one before: {said}");
        assert_eq!(sqlite(&out, "pragma integrity_check").trim(), "ok");
        assert_eq!(sqlite(&out, "select count(*) from kine").trim(), (2_000 + rows).to_string());
        let insert = "INSERT INTO kine(name, value) VALUES(?1, randomblob(500))";
        live.execute(insert, [format!("/registry/configmaps/default/d{rows}")]).expect("a row");
    }
    assert_eq!(std::fs::read_dir(store.join("v1/full")).expect("listed").count(), 1);

    // What somebody wanted open takes neither identity nor age.
    let open = folder("open");
    for objects in 1..=2 {
        back_up(&open, &["--insecure-no-encryption"]);
        let out = folder(&format!("open-{objects}"));
        let said = read(&open, Path::new("/nowhere"), &out, None).ok();
        assert!(said.contains(&format!("from {objects} objects")), "{said}");
        assert_eq!(sqlite(&out, "select count(*) from kine").trim(), (2_004 + objects).to_string());
        live.execute("INSERT INTO kine(name, value) VALUES(?1, 'x')", [format!("/registry/e{objects}")])
            .expect("a row");
    }

    // Byte for byte what the database was, from every backup of a diff, too.
    for name in ["keys", "unencrypted"] {
        let fixtures = tools::repository().join("sidecar/tests/data/v1").join(name);
        let told = std::fs::read_to_string(fixtures.join("told.json")).expect("the fixtures say what they hold");
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        for (number, (id, want)) in told["sha256"].as_object().expect("digests").iter().enumerate() {
            let out = folder(&format!("fixture-{name}-{number}"));
            let _ = read(&fixtures.join("store"), &fixtures.join("identity"), &out, Some(id)).ok();
            let digest = run(Command::new("sha256sum").arg(out.join("state.db")), "").ok();
            assert_eq!(digest.split(' ').next(), want.as_str(), "{id}");
        }
    }

    // A link that is not what it was is refused.
    let delta = run(Command::new("find").arg(store.join("v1/delta")).args(["-name", "*.age"]), "").ok();
    let delta = delta.lines().next().expect("a delta").to_owned();
    let mut bytes = std::fs::read(&delta).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&delta, bytes).expect("writable");
    let said = read(&store, &identity, &folder("refused"), None);
    assert!(said.code != 0 && said.err.contains("is not what its manifest names"), "{}", said.all());
}
