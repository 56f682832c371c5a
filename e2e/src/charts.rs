//! Charts through the real Helm, with the values that were rendered for them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::process::run;
use crate::{examples, yaml};

/// Where the charts are that hand-written Compositions name.
const UPSTREAM: &str = "https://mcsps.github.io/helm-charts";

/// Every `Release` of every example, with the name of its example.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn releases() -> Vec<(String, Value)> {
    let all = examples::all().into_iter().flat_map(|example| {
        let name = example.name.clone();
        example.rendered().into_iter().map(move |document| (name.clone(), document))
    });
    let releases: Vec<_> = all.filter(|(_, document)| document["kind"] == "Release").collect();
    assert!(!releases.is_empty(), "no Release in any example");
    releases
}

/// Those that install the chart `chart`, each with the file its values were written to.
///
/// # Panics
/// When there is none, or the folder cannot be written to.
#[must_use]
pub fn values_of(chart: &str, folder: &Path) -> Vec<(String, Value, PathBuf)> {
    // An adopted s3-register is the upstream chart's, handed on as it was found: its values are not ours.
    let of_chart = |release: &Value| {
        let from = &release["spec"]["forProvider"]["chart"];
        from["name"] == chart && from["repository"] != UPSTREAM
    };
    let found: Vec<_> = releases().into_iter().filter(|(_, release)| of_chart(release)).collect();
    assert!(!found.is_empty(), "no Release of chart {chart} in any example");
    let write = |(example, release): (String, Value)| {
        let file = write_values(&release, &folder.join(format!("{example}-{chart}.json")));
        (example, release, file)
    };
    found.into_iter().map(write).collect()
}

/// Writes the values of a `Release` to `file`.
///
/// # Panics
/// When the file cannot be written.
#[must_use]
pub fn write_values(release: &Value, file: &Path) -> PathBuf {
    std::fs::write(file, release["spec"]["forProvider"]["values"].to_string()).expect("writable");
    file.to_owned()
}

/// What Helm says, given values.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn helm(arguments: &[&str], values: &Path) -> String {
    run(cluster::helm().args(arguments).arg("--values").arg(values), "").ok()
}

/// What `helm template` makes of a `Release` with the chart in `chart`.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn template(release: &Value, chart: &Path, values: &Path) -> String {
    let namespace = yaml::str_at(release, "/spec/forProvider/namespace");
    let chart = chart.display().to_string();
    helm(&["template", yaml::helm_name(release), &chart, "--namespace", namespace], values)
}

/// Makes the namespaces of the documents, so that a dry run can speak of objects in them.
pub fn make_namespaces(cluster: &Cluster, documents: &[Value]) {
    for document in documents {
        if let Some(namespace) = document["metadata"]["namespace"].as_str() {
            cluster.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace:?}}}}}"));
        }
    }
}
