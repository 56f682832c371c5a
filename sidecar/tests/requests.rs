//! Restores that somebody asks for: the running sidecar looks whether they can be served, the init container serves each
//! once, whatever happens.

mod common;

use std::process::Command;

use common::{Database, Pod};
use vcluster_proto::{
    settings::{Restore, Settings, Source},
    status::{FAILED, PENDING, SUCCEEDED, State},
};

const INIT: [&str; 5] = ["restore", "--init", "--look-every=200ms", "--store-patience=2s", "--debug=false"];

fn ask(id: &str, at: &str) -> impl FnOnce(&mut Settings) + use<> {
    let restore = Restore { id: id.into(), at: at.into(), from: None };
    move |settings| settings.restore = Some(restore)
}

/// A pod whose database has `counts` rows at its first, second, ... backup; gives their ids.
fn pod_with_backups(counts: &[usize]) -> (Pod, Vec<String>) {
    let pod = Pod::new();
    let database = pod.database();
    let ids = counts.iter().map(|count| {
        database.write(*count);
        pod.succeed(&["backup"]).split_whitespace().next().expect("an id").to_owned()
    });
    let ids = ids.collect();
    drop(database);
    (pod, ids)
}

fn init(pod: &Pod) -> String {
    let mut running = pod.start(&INIT);
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    running.log()
}

#[test]
fn a_request_is_served_once_and_loses_nothing() {
    let (pod, ids) = pod_with_backups(&[5, 5]);
    let revision = pod.database().write(3);
    pod.give_identity();
    pod.write_settings(ask("r1", &ids[0]));
    init(&pod);
    assert_eq!(pod.database().count(), 5);
    let status = pod.status().expect("a status");
    let told = status.restore.expect("an outcome");
    assert_eq!((told.id.as_str(), told.phase.as_str(), told.from.as_str()), ("r1", SUCCEEDED, ids[0].as_str()));

    // What was there before the restore was backed up once more, and revisions go on beyond it.
    let newest = pod.succeed(&[
        "restore",
        "--output",
        &pod.text("before.db"),
        "--identity",
        &pod.text("identity"),
        "--at",
        &newest(&pod),
    ]);
    assert_eq!(Database::open(&pod.path("before.db")).count(), 13, "{newest}");
    assert!(pod.database().write(1) > revision + 1_000_000);

    // The same id again, as long as the function has not taken it out: nothing happens, without the store.
    std::fs::rename(pod.path("store"), pod.path("away")).expect("moved");
    init(&pod);
    assert_eq!(pod.database().count(), 6);
}

/// The id in the last line of `list`.
fn newest(pod: &Pod) -> String {
    let list = pod.succeed(&["list"]);
    list.lines().last().and_then(|line| line.split_whitespace().next()).expect("an id").to_owned()
}

