//! A database, a disk or a bucket in trouble, under the real program: it says what is wrong, changes nothing that is
//! good, and is well when the trouble is over.

mod common;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use common::{Database, Pod};
use rusqlite::Connection;
use vcluster_proto::status::State;

const SECOND: Duration = Duration::from_secs(1);

/// Rows of the newest backup.
fn newest_rows(pod: &Pod) -> i64 {
    let copy = pod.text("copy.db");
    let _ = std::fs::remove_file(&copy);
    pod.succeed(&["restore", "--output", &copy, "--identity", &pod.text("identity")]);
    Database::open(copy.as_ref()).count()
}

#[test]
fn a_file_that_is_no_database_is_said_until_it_is_one() {
    let pod = Pod::new();
    std::fs::write(pod.path("data/state.db"), "not a database, whatever its name says".repeat(200)).expect("written");
    let mut running = pod.start(&["run"]);
    let status = pod.wait_for("a word", |s| s.reason == "DatabaseUnreadable");
    assert!(status.message.contains("file is not a database"), "{}", status.message);
    assert!(running.is_alive());
    std::fs::remove_file(pod.path("data/state.db")).expect("removed");
    pod.database().write(4);
    pod.wait_for("health", |s| s.state == State::Healthy && s.newest.is_some());
    running.terminate();
    assert_eq!(newest_rows(&pod), 4);
}

#[test]
fn a_database_that_somebody_locks_is_waited_for() {
    let pod = Pod::new();
    pod.database().write(2);
    let holder = Connection::open(pod.path("data/state.db")).expect("SQLite");
    holder
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM kine WHERE id < 0; COMMIT;")
        .expect("locked");
    let mut running = pod.start(&["run"]);
    let status = pod.wait_for("a word", |s| s.state == State::Failing);
    assert_eq!(status.reason, "DatabaseUnreadable", "{}", status.message);
    assert!(running.is_alive());
    drop(holder);
    pod.wait_for("health", |s| s.state == State::Healthy && s.newest.is_some());
    running.terminate();
    assert_eq!(newest_rows(&pod), 2);
}

#[test]
fn a_database_without_a_wal_is_backed_up_like_any_other() {
    let pod = Pod::new();
    let database = pod.database();
    database.write(7);
    database.connection.execute_batch("PRAGMA journal_mode = DELETE").expect("set");
    let mode: String = database.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("asked");
    assert_eq!(mode, "delete");
    pod.succeed(&["backup"]);
    database.write(2);
    pod.succeed(&["backup"]);
    drop(database);
    assert_eq!(newest_rows(&pod), 9);
}

#[test]
fn what_grows_while_it_is_read_is_restored_as_it_was_at_one_moment() {
    let pod = Pod::new();
    pod.database().write(50);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicI64::new(50));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let database = pod.database();
            while !stop.load(Ordering::SeqCst) {
                database.write(1);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..5 {
            let before = acknowledged.load(Ordering::SeqCst);
            pod.succeed(&["backup"]);
            let rows = newest_rows(&pod);
            // One more may be written and not counted yet.
            let after = acknowledged.load(Ordering::SeqCst) + 1;
            assert!(before <= rows && rows <= after, "{before} <= {rows} <= {after}");
            let copy = Database::open(&pod.path("copy.db"));
            let (ids, highest): (i64, i64) = copy
                .connection
                .query_row("SELECT COUNT(*), MAX(id) FROM kine", [], |row| Ok((row.get(0)?, row.get(1)?)))
                .expect("read");
            assert_eq!(ids, highest, "a history without gaps");
        }
        stop.store(true, Ordering::SeqCst);
    });
}

/// The program under a limit of the size of every file it writes, in KiB: as a full disk, it is told by each write.
fn run_limited(pod: &Pod, kib: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    // The signal that comes with the limit would end the program; a full disk sends none.
    command.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""),
        "bash",
        env!("CARGO_BIN_EXE_vcluster-backup"),
    ]);
    command.args(arguments).env_clear().env("VCLUSTER_BACKUP_METRICS_ADDRESS", "off").stdin(Stdio::null());
    for (flag, name) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
        command.args([flag, &pod.text(name)]);
    }
    command
}

