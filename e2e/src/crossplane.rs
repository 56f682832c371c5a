//! Crossplane's real core over a [`Cluster`], with our function behind it over mTLS. Nobody runs packages here: what the
//! package manager would write of an installed function is written by hand, and provider-helm is played by the stories.
//! Its webhook is called, as on any cluster; its certificate is the functions'.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::function::Function;
use crate::process::{Running, run};
use crate::{by_hand, tools, yaml};

/// A control plane.
pub struct Crossplane {
    /// Held for its drop: first, so that nobody calls a function that has gone.
    _core: Running,
    function: Function,
    certificates: PathBuf,
    /// Where it works.
    pub cluster: Cluster,
}

const NAMESPACE: &str = "crossplane-system";

impl Crossplane {
    /// Starts API server, function and core, with the CRDs of Crossplane and provider-helm.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let cluster = Cluster::start(&folder.join("host"), &folder.join("host-data"));
        cluster.apply_crds(&format!("{}{}", tools::crds("crossplane-2.4"), tools::crds("provider-helm-1.0")));
        cluster
            .apply(&yaml::text(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})]));
        let certificates = certificates(folder);
        let function = Function::start_with_tls(folder, &certificates);
        install(&cluster, "function-vcluster", &function.address);
        let webhooks = tools::free_port();
        let core = start_core(folder, &cluster, &certificates, webhooks);
        let authority = std::fs::read(certificates.join("ca.crt")).expect("a certificate");
        cluster.apply(&no_usages(&authority, webhooks).to_string());
        Self { _core: core, function, certificates, cluster }
    }

    /// Has another function called, too: one that plays a hand-written Composition.
    pub fn install_by_hand(&self, name: &str, releases: Vec<Value>) {
        let address = by_hand::serve(&self.certificates, releases);
        install(&self.cluster, name, &address.to_string());
    }

    /// Has Crossplane look at an XR again and again, until whatever our function answers now has been brought about: it is
    /// asked at most twice a look, and one look ends before the next begins.
    ///
    /// # Panics
    /// When Crossplane does not ask.
    pub fn looks_at(&self, xrs: &str, name: &str) {
        let asked = self.function.answers();
        let start = Instant::now();
        while self.function.answers() < asked + 5 {
            assert!(start.elapsed() < Duration::from_secs(90), "Crossplane does not ask the function any more");
            // Where all is well it only looks when something changes.
            let touch = format!("example.org/touched={}", start.elapsed().as_millis());
            let _ = self.cluster.kubectl(&["annotate", "--overwrite", xrs, name, &touch], "").ok();
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Applies a definition and a Composition as printed, and waits until their kinds are served.
    pub fn define(&self, manifests: &str) {
        self.cluster.apply(manifests);
        for definition in yaml::documents(manifests) {
            if definition["kind"] == "CompositeResourceDefinition" {
                self.wait_until_served(&definition);
            }
        }
    }

    fn wait_until_served(&self, definition: &Value) {
        let spec = &definition["spec"];
        let conditions: &[&str] =
            if spec["claimNames"].is_object() { &["Established", "Offered"] } else { &["Established"] };
        let name = yaml::str_at(definition, "/metadata/name");
        let _ = self.cluster.wait_for("xrd", "", name, |xrd| conditions.iter().all(|kind| is_true(xrd, kind)));
        let plurals = ["/names/plural", "/claimNames/plural"];
        for plural in plurals.iter().filter_map(|pointer| spec.pointer(pointer)?.as_str()) {
            let name = format!("{plural}.{}", yaml::str_at(spec, "/group"));
            let _ = self.cluster.wait_for("crd", "", &name, |crd| is_true(crd, "Established"));
        }
    }
}

/// Whether an object's condition says True.
#[must_use]
pub fn is_true(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// What `function-vcluster manifests` prints.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn manifests(arguments: &[&str]) -> String {
    run(Command::new(tools::ours("function-vcluster")).arg("manifests").args(arguments), "").ok()
}

/// One CA and one certificate for both sides: each is told to expect the other.
fn certificates(folder: &Path) -> PathBuf {
    let folder = folder.join("certificates");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let key = || rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = key();
    let certificate = authority.self_signed(&authority_key).expect("signed");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let ours = key();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let signed = params.signed_by(&ours, &issuer).expect("signed");
    for (name, text) in [("ca.crt", certificate.pem()), ("tls.crt", signed.pem()), ("tls.key", ours.serialize_pem())] {
        std::fs::write(folder.join(name), text).expect("writable");
    }
    folder
}

/// What the package manager would have made of the function's package, had it a registry and a runtime.
fn install(cluster: &Cluster, name: &str, address: &str) {
    let package = format!("registry.example.org/{name}:v0.1.0");
    let revision = json!({
        "apiVersion": "pkg.crossplane.io/v1",
        "kind": "FunctionRevision",
        "metadata": { "name": format!("{name}-1"), "labels": { "pkg.crossplane.io/package": name } },
        "spec": { "desiredState": "Active", "image": package, "packagePullPolicy": "Never", "revision": 1 },
    });
    cluster.apply(&yaml::text(&[revision]));
    let port = address.rsplit(':').next().expect("an address ends with its port");
    let status = json!({"status": { "endpoint": format!("dns:///localhost:{port}"), "capabilities": ["composition"] }});
    let name = format!("functionrevision/{name}-1");
    let patch = ["patch", &name, "--subresource=status", "--type=merge", "--patch", &status.to_string()];
    let _ = cluster.kubectl(&patch, "").ok();
}

/// Its webhook against the deletion of what is in use, as its chart installs it but for the place.
fn no_usages(authority: &[u8], port: u16) -> Value {
    let everything = json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["*"]});
    let url = format!("https://localhost:{port}/validate-no-usages");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "crossplane-no-usages" },
        "webhooks": [{
            "name": "nousages.protection.crossplane.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "clientConfig": { "url": url, "caBundle": data_encoding::BASE64.encode(authority) },
            "objectSelector": { "matchLabels": { "crossplane.io/in-use": "true" } },
            "rules": [everything],
        }],
    })
}

fn start_core(folder: &Path, cluster: &Cluster, certificates: &Path, webhooks: u16) -> Running {
    let cache = folder.join("core-cache");
    std::fs::create_dir_all(&cache).expect("a folder can be made");
    let port = |flag: &str| format!("--{flag}={}", tools::free_port());
    let with = |flag: &str, folder: &Path| format!("--{flag}={}", folder.display());
    let mut command = Command::new(tools::tool("crossplane-core"));
    command
        .args(["core", "start", "--package-runtime=External", "--enable-webhooks"])
        .args(["--tls-client-secret-name=client", "--tls-server-secret-name=server", "--poll-interval=5s"])
        .args([with("tls-client-certs-dir", certificates), with("tls-server-certs-dir", certificates)])
        .args([with("xpkg-cache-dir", &cache), with("xfn-cache-dir", &cache)])
        .args([port("metrics-port"), port("health-probe-port")])
        .arg(format!("--webhook-port={webhooks}"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("POD_NAMESPACE", NAMESPACE)
        .env("POD_SERVICE_ACCOUNT", "crossplane");
    Running::start("crossplane-core", folder, &mut command)
}
