//! The commands that look after backups: `check`, `status`, `verify`, `prune`, run as a person runs them.

mod common;

use common::Pod;
use serde_json::Value;

/// A pod with so many backups, each a generation of its own.
fn backed_up(count: usize) -> Pod {
    let pod = Pod::new();
    let database = pod.database();
    for _ in 0..count {
        database.write(5);
        pod.succeed(&["backup"]);
    }
    pod
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn code_and_text(pod: &Pod, arguments: &[&str]) -> (Option<i32>, String) {
    let output = pod.run(arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
fn check_tries_the_store_and_leaves_nothing_behind() {
    let pod = backed_up(1);
    let before = pod.objects("");
    let findings = rows(&pod.succeed(&["check", "--json"]));
    let names: Vec<&str> = findings.iter().map(|f| f["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["key", "put", "get", "list", "conditional put", "delete"]);
    assert!(findings.iter().all(|f| f["verdict"] == "ok"), "{findings:?}");
    assert_eq!(pod.objects(""), before);

    pod.write_settings(|settings| settings.backup.recipients.clear());
    let (code, said) = code_and_text(&pod, &["check"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAILED   key              cannot back up without a key"), "{said}");
}

#[test]
fn check_says_what_follows_from_a_store_that_cannot_be_written() {
    let pod = Pod::new();
    std::fs::write(pod.path("store"), "no folder").expect("written");
    pod.write_settings(|settings| settings.store.url = format!("file://{}/below", pod.text("store")));
    let (code, said) = code_and_text(&pod, &["check"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot make the folder"), "{said}");
}

#[test]
fn status_tells_what_there_is_to_go_back_to() {
    let pod = Pod::new();
    assert_eq!(pod.run(&["status"]).status.code(), Some(10));
    let pod = backed_up(3);
    let status = &rows(&pod.succeed(&["status", "--json"]))[0];
    assert_eq!(
        (&status["backups"], &status["restorable"], &status["lastProven"]),
        (&3.into(), &true.into(), &Value::Null)
    );
    assert_ne!(status["oldest"]["id"], status["newest"]["id"]);
    let text = pod.succeed(&["status"]);
    assert!(text.contains("last proven  never; `run` does it daily, `vcluster-backup verify` at once"), "{text}");
    // One that is gone from under its manifest is said.
    std::fs::remove_file(newest_data(&pod)).expect("removed");
    let (code, said) = code_and_text(&pod, &["status"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("DAMAGED"), "{said}");
}

#[test]
fn verify_proves_by_digests_without_a_key_and_by_a_restore_with_it() {
    let pod = backed_up(3);
    let shallow = &rows(&pod.succeed(&["verify", "--json"]))[0];
    assert_eq!((&shallow["manifests"], &shallow["proven"]), (&3.into(), &Value::Null));
    let deep = &rows(&pod.succeed(&["verify", "--read-data", "--json"]))[0];
    assert_eq!((&deep["objectsRead"], &deep["proven"]), (&3.into(), &"Digests".into()));

    let whole = &rows(&pod.succeed(&["verify", "--identity", &pod.text("identity"), "--json"]))[0];
    assert_eq!((&whole["proven"], &whole["restored"]["revision"]), (&"Restore".into(), &1_000_015.into()));
    assert!(whole["restored"]["seconds"].as_f64().expect("a time") > 0.0);
    assert_eq!(std::fs::read_dir(pod.path("spool")).expect("there").count(), 0, "nothing in clear is left");
    assert_eq!(pod.database().count(), 15, "the real database is as it was");

    // It is remembered where backups are made: for `status`, for the status document, for `prune`.
    let status = &rows(&pod.succeed(&["status", "--json"]))[0];
    assert_eq!((&status["lastProven"]["how"], &status["lastProven"]["point"]), (&"Restore".into(), &whole["point"]));
    let running = pod.start(&["run"]);
    pod.wait_for("the proof", |status| status.last_verified.is_some());
    running.terminate();
}

#[test]
fn verify_names_what_is_bent() {
    let pod = backed_up(3);
    let newest = newest_data(&pod);
    let older = pod.objects(".tar.zst.age").into_iter().find(|path| *path != newest).expect("another");
    let flip = |path: &std::path::Path| {
        let mut bytes = std::fs::read(path).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(path, bytes).expect("written");
    };
    flip(&older);
    let (code, said) = code_and_text(&pod, &["verify", "--read-data"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("its bytes are not those its manifest names"), "{said}");
    pod.succeed(&["verify"]);

    flip(&newest);
    let (code, said) = code_and_text(&pod, &["verify", "--read-data"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = code_and_text(&pod, &["verify", "--identity", &pod.text("identity")]);
    assert_eq!(code, Some(1), "{said}");

    std::fs::write(&newest, "short").expect("written");
    let (code, said) = code_and_text(&pod, &["verify"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has 5 bytes, its manifest names"), "{said}");

    let other = Pod::new();
    let pod = backed_up(1);
    let (code, said) = code_and_text(&pod, &["verify", "--identity", &other.text("identity")]);
    assert_eq!(code, Some(12), "{said}");
}

#[test]
fn prune_shows_its_reasons_and_then_does_what_it_showed() {
    let pod = backed_up(4);
    let shown = rows(&pod.succeed(&["prune", "--keep-last", "2", "--dry-run", "--json"]));
    assert_eq!(pod.objects(".json").len(), 4, "a dry run changes nothing");
    let (sums, verdicts) = shown.split_last().expect("a line of sums");
    let kept: Vec<bool> = verdicts.iter().map(|v| v["keep"].as_bool().expect("a verdict")).collect();
    assert_eq!(kept, [true, true, false, false]);
    assert_eq!((&sums["removed"], &sums["dryRun"]), (&2.into(), &true.into()));
    let said = pod.succeed(&["prune", "--keep-last", "2"]);
    assert!(said.contains("removed 2 backups and 0 objects without a manifest"), "{said}");
    assert_eq!((pod.objects(".json").len(), pod.objects(".zst.age").len()), (2, 2));
    assert!(pod.succeed(&["prune", "--keep-last", "2"]).contains("removed 0 backups"));
    // What is left can be restored, and is one line of one writer.
    pod.succeed(&["restore", "--output", &pod.text("copy.db"), "--identity", &pod.text("identity")]);
    assert_eq!(common::Database::open(&pod.path("copy.db")).count(), 20);
}

#[test]
fn prune_removes_what_uploads_into_a_folder_have_left_when_they_were_killed() {
    let pod = backed_up(1);
    let newest = newest_data(&pod);
    let left = |number: usize| std::path::PathBuf::from(format!("{}#{number}", newest.display()));
    for number in [1, 2] {
        std::fs::write(left(number), "begun").expect("written");
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(100_000);
    std::fs::File::options().write(true).open(left(1)).and_then(|f| f.set_modified(long_ago)).expect("aged");
    let said = pod.succeed(&["prune", "--keep-last", "1", "--dry-run"]);
    assert!(said.contains("would remove 0 backups and 1 objects"), "{said}");
    assert!(left(1).exists());
    pod.succeed(&["prune", "--keep-last", "1"]);
    assert!(!left(1).exists() && left(2).exists(), "an upload may be under way for a day");
    pod.succeed(&["verify", "--read-data"]);
}

#[test]
fn prune_without_rules_or_with_strangers_removes_nothing() {
    let pod = backed_up(2);
    let (code, said) = code_and_text(&pod, &["prune"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there are no rules"), "{said}");
    // From a place that knows no signing key of this cluster.
    let elsewhere = Pod::new();
    elsewhere.write_settings(|settings| settings.store.url = format!("file://{}", pod.text("store")));
    let said = elsewhere.succeed(&["prune", "--keep-last", "1"]);
    assert!(said.contains("not signed by a trusted key") && said.contains("removed 0 backups"), "{said}");
    assert_eq!(pod.objects(".json").len(), 2);
}

#[test]
fn a_new_life_does_not_push_out_the_old_one_until_somebody_says_so() {
    let pod = backed_up(3);
    let old: Vec<_> = pod.objects(".json");
    // The signing keys outlive the volume in the status document.
    pod.database().write(1);
    let running = pod.start(&["run"]);
    pod.wait_for("a backup", |status| status.newest.is_some());
    running.terminate();
    pod.lose_data();
    let database = pod.database();
    for _ in 0..3 {
        database.write(1);
        pod.succeed(&["backup"]);
    }
    let (code, said) = code_and_text(&pod, &["prune", "--keep-last", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("of an earlier life") && said.contains("--earlier-lives"), "{said}");
    assert!(old.iter().all(|path| path.exists()), "{said}");
    assert_eq!(pod.objects(".json").len(), old.len() + 1 + 1, "of the new life only the newest is left");
    pod.succeed(&["prune", "--keep-last", "1", "--earlier-lives"]);
    assert_eq!(pod.objects(".json").len(), 1);
}

#[test]
fn run_prunes_by_its_settings_and_tells_what_is_left() {
    let pod = backed_up(4);
    pod.write_settings(|settings| {
        settings.backup.interval = std::time::Duration::from_secs(1);
        let rules = vcluster_proto::settings::Retention { keep_last: Some(1), ..Default::default() };
        settings.backup.retention = Some(rules);
    });
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |status| status.newest.is_some());
    let database = pod.database();
    let last = database.write(1);
    let status = pod.wait_for("the next, after the prune", |status| {
        status.stored_bytes.is_some() && status.newest.as_ref().is_some_and(|point| point.revision == last)
    });
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("old backups removed"), "{log}");
    assert_ne!(status.oldest.expect("there is one").id, "", "the oldest that is left");
    // The newest at that time, what it builds on, and what was made since.
    assert!(pod.objects(".json").len() < 4, "{:?}", pod.objects(".json"));
    pod.succeed(&["verify", "--identity", &pod.text("identity")]);
}

/// The data object of the newest backup by time.
fn newest_data(pod: &Pod) -> std::path::PathBuf {
    let status = &rows(&pod.succeed(&["status", "--json"]))[0];
    let id = status["newest"]["id"].as_str().expect("an id");
    pod.objects(".age").into_iter().find(|path| path.to_string_lossy().contains(id)).expect("its object")
}

#[test]
fn the_running_sidecar_proves_its_newest_backup_and_backs_up_again_what_comes_back_bent() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = std::time::Duration::from_secs(1));
    let database = pod.database();
    database.write(200);
    let running = pod.start(&["run", "--prove-every", "1s"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    let revision = database.write(1);
    pod.wait_for("a delta", |s| s.newest.as_ref().is_some_and(|p| p.revision == revision && p.kind == "delta"));
    let delta = pod.wait_for("a proof", |s| s.last_verified.is_some()).newest.expect("a backup");

    let data = newest_data(&pod);
    let mut bytes = std::fs::read(&data).expect("read");
    bytes[300] ^= 1;
    std::fs::write(&data, bytes).expect("written");
    // Nothing has changed in the database, and the delta is there in its full size.
    let full = pod.wait_for("a full", |s| s.newest.as_ref().is_some_and(|p| p.kind == "full" && p.id != delta.id));
    let full = full.newest.expect("a backup").id;
    pod.wait_for("a proof of the full", |_| proven(&pod) == full);
    let (_, log) = running.terminate();
    assert_eq!(log.matches("everything is backed up again").count(), 1, "{log}");
    assert!(pod.succeed(&["status"]).contains("by the digests of its objects"));
    pod.succeed(&["restore", "--output", &pod.text("copy.db"), "--identity", &pod.text("identity")]);
}

/// The id of the backup that was proven last.
fn proven(pod: &Pod) -> String {
    let text = std::fs::read(pod.path("data/.vcluster-backup/proof.json")).expect("read");
    serde_json::from_slice::<Value>(&text).expect("JSON")["point"].as_str().expect("an id").to_owned()
}
