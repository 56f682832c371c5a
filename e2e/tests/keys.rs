//! Chart backup-keys by hand, without the function: installed by the real Helm into a real API server. It waits by failing
//! while it renders, copies what a rotation brings, and takes its copies with it when it goes.

use e2e::cluster::Cluster;
use e2e::process::Said;
use e2e::tools;
use serde_json::{Value, json};

const KEY: &str = "team-a-abcdefgh";
const HOME: &str = "vc-team-a-abcdefgh";
/// "identity-1" and so on, as the API server has them.
const FIRST: &str = "aWRlbnRpdHktMQ==";
const SECOND: &str = "aWRlbnRpdHktMg==";

struct Stage {
    cluster: Cluster,
    /// Last, so that logs are there until every program has ended.
    folder: tempfile::TempDir,
}

impl Stage {
    /// The platform namespace alone: the vcluster's comes later.
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::start(&folder.path().join("host"), &folder.path().join("host-data"));
        let stage = Self { cluster, folder };
        stage.namespace("platform");
        stage
    }

    fn namespace(&self, name: &str) {
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string());
    }

    fn secret(&self, namespace: &str, name: &str, data: &Value) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": data,
        });
        self.cluster.apply(&secret.to_string());
    }

    fn helm(&self, values: &Value) -> Said {
        let file = self.folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).expect("writable");
        let chart = tools::repository().join("package/charts/backup-keys").display().to_string();
        let file = file.display().to_string();
        // As provider-helm does: an install first, an upgrade once there is a release.
        self.cluster.helm(&[
            "upgrade",
            "--install",
            "team-a-keys",
            &chart,
            "--namespace",
            "platform",
            "--values",
            &file,
        ])
    }

    fn refused(&self, values: &Value, says: &str) {
        let said = self.helm(values);
        assert!(said.code != 0 && said.err.contains(says), "{says}: {said:?}");
    }

    fn releases(&self) -> String {
        self.cluster.helm(&["list", "--all", "--short", "--namespace", "platform"]).ok()
    }

    fn copy(&self, name: &str) -> Option<Value> {
        Some(self.cluster.object("secret", HOME, &format!("{KEY}-{name}"))?["data"].clone())
    }
}

fn values() -> Value {
    json!({"clustername": KEY, "hostNamespace": HOME, "identity": {"secret": "platform-identity"}})
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn it_fails_while_something_is_absent_and_leaves_no_release_behind() {
    let stage = Stage::set();
    stage.refused(&values(), &format!("namespace {HOME} is not there yet"));
    stage.namespace(HOME);
    let absent =
        "Secret platform-identity of namespace platform (the age identity) is not there: make it with identity";
    stage.refused(&values(), absent);
    stage.secret("platform", "platform-identity", &json!({"key": "identity-1"}));
    stage.refused(&values(), "holds no identity: add it");
    assert_eq!(stage.releases(), "", "a failed rendering is no release");

    stage.secret("platform", "platform-identity", &json!({"identity": "identity-1"}));
    let _ = stage.helm(&values()).ok();
    assert_eq!(stage.copy("key"), Some(json!({"identity": FIRST})), "one key, and not its neighbours");
    assert_eq!(stage.copy("s3"), None);
    let kept = stage.cluster.helm(&["get", "values", "team-a-keys", "--namespace", "platform"]).ok();
    assert!(!kept.contains("identity-1") && !kept.contains(FIRST), "no secret is a value: {kept}");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_rotation_and_a_namespace_made_anew_get_what_is_there_now() {
    let stage = Stage::set();
    stage.namespace(HOME);
    stage.secret("platform", "platform-identity", &json!({"identity": "identity-1"}));
    let mut values = values();
    let _ = stage.helm(&values).ok();

    stage.secret("platform", "platform-identity", &json!({"identity": "identity-2"}));
    values["identity"]["revision"] = json!("2");
    let _ = stage.helm(&values).ok();
    assert_eq!(stage.copy("key"), Some(json!({"identity": SECOND})));
    let copy = stage.cluster.object("secret", HOME, &format!("{KEY}-key")).expect("there");
    assert_eq!(copy["metadata"]["annotations"]["vcluster.fn.crossplane.io/revision"], "2");

    // Somebody removed it with its namespace; the next status ConfigMap bears another uid.
    let _ = stage.cluster.kubectl(&["delete", "secret", &format!("{KEY}-key"), "--namespace", HOME], "").ok();
    values["statusUid"] = json!("5a0c");
    let _ = stage.helm(&values).ok();
    assert_eq!(stage.copy("key"), Some(json!({"identity": SECOND})));

    // A source that goes takes nothing with it: the release stays as it is, and says why.
    let _ = stage.cluster.kubectl(&["delete", "secret", "platform-identity", "--namespace=platform"], "").ok();
    values["identity"]["revision"] = json!("3");
    stage.refused(&values, "is not there: make it with identity");
    assert_eq!(stage.copy("key"), Some(json!({"identity": SECOND})));

    let _ = stage.cluster.helm(&["uninstall", "team-a-keys", "--namespace", "platform"]).ok();
    assert_eq!(stage.copy("key"), None, "an identity does not outlive its restore");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_passphrase_and_credentials_arrive_where_the_sidecar_reads_them() {
    let stage = Stage::set();
    stage.namespace(HOME);
    stage.secret("platform", "store", &json!({"s3accesskey": "a", "s3secretkey": "b", "note": "c"}));
    stage.secret("platform", "phrase", &json!({"passphrase": "p"}));
    let mut values = json!({
        "clustername": KEY, "hostNamespace": HOME,
        "passphrase": {"secret": "phrase"}, "credentials": {"secret": "store", "revision": "1"},
    });
    let _ = stage.helm(&values).ok();
    assert_eq!(stage.copy("key"), Some(json!({"passphrase": "cA=="})));
    assert_eq!(stage.copy("s3"), Some(json!({"s3accesskey": "YQ==", "s3secretkey": "Yg=="})));

    // Other clouds have other keys.
    values["credentials"]["keys"] = json!([]);
    let _ = stage.helm(&values).ok();
    assert_eq!(stage.copy("s3"), Some(json!({"note": "Yw==", "s3accesskey": "YQ==", "s3secretkey": "Yg=="})));
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_key_that_a_person_brought_is_left_alone_and_said() {
    let stage = Stage::set();
    stage.namespace(HOME);
    stage.secret("platform", "platform-identity", &json!({"identity": "identity-1"}));
    stage.secret(HOME, &format!("{KEY}-key"), &json!({"identity": "identity-2"}));
    stage
        .refused(&values(), &format!("Secret {KEY}-key of namespace {HOME} is there and was not made by this release"));
    assert_eq!(stage.copy("key"), Some(json!({"identity": SECOND})));
    assert_eq!(stage.releases(), "");

    for (change, says) in [
        (json!({"clustername": "", "hostNamespace": HOME}), "clustername is not set: give"),
        (json!({"clustername": KEY}), "hostNamespace is not set: give"),
        (json!({"clustername": KEY, "hostNamespace": HOME}), "nothing is to be copied: name"),
    ] {
        stage.refused(&change, says);
    }
}