#[test]
fn a_request_that_cannot_be_served_fails_for_good_and_keeps_the_database() {
    let (pod, _) = pod_with_backups(&[5]);
    let other = Pod::new();
    let wrong_key = |pod: &Pod| assert!(std::fs::copy(other.path("identity"), pod.path("config/key/identity")).is_ok());
    let right_key = |pod: &Pod| pod.give_identity();
    type Key<'a> = &'a dyn Fn(&Pod);
    let cases: [(&str, &str, Key<'_>, &str); 3] = [
        ("no-such-point", "2001-01-01T00:00:00Z", &right_key, "there is no backup"),
        ("nonsense", "yesterday", &right_key, "no point in time"),
        ("wrong-key", "latest", &wrong_key, "sealed for another"),
    ];
    for (id, at, key, why) in cases {
        key(&pod);
        pod.write_settings(ask(id, at));
        init(&pod);
        let told = pod.status().and_then(|status| status.restore).expect("an outcome");
        assert_eq!((told.id.as_str(), told.phase.as_str()), (id, FAILED), "{told:?}");
        assert!(told.message.contains(why), "{told:?}");
        assert_eq!(pod.database().count(), 5, "{id}");
        // Mended later, it is still over: a new try has a new id.
        right_key(&pod);
        pod.write_settings(ask(id, "latest"));
        pod.database().write(0);
        init(&pod);
        assert_eq!(pod.status().and_then(|status| status.restore).expect("an outcome").phase, FAILED, "{id}");
    }
}

#[test]
fn a_silent_store_leaves_the_old_database_and_the_request_open() {
    let (pod, _) = pod_with_backups(&[5]);
    pod.give_identity();
    pod.write_settings(|settings| {
        ask("r1", "latest")(settings);
        settings.store.url = "s3://shop".into();
        settings.store.endpoint = Some("http://127.0.0.1:9".into());
    });
    let log = init(&pod);
    assert!(log.contains("stays asked for"), "{log}");
    assert_eq!(pod.status().and_then(|status| status.restore).expect("told").phase, PENDING);
    pod.write_settings(ask("r1", "latest"));
    init(&pod);
    assert_eq!(pod.status().and_then(|status| status.restore).expect("told").phase, SUCCEEDED);
}

#[test]
fn what_is_in_the_way_for_a_while_leaves_a_request_open_and_ends_no_pod() {
    let (pod, ids) = pod_with_backups(&[5, 5]);
    pod.give_identity();
    pod.write_settings(ask("r1", &ids[0]));
    // The old pod is still going.
    let database = pod.database();
    database.write(1);
    init(&pod);
    let told = pod.status().and_then(|status| status.restore).expect("told");
    assert_eq!(told.phase, PENDING, "{told:?}");
    assert!(told.message.contains("somebody has it open") && told.message.contains("within the hour"), "{told:?}");
    assert_eq!(database.count(), 11);
    let running = pod.start(&["run"]);
    let status = pod.wait_for("a backup", |s| s.state == State::Healthy);
    assert_eq!(status.restore.expect("still told").message, told.message, "no restart for what was just tried");
    running.terminate();
    drop(database);
    init(&pod);
    assert_eq!(pod.status().and_then(|status| status.restore).expect("told").phase, SUCCEEDED);
    assert_eq!(pod.database().count(), 5);
}

#[test]
fn without_a_key_the_vcluster_starts_and_the_sidecar_waits_for_it() {
    let (pod, _) = pod_with_backups(&[5]);
    pod.write_settings(ask("r1", "latest"));
    init(&pod);
    assert_eq!(pod.database().count(), 5);
    let running = pod.start(&["run"]);
    let told =
        pod.wait_for("a word", |s| s.restore.as_ref().is_some_and(|r| r.phase == PENDING)).restore.expect("told");
    assert!(told.message.contains("without its key"), "{told:?}");
    // The key comes; here is no cluster whose pod could be restarted, and that is said.
    pod.give_identity();
    let by_hand =
        |s: &vcluster_proto::status::Status| s.restore.as_ref().is_some_and(|r| r.message.contains("by hand"));
    let status = pod.wait_for("the restart", by_hand);
    assert_eq!(status.state, State::Healthy, "backups go on: {status:?}");
    running.terminate();
    init(&pod);
    assert_eq!(pod.status().and_then(|status| status.restore).expect("told").phase, SUCCEEDED);
}

#[test]
fn run_judges_what_can_never_be_served_without_a_restart_and_forgets_what_is_withdrawn() {
    let (pod, _) = pod_with_backups(&[5]);
    pod.write_settings(ask("later", "latest"));
    let running = pod.start(&["run"]);
    pod.wait_for("a word", |s| s.restore.as_ref().is_some_and(|r| r.id == "later"));
    pod.write_settings(|_| {});
    pod.wait_for("silence", |s| s.restore.is_none());
    pod.give_identity();
    pod.write_settings(ask("never", "2001-01-01T00:00:00Z"));
    let told =
        pod.wait_for("the outcome", |s| s.restore.as_ref().is_some_and(|r| r.id == "never")).restore.expect("told");
    assert_eq!(told.phase, FAILED, "{told:?}");
    running.terminate();
}

#[test]
fn an_empty_start_asks_no_store_and_keeps_what_was_there() {
    let (pod, _) = pod_with_backups(&[5]);
    std::fs::rename(pod.path("store"), pod.path("away")).expect("moved");
    pod.write_settings(|settings| {
        ask("r1", "empty")(settings);
        settings.lived = true;
    });
    init(&pod);
    assert!(!pod.path("data/state.db").exists());
    let kept = std::fs::read_dir(pod.path("data")).expect("lists").map(|entry| entry.expect("entry").path());
    let kept = kept.filter(|path| path.to_string_lossy().contains("state.db.before-")).collect::<Vec<_>>();
    assert_eq!(Database::open(&kept[0]).count(), 5);
    assert_eq!(pod.status().and_then(|status| status.restore).expect("told").phase, SUCCEEDED);
    // The next start of the empty one is no second service.
    pod.database().write(2);
    init(&pod);
    assert_eq!(pod.database().count(), 2);
}

#[test]
fn a_lost_volume_does_not_bring_a_served_request_back() {
    // The manifests remember it: the newest backup is restored, not the old point once more.
    let (pod, ids) = pod_with_backups(&[5, 5]);
    pod.give_identity();
    pod.write_settings(ask("r1", &ids[0]));
    init(&pod);
    pod.database().write(20);
    pod.succeed(&["backup"]);
    let trusted = trusted_key(&pod);
    pod.lose_data();
    pod.write_settings(|settings| {
        ask("r1", &ids[0])(settings);
        settings.lived = true;
        settings.trusted_keys = vec![trusted];
    });
    init(&pod);
    assert_eq!(pod.database().count(), 25);
    let ledger = std::fs::read_to_string(pod.path("data/.vcluster-backup/requests.json")).expect("a ledger");
    assert!(ledger.contains("\"r1\""), "the new disk knows it, too: {ledger}");
}

#[test]
fn killed_between_the_rename_and_its_ledger_a_request_is_not_served_again() {
    let (pod, ids) = pod_with_backups(&[5, 5]);
    pod.give_identity();
    pod.write_settings(ask("r1", &ids[0]));
    init(&pod);
    std::fs::remove_file(pod.path("data/.vcluster-backup/requests.json")).expect("as if it had never been written");
    pod.database().write(1);
    init(&pod);
    assert_eq!(pod.database().count(), 6, "the marker row tells");
}

#[test]
fn an_empty_disk_and_a_silent_store_wait_for_a_request_that_may_have_been_served() {
    let (pod, ids) = pod_with_backups(&[5]);
    pod.give_identity();
    let trusted = trusted_key(&pod);
    pod.lose_data();
    std::fs::rename(pod.path("store"), pod.path("away")).expect("moved");
    pod.write_settings(|settings| {
        ask("r1", &ids[0])(settings);
        settings.trusted_keys = vec![trusted];
    });
    let mut running = pod.start(&INIT);
    pod.wait_for("a wait", |s| s.state == State::Waiting && s.restore.as_ref().is_some_and(|r| r.phase == PENDING));
    assert!(running.is_alive(), "with no database there is no giving up");
    std::fs::rename(pod.path("away"), pod.path("store")).expect("moved");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert_eq!(pod.database().count(), 5);
}

#[test]
fn a_broken_database_is_moved_aside_for_a_restore() {
    let (pod, _) = pod_with_backups(&[5]);
    pod.give_identity();
    std::fs::write(pod.path("data/state.db"), vec![7; 20_000]).expect("written");
    pod.write_settings(ask("r1", "latest"));
    init(&pod);
    assert_eq!(pod.database().count(), 5);
}

#[test]
fn a_clone_takes_the_data_of_another_cluster_and_not_its_keys() {
    let source = Pod::new();
    std::fs::create_dir_all(source.path("data/pki")).expect("made");
    std::fs::write(source.path("data/pki/ca.key"), "theirs").expect("written");
    let database = source.database();
    database.write(5);
    let write = "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
                 VALUES ('/registry/configmaps/default/kube-root-ca.crt', 1, 0, 0, 0, 0, 'theirs', '')";
    database.connection.execute(write, []).expect("written");
    source.succeed(&["backup", "--cluster", "theirs"]);
    let signer = source.succeed(&["list"]);
    drop((database, signer));

    let pod = Pod::new();
    std::fs::create_dir_all(pod.path("store")).expect("made");
    std::fs::copy(source.path("identity"), pod.path("config/key/identity")).expect("copied");
    let trusted = trusted_key(&source);
    pod.write_settings(|settings| {
        let from = Source { key: "theirs".into(), url: format!("file://{}", source.text("store")) };
        settings.restore = Some(Restore { id: "c1".into(), at: "latest".into(), from: Some(from) });
        settings.trusted_keys = vec![trusted];
    });
    init(&pod);
    assert_eq!(pod.database().count(), 5, "without the other's certificates");
    assert!(!pod.path("data/pki").exists(), "keys are each cluster's own");
}

fn trusted_key(pod: &Pod) -> String {
    let list = pod.succeed(&["list", "--json"]);
    let row: serde_json::Value = serde_json::from_str(list.lines().next().expect("a row")).expect("JSON");
    row["signer"].as_str().expect("a key").to_owned()
}

#[test]
fn a_command_serves_a_request_once_too() {
    let (pod, ids) = pod_with_backups(&[5, 5]);
    let identity = pod.text("identity");
    let restore = ["restore", "--force", "--request-id", "r1", "--identity", &identity, "--at", &ids[0]];
    pod.succeed(&restore);
    assert_eq!(pod.database().count(), 5);
    pod.database().write(1);
    assert!(pod.succeed(&restore).contains("nothing to do"));
    assert_eq!(pod.database().count(), 6);
}

#[test]
fn killed_at_any_time_a_restore_leaves_the_old_database_or_the_new_one() {
    let (pod, ids) = pod_with_backups(&[400, 1]);
    let old = 4_000;
    pod.database().write(old - 401);
    let keep = pod.path("keep.db");
    std::fs::copy(pod.path("data/state.db"), &keep).expect("copied");
    let (mut news, mut olds) = (0, 0);
    for round in 0..24_u64 {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(pod.path(&format!("data/state.db{suffix}")));
        }
        std::fs::copy(&keep, pod.path("data/state.db")).expect("copied");
        let arguments = [
            "restore",
            "--force",
            "--at",
            &ids[0],
            "--identity",
            &pod.text("identity"),
            "--config-dir",
            &pod.text("config"),
            "--data-dir",
            &pod.text("data"),
            "--spool-dir",
            &pod.text("spool"),
        ]
        .map(str::to_owned);
        let mut child = Command::new(env!("CARGO_BIN_EXE_vcluster-backup"))
            .args(arguments)
            .env_clear()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(6 * round));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let database = pod.database();
        let sound: String =
            database.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(sound, "ok");
        match usize::try_from(database.count()).expect("a count") {
            400 => news += 1,
            count if count == old => olds += 1,
            mixed => panic!("a mix: {mixed} rows after {round} rounds"),
        }
    }
    println!("killed 24 times: {olds} times the old database, {news} times the new one");
}

#[test]
fn a_full_disk_is_undone_with_a_sentence() {
    // A limit on file size stands for the disk: writing beyond it fails in the same places.
    let (pod, ids) = pod_with_backups(&[2_000]);
    let before = pod.data_files();
    let program = env!("CARGO_BIN_EXE_vcluster-backup");
    let script = r#"trap '' XFSZ; ulimit -f 64; exec "$@""#;
    let output = Command::new("sh")
        .args(["-c", script, "sh", program, "restore", "--force", "--at", &ids[0], "--identity", &pod.text("identity")])
        .args(["--config-dir", &pod.text("config"), "--data-dir", &pod.text("data"), "--spool-dir", &pod.text("spool")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write"), "{said}");
    assert_eq!(pod.data_files(), before, "nothing was changed, nothing is left");
}
