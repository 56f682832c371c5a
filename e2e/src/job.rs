//! A Job of one of our charts, run as its controller and kubelet would: its pod's one container, its mounts, its script;
//! the image is replaced by the machine's `sh` and the real `mc`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::pod::Pod;
use crate::process::{Said, run};
use crate::tools;
use crate::yaml::str_at;

/// The one registration Job of release `release` in `namespace`.
///
/// # Panics
/// When there is not exactly one.
#[must_use]
pub fn of_release(cluster: &Cluster, namespace: &str, release: &str) -> Value {
    let mut jobs = cluster.objects("job", namespace);
    jobs.retain(|job| job["metadata"]["labels"]["app.kubernetes.io/instance"] == release);
    assert_eq!(jobs.len(), 1, "one registration Job is expected");
    jobs.remove(0)
}

/// Runs the Job's pod in `folder`, which plays its root, until it ends.
#[must_use]
pub fn execute(cluster: &Cluster, job: &Value, folder: &Path) -> Said {
    run(&mut command(cluster, job, folder, &[]), "")
}

/// The same with what kubelet gives every container of a service account, as a kubeconfig.
#[must_use]
pub fn execute_as(cluster: &Cluster, job: &Value, folder: &Path, kubeconfig: &Path, seconds: u32) -> Said {
    run(command(cluster, job, folder, &["timeout", &seconds.to_string()]).env("KUBECONFIG", kubeconfig), "")
}

/// The same as [`execute`] for a Job that is expected to wait: it is told to end after `seconds`, and exits with 124.
#[must_use]
pub fn execute_for(cluster: &Cluster, job: &Value, folder: &Path, seconds: u32) -> Said {
    run(&mut command(cluster, job, folder, &["timeout", &seconds.to_string()]), "")
}

fn command(cluster: &Cluster, job: &Value, folder: &Path, before: &[&str]) -> Command {
    let spec = &job["spec"]["template"]["spec"];
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let namespace = str_at(job, "/metadata/namespace").to_owned();
    let pod = Pod { cluster, namespace, root: folder.to_path_buf(), volumes };
    let container = &spec["containers"][0];
    pod.mount(container);
    let inner = pod.command(container, None, &format!("{}:/usr/bin:/bin", tools::folder().display()));
    let Some((first, rest)) = before.split_first() else { return inner };
    let mut outer = Command::new(first);
    outer.args(rest).arg(inner.get_program()).args(inner.get_args()).env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}
