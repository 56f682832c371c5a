//! The two commands that stay: `run`, which ends only on a signal, and the init container, which waits while anything
//! is in doubt.

mod common;

use std::time::Duration;

use common::{Database, NOBODY, Pod, on_s3};
use vcluster_proto::{settings::Bootstrap, status::State};

#[test]
fn run_backs_up_at_once_follows_and_takes_a_last_one() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
    let database = pod.database();
    database.write(10);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.as_ref().is_some_and(|p| p.revision == 10));
    let twenty = database.write(10);
    pod.wait_for("the next", |s| s.newest.as_ref().is_some_and(|p| p.revision == twenty));
    let last = database.write(10);
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    let status = pod.status().expect("status");
    let newest = status.newest.expect("newest");
    assert_eq!((status.state, newest.revision), (State::Stopped, last));
    assert!(!status.generation.is_empty() && newest.id.starts_with(&status.generation), "{}", status.generation);
}

#[test]
fn an_unchanged_database_is_neither_read_nor_sent() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
    let database = pod.database();
    database.write(1);
    let running = pod.start(&["run"]);
    let first = pod.wait_for("the first backup", |s| s.newest.is_some());
    pod.wait_for("three more looks", |s| s.observed_at > first.observed_at.map(|t| t + Duration::from_secs(3)));
    running.terminate();
    assert_eq!(pod.objects(".json").len(), 1);
}

#[test]
fn a_restarted_sidecar_supersedes_what_it_finds() {
    // Two generations, one head: `latest` stays unambiguous without clocks.
    let pod = Pod::new();
    let database = pod.database();
    for rows in [5, 5] {
        database.write(rows);
        let running = pod.start(&["run"]);
        let want = database.write(0);
        let _ = want;
        let revision = database.count();
        pod.wait_for("a backup", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision));
        running.terminate();
    }
    pod.succeed(&["restore", "--output", &pod.text("copy.db"), "--identity", &pod.text("identity")]);
    assert_eq!(Database::open(&pod.path("copy.db")).count(), 10);
}

/// Each cause: what breaks it, the reason the status must give, what mends it.
#[test]
fn run_survives_every_bad_setting_and_is_well_when_it_is_mended() {
    type Change = fn(&Pod);
    let cases: [(&str, Change, Change); 5] = [
        (
            "BadSettings",
            |p| std::fs::remove_file(p.path("config/settings/settings.yaml")).expect("removed"),
            |p| p.write_settings(|_| {}),
        ),
        ("NoKey", |p| p.write_settings(|s| s.backup.recipients.clear()), |p| p.write_settings(|_| {})),
        (
            "NoDatabase",
            |p| std::fs::rename(p.path("data/state.db"), p.path("away.db")).expect("moved"),
            |p| std::fs::rename(p.path("away.db"), p.path("data/state.db")).expect("moved"),
        ),
        ("StoreUnavailable", |p| p.write_settings(|s| on_s3(s, NOBODY)), |p| p.write_settings(|_| {})),
        ("BadSettings", |p| p.write_settings(|s| s.store.url = "ftp://x".into()), |p| p.write_settings(|_| {})),
    ];
    for (reason, damage, mend) in cases {
        let pod = Pod::new();
        pod.database().write(3);
        damage(&pod);
        let mut running = pod.start(&["run"]);
        let status = pod.wait_for(reason, |s| s.reason == reason);
        assert_eq!(status.state, State::Failing, "{reason}");
        assert!(!status.message.is_empty());
        assert!(running.is_alive(), "{reason}: run ends only on a signal");
        mend(&pod);
        pod.wait_for("health", |s| s.state == State::Healthy && s.newest.is_some());
        let (code, log) = running.terminate();
        assert_eq!(code, Some(0), "{log}");
        let complaints = log.lines().filter(|line| line.contains("\"ERROR\"")).count();
        assert!((1..=2).contains(&complaints), "{reason}: said {complaints} times\n{log}");
    }
}

#[test]
fn malformed_settings_leave_the_old_ones_in_force() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
    let database = pod.database();
    database.write(1);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    std::fs::write(pod.path("config/settings/settings.yaml"), "apiVersion: [").expect("written");
    let revision = database.write(4);
    pod.wait_for("a backup by the old settings", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision));
    let (_, log) = running.terminate();
    assert_eq!(log.matches("the old ones stay").count(), 1, "said once: {log}");
}

#[test]
fn settings_are_followed_without_a_restart() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(3600));
    let database = pod.database();
    database.write(1);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
    pod.wait_for("the new interval", |s| s.interval == "1s");
    let revision = database.write(4);
    pod.wait_for("a backup by it", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision));
    running.terminate();
}

