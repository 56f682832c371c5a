//! Chart s3-register by hand, without the function: installed by the real Helm into a real API server, its Jobs' scripts
//! run as they are against a real MinIO whose administrator has a password to upset every parser.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::cluster::Cluster;
use e2e::minio::{ADMIN_PASSWORD, ADMIN_USER, Minio};
use e2e::process::{Said, run};
use e2e::{job, tools, yaml};
use serde_json::{Value, json};

const KEY: &str = "team-a-abcdefgh";
const HOME: &str = "vc-team-a-abcdefgh";
const BUCKET: &str = "acme-team-a-abcdefgh";

/// A cluster, a store, and the chart's values for them.
struct Stage {
    cluster: Cluster,
    store: Minio,
    /// Last, so that logs are there until every program has ended.
    folder: tempfile::TempDir,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Minio::start(folder.path());
        Self::around(store, folder)
    }

    fn around(store: Minio, folder: tempfile::TempDir) -> Self {
        let cluster = Cluster::start(&folder.path().join("host"), &folder.path().join("host-data"));
        for namespace in ["platform", HOME] {
            cluster
                .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).to_string());
        }
        let stage = Self { cluster, store, folder };
        stage.admin(ADMIN_PASSWORD);
        stage
    }

    fn admin(&self, password: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store-admin", "namespace": "platform"},
            "stringData": {"rootUser": ADMIN_USER, "rootPassword": password},
        });
        self.cluster.apply(&secret.to_string());
    }

    fn values(&self) -> Value {
        json!({
            "clustername": KEY, "bucket": BUCKET, "platformNamespace": "platform",
            "s3": {"url": format!("http://{}", self.store.address), "existingSecret": "store-admin"},
            "settings": "# <é> & \"x\" $(HOME) {{ . }}\napiVersion: v1\n",
        })
    }

    fn helm(&self, verb: &str, values: &Value) -> Said {
        let file = self.folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).expect("writable");
        let file = file.display().to_string();
        self.cluster.helm(&[verb, "team-a-s3", &chart(), "--namespace", HOME, "--values", &file])
    }

    fn job(&self) -> Value {
        job::of_release(&self.cluster, "platform", "team-a-s3")
    }

    /// The Job's root folder, empty as in a new pod.
    fn root(&self) -> PathBuf {
        let root = self.folder.path().join("job");
        let _ = std::fs::remove_dir_all(&root);
        root
    }

    fn register(&self) -> Said {
        job::execute(&self.cluster, &self.job(), &self.root())
    }

    fn password(&self, namespace: &str) -> Option<String> {
        let secret = self.cluster.object("secret", namespace, &format!("{KEY}-s3"))?;
        Some(yaml::str_at(&secret, "/data/s3secretkey").to_owned())
    }

    /// The same as the store knows it.
    fn plain_password(&self) -> String {
        let path = "--output=go-template={{.data.s3secretkey | base64decode}}";
        self.cluster.kubectl(&["get", "secret", &format!("{KEY}-s3"), "--namespace", HOME, path], "").ok()
    }

    /// `mc` as the administrator; the store's name is `s`.
    fn mc(&self, arguments: &[&str]) -> Said {
        let login = format!("{ADMIN_USER}\n{ADMIN_PASSWORD}\n");
        let store = format!("http://{}", self.store.address);
        let _ = self.mc_with(&["alias", "set", "s", &store], &login).ok();
        self.mc_with(arguments, "")
    }

    fn mc_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut mc = Command::new(tools::tool("mc"));
        mc.env_clear().env("HOME", self.folder.path()).arg("--json");
        run(mc.args(arguments), input)
    }
}

fn chart() -> String {
    tools::repository().join("package/charts/s3-register").display().to_string()
}

