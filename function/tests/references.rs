//! Every reader's reference has a writer: mounts, Secrets, keys, folders, namespaces and names, over every example.
//!
//! What the function refers to is written by three charts and by people. Their objects stand in [`writers`], as small
//! as they can be said; that the charts really make them is shown end to end.
#![allow(clippy::disallowed_methods, reason = "tests read and write files")]

mod common;

use std::collections::BTreeMap;

use common::{examples, now, pod, values};
use function_vcluster::{offline, platform::environment::ENVIRONMENT};
use serde_json::Value;
use vcluster_proto::settings::Settings;

/// (kind, namespace, name) and the keys it holds.
type Objects = BTreeMap<(&'static str, String, String), Vec<&'static str>>;

/// What is rendered of one example.
struct Rendered {
    xr: Value,
    releases: BTreeMap<String, Value>,
    usages: Vec<Value>,
}

impl Rendered {
    fn all() -> Vec<(String, Self)> {
        let read = |folder: &std::path::Path, name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let render = |folder: &std::path::Path| {
            let (xr, composition) = (read(folder, "xr.yaml"), read(folder, "composition.yaml"));
            let (observed, required) = (read(folder, "observed.yaml"), read(folder, "required.yaml"));
            let (xr, composition) = (xr.expect("an XR"), composition.expect("a Composition"));
            let context = read(folder, "context.json").map(|text| (ENVIRONMENT.to_owned(), text));
            let texts = offline::Texts {
                xr: &xr,
                composition: &composition,
                observed: observed.as_deref(),
                required: required.as_deref(),
                context: context.into_iter().collect(),
            };
            let mut documents = texts.render(now()).expect("rendered").into_iter();
            let xr = documents.next().expect("the XR comes first");
            let name =
                |release: &Value| text(&release["metadata"]["annotations"], "crossplane.io/composition-resource-name");
            let (releases, usages): (Vec<_>, Vec<_>) = documents.partition(|document| document["kind"] == "Release");
            let mut releases: BTreeMap<_, _> = releases.into_iter().map(|release| (name(&release), release)).collect();
            // By what they are: beside one of the upstream chart, ours has another name.
            if let Some(ours) = releases.remove("s3-settings")
                && let Some(old) = releases.insert("s3".to_owned(), ours)
            {
                releases.insert("old-s3".to_owned(), old);
            }
            Self { xr, releases, usages }
        };
        examples().iter().map(|folder| (folder.display().to_string(), render(folder))).collect()
    }

    /// Those with a sidecar.
    fn backed_up() -> Vec<(String, Self)> {
        let off = |rendered: &Self| rendered.xr["status"]["backup"]["state"] == "Disabled";
        Self::all().into_iter().filter(|(_, rendered)| !off(rendered)).collect()
    }

    fn helm_name(&self, resource: &str) -> String {
        text(&self.releases[resource]["metadata"]["annotations"], "crossplane.io/external-name")
    }

    fn home(&self, resource: &str) -> String {
        text(&self.releases[resource]["spec"]["forProvider"], "namespace")
    }

    fn values(&self, resource: &str) -> &Value {
        values(&self.releases[resource])
    }
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_else(|| panic!("{field} is text in {object}")).to_owned()
}

/// Everything that is written, by whom it may be.
fn writers(rendered: &Rendered) -> Objects {
    let mut objects = Objects::new();
    let mut write = |kind, namespace: &str, name: String, keys: &[&'static str]| {
        objects.insert((kind, namespace.to_owned(), name), keys.to_vec());
    };
    // Chart vcluster, and the vcluster itself.
    let (release, home) = (rendered.helm_name("vcluster"), rendered.home("vcluster"));
    write("Service", &home, release.clone(), &[]);
    write("ServiceAccount", &home, format!("vc-{release}"), &[]);
    write("Secret", &home, format!("vc-{release}"), &["config", "certificate-authority"]);
    if rendered.releases.contains_key("old-s3") {
        // The upstream chart s3-register.
        let (v, home) = (rendered.values("old-s3"), rendered.home("old-s3"));
        write("Secret", &home, rendered.helm_name("old-s3"), &S3_KEYS);
        write("Bucket", "", text(v, "clustername"), &[]);
    }
    if rendered.releases.contains_key("s3") && rendered.values("s3").get("settings").is_some() {
        // Chart s3-register.
        let (v, home) = (rendered.values("s3"), rendered.home("s3"));
        let (name, platform) = (text(v, "clustername"), text(v, "platformNamespace"));
        let release = v.get("release").map_or(name.clone(), |_| text(v, "release"));
        write("ConfigMap", &home, format!("{name}-backup"), &["settings.yaml"]);
        write("ConfigMap", &home, format!("{name}-backup-status"), &["status.yaml"]);
        write("RoleBinding", &home, format!("vc-{release}"), &[]); // its subject is the pod's service account
        if v["register"] == "minio" {
            write("Secret", &home, format!("{name}-s3"), &S3_KEYS);
            write("Secret", &platform, format!("{name}-s3"), &S3_KEYS);
            write("Job", &platform, format!("{name}-s3"), &[]);
            write("Bucket", "", text(v, "bucket"), &[]);
            // A person.
            write("Secret", &platform, text(&v["s3"], "existingSecret"), &["rootUser", "rootPassword"]);
        }
        // A person.
        write("Secret", &home, format!("{name}-key"), &["identity", "passphrase"]);
    }
    if rendered.releases.contains_key("keys") {
        // A person, once for each Secret the Platform names; chart backup-keys copies them.
        let (v, platform) = (rendered.values("keys"), rendered.home("keys"));
        for (what, key) in [("identity", "identity"), ("passphrase", "passphrase")] {
            if let Some(secret) = v[what]["secret"].as_str() {
                write("Secret", &platform, secret.to_owned(), &[key]);
            }
        }
        if let Some(secret) = v["credentials"]["secret"].as_str() {
            // The chart copies the keys it is told, or all of them.
            let keys = if v["credentials"]["keys"] == serde_json::json!([]) { &GCS_KEYS[..] } else { &S3_KEYS[..] };
            write("Secret", &platform, secret.to_owned(), keys);
            write("Secret", &rendered.home("vcluster"), format!("{}-s3", text(v, "clustername")), keys);
        }
    }
    write("Secret", "vcluster-platform", "apitoken".to_owned(), &["APITOKEN"]);
    objects
}

/// What opens S3, and what opens Google Cloud Storage.
const S3_KEYS: [&str; 2] = ["s3accesskey", "s3secretkey"];
const GCS_KEYS: [&str; 1] = ["GOOGLE_SERVICE_ACCOUNT_KEY"];

/// The files a container finds in its folders: what the sidecar's `--config-dir` promises it.
const CONFIG_FILES: [(&str, &[&str]); 4] = [
    ("settings", &["settings.yaml"]),
    ("s3", &["s3accesskey", "s3secretkey"]),
    ("key", &["identity", "passphrase"]),
    ("status", &["status.yaml"]),
];

#[test]
fn the_examples_show_every_family() {
    let lines: Vec<u64> =
        Rendered::all().iter().map(|(_, rendered)| common::line(&rendered.releases["vcluster"])).collect();
    for family in [0..20, 20..30, 30..33, 33..37] {
        assert!(lines.iter().any(|line| family.contains(line)), "{family:?} in {lines:?}");
    }
}

#[test]
fn every_mount_leads_to_an_object_that_somebody_writes() {
    for (example, rendered) in Rendered::backed_up() {
        let (written, home) = (writers(&rendered), rendered.home("vcluster"));
        let settings = Settings::from_yaml(&text(rendered.values("s3"), "settings")).expect("the sidecar reads it");
        let pod = pod(&rendered.releases["vcluster"]);
        let volumes = pod.volumes;
        for container in [pod.restore, pod.sidecar] {
            let mounts = container["volumeMounts"].as_array().expect("mounts");
            let at = |path: &str| {
                let mount = mounts.iter().find(|mount| mount["mountPath"] == path);
                mount.unwrap_or_else(|| panic!("{example}: nothing at {path} in {container}"))
            };
            let volume = |mount: &Value| {
                let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
                volume.unwrap_or_else(|| panic!("{example}: no volume {}", mount["name"]))
            };
            let config_dir = argument(container, "--config-dir");
            for (folder, files) in CONFIG_FILES {
                let mount = at(&format!("{config_dir}/{folder}"));
                assert_eq!(mount["readOnly"], true, "{example}: {folder}");
                let volume = volume(mount);
                let (kind, source, name) = match volume.get("configMap") {
                    Some(source) => ("ConfigMap", source, text(source, "name")),
                    None => ("Secret", &volume["secret"], text(&volume["secret"], "secretName")),
                };
                assert_eq!(source["optional"], true, "{example}: {folder} must not hold the pod back");
                let keys = written.get(&(kind, home.clone(), name.clone()));
                let keys = keys.unwrap_or_else(|| panic!("{example}: nobody writes {kind} {home}/{name}"));
                let of_gcs = folder == "s3" && settings.store.url.starts_with("gs://");
                for file in if of_gcs { &GCS_KEYS[..] } else { files } {
                    assert!(keys.contains(file), "{example}: {kind} {name} has no {file}");
                }
            }
            // Both are written to: the chart's own volume, and one that never reaches the disk it backs up.
            let data = at(&argument(container, "--data-dir"));
            assert_eq!((&data["name"], data.get("readOnly")), (&"data".into(), None), "{example}");
            let spool = at(&argument(container, "--spool-dir"));
            assert!(volume(spool).get("emptyDir").is_some() && spool.get("readOnly").is_none(), "{example}");
        }
        let names: Vec<_> = volumes.iter().map(|volume| text(volume, "name")).collect();
        let mounted = |name: &String| {
            let mounts = pod.sidecar["volumeMounts"].as_array().expect("mounts");
            mounts.iter().any(|mount| mount["name"] == **name)
        };
        assert!(names.iter().all(mounted), "{example}: no volume is there for nothing");
    }
}

fn argument(container: &Value, flag: &str) -> String {
    let args: Vec<&str> = container["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
    let at = args.iter().position(|arg| *arg == flag).unwrap_or_else(|| panic!("{flag} in {args:?}"));
    args[at + 1].to_owned()
}

#[test]
fn the_settings_speak_of_the_vcluster_and_store_that_are_made() {
    for (example, rendered) in Rendered::backed_up() {
        let (written, s3) = (writers(&rendered), rendered.values("s3"));
        let settings = Settings::from_yaml(&text(s3, "settings")).expect("the sidecar reads it");
        let (key, release) = (text(&rendered.xr["status"]["vcluster"], "key"), rendered.helm_name("vcluster"));
        assert_eq!(settings.cluster.key, key, "{example}");
        assert_eq!(settings.cluster.release.as_ref().unwrap_or(&key), &release, "{example}");
        assert_eq!(settings.cluster.namespace, rendered.home("vcluster"), "{example}");
        let (_, place) = settings.store.url.split_once("://").expect("a URL");
        let backup = &rendered.xr["status"]["backup"];
        if s3["register"] == "minio" {
            assert!(written.contains_key(&("Bucket", String::new(), place.to_owned())), "{example}: {place}");
            assert_eq!((&backup["bucket"], backup.get("store")), (&place.into(), None), "{example}");
            assert_eq!(settings.store.endpoint.as_deref(), s3["s3"]["url"].as_str(), "{example}");
            let registration = settings.store.registration.expect("named when the store refuses");
            let (namespace, job) = registration.split_once('/').expect("namespace/name");
            assert!(written.contains_key(&("Job", namespace.to_owned(), job.to_owned())), "{example}: {registration}");
            let admin = (text(s3, "platformNamespace"), text(&s3["s3"], "existingSecret"));
            let keys = written.get(&("Secret", admin.0, admin.1)).expect("the platform's own Secret");
            for field in ["adminUserKey", "adminPasswordKey"] {
                assert!(keys.contains(&text(&s3["s3"], field).as_str()), "{example}: {field}");
            }
        } else if rendered.releases.contains_key("old-s3") {
            assert!(written.contains_key(&("Bucket", String::new(), place.to_owned())), "{example}: {place}");
            assert_eq!((&backup["bucket"], backup.get("store")), (&place.into(), None), "{example}");
            assert_eq!(settings.store.registration, None, "{example}: no Job makes the bucket");
        } else {
            // One bucket for many: the key tells the places apart.
            assert!(place.ends_with(&format!("/{key}")), "{example}: {place}");
            assert_eq!(backup["store"], *settings.store.url, "{example}");
            assert_eq!(backup["bucket"], place.split('/').next().unwrap_or_default(), "{example}");
            assert_eq!(settings.store.registration, None, "{example}: there is no Job");
        }
        // The chart names everything after the key, its Role serves the pod of the release of that name.
        assert_eq!(s3["clustername"], *key, "{example}");
        let home = rendered.home("s3");
        assert_eq!(home, rendered.home("vcluster"), "{example}: what the pod mounts is in its namespace");
        assert!(written.contains_key(&("RoleBinding", home.clone(), format!("vc-{release}"))), "{example}");
        assert!(written.contains_key(&("ServiceAccount", home, format!("vc-{release}"))), "{example}");
    }
}

#[test]
fn what_is_copied_lies_in_the_platform_namespace_and_arrives_where_the_pod_mounts_it() {
    let mut seen = std::collections::BTreeSet::new();
    for (example, rendered) in Rendered::all().into_iter().filter(|(_, r)| r.releases.contains_key("keys")) {
        let (written, keys) = (writers(&rendered), rendered.values("keys"));
        assert_eq!(rendered.home("keys"), text(rendered.values("s3"), "platformNamespace"), "{example}");
        assert_eq!(text(keys, "hostNamespace"), rendered.home("vcluster"), "{example}");
        let volumes = pod(&rendered.releases["vcluster"]).volumes;
        for (what, suffix) in [("identity", "key"), ("passphrase", "key"), ("credentials", "s3")] {
            if keys.get(what).is_none() {
                continue;
            }
            let volume = format!("backup-{suffix}");
            let mounted = volumes.iter().find(|mounted| mounted["name"] == *volume).expect("mounted");
            let copy = format!("{}-{suffix}", text(keys, "clustername"));
            assert_eq!(text(&mounted["secret"], "secretName"), copy, "{example}");
            let source = ("Secret", rendered.home("keys"), text(&keys[what], "secret"));
            let held = written.get(&source).unwrap_or_else(|| panic!("{example}: nobody makes {source:?}"));
            assert!(what == "credentials" || held.contains(&what), "{example}: {source:?}");
            assert_ne!(source.2, copy, "{example}: a copy is no source");
            seen.insert(what);
        }
    }
    let all = ["credentials", "identity", "passphrase"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all, "an example shows each");
}

#[test]
fn a_clone_may_read_the_bucket_it_is_told_of_and_gets_the_identity_that_opens_it() {
    let mut seen = 0;
    for (example, rendered) in Rendered::backed_up() {
        let s3 = rendered.values("s3");
        let settings = Settings::from_yaml(&text(s3, "settings")).expect("readable");
        let source = settings.restore.and_then(|restore| restore.from);
        assert_eq!(
            source.is_some(),
            s3.get("readFrom").is_some(),
            "{example}: a right for a request, and none without"
        );
        let Some(source) = source else { continue };
        let bucket = source.url.strip_prefix("s3://").expect("an S3 store");
        assert_eq!(s3["readFrom"], serde_json::json!([bucket]), "{example}");
        assert!(bucket.ends_with(&source.key), "{example}: {bucket}");
        assert!(text(&rendered.values("keys")["identity"], "secret").contains(&source.key), "{example}");
        seen += 1;
    }
    assert!(seen > 0, "an example shows a clone");
}

#[test]
fn releases_live_where_their_xr_does_and_name_a_configuration_they_can_reach() {
    let mut seen = std::collections::BTreeSet::new();
    for (example, rendered) in Rendered::all() {
        let namespace = &rendered.xr["metadata"]["namespace"];
        for (name, release) in &rendered.releases {
            let (group, config) = (release["apiVersion"].as_str(), &release["spec"]["providerConfigRef"]);
            assert_eq!(&release["metadata"]["namespace"], namespace, "{example}: {name}");
            if namespace.is_null() {
                assert_eq!(group, Some("helm.crossplane.io/v1beta1"), "{example}: {name}");
                assert!(config["name"].is_string() && config.get("kind").is_none(), "{example}: {name}: {config}");
            } else {
                assert_eq!(group, Some("helm.m.crossplane.io/v1beta1"), "{example}: {name}");
                assert!(config["name"].is_string() && config["kind"].is_string(), "{example}: {name}: {config}");
            }
            seen.insert(group.map(str::to_owned));
        }
    }
    assert_eq!(seen.len(), 2, "an example shows each generation");
}

#[test]
fn a_usage_speaks_of_two_releases_that_are_there() {
    let mut seen = std::collections::BTreeSet::new();
    for (example, rendered) in Rendered::all() {
        for usage in &rendered.usages {
            assert_eq!(usage["metadata"]["namespace"], rendered.xr["metadata"]["namespace"], "{example}");
            let [of, by] = ["of", "by"].map(|end| {
                let end = &usage["spec"][end];
                let same = |release: &&Value| {
                    ["apiVersion", "kind"].iter().all(|field| release[field] == end[field])
                        && release["metadata"]["name"] == end["resourceRef"]["name"]
                };
                let found = rendered.releases.iter().find(|(_, release)| same(release));
                found.unwrap_or_else(|| panic!("{example}: nobody makes {end}")).0.as_str()
            });
            assert!([("s3", "vcluster"), ("vcluster", "rancher")].contains(&(of, by)), "{example}: {by} uses {of}");
            seen.insert((text(usage, "apiVersion"), text(usage, "kind"), of.to_owned()));
        }
    }
    assert_eq!(seen.len(), 4, "an example shows both for each generation: {seen:?}");
}

#[test]
fn the_kubeconfig_leads_to_the_vcluster() {
    for (example, rendered) in Rendered::backed_up() {
        let (written, home, key) = (writers(&rendered), rendered.home("vcluster"), rendered.helm_name("vcluster"));
        let spec = &rendered.releases["vcluster"]["spec"];
        let details = &spec["connectionDetails"][0];
        let secret = ("Secret", text(details, "namespace"), text(details, "name"));
        let field = text(details, "fieldPath");
        let keys = written.get(&secret).unwrap_or_else(|| panic!("{example}: nobody writes {secret:?}"));
        assert!(keys.contains(&field.strip_prefix("data.").expect("data of a Secret")), "{example}: {field}");
        // A Release of the namespaced group writes where it lives itself, and so does what its tenant reads.
        let (own, copy) = (rendered.xr["metadata"]["namespace"].as_str(), &spec["writeConnectionSecretToRef"]);
        let target = (own.map_or_else(|| text(copy, "namespace"), str::to_owned), text(copy, "name"));
        assert_ne!((secret.1.clone(), secret.2.clone()), target, "{example}: a copy is not written over its source");

        let status = &rendered.xr["status"]["vcluster"];
        let told = (own.map_or_else(|| text(status, "namespace"), str::to_owned), text(status, "kubeconfigSecret"));
        assert_eq!(told, if own.is_some() { target } else { (secret.1, secret.2) }, "{example}");
        assert_eq!(status["release"], *key, "{example}");
        let endpoint = pod(&rendered.releases["vcluster"]).server;
        assert_eq!(status["endpoint"], *endpoint, "{example}");
        if rendered.releases.contains_key("old-s3") {
            continue; // its server is what the other Composition has made it
        }
        let host = endpoint.strip_prefix("https://").and_then(|rest| rest.strip_suffix(":443")).expect("a host");
        let control_plane = &rendered.values("vcluster")["controlPlane"];
        if control_plane["ingress"]["enabled"] == true {
            assert_eq!(control_plane["ingress"]["host"], host, "{example}: the ingress leads there");
            assert_eq!(control_plane["proxy"]["extraSANs"], serde_json::json!([host]), "{example}: and it is believed");
            continue;
        }
        let (service, namespace) = host.split_once('.').expect("service.namespace");
        assert!(written.contains_key(&("Service", namespace.to_owned(), service.to_owned())), "{example}: {host}");
        assert_eq!(namespace, home, "{example}");
    }
}

#[test]
fn the_registration_finds_the_vcluster_and_its_token() {
    let mut seen = 0;
    for (example, rendered) in Rendered::all().into_iter().filter(|(_, r)| r.releases.contains_key("rancher")) {
        let rancher = rendered.values("rancher");
        assert_eq!(text(rancher, "vclusterReleaseName"), rendered.helm_name("vcluster"), "{example}");
        assert_eq!(text(rancher, "targetnamespace"), rendered.home("vcluster"), "{example}");
        let token = ("Secret", rendered.home("rancher"), "apitoken".to_owned());
        assert!(writers(&rendered).contains_key(&token), "{example}: {token:?}");
        assert!(rancher["insecure"].is_boolean() && rancher["createOwner"]["enabled"].is_boolean(), "{example}");
        seen += 1;
    }
    assert!(seen > 0, "an example shows the registration");
}

#[test]
fn what_may_change_is_not_in_the_values_of_the_vcluster() {
    // The pod template carries a hash of all values: each change of them restarts the tenant's API server.
    for (example, rendered) in Rendered::backed_up() {
        let values = rendered.values("vcluster").to_string();
        let settings = Settings::from_yaml(&text(rendered.values("s3"), "settings")).expect("readable");
        let store = [Some(settings.store.url), settings.store.endpoint, Some(settings.cluster.uid)];
        for secret in settings.backup.recipients.iter().chain(store.iter().flatten()) {
            assert!(!values.contains(secret.as_str()), "{example}: {secret}");
        }
        let pod = pod(&rendered.releases["vcluster"]);
        for container in [pod.restore, pod.sidecar] {
            assert!(container.get("env").is_none() && container.get("command").is_none(), "{example}");
        }
    }
}
