//! A Kubernetes API: kube-apiserver over kine over a SQLite file, as in a vcluster. No kubelet, no controllers.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{Running, Said, run};
use crate::tools;

/// A running API server and its store. The server is stopped before the store.
pub struct Cluster {
    api: Running,
    kine: Running,
    kubeconfig: PathBuf,
}

/// How long anything may take: generous, for two busy cores.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// The one user, with every right.
const TOKEN: &str = "e2e-token";

impl Cluster {
    /// Starts an API whose whole state is `<data>/state.db`; certificates, logs and the rest go to `folder` and are
    /// found again there by a second start.
    #[must_use]
    pub fn start(folder: &Path, data: &Path) -> Self {
        Self::start_on("kine", folder, data)
    }

    /// The same on another kine of `e2e/tools`.
    #[must_use]
    pub fn start_on(kine: &str, folder: &Path, data: &Path) -> Self {
        for each in [folder, data] {
            std::fs::create_dir_all(each).expect("a folder can be made");
        }
        let kine = self::kine(kine, folder, data, &[]);
        let port = tools::free_port();
        let kubeconfig = write_credentials(folder, port);
        let mut api = start_api(folder, &kine.1, port);
        api.wait_until("it is ready", || kubectl(&kubeconfig, &["get", "--raw", "/readyz"], "").out == "ok");
        Self { api, kine: kine.0, kubeconfig }
    }

    /// Stops both.
    pub fn stop(self) {
        self.api.stop();
        self.kine.stop();
    }

    /// What others reach it by.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig by which one has the rights of a service account.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let ours = std::fs::read_to_string(&self.kubeconfig).expect("readable");
        let mut theirs: Value = serde_json::from_str(&ours).expect("as it was written");
        theirs["users"][0]["user"]["as"] = format!("system:serviceaccount:{namespace}:{account}").into();
        let path = self.kubeconfig.with_file_name(format!("kubeconfig-{account}"));
        std::fs::write(&path, theirs.to_string()).expect("writable");
        path
    }

    /// Applies CRDs and waits until their kinds are served.
    pub fn apply_crds(&self, yaml: &str) {
        self.apply(yaml);
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        // It gives up on a CRD that has no conditions at all yet.
        let early = |said: &Said| said.err.contains("status.conditions accessor error");
        let mut said = self.kubectl(&wait, "");
        for _ in 0..50 {
            if !early(&said) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
            said = self.kubectl(&wait, "");
        }
        let _ = said.ok();
    }

    /// Runs kubectl.
    #[must_use]
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Said {
        kubectl(&self.kubeconfig, arguments, input)
    }

    /// Applies documents for good.
    pub fn apply(&self, yaml: &str) {
        let _ = self.kubectl(&["apply", "--server-side", "--filename", "-"], yaml).ok();
    }

    /// Shows documents to the server as strictly as provider-helm's server-side apply does, changing nothing.
    #[must_use]
    pub fn accepts(&self, yaml: &str) -> Said {
        self.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-"], yaml)
    }

    /// Waits until `found` says so of an object, and returns what the server had then.
    ///
    /// # Panics
    /// When patience ends: the message shows the object.
    pub fn wait_for(&self, kind: &str, namespace: &str, name: &str, found: impl Fn(&Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        loop {
            let object = self.object(kind, namespace, name);
            if let Some(object) = object.as_ref().filter(|object| found(object)) {
                return object.clone();
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{kind} {name} of {namespace:?} did not become what is expected: {object:#?}"
            );
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    /// Waits until something holds that concerns more than one object.
    ///
    /// # Panics
    /// When patience ends: the message says for what.
    pub fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = std::time::Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "it did not come to: {what}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    /// One object, or `None` when it is not there.
    ///
    /// # Panics
    /// When the server gives no answer.
    #[must_use]
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let said =
            self.kubectl(&["get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output=json"], "");
        let text = said.ok();
        (!text.is_empty()).then(|| serde_json::from_str(&text).expect("kubectl prints JSON"))
    }

    /// All objects of a kind in a namespace, with the owners of their fields.
    ///
    /// # Panics
    /// When the server gives no answer.
    #[must_use]
    pub fn objects(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let whole = ["--output=json", "--show-managed-fields"];
        let text = self.kubectl(&[&["get", kind, "--namespace", namespace], &whole[..]].concat(), "").ok();
        let list: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Runs the real Helm against this cluster.
    #[must_use]
    pub fn helm(&self, arguments: &[&str]) -> Said {
        run(helm().env("KUBECONFIG", &self.kubeconfig).args(arguments), "")
    }
}

/// Helm with nothing from the outside: no plugins, repositories or cluster of whoever runs the story.
#[must_use]
pub fn helm() -> Command {
    let mut helm = Command::new(tools::tool("helm"));
    helm.env_clear().env("HOME", "/nonexistent");
    helm
}

fn kubectl(kubeconfig: &Path, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(tools::tool("kubectl"));
    // Its discovery cache would be shared between clusters that only share a port number.
    let cache = kubeconfig.with_file_name("kubectl-cache");
    run(command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(cache).args(arguments), input)
}

/// kine alone, over `<data>/state.db` and as vcluster starts it, with `more` arguments; also gives its address. Its log goes
/// to `folder`.
#[must_use]
pub fn kine(program: &str, folder: &Path, data: &Path, more: &[&str]) -> (Running, String) {
    let address = format!("127.0.0.1:{}", tools::free_port());
    let endpoint = format!(
        "sqlite://{}?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate",
        data.join("state.db").display()
    );
    let mut kine = Running::start(
        "kine",
        folder,
        Command::new(tools::tool(program))
            .args(["--listen-address", &address, "--metrics-bind-address", "0", "--endpoint", &endpoint])
            .args(more)
            .current_dir(folder),
    );
    kine.wait_until("it listens", || std::net::TcpStream::connect(&address).is_ok());
    (kine, address)
}

fn start_api(folder: &Path, store: &str, port: u16) -> Running {
    let key = folder.join("sa.key");
    let with = |flag: &str, value: &Path| format!("--{flag}={}", value.display());
    Running::start(
        "kube-apiserver",
        folder,
        Command::new(tools::tool("kube-apiserver"))
            .arg(format!("--etcd-servers=http://{store}"))
            .arg(format!("--secure-port={port}"))
            .arg(with("service-account-key-file", &key))
            .arg(with("service-account-signing-key-file", &key))
            .arg(with("cert-dir", &folder.join("certs")))
            .arg(with("token-auth-file", &folder.join("tokens.csv")))
            .args(["--service-account-issuer=https://kubernetes.default", "--service-cluster-ip-range=10.0.0.0/24"])
            .args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC"])
            .arg("--disable-admission-plugins=ServiceAccount")
            .current_dir(folder),
    )
}

/// Writes what the server knows its one user and its tokens by, and returns the kubeconfig.
fn write_credentials(folder: &Path, port: u16) -> PathBuf {
    let key = folder.join("sa.key");
    if !key.exists() {
        let made = run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"), "");
        assert_eq!(made.code, 0, "cannot make a key with openssl: {}", made.err);
    }
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    };
    write("tokens.csv", format!("{TOKEN},admin,admin,system:masters\n"));
    // The server makes its own certificate at start, which nobody has signed.
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true
        }}],
        "users": [{"name": "e2e", "user": {"token": TOKEN}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "current-context": "e2e"
    });
    write("kubeconfig", kubeconfig.to_string())
}
