//! In a pod the status document is a ConfigMap that chart s3-register made: the sidecar writes it with the rights of
//! the chart's Role and nothing else, and after the loss of the volume it is what makes its own backups trusted.

use std::{path::Path, process::Command};

use e2e::{
    cluster::Cluster,
    process::{Running, run},
    tools,
};
use serde_json::json;
use vcluster_proto::{
    settings::{self, Settings},
    status::Status,
};

const KEY: &str = "shop-abcdefgh";
const NAMESPACE: &str = "tenant-shop-abcdefgh";

/// The chart, installed for a store that needs no registration.
fn install(host: &Cluster, folder: &Path) {
    for name in [NAMESPACE, "platform"] {
        host.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string());
    }
    let values =
        json!({"clustername": KEY, "platformNamespace": "platform", "register": "none", "settings": "written by hand"});
    let file = folder.join("values.json");
    std::fs::write(&file, values.to_string()).expect("writable");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../package/charts/s3-register");
    let values = file.display().to_string();
    let _ = host.helm(&["install", "shop-s3", chart, "--namespace", NAMESPACE, "--values", &values]).ok();
}

/// A kubeconfig with the rights of the vcluster's service account.
fn service_account(host: &Cluster, folder: &Path) -> String {
    let name = format!("vc-{KEY}");
    host.apply(
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}})
            .to_string(),
    );
    let token = host.kubectl(&["create", "token", &name, "--namespace", NAMESPACE], "").ok();
    let admin = std::fs::read_to_string(folder.join("host/kubeconfig")).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&admin).expect("JSON");
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = folder.join("service-account.kubeconfig");
    std::fs::write(&file, config.to_string()).expect("writable");
    file.display().to_string()
}

fn status(host: &Cluster) -> Option<Status> {
    let map = host.object("configmap", NAMESPACE, &format!("{KEY}-backup-status"))?;
    Status::from_yaml(map["data"]["status.yaml"].as_str()?).ok()
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_status_config_map_carries_trust_over_the_loss_of_the_volume() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let at = |name: &str| folder.join(name);
    let host = Cluster::start(&at("host"), &at("host-data"));
    install(&host, folder);
    let kubeconfig = service_account(&host, folder);

    for name in ["config/settings", "config/key", "data", "spool"] {
        std::fs::create_dir_all(at(name)).expect("writable");
    }
    let identity = at("config/key/identity");
    let keygen = run(Command::new(tools::ours("vcluster-backup")).args(["keygen", "-o"]).arg(&identity), "");
    let mut settings = Settings::default();
    settings.cluster.key = KEY.into();
    settings.cluster.namespace = NAMESPACE.into();
    settings.store.url = format!("file://{}", at("store").display());
    settings.backup.recipients = vec![keygen.ok().trim().to_owned()];
    let yaml = settings.to_yaml().expect("YAML");
    std::fs::write(at("config/settings").join(settings::FILE_NAME), yaml).expect("writable");
    let database = rusqlite::Connection::open(at("data/state.db")).expect("SQLite");
    database.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (42)").expect("written");
    drop(database);

    let sidecar = |command: &[&str]| {
        let mut program = Command::new(tools::ours("vcluster-backup"));
        program.args(command).env_clear().env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBECONFIG", &kubeconfig);
        for (flag, name) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
            program.arg(flag).arg(at(name));
        }
        program
    };
    let mut running = Running::start("backup", folder, &mut sidecar(&["run"]));
    running.wait_until("the ConfigMap names a backup", || status(&host).is_some_and(|s| s.newest.is_some()));
    let said = status(&host).expect("a status");
    assert_eq!((said.trusted_keys.len(), said.reason.as_str()), (1, "BackedUp"), "{said:?}");
    assert!(running.stop().success());
    assert!(!at("config/status").exists(), "the mount is never written");

    // The volume goes, and with it the signing key; the ConfigMap still says whose backups are to be trusted.
    std::fs::remove_dir_all(at("data")).expect("removable");
    std::fs::create_dir(at("data")).expect("writable");
    let init = Running::start("init", folder, &mut sidecar(&["restore", "--init"]));
    assert!(init.wait().success(), "{}", std::fs::read_to_string(at("init.log")).unwrap_or_default());
    let database = rusqlite::Connection::open(at("data/state.db")).expect("SQLite");
    let row: i64 = database.query_row("SELECT n FROM t", [], |row| row.get(0)).expect("restored");
    assert_eq!(row, 42);
    let outcome = status(&host).and_then(|s| s.restore).expect("an outcome");
    assert_eq!(outcome.phase, "Succeeded");
}
