//! The sidecar and a real S3 store that keeps it from removing: a user without the right, and a bucket with a lock. The
//! rules of the operator's page do what the page says of them.

use std::path::Path;
use std::process::Command;

use e2e::minio::{ADMIN_PASSWORD, ADMIN_USER, Minio};
use e2e::process::{Said, run};
use e2e::tools;
use serde_json::{Value, json};

const USER: &str = "tenant-user";
const PASSWORD: &str = "tenant-password";

/// A store, a bucket, and a sidecar that uses it.
struct Stage {
    scratch: tempfile::TempDir,
    store: Minio,
    bucket: &'static str,
}

impl Stage {
    /// `make` is what `mc mb` takes beside the bucket's name.
    fn set(bucket: &'static str, make: &[&str]) -> Self {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path();
        for name in ["config/settings", "config/s3", "data", "spool"] {
            std::fs::create_dir_all(folder.join(name)).expect("writable");
        }
        let store = Minio::start(folder);
        let identity = folder.join("identity");
        let recipient = run(Command::new(tools::ours("vcluster-backup")).args(["keygen", "-o"]).arg(identity), "").ok();
        let settings = json!({
            "apiVersion": "vcluster.fn.crossplane.io/v1alpha1", "kind": "BackupSettings",
            "cluster": {"key": bucket}, "backup": {"recipients": [recipient.trim()]},
            "store": {"url": format!("s3://{bucket}"), "endpoint": format!("http://{}", store.address)},
        });
        std::fs::write(folder.join("config/settings/settings.yaml"), settings.to_string()).expect("writable");
        let stage = Self { scratch, store, bucket };
        let _ = stage.mc(&[&["mb", &stage.at("")], make].concat(), "").ok();
        stage
    }

    fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// A place in the bucket, as `mc` names it.
    fn at(&self, key: &str) -> String {
        format!("s/{}/{key}", self.bucket)
    }

    /// `mc` as the administrator.
    fn mc(&self, arguments: &[&str], input: &str) -> Said {
        let ask = |arguments: &[&str], input: &str| {
            let mut mc = Command::new(tools::tool("mc"));
            run(mc.env_clear().env("HOME", self.folder()).arg("--json").args(arguments), input)
        };
        let login = format!("{ADMIN_USER}\n{ADMIN_PASSWORD}\n");
        let _ = ask(&["alias", "set", "s", &format!("http://{}", self.store.address)], &login).ok();
        ask(arguments, input)
    }

    fn give_keys(&self, user: &str, password: &str) {
        for (name, value) in [("s3accesskey", user), ("s3secretkey", password)] {
            std::fs::write(self.folder().join("config/s3").join(name), value).expect("writable");
        }
    }

    fn sidecar(&self, arguments: &[&str]) -> Said {
        let mut program = Command::new(tools::ours("vcluster-backup"));
        program.args(arguments).env_clear();
        for (flag, name) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
            program.arg(flag).arg(self.folder().join(name));
        }
        run(&mut program, "")
    }

    /// A whole backup, so that the one before it may go.
    fn back_up(&self) {
        let database = rusqlite::Connection::open(self.folder().join("data/state.db")).expect("SQLite");
        let rows =
            "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (n); INSERT INTO t VALUES (randomblob(9000000))";
        database.execute_batch(rows).expect("written");
        for table in ["pages.newest", "pages.full"] {
            let _ = std::fs::remove_file(self.folder().join("data/.vcluster-backup").join(table));
        }
        let _ = self.sidecar(&["backup"]).ok();
    }

    fn listed(&self) -> usize {
        self.sidecar(&["list", "--json"]).ok().lines().filter(|line| line.contains("\"full\"")).count()
    }
}