/// No word of a secret may be in what a Job prints.
fn silent(said: &Said, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.all().contains(secret), "a secret was printed: {said:?}");
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_bucket_is_registered_any_number_of_times_and_the_password_never_changes() {
    let stage = Stage::set();
    let _ = stage.helm("install", &stage.values()).ok();
    let password = stage.password(HOME).expect("a Secret in the host namespace");
    assert_eq!(stage.password("platform").as_ref(), Some(&password));
    let job = stage.job()["metadata"]["name"].clone();

    let first = stage.register();
    assert_eq!(first.code, 0, "{first:?}");
    silent(&first, &[ADMIN_PASSWORD, &password]);
    assert_eq!(stage.register().code, 0, "a second run");

    // Settings arrive byte for byte, and run nothing again.
    let mut values = stage.values();
    values["settings"] = json!("apiVersion: v2\n");
    let status = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"status.yaml": "lively"},
        "metadata": {"name": format!("{KEY}-backup-status"), "namespace": HOME}});
    let _ = stage
        .cluster
        .kubectl(&["patch", "--type=merge", "--filename=-", "--patch", &status.to_string()], &status.to_string())
        .ok();
    let text = |name: &str, file: &str| {
        let map = stage.cluster.object("configmap", HOME, name).expect("a ConfigMap");
        map["data"][file].as_str().map(str::to_owned)
    };
    assert_eq!(text(&format!("{KEY}-backup"), "settings.yaml").as_deref(), stage.values()["settings"].as_str());
    let _ = stage.helm("upgrade", &values).ok();
    assert_eq!(text(&format!("{KEY}-backup"), "settings.yaml").as_deref(), Some("apiVersion: v2\n"));
    assert_eq!(stage.job()["metadata"]["name"], job);

    // A right more is another Job; the status is never taken back.
    values["allowDelete"] = json!(true);
    let _ = stage.helm("upgrade", &values).ok();
    assert_ne!(stage.job()["metadata"]["name"], job);
    assert_eq!(stage.register().code, 0);
    assert_eq!(text(&format!("{KEY}-backup-status"), "status.yaml").as_deref(), Some("lively"));

    // So is a quota, which the store then keeps.
    let job = stage.job()["metadata"]["name"].clone();
    values["quota"] = json!("50Gi");
    let _ = stage.helm("upgrade", &values).ok();
    assert_ne!(stage.job()["metadata"]["name"], job);
    assert_eq!(stage.register().code, 0);
    let quota = stage.mc(&["quota", "info", &format!("s/{BUCKET}")]).ok();
    assert!(quota.contains("53687091200"), "{quota}");

    // Whatever happens to the release, both Secrets hold what the store knows.
    let _ = stage.cluster.kubectl(&["delete", "secret", &format!("{KEY}-s3"), "--namespace", HOME], "").ok();
    let _ = stage.helm("upgrade", &values).ok();
    let _ = stage.cluster.helm(&["rollback", "team-a-s3", "1", "--namespace", HOME]).ok();
    let _ = stage.cluster.helm(&["uninstall", "team-a-s3", "--namespace", HOME]).ok();
    let _ = stage.helm("install", &stage.values()).ok();
    assert_eq!(stage.password(HOME).as_ref(), Some(&password));
    assert_eq!(stage.password("platform").as_ref(), Some(&password));
    assert_eq!(stage.register().code, 0);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn registration_waits_for_a_store_and_mends_and_takes_nothing_that_is_not_ours() {
    let stage = Stage::set();
    let mut values = stage.values();
    values["s3"]["url"] = json!("http://127.0.0.1:1");
    let _ = stage.helm("install", &values).ok();
    let away = job::execute_for(&stage.cluster, &stage.job(), &stage.root(), 4);
    assert_eq!((away.code, away.out.lines().count()), (124, 1), "{away:?}");
    assert!(away.out.contains("cannot reach the store at http://127.0.0.1:1: dial tcp"), "{away:?}");

    let _ = stage.helm("upgrade", &stage.values()).ok();
    for (password, says) in [("ab+12", "too short"), ("wrong & long enough", "refuses the keys")] {
        stage.admin(password);
        let refused = job::execute_for(&stage.cluster, &stage.job(), &stage.root(), 4);
        assert_eq!(refused.code, 124, "{refused:?}");
        assert!(refused.out.contains(says) && refused.out.contains("platform/store-admin"), "{refused:?}");
        silent(&refused, &[password]);
    }
    let _ = stage.cluster.kubectl(&["delete", "secret", "store-admin", "--namespace=platform"], "").ok();
    let missing = job::execute_for(&stage.cluster, &stage.job(), &stage.root(), 4);
    assert!(missing.out.contains("platform/store-admin (the store's administrator) holds no"), "{missing:?}");
    stage.admin(ADMIN_PASSWORD);

    // Each of the three in foreign hands: refused, and nothing made beside it.
    let bucket = format!("s/{BUCKET}");
    let policy = stage.folder.path().join("policy.json");
    std::fs::write(
        &policy,
        r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::other/*"]}]}"#,
    )
    .expect("writable");
    let policy = policy.display().to_string();
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("bucket", &["mb", &bucket], &["rb", &bucket]),
        ("user", &["admin", "user", "add", "s", KEY, "of-someone-else"], &["admin", "user", "remove", "s", KEY]),
        ("policy", &["admin", "policy", "create", "s", KEY, &policy], &["admin", "policy", "remove", "s", KEY]),
    ];
    for (what, make, remove) in cases {
        let _ = stage.mc(make).ok();
        let said = stage.register();
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.out.starts_with(&format!("refused: {what} ")), "{said:?}");
        let _ = stage.mc(remove).ok();
        assert!(stage.mc(&["stat", &bucket]).code != 0 && stage.mc(&["admin", "user", "info", "s", KEY]).code != 0);
    }
    // A run cut short after the bucket was made, before it was tagged, is finished by the next.
    assert_eq!(stage.register().code, 0);
    let _ = stage.mc(&["tag", "remove", &bucket]).ok();
    assert_eq!(stage.register().code, 0);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_pod_may_do_what_a_backup_needs_and_nothing_else() {
    let stage = Stage::set();
    let _ = stage.helm("install", &stage.values()).ok();
    let user = format!("system:serviceaccount:{HOME}:vc-{KEY}");
    let may = |verb: &str, what: &str, namespace: &str| {
        let said = stage.cluster.kubectl(&["auth", "can-i", verb, what, "--as", &user, "--namespace", namespace], "");
        said.out.trim() == "yes"
    };
    let (status, certificates, pod) =
        (format!("configmaps/{KEY}-backup-status"), format!("secrets/{KEY}-certs"), format!("pods/{KEY}-0"));
    for (verb, what) in [
        ("get", status.as_str()),
        ("update", &status),
        ("patch", &status),
        ("create", "events"),
        ("create", "events.events.k8s.io"),
        ("get", &certificates),
        ("create", "secrets"),
        ("delete", &pod),
    ] {
        assert!(may(verb, what, HOME), "{verb} {what}");
        assert!(!may(verb, what, "platform"), "{verb} {what} in the platform namespace");
    }
    let settings = format!("configmaps/{KEY}-backup");
    let credentials = format!("secrets/{KEY}-s3");
    for (verb, what) in [
        ("update", settings.as_str()),
        ("delete", &status),
        ("list", "secrets"),
        ("get", &credentials),
        ("delete", &certificates),
        ("delete", "pods/another-0"),
        ("create", "pods"),
    ] {
        assert!(!may(verb, what, HOME), "{verb} {what}");
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_clone_reads_its_source_while_it_may_and_never_writes_there() {
    let stage = Stage::set();
    let note = stage.folder.path().join("note");
    std::fs::write(&note, "of the source").expect("writable");
    let note = note.display().to_string();
    let _ = stage.mc(&["mb", "s/acme-source"]).ok();
    let _ = stage.mc(&["cp", &note, "s/acme-source/v1/note"]).ok();
    let mut values = stage.values();
    let mut may = |read_from: &Value| {
        values["readFrom"] = read_from.clone();
        let _ = stage.helm("upgrade", &values).ok();
        assert_eq!(stage.register().code, 0);
        let access = format!("{KEY}\n{}\n", stage.plain_password());
        let url = format!("http://{}", stage.store.address);
        let _ = stage.mc_with(&["alias", "set", "tenant", &url], &access).ok();
        let read = stage.mc(&["cat", "tenant/acme-source/v1/note"]).code == 0;
        let write = stage.mc(&["cp", &note, "tenant/acme-source/v1/other"]).code == 0;
        let own = stage.mc(&["cp", &note, &format!("tenant/{BUCKET}/v1/note")]).code == 0;
        (read, write, own)
    };
    let _ = stage.helm("install", &stage.values()).ok();
    assert_eq!(may(&json!([])), (false, false, true));
    assert_eq!(may(&json!(["acme-source"])), (true, false, true));
    assert_eq!(may(&json!([])), (false, false, true), "the request is over");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn without_a_registration_only_what_the_pod_reads_is_made() {
    let stage = Stage::set();
    let mut values = stage.values();
    values["register"] = json!("none");
    values["s3"] = json!({});
    let _ = stage.helm("install", &values).ok();
    assert_eq!(stage.password(HOME), None, "the Secret comes from elsewhere");
    assert!(stage.cluster.objects("job", "platform").is_empty());
    for (kind, name) in
        [("configmap", "backup"), ("configmap", "backup-status"), ("role", "backup"), ("rolebinding", "backup")]
    {
        assert!(stage.cluster.object(kind, HOME, &format!("{KEY}-{name}")).is_some(), "{kind} {name}");
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_store_with_a_certificate_of_its_own_is_believed_once_its_ca_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, certificate) = Minio::start_tls(folder.path());
    let stage = Stage::around(store, folder);
    let mut values = stage.values();
    values["s3"]["url"] = json!(format!("https://{}", stage.store.address));
    let _ = stage.helm("install", &values).ok();
    let said = job::execute_for(&stage.cluster, &stage.job(), &stage.root(), 4);
    assert!(said.code == 124 && said.out.contains("x509"), "{said:?}");

    values["s3"]["ca"] = json!(certificate);
    let _ = stage.helm("upgrade", &values).ok();
    let said = stage.register();
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn deletion_removes_everything_that_is_ours_twice_and_nothing_else() {
    let stage = Stage::set();
    let mut values = stage.values();
    values["deletionPolicy"] = json!("Delete");
    let _ = stage.helm("install", &values).ok();
    assert_eq!(stage.register().code, 0);
    let bucket = format!("s/{BUCKET}");
    let _ = stage.mc(&["version", "enable", &bucket]).ok();
    for _ in 0..2 {
        let chart_file = Path::new(&chart()).join("Chart.yaml").display().to_string();
        let _ = stage.mc(&["cp", &chart_file, &format!("{bucket}/a/b")]).ok();
    }
    // Helm waits for a hook that no controller runs here, so the hook is taken out of the release and run by hand.
    let hooks = yaml::documents(&stage.cluster.helm(&["get", "hooks", "team-a-s3", "--namespace", HOME]).ok());
    let [removal] = hooks.as_slice() else { panic!("one hook is expected: {hooks:?}") };
    assert_eq!(removal["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");

    let _ = stage.mc(&["tag", "remove", &bucket]).ok();
    let said = job::execute(&stage.cluster, removal, &stage.root());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("was left alone"), "{said:?}");
    assert_eq!(stage.mc(&["stat", &format!("{bucket}/a/b")]).code, 0);

    let _ = stage.mc(&["tag", "set", &bucket, &format!("vcluster.fn.crossplane.io/key={KEY}")]).ok();
    assert_eq!(stage.register().code, 0);
    for run in ["first", "second"] {
        let said = job::execute(&stage.cluster, removal, &stage.root());
        assert_eq!((said.code, said.out.lines().count()), (0, 1), "{run}: {said:?}");
    }
    assert_ne!(stage.mc(&["stat", &bucket]).code, 0);
    assert_ne!(stage.mc(&["admin", "user", "info", "s", KEY]).code, 0);
    assert_ne!(stage.mc(&["admin", "policy", "info", "s", KEY]).code, 0);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn an_input_that_is_missing_is_named_with_its_remedy_and_none_is_repeated() {
    let values = "clustername=a,platformNamespace=p,s3.url=http://x:1,s3.existingSecret=admin";
    let render =
        |set: &str| run(e2e::cluster::helm().args(["template", "a-s3", &chart(), "--set", values, "--set", set]), "");
    assert_eq!(render("bucket=abc").code, 0);
    for (set, says) in [
        ("clustername=", "clustername is not set: give"),
        ("platformNamespace=", "platformNamespace is not set: give"),
        ("s3.url=", "s3.url is not set: give"),
        ("s3.existingSecret=", "s3.existingSecret is not set: name a Secret"),
        ("s3.adminpassword=hunter2", "Put both into a Secret"),
        ("s3.adminuser=hunter2", "Put both into a Secret"),
    ] {
        let said = render(set);
        assert_ne!(said.code, 0, "{set}");
        assert!(said.err.contains(says), "{set}: {}", said.err);
        assert!(!said.all().contains("hunter2"), "{set}: {}", said.err);
    }
    // A vcluster that others named is called by that name; what is ours bears the key.
    let adopted = yaml::documents(&render("register=none,release=shop.old,networkPolicy.enabled=true").ok());
    let role = adopted.iter().find(|object| object["kind"] == "Role").expect("a Role");
    let named = |resource: &str| {
        let rules = role["rules"].as_array().expect("rules").iter();
        rules.filter(|rule| rule["resources"][0] == resource).map(|rule| rule["resourceNames"].clone()).next()
    };
    assert_eq!(named("pods"), Some(json!(["shop.old-0"])));
    assert_eq!(named("services"), Some(json!(["shop.old"])));
    assert_eq!(named("secrets"), Some(json!(["shop.old-certs", "vc-k3s-shop.old"])));
    assert_eq!(named("configmaps"), Some(json!(["a-backup-status"])));
    let of = |kind: &str| adopted.iter().find(|object| object["kind"] == kind).expect("rendered");
    assert_eq!(of("RoleBinding")["subjects"][0]["name"], "vc-shop.old");
    assert_eq!(of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]["release"], "shop.old");

    let without = render("register=none,s3.existingSecret=");
    assert!(!without.out.contains("kind: Job") && !without.out.contains("kind: Secret"), "{without:?}");
}
