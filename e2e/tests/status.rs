//! In a pod the status document is a ConfigMap that chart s3-register made: the sidecar writes it with the rights of
//! the chart's Role and nothing else, and after the loss of the volume it is what makes its own backups trusted.

use e2e::{
    cluster::Cluster,
    process::{Running, run},
    sidecar::{KEY, NAMESPACE, Surroundings},
};
use vcluster_proto::settings::{self, Settings};

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_status_config_map_carries_trust_over_the_loss_of_the_volume() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let at = |name: &str| folder.join(name);
    let host = Cluster::start(&at("host"), &at("host-data"));
    let around = Surroundings::install(&host, folder);
    let _pod = around.make_pod();
    let identity = at("config/key/identity");
    let keygen = run(&mut around.program(&["keygen", "--output", &identity.display().to_string()]), "");
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

    let mut running = Running::start("backup", folder, &mut around.program(&["run"]));
    running.wait_until("the ConfigMap names a backup", || around.status().is_some_and(|s| s.newest.is_some()));
    let said = around.status().expect("a status");
    assert_eq!((said.trusted_keys.len(), said.reason.as_str()), (1, "BackedUp"), "{said:?}");
    assert!(running.stop().success());
    assert!(!at("config/status").exists(), "the mount is never written");

    // The volume goes, and with it the signing key; the ConfigMap still says whose backups are to be trusted.
    std::fs::remove_dir_all(at("data")).expect("removable");
    std::fs::create_dir(at("data")).expect("writable");
    let init = Running::start("init", folder, &mut around.program(&["restore", "--init"]));
    assert!(init.wait().success(), "{}", std::fs::read_to_string(at("init.log")).unwrap_or_default());
    let database = rusqlite::Connection::open(at("data/state.db")).expect("SQLite");
    let row: i64 = database.query_row("SELECT n FROM t", [], |row| row.get(0)).expect("restored");
    assert_eq!(row, 42);
    let outcome = around.status().and_then(|s| s.restore).expect("an outcome");
    assert_eq!(outcome.phase, "Succeeded");
}