#[test]
fn the_init_container_does_nothing_where_a_database_is() {
    // `vcluster restore` clones our init container into its own pod, and every restart of a healthy pod runs it.
    let pod = Pod::new();
    pod.database().write(1);
    std::fs::remove_file(pod.path("config/settings/settings.yaml")).expect("removed");
    let before = pod.data_files();
    assert_eq!(pod.start(&["restore", "--init"]).wait(), Some(0));
    assert_eq!(pod.data_files(), before);
}

#[test]
fn a_first_start_begins_empty_and_waits_for_settings_before_that() {
    let pod = Pod::new();
    std::fs::create_dir(pod.path("store")).expect("made");
    std::fs::remove_file(pod.path("config/settings/settings.yaml")).expect("removed");
    let mut init = pod.start(&["restore", "--init"]);
    pod.wait_for("a wait", |s| s.state == State::Waiting && s.reason == "WaitingForSettings");
    assert!(init.is_alive());
    pod.write_settings(|_| {});
    assert_eq!(init.wait(), Some(0));
    assert!(pod.data_files().is_empty());
}

#[test]
fn a_store_that_is_not_there_yet_is_waited_for() {
    let pod = Pod::new();
    std::fs::create_dir(pod.path("store")).expect("made");
    pod.write_settings(|settings| {
        on_s3(settings, NOBODY);
        settings.store.registration = Some("vcluster-platform/shop-s3".into());
    });
    let mut init = pod.start(&["restore", "--init"]);
    let status = pod.wait_for("a wait", |s| s.reason == "WaitingForStore");
    assert!(status.message.contains("vcluster-platform/shop-s3"), "names the Job: {}", status.message);
    assert!(init.is_alive());
    pod.write_settings(|_| {});
    assert_eq!(init.wait(), Some(0), "an empty store and no past: a beginning");
}

#[test]
fn a_folder_that_is_not_mounted_is_no_empty_store() {
    let pod = Pod::new();
    let mut init = pod.start(&["restore", "--init"]);
    let status = pod.wait_for("a wait", |s| s.reason == "WaitingForStore");
    assert!(status.message.contains("mount or make it"), "{}", status.message);
    std::fs::create_dir(pod.path("store")).expect("made");
    pod.write_settings(|settings| settings.lived = false);
    assert!(init.is_alive() || init.wait() == Some(0));
}

#[test]
fn an_empty_disk_gets_its_newest_backup_once_there_is_a_key() {
    let pod = Pod::new();
    pod.database().write(30);
    let running = pod.start(&["run"]);
    pod.wait_for("a backup", |s| s.newest.is_some());
    running.terminate();
    pod.lose_data();
    let mut init = pod.start(&["restore", "--init"]);
    pod.wait_for("a wait", |s| s.reason == "WaitingForIdentity");
    assert!(pod.data_files().is_empty(), "nothing half done");
    pod.give_identity();
    assert_eq!(init.wait(), Some(0), "{}", init.log());
    assert_eq!(pod.database().count(), 30);
    let restore = pod.status().expect("status").restore.expect("an outcome");
    assert_eq!(restore.phase, "Succeeded");
}

#[test]
fn another_life_under_the_same_name_is_asked_about() {
    let pod = Pod::new();
    pod.database().write(30);
    let running = pod.start(&["run"]);
    pod.wait_for("a backup", |s| s.newest.is_some());
    running.terminate();
    pod.lose_data();
    pod.give_identity();
    pod.write_settings(|settings| settings.cluster.uid = "uid-2".into());
    let mut init = pod.start(&["restore", "--init"]);
    pod.wait_for("a question", |s| s.reason == "PreviousBackupFound");
    pod.write_settings(|settings| {
        settings.cluster.uid = "uid-2".into();
        settings.bootstrap = Some(Bootstrap::Latest);
    });
    assert_eq!(init.wait(), Some(0), "{}", init.log());
    assert_eq!(pod.database().count(), 30);
}

#[test]
fn a_lost_bucket_is_no_beginning() {
    let pod = Pod::new();
    std::fs::create_dir(pod.path("store")).expect("made");
    pod.write_settings(|settings| settings.lived = true);
    let mut init = pod.start(&["restore", "--init"]);
    pod.wait_for("a wait", |s| s.reason == "BucketLost");
    assert!(init.is_alive());
    assert_eq!(init.terminate().0, Some(130));
}

