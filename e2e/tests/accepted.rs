//! What is rendered is accepted where it goes: by a real API server with provider-helm's CRDs, by the schema of the
//! vcluster chart's values in the real Helm, and by our own charts. The real vcluster charts are a story of their own.
//!
//! A server-side apply refuses a field that is not in the CRD or the kind, and so do Crossplane and provider-helm.

use std::path::{Path, PathBuf};

use e2e::charts::{helm, make_namespaces, releases, template, values_of};
use e2e::cluster::{self, Cluster};
use e2e::process::run;
use e2e::{examples, tools, yaml};
use serde_json::Value;

fn start(folder: &Path) -> Cluster {
    Cluster::start(&folder.join("host"), &folder.join("host-data"))
}

/// Every Release against these CRDs, and one field too many, so that the server is seen to look.
fn the_crds_accept_every_release(cluster: &Cluster, crds: &str, version: &str) {
    cluster.apply_crds(crds);
    let releases = releases();
    make_namespaces(cluster, &releases.iter().map(|(_, release)| release.clone()).collect::<Vec<_>>());
    for (example, release) in &releases {
        let said = cluster.accepts(&release.to_string());
        assert_eq!(said.code, 0, "{example} against {version}: {}", said.all());
    }
    let mut wrong = releases[0].1.clone();
    wrong["spec"]["forProvider"]["noSuchField"] = Value::from(1);
    let said = cluster.accepts(&wrong.to_string());
    assert!(said.code != 0 && said.err.contains("noSuchField"), "{version}: {said:?}");
}

/// Both versions have both API groups: the one that the printed manifests install, and the last before Helm 4.
#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn provider_helms_crds_accept_every_release() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    for version in ["provider-helm-1.0", "provider-helm-1.3"] {
        the_crds_accept_every_release(&cluster, &tools::crds(version), version);
    }
}

/// The ends of what is supported: no module proxy has them, so they are looked for among the contract data.
#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn provider_helms_oldest_and_newest_crds_accept_every_release() {
    let Some(crds) = tools::contracts("provider-helm") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    // The namespaced group began with 1.0; before 1.0.2 its Releases knew no namespace to install into.
    for (version, namespaced) in [("v0.21.0", "v1.0.6"), ("v1.4.0", "v1.4.0")] {
        let file = |group: &str, version: &str| crds.join(format!("{group}_releases.{version}.yaml"));
        let files = [file("helm.crossplane.io", version), file("helm.m.crossplane.io", namespaced)];
        let text = files.map(|file| std::fs::read_to_string(file).expect("readable")).join("\n---\n");
        the_crds_accept_every_release(&cluster, &text, version);
    }
}

/// The Usages of an example, for a platform that asks for them by `api`.
fn usages(example: &examples::Example, api: &str) -> Vec<Value> {
    let composition = example.text("composition.yaml");
    let asked = composition.lines().find(|line| line.trim_start().starts_with("usages: ")).expect("it asks for Usages");
    let composition = composition.replace(asked.trim_start(), &format!("usages: {api}"));
    let (xr, observed, required) =
        (example.text("xr.yaml"), example.text("observed.yaml"), example.text("required.yaml"));
    let documents = function_vcluster::offline::render_files(&xr, &composition, Some(&observed), Some(&required));
    let documents = documents.unwrap_or_else(|error| panic!("{}: {error}", example.name));
    documents.into_iter().filter(|document| yaml::str_at(document, "/kind").ends_with("Usage")).collect()
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn crossplanes_own_crds_accept_the_usages_of_every_api() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    for (core, apis) in [
        ("crossplane-1.14", &[("usages-v1", "apiextensions.crossplane.io/v1alpha1")][..]),
        (
            "crossplane-1.20",
            &[
                ("usages-v1", "apiextensions.crossplane.io/v1alpha1"),
                ("usages-v1", "apiextensions.crossplane.io/v1beta1"),
            ],
        ),
        (
            "crossplane-2.4",
            &[
                ("usages-v1", "apiextensions.crossplane.io/v1beta1"),
                ("usages-v1", "protection.crossplane.io/v1beta1"),
                ("usages-v2", "protection.crossplane.io/v1beta1"),
            ],
        ),
    ] {
        let mut crds = yaml::documents(&tools::crds(core));
        crds.retain(|crd| yaml::str_at(crd, "/metadata/name").contains("usages."));
        cluster.apply_crds(&yaml::text(&crds));
        for (example, api) in apis {
            let usages = usages(&examples::Example::named(example), api);
            assert_eq!(usages.len(), 2, "{core}: {example}");
            make_namespaces(&cluster, &usages);
            let said = cluster.accepts(&yaml::text(&usages));
            assert_eq!(said.code, 0, "{example} by {api} against {core}: {}", said.all());
            // The server does look.
            let mut wrong = usages[0].clone();
            wrong["spec"]["noSuchField"] = Value::from(1);
            let said = cluster.accepts(&wrong.to_string());
            assert!(said.code != 0 && said.err.contains("noSuchField"), "{said:?}");
        }
    }
}

