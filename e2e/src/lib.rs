//! What the stories in `tests/` share: the real programs, started on loopback with free ports and folders of their own,
//! stopped by their process id, and the small part of Kubernetes nobody runs here (kubelet's mounts and arguments).
//!
//! - [`tools`]: where the real programs are, and our own two, built like the tests;
//! - [`process`]: a program that runs until it is dropped, with its log;
//! - [`cluster`]: kine and kube-apiserver; [`minio`], [`gcs`]: stores; [`function`]: our gRPC server;
//! - [`crossplane`]: its real core over such a cluster, with our function behind it; [`by_hand`]: another function;
//!   [`played`]: what provider-helm and the sidecar would say;
//! - [`pod`]: a container of a rendered manifest, run as a process with its mounts as folders; [`job`]: one of the chart;
//! - [`rancher`]: the few words of Rancher's API that chart rancher-cluster speaks;
//! - [`sidecar`]: our sidecar with the rights of a pod that nobody runs;
//! - [`examples`], [`yaml`]: what was rendered; [`charts`]: what Helm makes of it.
//!
//! Every story is `#[ignore]`d, because it needs programs that `e2e/tools/build` makes:
//! `E2E_TOOLS_BIN=$(e2e/tools/build) cargo test --package e2e -- --ignored --test-threads=1`.

pub mod by_hand;
pub mod charts;
pub mod cluster;
pub mod crossplane;
pub mod examples;
pub mod function;
pub mod gcs;
pub mod history;
pub mod job;
pub mod minio;
pub mod played;
pub mod pod;
pub mod process;
pub mod rancher;
pub mod sidecar;
pub mod tools;
pub mod yaml;
