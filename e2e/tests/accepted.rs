//! What is rendered is accepted where it goes: by a real API server with provider-helm's CRDs, by the schema of the
//! vcluster chart's values in the real Helm, and by our own chart.
//!
//! A server-side apply refuses a field that is not in the CRD or the kind, and so do Crossplane and provider-helm.

use std::path::{Path, PathBuf};

use e2e::cluster::{self, Cluster};
use e2e::process::run;
use e2e::{examples, tools, yaml};
use serde_json::Value;

/// Every `Release` of every example, with the name of its example.
fn releases() -> Vec<(String, Value)> {
    let all = examples::all().into_iter().flat_map(|example| {
        let name = example.name.clone();
        example.rendered().into_iter().map(move |document| (name.clone(), document))
    });
    let releases: Vec<_> = all.filter(|(_, document)| document["kind"] == "Release").collect();
    assert!(!releases.is_empty(), "no Release in any example");
    releases
}

/// Those that install the chart `chart`, each with the file its values were written to.
fn values_of(chart: &str, folder: &Path) -> Vec<(String, Value, PathBuf)> {
    let of_chart = |release: &Value| release["spec"]["forProvider"]["chart"]["name"] == chart;
    let found: Vec<_> = releases().into_iter().filter(|(_, release)| of_chart(release)).collect();
    assert!(!found.is_empty(), "no Release of chart {chart} in any example");
    let write = |(example, release): (String, Value)| {
        let file = folder.join(format!("{example}-{chart}.json"));
        std::fs::write(&file, release["spec"]["forProvider"]["values"].to_string()).expect("writable");
        (example, release, file)
    };
    found.into_iter().map(write).collect()
}

fn helm(arguments: &[&str], values: &Path) -> String {
    run(cluster::helm().args(arguments).arg("--values").arg(values), "").ok()
}

/// What `helm template` makes of a `Release` with the chart in `chart`.
fn template(release: &Value, chart: &Path, values: &Path) -> String {
    let namespace = yaml::str_at(release, "/spec/forProvider/namespace");
    let chart = chart.display().to_string();
    helm(&["template", yaml::helm_name(release), &chart, "--namespace", namespace], values)
}

/// Makes the namespaces of the documents, so that a dry run can speak of objects in them.
fn make_namespaces(cluster: &Cluster, documents: &[Value]) {
    for document in documents {
        if let Some(namespace) = document["metadata"]["namespace"].as_str() {
            cluster.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace:?}}}}}"));
        }
    }
}

fn start(folder: &Path) -> Cluster {
    Cluster::start(&folder.join("host"), &folder.join("host-data"))
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn provider_helms_oldest_and_newest_crds_accept_every_release() {
    let Some(crds) = tools::contracts("provider-helm") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    for version in ["v0.21.0", "v1.4.0"] {
        for kind in ["releases", "providerconfigs"] {
            let crd = crds.join(format!("helm.crossplane.io_{kind}.{version}.yaml"));
            cluster.apply(&std::fs::read_to_string(crd).expect("readable"));
        }
        for crd in cluster.objects("crd", "") {
            let name = format!("crd/{}", yaml::str_at(&crd, "/metadata/name"));
            let _ = cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", &name], "").ok();
        }
        for (example, release) in releases() {
            let said = cluster.accepts(&release.to_string());
            assert_eq!(said.code, 0, "{example} against {version}: {}", said.all());
        }
        // The server does look: a field of another version is refused.
        let mut wrong = releases().remove(0).1;
        wrong["spec"]["forProvider"]["noSuchField"] = Value::from(1);
        let said = cluster.accepts(&wrong.to_string());
        assert!(said.code != 0 && said.err.contains("noSuchField"), "{said:?}");
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_vcluster_charts_own_schema_accepts_the_values() {
    let Some(data) = tools::contracts("vcluster") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for (example, release, values) in values_of("vcluster", folder.path()) {
        let version = yaml::str_at(&release, "/spec/forProvider/chart/version");
        // A chart that is nothing but schema and defaults: the real Helm validates as it would install.
        let chart = folder.path().join(format!("vcluster-{version}"));
        std::fs::create_dir_all(chart.join("templates")).expect("a folder can be made");
        let copy = |from: String, to: &str| {
            let from = data.join(from);
            std::fs::copy(&from, chart.join(to)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        };
        copy(format!("values.schema.v{version}.json"), "values.schema.json");
        copy(format!("values.chart.v{version}.yaml"), "values.yaml");
        let about = format!("apiVersion: v2\nname: vcluster\nversion: {version}\n");
        std::fs::write(chart.join("Chart.yaml"), about).expect("writable");
        let _ = template(&release, &chart, &values);

        let said = run(
            cluster::helm()
                .args(["template", "x"])
                .arg(&chart)
                .arg("--values")
                .arg(&values)
                .args(["--set", "no.such=1"]),
            "",
        );
        assert!(said.code != 0, "{example}: the schema refuses nothing");
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn our_chart_with_the_rendered_values_passes_lint_and_a_strict_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    let chart = tools::repository().join("package/charts/s3-register");
    let about = yaml::documents(&std::fs::read_to_string(chart.join("Chart.yaml")).expect("readable")).remove(0);
    for (example, release, values) in values_of("s3-register", folder.path()) {
        assert_eq!(release["spec"]["forProvider"]["chart"]["version"], about["version"], "{example}: the chart here");
        let _ = helm(&["lint", "--strict", &chart.display().to_string()], &values);
        let manifest = template(&release, &chart, &values);
        make_namespaces(&cluster, &yaml::documents(&manifest));
        let said = cluster.accepts(&manifest);
        assert_eq!(said.code, 0, "{example}: {}", said.all());
    }
}

/// `VCLUSTER_CHARTS` names a folder with the unpacked chart of each version in a folder of that name: `0.36.1/`.
#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_real_vcluster_chart_makes_a_manifest_that_a_strict_server_accepts() {
    let Some(charts) = std::env::var_os("VCLUSTER_CHARTS").map(PathBuf::from) else {
        return eprintln!("SKIPPED: VCLUSTER_CHARTS names no folder of real vcluster charts");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    for (example, release, values) in values_of("vcluster", folder.path()) {
        let version = yaml::str_at(&release, "/spec/forProvider/chart/version");
        let manifest = template(&release, &charts.join(version), &values);
        let documents = yaml::documents(&manifest);
        make_namespaces(&cluster, &documents);
        let said = cluster.accepts(&manifest);
        assert_eq!(said.code, 0, "{example}: {}", said.all());

        let set = documents.iter().find(|document| document["kind"] == "StatefulSet").expect("a StatefulSet");
        let pod = &set["spec"]["template"]["spec"];
        let names = |field: &str| -> Vec<&str> {
            let entries = pod[field].as_array().into_iter().flatten();
            entries.filter_map(|entry| entry["name"].as_str()).collect()
        };
        assert!(names("containers").contains(&"backup"), "{example}: {:?}", names("containers"));
        assert!(names("initContainers").contains(&"backup-restore"), "{example}: {:?}", names("initContainers"));
        for container in pod["containers"].as_array().into_iter().chain(pod["initContainers"].as_array()).flatten() {
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                let name = yaml::str_at(mount, "/name");
                // A claim template is a volume by the same name.
                let claims = set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
                let claimed = claims.into_iter().any(|claim| claim["metadata"]["name"] == name);
                assert!(claimed || names("volumes").contains(&name), "{example}: no volume {name}");
            }
        }
    }
}