#[test]
fn a_full_spool_is_said_and_nothing_half_done_is_listed() {
    let pod = Pod::new();
    let database = pod.database();
    database.write(5);
    pod.succeed(&["backup"]);
    database
        .connection
        .execute("INSERT INTO kine (name, value) VALUES ('large', randomblob(900000))", [])
        .expect("written");
    let output = run_limited(&pod, 300, &["backup"]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write the sealed copy in") && said.contains(&pod.text("spool")), "{said}");
    assert_eq!((newest_rows(&pod), pod.objects(".json").len()), (5, 1));

    // `run` stays, and is well with room.
    let mut child = run_limited(&pod, 300, &["run"]).stderr(Stdio::null()).spawn().expect("starts");
    pod.wait_for("a word", |s| s.reason == "FileError");
    assert!(child.try_wait().expect("asked").is_none(), "run ends only on a signal");
    database
        .connection
        .execute_batch("DELETE FROM kine WHERE name = 'large'; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        .expect("freed");
    pod.wait_for("health", |s| s.state == State::Healthy);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .expect("told");
    assert!(child.wait().expect("ends").success());
    assert_eq!(newest_rows(&pod), 5);
}

#[test]
fn a_disk_that_is_full_during_a_restore_keeps_the_old_database() {
    let pod = Pod::new();
    let database = pod.database();
    database
        .connection
        .execute("INSERT INTO kine (name, value) VALUES ('large', zeroblob(900000))", [])
        .expect("written");
    pod.succeed(&["backup"]);
    database.connection.execute_batch("DELETE FROM kine; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").expect("freed");
    database.write(3);
    drop(database);
    let before = pod.data_files();
    let output =
        run_limited(&pod, 300, &["restore", "--force", "--identity", &pod.text("identity")]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pod.data_files(), before);
    assert_eq!(pod.database().count(), 3);
}

#[test]
fn two_writers_in_one_place_lose_nothing_and_the_one_that_stays_heals_it() {
    // The same vcluster by name and uid on two volumes: a restored volume beside the first, or a pod that would not die.
    let (first, second) = (Pod::new(), Pod::new());
    for pod in [&first, &second] {
        pod.write_settings(|settings| {
            settings.store.url = format!("file://{}", first.text("store"));
            settings.backup.recipients = vec![first.recipient.clone()];
            settings.backup.interval = SECOND;
        });
    }
    first.database().write(10);
    second.database().write(20);
    let running = [first.start(&["run"]), second.start(&["run"])];
    for (pod, rows) in [(&first, 3), (&second, 4)] {
        let seen = pod.wait_for("a backup", |s| s.newest.is_some()).newest.expect("a backup");
        let revision = pod.database().write(rows);
        assert!(revision > seen.revision);
        pod.wait_for("another", |s| s.newest.as_ref().is_some_and(|point| point.revision == revision));
    }
    let [one, two] = running;
    let (_, log) = two.terminate();
    assert!(!log.contains("panicked"), "{log}");
    let ids = [&first, &second].map(|pod| pod.status().and_then(|s| s.newest).expect("a backup").id);
    let signers: Vec<String> =
        [&first, &second].iter().flat_map(|pod| pod.status().expect("a status").trusted_keys).collect();
    let restore = |at: &str| {
        let copy = first.text("copy.db");
        let _ = std::fs::remove_file(&copy);
        let identity = first.text("identity");
        let mut arguments = vec!["restore", "--output", &copy, "--identity", &identity, "--at", at];
        for signer in &signers {
            arguments.extend(["--trust-key", signer]);
        }
        let output = first.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, Database::open(copy.as_ref()).count())
    };
    // Both histories are whole; which is meant is for people to say.
    assert_eq!((restore(&ids[0]).2, restore(&ids[1]).2), (13, 24));
    let (code, said, _) = restore("latest");
    assert_eq!(code, Some(11), "{said}");
    assert!(ids.iter().all(|id| said.contains(id.as_str())), "{said}");
    // The second is gone: the next start of the first follows both.
    one.terminate();
    first.write_settings(|settings| settings.trusted_keys.clone_from(&signers));
    let revision = first.database().write(1);
    let running = first.start(&["run"]);
    first.wait_for("a backup", |s| s.newest.as_ref().is_some_and(|point| point.revision == revision));
    running.terminate();
    let (code, said, rows) = restore("latest");
    assert_eq!((code, rows), (Some(0), 14), "{said}");
}

#[test]
fn objects_that_changed_places_are_named_and_the_rest_restores() {
    let pod = Pod::new();
    let database = pod.database();
    let mut data: Vec<PathBuf> = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        database.write(5);
        ids.push(pod.succeed(&["backup"]).split_whitespace().next().expect("an id").to_owned());
    }
    drop(database);
    for id in &ids[..2] {
        let (generation, _) = id.split_once('/').expect("an id");
        data.extend(pod.objects(".age").into_iter().filter(|path| path.to_string_lossy().contains(generation)));
    }
    std::fs::rename(&data[0], pod.path("aside")).expect("moved");
    std::fs::rename(&data[1], &data[0]).expect("moved");
    std::fs::rename(pod.path("aside"), &data[1]).expect("moved");
    let restore = |at: &str| {
        let copy = pod.text("copy.db");
        let _ = std::fs::remove_file(&copy);
        let output = pod.run(&["restore", "--output", &copy, "--identity", &pod.text("identity"), "--at", at]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), pod.path("copy.db").exists())
    };
    let (code, said, left) = restore(&ids[0]);
    assert_eq!((code, left), (Some(1), false), "{said}");
    assert!(said.contains("is damaged"), "{said}");
    assert_eq!(newest_rows(&pod), 15, "what was not touched");
}