/// A chart version as a number, close ones close together: 0.<line>.<patch>.
fn number(version: &str) -> u64 {
    let numbers: Vec<u64> = version.split('.').map(|part| part.parse().expect("0.<line>.<patch>")).collect();
    let [0, line, patch] = numbers[..] else { panic!("{version} is not 0.<line>.<patch>") };
    line * 1000 + patch
}

/// The versions of the vcluster chart whose schema is among the contract data.
fn versions_with_a_schema(data: &Path) -> Vec<String> {
    let files = std::fs::read_dir(data).expect("a folder").map(|entry| entry.expect("readable").file_name());
    let version = |name: &str| Some(name.strip_prefix("values.schema.v")?.strip_suffix(".json")?.to_owned());
    let mut versions: Vec<String> = files.filter_map(|name| version(&name.to_string_lossy())).collect();
    versions.sort_by_key(|version| number(version));
    assert!(!versions.is_empty(), "no schema in {}", data.display());
    versions
}

/// A chart that is nothing but schema and defaults: the real Helm validates as it would install.
fn schema_chart(data: &Path, version: &str, folder: &Path) -> PathBuf {
    let chart = folder.join(format!("vcluster-{version}"));
    std::fs::create_dir_all(chart.join("templates")).expect("a folder can be made");
    let schema = data.join(format!("values.schema.v{version}.json"));
    std::fs::copy(&schema, chart.join("values.schema.json"))
        .unwrap_or_else(|error| panic!("{}: {error}", schema.display()));
    // Not every version's defaults are there; the schema asks for none of them.
    let defaults = std::fs::read_to_string(data.join(format!("values.chart.v{version}.yaml"))).unwrap_or_default();
    std::fs::write(chart.join("values.yaml"), defaults).expect("writable");
    let about = format!("apiVersion: v2\nname: vcluster\nversion: {version}\n");
    std::fs::write(chart.join("Chart.yaml"), about).expect("writable");
    chart
}