/// The rules as the operator's page shows them.
fn rules() -> String {
    let page = std::fs::read_to_string(tools::repository().join("docs/operator.md")).expect("a page");
    page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("rules").to_owned()
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_user_without_the_right_to_remove_backs_up_and_the_buckets_rules_do_it() {
    let stage = Stage::set("shop", &[]);
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket"], "Resource": ["arn:aws:s3:::shop"]},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], "Resource": ["arn:aws:s3:::shop/*"]},
    ]});
    let file = stage.folder().join("policy.json").display().to_string();
    std::fs::write(&file, policy.to_string()).expect("writable");
    let _ = stage.mc(&["admin", "policy", "create", "s", "write-only", &file], "").ok();
    let _ = stage.mc(&["admin", "user", "add", "s"], &format!("{USER}\n{PASSWORD}\n")).ok();
    let _ = stage.mc(&["admin", "policy", "attach", "s", "write-only", "--user", USER], "").ok();
    stage.give_keys(USER, PASSWORD);

    stage.back_up();
    let checked = stage.sidecar(&["check"]);
    assert_eq!(checked.code, 3, "{checked:?}");
    for words in ["ok       put", "warning  delete", "(AccessDenied)", "let lifecycle rules of the bucket expire"] {
        assert!(checked.out.contains(words), "{words} is expected: {checked:?}");
    }
    stage.back_up();
    let pruned = stage.sidecar(&["prune", "--keep-last", "1"]);
    assert_eq!((pruned.code, stage.listed()), (3, 2), "{pruned:?}");
    assert!(pruned.err.contains("nothing can be removed with these credentials"), "{pruned:?}");

    // The rules are taken as they are written, and speak of each object by its kind.
    let _ = stage.mc(&["ilm", "import", &stage.at("")], &rules()).ok();
    for kind in ["delta", "diff"] {
        let _ = stage.mc(&["pipe", &stage.at(&format!("v1/{kind}/g/00000001.json"))], "of another day").ok();
    }
    let mut seen = Vec::new();
    let listing = stage.mc(&["ls", "--recursive", &stage.at("")], "").ok();
    for line in listing.lines() {
        let object: Value = serde_json::from_str(line).expect("JSON");
        let key = object["key"].as_str().expect("a key");
        let object: Value = serde_json::from_str(&stage.mc(&["stat", &stage.at(key)], "").ok()).expect("JSON");
        let kind = key.split('/').nth(1).expect("a kind");
        assert_eq!(object["expirationRuleID"], format!("{kind}s"), "{key}");
        seen.push(kind.to_owned());
    }
    seen.dedup();
    assert_eq!(seen, ["check", "delta", "diff", "full"]);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn what_is_removed_from_a_bucket_with_a_lock_is_hidden_and_comes_back() {
    let stage = Stage::set("vault", &["--with-lock"]);
    let _ = stage.mc(&["retention", "set", "--default", "GOVERNANCE", "1d", &stage.at("")], "").ok();
    stage.give_keys(ADMIN_USER, ADMIN_PASSWORD);
    stage.back_up();
    stage.back_up();
    let checked = stage.sidecar(&["check"]);
    assert!(checked.out.contains("ok       delete"), "{checked:?}");
    let _ = stage.sidecar(&["prune", "--keep-last", "1"]).ok();
    assert_eq!(stage.listed(), 1);

    // Who has the credentials hides the rest, and can destroy nothing.
    let everything = stage.at("v1/");
    let _ = stage.mc(&["rm", "--recursive", "--force", &everything], "").ok();
    assert_eq!(stage.sidecar(&["list"]).code, 10);
    let destroyed = stage.mc(&["rm", "--recursive", "--force", "--versions", &stage.at("v1/full/")], "");
    assert!(destroyed.code != 0 && destroyed.all().contains("WORM"), "{destroyed:?}");
    // That has taken the marks away; hidden once more, it comes back by the word of the page.
    let _ = stage.mc(&["rm", "--recursive", "--force", &everything], "").ok();
    assert_eq!(stage.sidecar(&["list"]).code, 10);
    let page = std::fs::read_to_string(tools::repository().join("docs/operator.md")).expect("a page");
    let word = ["undo", "--recursive", "--force", "--action", "DELETE"];
    assert!(page.contains(&word.join(" ")), "the page says it otherwise");
    let _ = stage.mc(&[&word[..], &[&everything]].concat(), "").ok();
    assert_eq!(stage.listed(), 2);
    let identity = stage.folder().join("identity").display().to_string();
    let proven = stage.sidecar(&["verify", "--read-data", "--identity", &identity]).ok();
    assert!(proven.contains("proven by a restore"), "{proven}");
}
