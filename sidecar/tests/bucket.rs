//! The program over a bucket that does not do what it is asked for.

mod common;
#[path = "common/s3.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod s3;

use std::time::Duration;

use common::Pod;
use s3::S3;
use vcluster_proto::{settings::Retention, status::State};

/// A pod that backs up to this server every second and keeps one.
fn over(server: &S3) -> Pod {
    let pod = Pod::new();
    std::fs::create_dir_all(pod.path("config/s3")).expect("made");
    for (name, value) in [("s3accesskey", s3::USER), ("s3secretkey", s3::PASSWORD)] {
        std::fs::write(pod.path("config/s3").join(name), value).expect("written");
    }
    pod.write_settings(|settings| {
        settings.store.url = format!("s3://{}", s3::BUCKET);
        settings.store.endpoint = Some(server.endpoint.clone());
        settings.backup.interval = Duration::from_secs(1);
        settings.backup.retention = Some(Retention { keep_last: Some(1), ..Retention::default() });
    });
    pod
}

/// The same with two whole backups, of which one may go.
fn with_two(server: &S3) -> Pod {
    let pod = over(server);
    pod.database().write(3);
    pod.succeed(&["backup"]);
    // What the next one is compared with: without it, it is a full.
    for table in ["pages.newest", "pages.full"] {
        std::fs::remove_file(pod.path("data/.vcluster-backup").join(table)).expect("removed");
    }
    pod.database().write(3);
    pod.succeed(&["backup"]);
    assert_eq!(server.objects("v1/full").len(), 4);
    pod
}

#[test]
fn a_user_who_may_not_remove_goes_on_backing_up_and_is_told_once() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = with_two(&server);
    let before = server.objects("v1/full");
    server.refuse(&[s3::NO_DELETE]);
    let revision = pod.database().write(3);
    let running = pod.start(&["run"]);
    let status = pod.wait_for("the sentence", |status| !status.retention.is_empty());
    assert!(status.retention.contains("lifecycle rules of the bucket expire v1/delta/"), "{}", status.retention);
    assert_eq!((status.state, &*status.reason), (State::Healthy, "BackedUp"));
    assert!(status.newest.is_some_and(|newest| newest.revision == revision));
    let revision = pod.database().write(3);
    pod.wait_for("another backup", |s| s.newest.as_ref().is_some_and(|newest| newest.revision == revision));
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("nothing can be removed with these credentials").count(), 1, "{log}");
    assert!(before.iter().all(|object| object.exists()), "nothing is gone");
}

#[test]
fn a_store_that_is_full_is_cleared_by_the_rules_although_no_backup_gets_through() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = with_two(&server);
    server.refuse(&[s3::NO_ROOM]);
    let revision = pod.database().write(3);
    let running = pod.start(&["run"]);
    let status = pod.wait_for("the trouble", |status| status.state == State::Failing);
    assert_eq!(status.reason, "StoreFull");
    assert!(status.message.contains("raise its quota"), "{}", status.message);
    pod.wait("room", || server.objects("v1/full").len() == 2);
    server.refuse(&[]);
    pod.wait_for("a backup", |s| {
        s.state == State::Healthy && s.newest.as_ref().is_some_and(|n| n.revision == revision)
    });
    running.terminate();
}

#[test]
fn an_upload_that_a_signal_cuts_is_given_up() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = over(&server);
    let large = "CREATE TABLE large (n); INSERT INTO large VALUES (randomblob(20000000))";
    pod.database().connection.execute_batch(large).expect("written");
    server.refuse(&[s3::NO_ANSWER_TO_PUT]);
    let begun = |line: &&String| line.contains("POST") && line.contains("uploads");
    let given_up = |line: &&String| line.starts_with("204 DELETE") && line.contains("uploadId=");
    for (command, code) in [("backup", 130), ("run", 0)] {
        let before = server.log().len();
        let running = pod.start(&[command]);
        pod.wait("an upload", || server.log()[before..].iter().find(begun).is_some());
        let (ended, log) = running.terminate();
        assert_eq!(ended, Some(code), "{command}: {log}");
        let since = server.log().split_off(before);
        assert_eq!(since.iter().filter(given_up).count(), 1, "{command}: {since:?}\n{log}");
    }
}

#[test]
fn a_proxy_of_the_environment_is_the_way_to_the_store() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = over(&server);
    // A name that only the proxy could know.
    pod.write_settings(|settings| {
        settings.store.url = format!("s3://{}", s3::BUCKET);
        settings.store.endpoint = Some("http://store.invalid".into());
    });
    pod.database().write(3);
    let output = pod.run_with(&["backup"], &[("HTTP_PROXY", &server.endpoint)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.objects("v1/full").len(), 2);
}

#[test]
fn check_says_what_follows_when_nothing_can_be_removed() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = over(&server);
    pod.database();
    let held = s3::Refusal { code: "ObjectLocked", ..s3::NO_DELETE };
    for (refusal, follows) in [
        (s3::NO_DELETE, "retention has no effect, so let lifecycle rules of the bucket expire what is old"),
        (held, "retention removes what is old only when that is over"),
        (s3::NO_ROOM, "there is no room left in the store"),
    ] {
        server.refuse(&[refusal]);
        let output = pod.run(&["check"]);
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(said.contains(follows), "{said}");
        // A store that takes nothing is a failure, one that gives nothing back is not.
        assert_eq!(output.status.code(), Some(if refusal.method == "PUT" { 1 } else { 3 }), "{said}");
    }
}

#[test]
fn other_rules_are_followed_without_a_new_backup() {
    let folder = tempfile::tempdir().expect("tempdir");
    let server = S3::start(folder.path());
    let pod = with_two(&server);
    let running = pod.start(&["run"]);
    pod.wait("one to be gone", || server.objects("v1/full").len() == 2);
    let status = pod.wait_for("the report", |status| status.stored_bytes.is_some());
    assert!(status.message.contains("nothing has changed since"), "{}", status.message);
    assert_eq!(status.oldest.map(|oldest| oldest.id), status.newest.map(|newest| newest.id));
    running.terminate();
}