/// The schema takes the values, and does look: it refuses a key that it does not know.
fn the_schema_accepts(story: &str, release: &Value, chart: &Path, values: &Path) {
    let _ = template(release, chart, values);
    let mut wrong = cluster::helm();
    wrong.args(["template", "x"]).arg(chart).arg("--values").arg(values).args(["--set", "no.such=1"]);
    assert!(run(&mut wrong, "").code != 0, "{story}: the schema refuses nothing");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_vcluster_charts_own_schema_accepts_the_values() {
    let Some(data) = tools::contracts("vcluster") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for (example, release, values) in values_of("vcluster", folder.path()) {
        let version = number(yaml::str_at(&release, "/spec/forProvider/chart/version"));
        if version < number("0.20.0") {
            eprintln!("{example}: charts below 0.20 have no schema");
            continue;
        }
        let nearest = versions_with_a_schema(&data).into_iter().min_by_key(|known| number(known).abs_diff(version));
        let chart = schema_chart(&data, &nearest.expect("one at least"), folder.path());
        the_schema_accepts(&example, &release, &chart, &values);
    }
}

/// Everything else an order can bring into the values.
const MORE_ORDERED: &str = "  kubernetesVersion: \"1.33\"
  access: {host: shop.team-a.k8s.example.org}
  values: {sync: {toHost: {ingresses: {enabled: true}}}}
";
const MORE_OFFERED: &str = "        kubernetesVersions:
          \"1.33\": {k8s: v1.33.4, k3s: v1.33.4-k3s1}
        valuePaths: [sync.toHost]
        limits:
          hostSuffixes: [\".{owner}.k8s.example.org\"]
";
const MORE_DEFAULTS: &str = "        defaults:
          values:
            controlPlane: {statefulSet: {image: {repository: loft-sh/vcluster-oss}}}
            policies: {networkPolicy: {enabled: true}}
            sync: {fromHost: {ingressClasses: {enabled: true}}}
";

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn every_familys_own_schema_accepts_its_values() {
    let Some(data) = tools::contracts("vcluster") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let example = examples::Example::named("claim-v1");
    let (xr, composition) = (example.text("xr.yaml"), example.text("composition.yaml"));
    for version in versions_with_a_schema(&data) {
        let chart = schema_chart(&data, &version, folder.path());
        let composition = composition.replace("version: 0.36.1", &format!("version: {version}"));
        for distro in ["k8s", "k3s"] {
            for (backup, more) in [("true", false), ("false", false), ("true", true)] {
                let order = if more { MORE_ORDERED } else { "" };
                let spec = format!("\nspec:\n  distro: {distro}\n  deletionPolicy: Delete\n{order}");
                let xr = xr
                    .replace("\nspec:\n", &spec)
                    .replace("  backup:\n", &format!("  backup:\n    enabled: {backup}\n"));
                let composition = match more {
                    true => composition
                        .replace("          mode: chart\n", "          mode: operator\n")
                        .replace("        limits:\n", MORE_OFFERED)
                        .replace("        defaults:\n", MORE_DEFAULTS),
                    false => composition.clone(),
                };
                let story = format!("{version}, {distro}, backup {backup}, more {more}");
                let rendered = function_vcluster::offline::render_files(&xr, &composition, None, None);
                if distro == "k3s" && number(&version) >= number("0.33.0") {
                    // What the function refuses, the schema would refuse as well.
                    assert!(rendered.is_err(), "{story}: k3s is gone");
                    continue;
                }
                let rendered = rendered.unwrap_or_else(|error| panic!("{story}: {error}"));
                let release = yaml::composed(&rendered, "vcluster");
                let values = folder.path().join("values.json");
                std::fs::write(&values, release["spec"]["forProvider"]["values"].to_string()).expect("writable");
                the_schema_accepts(&story, release, &chart, &values);
            }
        }
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn our_charts_with_the_rendered_values_pass_lint_and_a_strict_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    for name in ["s3-register", "rancher-cluster"] {
        let chart = tools::repository().join("package/charts").join(name);
        let about = yaml::documents(&std::fs::read_to_string(chart.join("Chart.yaml")).expect("readable")).remove(0);
        for (example, release, values) in values_of(name, folder.path()) {
            assert_eq!(
                release["spec"]["forProvider"]["chart"]["version"], about["version"],
                "{example}: the chart here"
            );
            let _ = helm(&["lint", "--strict", &chart.display().to_string()], &values);
            let manifest = template(&release, &chart, &values);
            make_namespaces(&cluster, &yaml::documents(&manifest));
            let said = cluster.accepts(&manifest);
            assert_eq!(said.code, 0, "{example}: {}", said.all());
        }
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn chart_backup_keys_copies_what_is_rendered_once_the_sources_are_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path());
    let chart = tools::repository().join("package/charts/backup-keys");
    let about = yaml::documents(&std::fs::read_to_string(chart.join("Chart.yaml")).expect("readable")).remove(0);
    for (example, release, values) in values_of("backup-keys", folder.path()) {
        assert_eq!(release["spec"]["forProvider"]["chart"]["version"], about["version"], "{example}: the chart here");
        let _ = helm(&["lint", "--strict", &chart.display().to_string()], &values);
        let (given, home) =
            (&release["spec"]["forProvider"]["values"], yaml::str_at(&release, "/spec/forProvider/namespace"));
        for namespace in [home, yaml::str_at(given, "/hostNamespace")] {
            cluster.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace:?}}}}}"));
        }
        for what in ["identity", "passphrase", "credentials"] {
            if let Some(name) = given[what]["secret"].as_str() {
                let place = format!("{{name: {name:?}, namespace: {home:?}}}");
                let data = "{identity: x, passphrase: x, s3accesskey: x, s3secretkey: x}";
                cluster.apply(&format!("{{apiVersion: v1, kind: Secret, metadata: {place}, stringData: {data}}}"));
            }
        }
        let (chart, values) = (chart.display().to_string(), values.display().to_string());
        let name = format!("{example}-keys");
        let install = ["install", &name, &chart, "--namespace", home, "--values", &values, "--dry-run=server"];
        let manifest = cluster.helm(&install).ok();
        assert!(manifest.contains("kind: Secret"), "{example}: {manifest}");
    }
}
