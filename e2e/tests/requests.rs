//! What a tenant sees of the sidecar through a real API server: one Event when backups begin to fail and one when they
//! work again, and a restore that is asked for and begins with the end of the pod.

use std::path::Path;

use e2e::{
    cluster::Cluster,
    process::Running,
    sidecar::{KEY, NAMESPACE, Surroundings},
};
use serde_json::Value;
use vcluster_proto::{
    settings::{self, Restore, Settings},
    status::{PENDING, SUCCEEDED, State},
};

/// Settings for a store in a folder, written as the chart's ConfigMap would be mounted.
fn write_settings(folder: &Path, recipient: &str, change: impl FnOnce(&mut Settings)) {
    let mut settings = Settings::default();
    settings.cluster.key = KEY.into();
    settings.cluster.namespace = NAMESPACE.into();
    settings.store.url = format!("file://{}", folder.join("store").display());
    settings.backup.recipients = vec![recipient.to_owned()];
    change(&mut settings);
    let yaml = settings.to_yaml().expect("YAML");
    std::fs::write(folder.join("config/settings").join(settings::FILE_NAME), yaml).expect("writable");
}

/// The Events about the pod by type, oldest first.
fn events(host: &Cluster) -> Vec<(String, Value)> {
    let mut events = host.objects("events", NAMESPACE);
    events.sort_by_key(|event| event["eventTime"].as_str().unwrap_or_default().to_owned());
    events.into_iter().map(|event| (event["type"].as_str().unwrap_or_default().to_owned(), event)).collect()
}

fn rows(folder: &Path) -> i64 {
    let database = rusqlite::Connection::open(folder.join("data/state.db")).expect("SQLite");
    database.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).expect("readable")
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn trouble_is_told_once_and_a_restore_begins_with_the_end_of_the_pod() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let host = Cluster::start(&folder.join("host"), &folder.join("host-data"));
    let around = Surroundings::install(&host, folder);
    let first_pod = around.make_pod();
    let identity = folder.join("identity");
    let keygen = e2e::process::run(&mut around.program(&["keygen", "--output", &identity.display().to_string()]), "");
    let recipient = keygen.ok().trim().to_owned();
    let database = rusqlite::Connection::open(folder.join("data/state.db")).expect("SQLite");
    let write = |count: usize| {
        database.execute_batch(&"INSERT INTO t VALUES (1);".repeat(count)).expect("written");
    };
    database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n);").expect("written");
    write(10);

    // Nobody is named who could open a backup: said once, however often it is tried.
    write_settings(folder, &recipient, |settings| settings.backup.recipients.clear());
    let mut sidecar = Running::start("backup", folder, &mut around.program(&["run"]));
    sidecar.wait_until("an Event", || events(&host).iter().any(|(kind, _)| kind == "Warning"));
    let attempt = || around.status().and_then(|status| status.last_attempt);
    let told_at = attempt();
    sidecar.wait_until("two more tries", || attempt() > told_at.map(|t| t + std::time::Duration::from_secs(9)));
    let told = events(&host);
    assert_eq!(told.len(), 1, "{told:#?}");
    let event = &told[0].1;
    assert_eq!((event["reason"].as_str(), event["involvedObject"]["uid"].as_str()), (Some("NoKey"), Some(&*first_pod)));

    // A restart of the container repeats nothing; mended, it is told.
    assert!(sidecar.stop().success());
    let mut sidecar = Running::start("backup", folder, &mut around.program(&["run"]));
    write_settings(folder, &recipient, |_| {});
    sidecar.wait_until("health", || around.status().is_some_and(|status| status.state == State::Healthy));
    sidecar.wait_until("another Event", || events(&host).len() > 1);
    let kinds: Vec<String> = events(&host).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["Warning", "Normal"]);

    // A trigger, asked for in the settings, answered in the ConfigMap.
    let first = around.status().and_then(|status| status.newest).expect("a backup").id;
    write(5);
    write_settings(folder, &recipient, |settings| settings.backup.trigger = Some("now".into()));
    sidecar.wait_until("the trigger", || around.status().is_some_and(|status| status.last_trigger == "now"));
    assert_ne!(around.status().and_then(|status| status.newest).expect("a backup").id, first);

    // Somebody asks for the first backup: the point is there and opens, so the pod goes.
    std::fs::copy(&identity, folder.join("config/key/identity")).expect("mounted");
    let ask = |settings: &mut Settings| {
        settings.restore = Some(Restore { id: "r1".into(), at: first.clone(), from: None });
    };
    write_settings(folder, &recipient, ask);
    sidecar.wait_until("the end of its pod", || !around.has_pod(&first_pod));
    let phase = || around.status().and_then(|status| status.restore).map(|restore| (restore.id, restore.phase));
    sidecar.wait_until("its word", || phase() == Some(("r1".into(), PENDING.into())));
    // Kubelet's part. The last backup is made all the same.
    write(1);
    assert!(sidecar.stop().success());
    drop(database);

    // The StatefulSet's part: a pod of the same name, another uid. Its init container serves the request.
    let second_pod = around.make_pod();
    assert_ne!(first_pod, second_pod);
    let init = Running::start("init", folder, &mut around.program(&["restore", "--init"]));
    assert!(init.wait().success(), "{}", std::fs::read_to_string(folder.join("init.log")).unwrap_or_default());
    assert_eq!(phase(), Some(("r1".into(), SUCCEEDED.into())));
    assert_eq!(rows(folder), 10);

    // The request is still in the settings: it is over, and this pod stays.
    let mut sidecar = Running::start("backup", folder, &mut around.program(&["run"]));
    let newest = around.status().and_then(|status| status.newest).map(|point| point.id);
    sidecar.wait_until("a backup of the restored", || {
        around.status().and_then(|status| status.newest).map(|point| point.id) != newest
    });
    assert_eq!(phase(), Some(("r1".into(), SUCCEEDED.into())));
    assert!(around.has_pod(&second_pod));
    assert!(sidecar.stop().success());
    assert_eq!(rows(folder), 10);
}
