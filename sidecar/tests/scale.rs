//! What grows with the years. Run by hand and by `.ci/run`: `cargo test -p vcluster-backup --test scale -- --ignored`.

mod common;
#[path = "common/s3.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod s3;

use std::{path::Path, time::Duration};

use common::Pod;
use jiff::SignedDuration;
use s3::S3;
use vcluster_backup::{
    manifest::{self, Data, Kind, Signed},
    signing::Signer,
};
use vcluster_proto::settings::{Retention, Settings};

/// A week at one backup a minute.
const BACKUPS: u64 = 10_000;

/// A pod whose store holds so many backups of its own, made up from one real full: nothing but their data is missing.
fn old_pod() -> Pod {
    let pod = Pod::new();
    pod.database().write(10);
    pod.succeed(&["backup"]);
    multiply(&pod, &pod.path("store"), &pod.objects(".json")[0], BACKUPS);
    pod
}

/// Makes up so many backups after the one whose manifest this is.
fn multiply(pod: &Pod, store: &Path, path: &Path, count: u64) {
    let bytes = std::fs::read(path).expect("read");
    let key = path.strip_prefix(store).expect("below").display().to_string();
    let mut newest: Signed = manifest::verify(&bytes, &key).expect("verifies");
    let full = newest.manifest.clone();
    let signer = Signer::load_or_make(&pod.path("data")).expect("a signer");
    for nth in 0..count {
        let mut next = full.clone();
        (next.sequence, next.generation) = (nth % 2000 + 1, format!("g{:02}", nth / 2000));
        next.kind = if nth % 60 == 0 { Kind::Full } else { Kind::Delta };
        next.parent = (next.kind == Kind::Delta).then(|| newest.as_head());
        let follows = next.generation != newest.manifest.generation;
        next.supersedes = if follows { vec![newest.as_head()] } else { newest.manifest.supersedes.clone() };
        next.previous = (!follows).then(|| newest.digest.clone());
        let stem = manifest::stem(next.kind, &next.generation, next.sequence);
        next.data = Data { key: format!("{stem}.{}", next.kind.ending(false)), ..full.data.clone() };
        next.time = full.time.saturating_sub(SignedDuration::from_mins((count - nth) as i64)).expect("a time");
        let bytes = next.sign(&signer).expect("signed");
        for (key, bytes) in [(next.data.key.clone(), &b"x"[..]), (next.key(), &bytes)] {
            let path = store.join(key);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        newest = manifest::verify(&bytes, &next.key()).expect("verifies");
    }
}

/// The most memory a process has had, in bytes.
fn peak(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("read");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
#[ignore = "writes 20,000 files"]
fn ten_thousand_backups_are_no_burden_for_the_running_sidecar() {
    let pod = old_pod();
    let young = Pod::new();
    young.database().write(10);
    let mut peaks = [0, 0];
    pod.database().write(1);
    for (pod, peak_of) in [&young, &pod].into_iter().zip(&mut peaks) {
        pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
        let running = pod.start(&["run"]);
        pod.wait_for("a backup and its size", |s| s.newest.is_some() && s.stored_bytes.is_some());
        *peak_of = peak(running.id());
        running.terminate();
    }
    println!("peak memory: {} KiB with one backup, {} KiB with {BACKUPS}", peaks[0] >> 10, peaks[1] >> 10);
    // The listing itself is what remains.
    assert!(peaks[1] < peaks[0] + (16 << 20), "{peaks:?}");
}

#[test]
#[ignore = "reads from a slow store for most of a minute"]
fn a_store_that_takes_longer_to_read_than_a_look_is_read_to_its_end() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = Pod::on_s3("");
    for (name, value) in [("s3accesskey", s3::USER), ("s3secretkey", s3::PASSWORD)] {
        std::fs::write(pod.path("config/s3").join(name), value).expect("written");
    }
    let every_second = |settings: &mut Settings| {
        settings.store.url = format!("s3://{}", s3::BUCKET);
        settings.store.endpoint = Some(server.endpoint.clone());
        settings.backup.interval = Duration::from_secs(1);
    };
    pod.write_settings(every_second);
    pod.succeed(&["backup"]);
    let manifest = server.objects("v1/full").into_iter().find(|path| path.to_string_lossy().ends_with(".json"));
    multiply(&pod, server.bucket(), &manifest.expect("a manifest"), 1200);
    // A full of its own after all that is made up.
    for table in ["pages.newest", "pages.full"] {
        std::fs::remove_file(pod.path("data/.vcluster-backup").join(table)).expect("removed");
    }
    let running = pod.start(&["run"]);
    let newest = pod.wait_for("a backup", |s| s.newest.is_some()).newest.expect("there");
    running.terminate();
    let count = pod.database().count();

    // The volume is lost. Sixteen at once take 12 s, a silence may last 10.
    pod.lose_data();
    pod.give_identity();
    server.delay(Duration::from_millis(160));
    let mut init = pod.start(&["restore", "--init"]);
    assert_eq!(init.wait(), Some(0), "{}", init.log());
    assert_eq!(pod.database().count(), count, "{}", newest.id);

    // Rules that are switched on late: while everything is read, backups go on.
    pod.write_settings(|settings| {
        every_second(settings);
        settings.backup.retention = Some(Retention { keep_last: Some(1), ..Retention::default() });
    });
    let running = pod.start(&["run"]);
    pod.wait_for("a word", |s| s.retention.contains("are being read"));
    let revision = pod.database().write(1);
    let status = pod.wait_for("a backup", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision));
    assert!(status.retention.contains("are being read"), "{}", status.retention);
    pod.wait("a prune", || running.log().contains("old backups removed"));
    running.terminate();
    server.delay(Duration::ZERO);
    pod.succeed(&["restore", "--output", &pod.text("copy.db"), "--identity", &pod.text("identity")]);
}

