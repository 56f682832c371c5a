//! The sidecar and a real S3 store that refuses: each refusal is a sentence with a remedy and without a secret, and
//! `run` is well as soon as the cause is gone.

use std::path::Path;
use std::process::Command;

use e2e::minio::{ADMIN_PASSWORD, ADMIN_USER, Minio};
use e2e::process::{Running, Said, run};
use e2e::tools;
use serde_json::json;
use vcluster_proto::status::{State, Status};

const BUCKET: &str = "shop";

/// `mc` as the store's administrator.
fn mc(folder: &Path, store: &Minio, arguments: &[&str]) -> Said {
    let config = folder.join("mc");
    let ask = |arguments: &[&str], input: &str| {
        let mut mc = Command::new(tools::tool("mc"));
        run(mc.arg("--config-dir").arg(&config).args(arguments), input)
    };
    let url = format!("http://{}", store.address);
    let _ = ask(&["alias", "set", "store", &url], &format!("{ADMIN_USER}\n{ADMIN_PASSWORD}\n")).ok();
    ask(arguments, "")
}

/// The sidecar over this store; keys come from files, as in a pod.
fn sidecar(folder: &Path, store: &Minio, arguments: &[&str]) -> Command {
    let mut program = Command::new(tools::ours("vcluster-backup"));
    program.args(arguments).env_clear();
    program.args(["--store", &format!("s3://{BUCKET}/prefix"), "--endpoint", &format!("http://{}", store.address)]);
    for (flag, name) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
        program.arg(flag).arg(folder.join(name));
    }
    program
}

fn give_keys(folder: &Path, access_key: &str, secret_key: &str) {
    for (name, value) in [("s3accesskey", access_key), ("s3secretkey", secret_key)] {
        std::fs::write(folder.join("config/s3").join(name), value).expect("writable");
    }
}

/// Folders, a key pair and a database.
fn pod(folder: &Path) {
    for name in ["config/settings", "config/s3", "config/key", "data", "spool"] {
        std::fs::create_dir_all(folder.join(name)).expect("writable");
    }
    let identity = folder.join("config/key/identity");
    let keygen = run(Command::new(tools::ours("vcluster-backup")).args(["keygen", "-o"]).arg(identity), "");
    let settings = json!({
        "apiVersion": "vcluster.fn.crossplane.io/v1alpha1", "kind": "BackupSettings",
        "cluster": {"key": "shop"}, "backup": {"recipients": [keygen.ok().trim()]},
    });
    std::fs::write(folder.join("config/settings/settings.yaml"), settings.to_string()).expect("writable");
    let database = rusqlite::Connection::open(folder.join("data/state.db")).expect("SQLite");
    database
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (n); INSERT INTO t VALUES (randomblob(20000000))")
        .expect("written");
}

fn status(folder: &Path) -> Option<Status> {
    Status::from_yaml(&std::fs::read_to_string(folder.join("config/status/status.yaml")).ok()?).ok()
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_store_that_refuses_is_said_and_run_is_well_when_it_is_mended() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let store = Minio::start(folder);
    pod(folder);
    let refused = |arguments: &[&str], words: &str| {
        let said = run(&mut sidecar(folder, &store, arguments), "");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(words), "{words} is expected: {said:?}");
        for secret in ["wrong-secret", "nobody-knows", &ADMIN_PASSWORD[..4], &ADMIN_USER[..6]] {
            assert!(!said.all().contains(secret), "{said:?}");
        }
    };

    refused(&["list"], "there are no credentials");
    give_keys(folder, "nobody-knows-me", "wrong-secret-key");
    refused(&["backup"], "the store refuses the credentials (InvalidAccessKeyId)");
    give_keys(folder, ADMIN_USER, "wrong-secret-key");
    refused(&["backup"], "the store refuses the credentials (SignatureDoesNotMatch)");
    give_keys(folder, ADMIN_USER, ADMIN_PASSWORD);
    refused(&["backup"], "the bucket does not exist");

    // The same in the pod: it lives, says so, and is well once the bucket is there.
    let mut running = Running::start("backup", folder, &mut sidecar(folder, &store, &["run"]));
    running.wait_until("it says what is missing", || status(folder).is_some_and(|s| s.reason == "NoBucket"));
    let _ = mc(folder, &store, &["mb", &format!("store/{BUCKET}")]).ok();
    running
        .wait_until("it is well", || status(folder).is_some_and(|s| s.state == State::Healthy && s.newest.is_some()));
    assert!(running.stop().success());

    // 20 MB of random bytes went in parts, below the prefix, and come back.
    let listed = mc(folder, &store, &["ls", "--recursive", &format!("store/{BUCKET}/prefix/v1/full")]).ok();
    assert!(listed.lines().any(|line| line.contains(".tar.zst.age")), "{listed}");
    let copy = folder.join("copy.db").display().to_string();
    let _ = run(&mut sidecar(folder, &store, &["restore", "--output", &copy]), "").ok();
    let database = rusqlite::Connection::open(copy).expect("SQLite");
    let size: i64 = database.query_row("SELECT length(n) FROM t", [], |row| row.get(0)).expect("restored");
    assert_eq!(size, 20_000_000);
}
