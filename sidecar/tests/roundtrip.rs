//! What goes in comes out: real databases under write load, the real program, a real folder.

mod common;

use std::{
    io::Read,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use common::{Database, Pod};
use rusqlite::Connection;

#[test]
fn every_write_acknowledged_before_a_backup_is_in_it() {
    // The reason this product exists: a plain copy of state.db misses what is in the WAL.
    let pod = Pod::new();
    let database = pod.database();
    database.write(50);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let database = pod.database();
            while !stop.load(Ordering::Relaxed) {
                acknowledged.store(database.write(1), Ordering::SeqCst);
            }
        });
        for _ in 0..5 {
            let before = acknowledged.load(Ordering::SeqCst);
            let line = pod.succeed(&["backup"]);
            let revision: i64 = line.trim().rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a revision");
            assert!(revision >= before, "backup at {revision} misses acknowledged revision {before}");
            let file = pod.text("copy.db");
            pod.succeed(&["restore", "--output", &file, "--identity", &pod.text("identity")]);
            let copy = Connection::open(&file).expect("opens");
            let sound: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checks");
            let rows: i64 = copy.query_row("SELECT COUNT(*) FROM kine", [], |row| row.get(0)).expect("reads");
            assert_eq!((sound.as_str(), rows), ("ok", revision), "a prefix of the history, without holes");
            std::fs::remove_file(file).expect("removed");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_backup_never_checkpoints_and_never_writes_to_the_database() {
    // kine's SQLite may have a bug that a foreign checkpoint wakes; ours never does one, not even on close.
    let pod = Pod::new();
    let database = pod.database();
    database.write(200);
    let files = || ["data/state.db", "data/state.db-wal"].map(|name| std::fs::read(pod.path(name)).expect("read"));
    let before = files();
    pod.succeed(&["backup"]);
    assert_eq!(files(), before);
    drop(database);
}

#[test]
fn a_lost_volume_comes_back_with_database_and_pki() {
    let pod = Pod::new();
    std::fs::create_dir_all(pod.path("data/pki/etcd")).expect("folder");
    std::fs::write(pod.path("data/pki/ca.crt"), "certificate").expect("written");
    std::fs::write(pod.path("data/pki/etcd/ca.key"), "key").expect("written");
    pod.database().write(100);
    pod.succeed(&["backup"]);
    let key = signing_key(&pod);
    pod.lose_data();
    let said = pod.succeed(&["restore", "--identity", &pod.text("identity"), "--trust-key", &key]);
    assert!(said.contains("it begins at revision 1000100; clients of before will list anew"), "{said}");
    assert_eq!(pod.database().count(), 100);
    assert_eq!(std::fs::read_to_string(pod.path("data/pki/etcd/ca.key")).expect("restored"), "key");
}

#[test]
fn a_k3s_database_is_found_and_restored_in_its_layout() {
    let pod = Pod::new();
    std::fs::create_dir_all(pod.path("data/server/db")).expect("folder");
    std::fs::write(pod.path("data/server/token"), "token").expect("written");
    Database::open(&pod.path("data/server/db/state.db")).write(10);
    pod.succeed(&["backup"]);
    let key = signing_key(&pod);
    pod.lose_data();
    pod.succeed(&["restore", "--identity", &pod.text("identity"), "--trust-key", &key]);
    assert_eq!(Database::open(&pod.path("data/server/db/state.db")).count(), 10);
    assert_eq!(std::fs::read_to_string(pod.path("data/server/token")).expect("restored"), "token");
}

#[test]
fn any_point_in_time_can_be_had() {
    let pod = Pod::new();
    let database = pod.database();
    let mut ids = Vec::new();
    for _ in 0..3 {
        database.write(10);
        ids.push(pod.succeed(&["backup"]).split(' ').next().expect("an id").to_owned());
    }
    let listed: Vec<serde_json::Value> =
        pod.succeed(&["list", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(listed.iter().map(|row| row["id"].as_str().expect("id")).collect::<Vec<_>>(), ids);
    let second = listed[1]["time"].as_str().expect("time").to_owned();
    for (at, rows) in [("latest", 30), (second.as_str(), 20), (ids[0].as_str(), 10)] {
        let file = pod.text(&format!("copy-{rows}.db"));
        pod.succeed(&["restore", "--at", at, "--output", &file, "--identity", &pod.text("identity")]);
        assert_eq!(Database::open(file.as_ref()).count(), rows, "{at}");
    }
}

#[test]
fn a_passphrase_seals_and_opens_through_its_generation_key() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.recipients.clear());
    pod.database().write(5);
    let right = [("ENC_KEY", "correct horse battery staple")];
    assert!(pod.run_with(&["backup"], &right).status.success());
    assert_eq!(pod.objects("identity.age").len(), 1);
    let file = pod.text("copy.db");
    let wrong = pod.run_with(&["restore", "--output", &file], &[("ENC_KEY", "guess")]);
    assert_eq!(wrong.status.code(), Some(12), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert!(pod.run_with(&["restore", "--output", &file], &right).status.success());
    assert_eq!(Database::open(file.as_ref()).count(), 5);
}

#[test]
fn a_restore_may_be_repeated_and_revisions_only_rise() {
    let pod = Pod::new();
    pod.database().write(20);
    pod.succeed(&["backup"]);
    let mut highest = 20;
    for _ in 0..2 {
        pod.succeed(&["restore", "--force", "--identity", &pod.text("identity")]);
        let database = pod.database();
        let now: i64 = database.connection.query_row("SELECT MAX(id) FROM kine", [], |row| row.get(0)).expect("read");
        assert!(now > highest);
        assert_eq!(database.count(), 20);
        highest = database.write(0).max(now);
        drop(database);
        pod.succeed(&["backup"]);
    }
    let newest: serde_json::Value =
        serde_json::from_str(pod.succeed(&["list", "--json"]).lines().last().expect("a line")).expect("JSON");
    assert!(newest["revision"].as_i64().expect("revision") >= 2_000_020);
}

#[test]
fn a_large_database_goes_in_parts_and_leaves_no_plaintext_behind() {
    let pod = Pod::new();
    let database = pod.database();
    // Random bytes do not compress: 12 MiB of ciphertext, more than one part.
    database.connection.execute_batch("BEGIN").expect("begin");
    for _ in 0..12 {
        database
            .connection
            .execute(
                "INSERT INTO kine (name, created, prev_revision, value) VALUES ('/registry/' || hex(randomblob(8)), 1, 0, randomblob(1048576))",
                [],
            )
            .expect("written");
    }
    database.connection.execute_batch("COMMIT").expect("commit");
    pod.succeed(&["backup"]);
    let sealed = pod.objects(".tar.zst.age");
    assert!(sealed[0].metadata().expect("there").len() > 12 << 20);
    let mut head = [0; 21];
    std::fs::File::open(&sealed[0]).expect("opens").read_exact(&mut head).expect("reads");
    assert_eq!(&head, b"age-encryption.org/v1");
    assert_eq!(std::fs::read_dir(pod.path("spool")).expect("lists").count(), 0, "the spool file never had a name");
    let file = pod.text("copy.db");
    pod.succeed(&["restore", "--output", &file, "--identity", &pod.text("identity")]);
    assert_eq!(Database::open(file.as_ref()).count(), 12);
}

/// The key that signed the first backup, as a person reads it off `list`.
fn signing_key(pod: &Pod) -> String {
    let line = pod.succeed(&["list", "--json"]);
    let row: serde_json::Value = serde_json::from_str(line.lines().next().expect("a line")).expect("JSON");
    row["signer"].as_str().expect("a signer").to_owned()
}

/// A pod whose settings name nobody to seal for.
fn keyless() -> Pod {
    let pod = Pod::new();
    pod.write_settings(|settings| {
        settings.backup.recipients.clear();
        settings.backup.interval = std::time::Duration::from_secs(1);
    });
    pod.database().write(200);
    pod
}

const IN_CLEAR: &str = "--insecure-no-encryption";

#[test]
fn without_a_key_nothing_is_backed_up_unless_a_person_says_so_in_so_many_words() {
    let pod = keyless();
    assert_eq!(pod.run(&["backup"]).status.code(), Some(2));
    assert_eq!(pod.objects(""), Vec::<std::path::PathBuf>::new());
    let made = pod.run(&["backup", IN_CLEAR]);
    assert!(made.status.success());
    assert!(String::from_utf8_lossy(&made.stderr).contains("NOT ENCRYPTED"));
    // Stock tools without age.
    let [full] = &pod.objects(".tar.zst")[..] else { panic!("{:?}", pod.objects("")) };
    let tar = zstd::decode_all(std::fs::File::open(full).expect("opens")).expect("decompressed");
    let names: Vec<_> = tar::Archive::new(&tar[..])
        .entries()
        .expect("an archive")
        .map(|entry| entry.expect("an entry").path().expect("a path").into_owned())
        .collect();
    assert_eq!(names, [std::path::Path::new("state.db")]);

    // Whoever reads needs no flag: the signed manifest says it.
    assert!(pod.succeed(&["list"]).contains("NOT ENCRYPTED"));
    let proven = pod.succeed(&["verify"]);
    assert!(proven.contains("proven by a restore"), "{proven}");
    pod.succeed(&["restore", "--output", &pod.text("copy.db")]);
    assert_eq!(Database::open(&pod.path("copy.db")).count(), 200);
}

#[test]
fn what_anybody_can_read_is_never_mixed_with_what_is_sealed() {
    let pod = keyless();
    let running = pod.start(&["run", IN_CLEAR]);
    pod.wait_for("a backup", |s| s.message.contains("NOT ENCRYPTED") && s.newest.is_some());
    let revision = pod.database().write(5);
    pod.wait_for("another", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision && p.kind == "delta"));
    pod.write_settings(|_| {});
    // The old settings stay: a key and the flag contradict each other, and nothing is decided silently.
    pod.database().write(5);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(pod.objects(".age"), Vec::<std::path::PathBuf>::new());
    let (_, log) = running.terminate();
    assert_eq!(log.matches("NOT ENCRYPTED").count(), 1, "{log}");
    assert!(log.contains("take one of both away"), "{log}");

    pod.succeed(&["backup"]);
    assert_eq!(pod.objects(".tar.zst.age").len(), 1, "a change makes a full");
    pod.write_settings(|settings| settings.backup.recipients.clear());
    pod.database().write(5);
    pod.succeed(&["backup", IN_CLEAR]);
    assert_eq!(pod.objects(".tar.zst").len(), 2, "and so does the way back");
    pod.succeed(&["restore", "--output", &pod.text("copy.db")]);
    assert_eq!(Database::open(&pod.path("copy.db")).count(), 215);
}