#[test]
fn a_database_replaced_in_its_place_is_noticed() {
    // `cp other.db state.db` keeps the inode; only the WAL tells that it is another database.
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
    pod.database().write(10);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    Database::open(&pod.path("other.db")).write(500);
    std::fs::copy(pod.path("other.db"), pod.path("data/state.db")).expect("copied");
    for companion in ["data/state.db-wal", "data/state.db-shm"] {
        std::fs::remove_file(pod.path(companion)).expect("removed");
    }
    let revision = pod.database().write(6);
    pod.wait_for("a backup of the other", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision));
    running.terminate();
}

#[test]
fn another_store_gets_its_own_backup_at_once() {
    let pod = Pod::new();
    pod.database().write(10);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    pod.succeed(&["verify", "--read-data"]);
    assert!(pod.path("data/.vcluster-backup/proof.json").is_file());
    let other = format!("file://{}", pod.text("store2"));
    pod.write_settings(|settings| settings.store.url.clone_from(&other));
    let status = pod.wait_for("a backup there", |s| s.store == other && s.newest.is_some());
    assert_eq!(status.last_verified, None, "what was proven was another store's");
    assert!(!pod.path("data/.vcluster-backup/proof.json").exists());
    assert!(pod.path("store2/v1/full").is_dir());
    running.terminate();
}

#[test]
fn a_single_backup_that_cannot_reach_run_is_refused_and_the_chain_stays_one() {
    let pod = Pod::new();
    let database = pod.database();
    database.write(10);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    std::fs::remove_file(pod.path("spool/control.sock")).expect("removed");
    let output = pod.run(&["backup"]);
    assert_eq!(output.status.code(), Some(11), "{}", String::from_utf8_lossy(&output.stderr));
    database.write(5);
    running.terminate();
    let copy = pod.text("copy.db");
    pod.succeed(&["restore", "--output", &copy, "--identity", &pod.text("identity")]);
    assert_eq!(Database::open(copy.as_ref()).count(), 15);
}

#[test]
fn a_hanging_store_does_not_hold_up_the_way_out() {
    // Accepts connections and never answers: the worst a store can do.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let pod = Pod::on_s3(&listener.local_addr().expect("an address").to_string());
    let running = pod.start(&["run"]);
    let (_held, _) = listener.accept().expect("it asks the store");
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(pod.status().expect("status").reason, "StoppedTooSoon");
}

#[test]
fn no_interval_is_too_long_to_live_with() {
    let pod = Pod::new();
    pod.database().write(1);
    pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(u64::MAX / 4));
    let mut running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    assert!(running.is_alive());
    running.terminate();
}

#[test]
fn a_status_that_cannot_be_understood_is_kept_and_backups_go_on() {
    // It may hold the only copy of the keys that make older backups trusted.
    let pod = Pod::new();
    pod.database().write(1);
    std::fs::create_dir_all(pod.path("config/status")).expect("made");
    let broken = "apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: BackupStatus\ntrustedKeys: {not: a list}\n";
    std::fs::write(pod.path("config/status/status.yaml"), broken).expect("written");
    let running = pod.start(&["run"]);
    let until = std::time::Instant::now() + common::PATIENCE;
    while pod.objects(".json").is_empty() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, log) = running.terminate();
    assert_eq!((code, pod.objects(".json").len()), (Some(0), 1), "{log}");
    assert_eq!(std::fs::read_to_string(pod.path("config/status/status.yaml")).expect("read"), broken);
    assert!(log.contains("mend or empty"), "{log}");
}

#[test]
fn a_backup_that_cannot_be_read_is_no_permission_to_begin_anew() {
    let pod = Pod::new();
    let database = pod.database();
    database.write(1);
    pod.succeed(&["backup"]);
    let own = pod.objects(".json").remove(0);
    let bent = std::fs::read_to_string(&own).expect("read").replace("uid-1", "uid-0");
    std::fs::write(&own, bent).expect("written");
    // Another life is there, whole, and the order says to begin empty beside such.
    pod.write_settings(|settings| settings.cluster.uid = "uid-2".into());
    pod.succeed(&["backup"]);
    drop(database);
    pod.lose_data();
    pod.write_settings(|settings| {
        settings.lived = true;
        settings.bootstrap = Some(Bootstrap::Empty);
    });
    let mut init = pod.start(&["restore", "--init"]);
    let status = pod.wait_for("a wait", |s| s.reason == "WaitingForStore");
    assert!(status.message.contains("cannot be read at all"), "{}", status.message);
    assert!(init.is_alive());
}
