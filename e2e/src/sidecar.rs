//! The sidecar outside of a rendered pod: chart s3-register installed for a store that needs no registration, a pod
//! object made by hand, and the program with the rights and the token of that pod.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use vcluster_proto::status::Status;

use crate::{cluster::Cluster, tools};

/// The vcluster's name.
pub const KEY: &str = "shop-abcdefgh";
/// Its host namespace.
pub const NAMESPACE: &str = "tenant-shop-abcdefgh";

/// What the sidecar of one vcluster finds around it.
pub struct Surroundings<'a> {
    /// The host.
    pub host: &'a Cluster,
    /// Everything else is below it.
    pub folder: PathBuf,
}

impl<'a> Surroundings<'a> {
    /// Installs the chart and makes the pod's service account.
    ///
    /// # Panics
    /// When Helm or the API server refuses.
    #[must_use]
    pub fn install(host: &'a Cluster, folder: &Path) -> Self {
        for name in [NAMESPACE, "platform"] {
            host.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string());
        }
        let values = json!({"clustername": KEY, "platformNamespace": "platform", "register": "none",
            "settings": "written by hand"});
        let file = folder.join("values.json");
        std::fs::write(&file, values.to_string()).expect("writable");
        let chart = tools::repository().join("package/charts/s3-register").display().to_string();
        let values = file.display().to_string();
        let _ = host.helm(&["install", "shop-s3", &chart, "--namespace", NAMESPACE, "--values", &values]).ok();
        host.apply(
            &json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": service_account(), "namespace": NAMESPACE}})
            .to_string(),
        );
        for name in ["config/settings", "config/key", "data", "spool"] {
            std::fs::create_dir_all(folder.join(name)).expect("writable");
        }
        Self { host, folder: folder.to_owned() }
    }

    /// The vcluster's pod as a StatefulSet would make it, and its token mounted as kubelet does; gives its uid.
    ///
    /// # Panics
    /// When the API server refuses.
    #[must_use]
    pub fn make_pod(&self) -> String {
        let name = format!("{KEY}-0");
        self.host.apply(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"serviceAccountName": service_account(), "automountServiceAccountToken": false,
                    "containers": [{"name": "backup", "image": "vcluster-backup"}]}})
            .to_string(),
        );
        let pod = self.host.object("pod", NAMESPACE, &name).expect("a pod");
        let uid = pod["metadata"]["uid"].as_str().expect("a uid").to_owned();
        let bound =
            ["--bound-object-kind=Pod", &format!("--bound-object-name={name}"), &format!("--bound-object-uid={uid}")]
                .map(str::to_owned);
        let account = service_account();
        let mut arguments = vec!["create", "token", &account, "--namespace", NAMESPACE];
        arguments.extend(bound.iter().map(String::as_str));
        let token = self.host.kubectl(&arguments, "").ok();
        self.mount_token(&uid, token.trim());
        uid
    }

    /// Whether the pod of this uid is still there.
    #[must_use]
    pub fn has_pod(&self, uid: &str) -> bool {
        let pod = self.host.object("pod", NAMESPACE, &format!("{KEY}-0"));
        pod.is_some_and(|pod| pod["metadata"]["uid"] == uid && pod["metadata"]["deletionTimestamp"].is_null())
    }

    /// A token file is a link to a link, and both change when it is renewed.
    fn mount_token(&self, version: &str, token: &str) {
        let folder = self.folder.join("token");
        let new = folder.join(format!("..{version}"));
        std::fs::create_dir_all(&new).expect("writable");
        std::fs::write(new.join("token"), token).expect("writable");
        symlink(format!("..{version}"), folder.join("..data_tmp")).expect("linked");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
        if folder.join("token").symlink_metadata().is_err() {
            symlink("..data/token", folder.join("token")).expect("linked");
        }
        let admin = std::fs::read_to_string(self.host.kubeconfig()).expect("a kubeconfig");
        let mut config: Value = serde_json::from_str(&admin).expect("JSON");
        config["users"][0]["user"] = json!({"tokenFile": folder.join("token")});
        std::fs::write(self.kubeconfig(), config.to_string()).expect("writable");
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("pod.kubeconfig")
    }

    /// The program with the folders and the rights of the pod.
    #[must_use]
    pub fn program(&self, arguments: &[&str]) -> Command {
        self.run_by(&tools::ours("vcluster-backup"), arguments)
    }

    /// The same of a program that was built elsewhere.
    #[must_use]
    pub fn run_by(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut program = Command::new(program);
        program.args(arguments).env_clear();
        program.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBECONFIG", self.kubeconfig());
        program.env("VCLUSTER_BACKUP_METRICS_ADDRESS", "127.0.0.1:0");
        for (flag, name) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
            program.arg(flag).arg(self.folder.join(name));
        }
        program
    }

    /// The status ConfigMap.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let map = self.host.object("configmap", NAMESPACE, &format!("{KEY}-backup-status"))?;
        Status::from_yaml(map["data"]["status.yaml"].as_str()?).ok()
    }
}

fn service_account() -> String {
    format!("vc-{KEY}")
}