/// SQLite's lock bytes lie at this place of a database that is so large.
const LOCK_BYTE: u64 = 1 << 30;
const PAGE: u64 = 65_536;

/// A sparse database of a little more than 1 GiB: all its pages but the first few and that of the lock bytes are free.
fn large_database(path: &std::path::Path) -> rusqlite::Connection {
    use std::os::unix::fs::FileExt;
    let connection = rusqlite::Connection::open(path).expect("opens");
    let schema = "PRAGMA page_size = 65536; PRAGMA journal_mode = DELETE;
        CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, value BLOB);";
    connection.execute_batch(schema).expect("schema");
    let used = connection.query_row("PRAGMA page_count", [], |row| row.get::<_, u32>(0)).expect("a count");
    let used = u64::from(used);
    drop(connection);
    let (count, locked) = (LOCK_BYTE / PAGE + 9, LOCK_BYTE / PAGE + 1);
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("opens");
    file.set_len(count * PAGE).expect("extended");
    // Two pages list the free ones, since one has not room for all: the next such page, how many, which.
    let trunks = [used + 1, used + 2];
    let free: Vec<u64> = (used + 3..=count).filter(|page| *page != locked).collect();
    let (some, rest) = free.split_at(free.len() / 2);
    for (trunk, next, leaves) in [(trunks[0], trunks[1], some), (trunks[1], 0, rest)] {
        let numbers = [next, leaves.len() as u64].into_iter().chain(leaves.iter().copied());
        let list: Vec<u8> = numbers.flat_map(|number| (number as u32).to_be_bytes()).collect();
        file.write_all_at(&list, (trunk - 1) * PAGE).expect("written");
    }
    // The header: pages, first trunk page, free pages.
    for (at, number) in [(28, count), (32, trunks[0]), (36, free.len() as u64 + 2)] {
        file.write_all_at(&(number as u32).to_be_bytes(), at).expect("written");
    }
    let connection = rusqlite::Connection::open(path).expect("opens");
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checks");
    assert_eq!(sound, "ok");
    connection.execute_batch("PRAGMA journal_mode = WAL").expect("WAL");
    connection
}

#[test]
#[ignore = "a database of more than 1 GiB"]
fn the_page_of_lock_bytes_is_carried_through_full_and_delta() {
    let pod = Pod::new();
    let database = large_database(&pod.path("data/state.db"));
    pod.succeed(&["backup"]);
    // Pages on both sides of it.
    for _ in 0..20 {
        database
            .execute("INSERT INTO kine (name, value) VALUES ('/registry/x', randomblob(200000))", [])
            .expect("a row");
    }
    let delta = pod.succeed(&["backup"]);
    assert_eq!(pod.objects(".pages.zst.age").len(), 1, "{delta}");
    let copy = pod.path("copy.db");
    pod.succeed(&["restore", "--output", &pod.text("copy.db"), "--identity", &pod.text("identity")]);
    assert!(std::fs::metadata(&copy).expect("there").len() > LOCK_BYTE);
    let restored = rusqlite::Connection::open(&copy).expect("opens");
    let query = "SELECT COUNT(*), SUM(length(value)) FROM kine";
    let rows = |connection: &rusqlite::Connection| {
        connection.query_row(query, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).expect("reads")
    };
    assert_eq!(rows(&restored), rows(&database));
    let sound: String = restored.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checks");
    assert_eq!(sound, "ok");
}