#[test]
fn foreign_objects_are_in_nobodys_way() {
    let pod = Pod::new();
    pod.database().write(5);
    pod.succeed(&["backup"]);
    let plant = |name: &str, bytes: &[u8]| {
        let path = pod.path("store").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    plant("holiday.jpg", b"\xff\xd8");
    plant("v1/full/readme.txt", b"hello");
    plant("v1/full/no-generation.json", b"{}");
    plant("v1/full/g/00000001.json", b"");
    plant("v1/nonsense/g/x.json", "{\"a\": 1}\n".repeat(3).as_bytes());
    plant("v1/full/g/00000002.json", &vec![b'x'; 1 << 20]);
    plant("v2/full/g/00000001.json", b"of the future");
    let output = pod.run(&["list"]);
    let (listed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), listed.lines().count()), (Some(3), 2), "{listed}{said}");
    for name in ["no-generation.json", "g/00000001.json", "g/00000002.json", "x.json"] {
        assert!(said.contains(name), "{name} is not named: {said}");
    }
    assert_eq!(newest_rows(&pod), 5);
    pod.database().write(1);
    pod.succeed(&["backup"]);
    assert_eq!(newest_rows(&pod), 6);
}

#[test]
fn a_passphrase_that_asks_for_too_much_work_is_refused_at_once() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.recipients.clear());
    pod.database().write(1);
    let passphrase = [("ENC_KEY", "correct horse")];
    assert!(pod.run_with(&["backup"], &passphrase).status.success());
    let sealed = pod.objects("identity.age").remove(0);
    let bytes = std::fs::read(&sealed).expect("read");
    // The header is text: `-> scrypt <salt> 15`; 2^60 would never end.
    let text = String::from_utf8_lossy(&bytes[..120]).into_owned();
    let line = text.lines().find(|line| line.starts_with("-> scrypt ")).expect("a scrypt stanza").to_owned();
    let harder = format!("{} 60", line.rsplit_once(' ').expect("a factor").0);
    let at = text.find(&line).expect("there");
    let bomb = [&bytes[..at], harder.as_bytes(), &bytes[at + line.len()..]].concat();
    std::fs::write(&sealed, bomb).expect("written");
    let output = pod.run_with(&["restore", "--output", &pod.text("copy.db")], &passphrase);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("work factor of 60"), "{said}");
}

#[test]
fn a_stream_that_wants_too_large_a_window_or_grows_beyond_its_manifest_is_refused() {
    use std::io::Write;
    // A forger who knows the recipient and has a key of his own; `--output` shows the signer and goes on.
    let pod = Pod::new();
    pod.database().write(1);
    let recipient: age::x25519::Recipient = pod.recipient.parse().expect("a recipient");
    let forge = |window_log: u32, size: u64| {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        zstd.window_log(window_log).expect("set");
        zstd.long_distance_matching(true).expect("set");
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_path("state.db").expect("a path");
        header.set_cksum();
        zstd.write_all(header.as_bytes()).expect("written");
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), size), &mut zstd).expect("written");
        age::encrypt(&recipient, &zstd.finish().expect("finished")).expect("sealed")
    };
    for (what, bytes) in [("a large window", forge(27, 200 << 20)), ("too many pages", forge(20, 64 << 20))] {
        let forged = pod.succeed(&["backup"]).split_whitespace().next().expect("an id").to_owned();
        let manifest = pod.objects(&format!("{forged}.json")).remove(0);
        let text = std::fs::read_to_string(&manifest).expect("read");
        let mut body: vcluster_backup::manifest::Manifest =
            serde_json::from_str(text.lines().next().expect("a line")).expect("a manifest");
        body.data.size = bytes.len() as u64;
        body.data.sha256 = vcluster_backup::seal::sha256(&bytes);
        let own = tempfile::tempdir().expect("a folder");
        let forger = vcluster_backup::signing::Signer::load_or_make(own.path()).expect("a signer");
        std::fs::write(&manifest, body.sign(&forger).expect("signed")).expect("written");
        std::fs::write(pod.path("store").join(&body.data.key), &bytes).expect("written");
        let copy = pod.text("copy.db");
        let output = pod.run(&["restore", "--output", &copy, "--identity", &pod.text("identity"), "--at", &forged]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains("is damaged"), "{what}: {said}");
        assert!(!pod.path("copy.db").exists(), "{what}");
        std::fs::remove_file(&manifest).expect("removed");
    }
}
