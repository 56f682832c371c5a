//! The real vcluster charts of every family, with the values the function renders for them: Helm takes them, the chart's
//! own schema with it, a strict API server takes the manifest, and then takes each next version as an upgrade of the last.
//!
//! `VCLUSTER_CHARTS` names a folder with one unpacked chart per version, each in a folder of that name: `0.36.1/Chart.yaml`.

use std::path::{Path, PathBuf};

use e2e::charts::{make_namespaces, template, write_values};
use e2e::cluster::{self, Cluster};
use e2e::process::run;
use e2e::{examples, yaml};
use function_vcluster::offline;
use serde_json::{Value, json};

/// A real chart.
struct Chart {
    version: String,
    /// The middle number of its version.
    line: u64,
    folder: PathBuf,
}

impl Chart {
    fn distros(&self) -> &'static [&'static str] {
        match self.line {
            ..20 => &["k3s"],
            20..33 => &["k8s", "k3s"],
            33.. => &["k8s"],
        }
    }
}

/// Every chart there is, oldest first; none: the story says that it is skipped.
fn charts() -> Vec<Chart> {
    let Some(top) = std::env::var_os("VCLUSTER_CHARTS").map(PathBuf::from) else {
        eprintln!("SKIPPED: VCLUSTER_CHARTS names no folder of real vcluster charts");
        return Vec::new();
    };
    let entries = std::fs::read_dir(&top).unwrap_or_else(|error| panic!("{}: {error}", top.display()));
    let folders = entries.map(|entry| entry.expect("readable").path());
    let mut charts: Vec<(Vec<u64>, Chart)> = folders
        .filter(|folder| folder.join("Chart.yaml").exists())
        .map(|folder| {
            let version = folder.file_name().expect("a name").to_string_lossy().into_owned();
            let numbers: Vec<u64> = version.split('.').map(|part| part.parse().expect("0.<line>.<patch>")).collect();
            (numbers.clone(), Chart { version, line: numbers[1], folder })
        })
        .collect();
    charts.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(!charts.is_empty(), "no Chart.yaml one folder below {}", top.display());
    charts.into_iter().map(|(_, chart)| chart).collect()
}

/// An order of `examples/claim-v1`, to be changed, and what is there of it.
#[derive(Clone)]
struct Order {
    xr: Value,
    composition: Value,
    observed: Vec<Value>,
}

impl Order {
    fn new(allowed: &[Chart]) -> Self {
        let example = examples::Example::named("claim-v1");
        let one = |file: &str| yaml::documents(&example.text(file)).remove(0);
        let mut order = Self { xr: one("xr.yaml"), composition: one("composition.yaml"), observed: Vec::new() };
        let versions: Vec<&str> = allowed.iter().map(|chart| chart.version.as_str()).collect();
        order.input()["charts"]["vcluster"]["allowed"] = json!(versions);
        order
    }

    fn of(allowed: &[Chart], version: &str, distro: &str) -> Self {
        let mut order = Self::new(allowed);
        order.xr["spec"]["chartVersion"] = json!(version);
        order.xr["spec"]["distro"] = json!(distro);
        order
    }

    /// The Platform.
    fn input(&mut self) -> &mut Value {
        &mut self.composition["spec"]["pipeline"][0]["input"]
    }

    /// The vcluster's Release.
    fn release(&self) -> Value {
        let observed = yaml::text(&self.observed);
        let observed = Some(observed.as_str()).filter(|text| !text.is_empty());
        let (xr, composition) = (self.xr.to_string(), self.composition.to_string());
        let rendered = offline::render_files(&xr, &composition, observed, None);
        let rendered = rendered.unwrap_or_else(|error| panic!("{}: {}", self.xr["spec"], error.chain()));
        yaml::composed(&rendered, "vcluster").clone()
    }

    /// Lets provider-helm have done what was asked.
    fn done(&mut self, mut release: Value) {
        release["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        self.observed = vec![release];
    }
}

/// What can be ordered of every chart, one after another; told is the chart's line.
type Variant = (&'static str, fn(&mut Order, u64));
const VARIANTS: [Variant; 8] = [
    ("as it is", |_, _| ()),
    ("without backup", |order, _| order.xr["spec"]["backup"]["enabled"] = json!(false)),
    ("with a volume of its own", |order, _| {
        order.xr["spec"]["storage"] = json!({ "size": "9Gi", "className": "fast" });
        order.xr["spec"]["deletionPolicy"] = json!("Delete");
    }),
    ("large", |order, _| order.xr["spec"]["size"] = json!("large")),
    ("from a mirror", |order, _| {
        order.input()["images"] = json!({
            "registry": "registry.example.org/mirror",
            "sidecar": "registry.example.org/mirror/vcluster-backup:0.1.0",
        });
    }),
    ("under a host", |order, _| {
        order.input()["limits"]["hostSuffixes"] = json!([".{owner}.k8s.example.org"]);
        order.xr["spec"]["access"] = json!({ "host": "shop.team-a.k8s.example.org" });
    }),
    ("of a Kubernetes version", |order, _| {
        order.input()["kubernetesVersions"] = json!({ "1.33": { "k8s": "v1.33.4", "k3s": "v1.33.4-k3s1" } });
        order.xr["spec"]["kubernetesVersion"] = json!("1.33");
    }),
    ("with values", |order, line| {
        let (path, values) = match line {
            ..20 => ("sync.ingresses", json!({ "sync": { "ingresses": { "enabled": true } } })),
            20.. => ("sync.toHost.ingresses", json!({ "sync": { "toHost": { "ingresses": { "enabled": true } } } })),
        };
        order.input()["valuePaths"] = json!([path]);
        order.xr["spec"]["values"] = values;
    }),
];

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn every_real_chart_renders_what_a_strict_server_accepts() {
    let charts = charts();
    if charts.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&folder.path().join("host"), &folder.path().join("host-data"));
    for chart in &charts {
        for distro in chart.distros() {
            for (variant, change) in VARIANTS {
                let story = format!("{}, {distro}, {variant}", chart.version);
                let mut order = Order::of(&charts, &chart.version, distro);
                change(&mut order, chart.line);
                let release = order.release();
                let values = write_values(&release, &folder.path().join("values.json"));
                let manifest = template(&release, &chart.folder, &values);
                let documents = yaml::documents(&manifest);
                make_namespaces(&cluster, &documents);
                let said = cluster.accepts(&manifest);
                assert_eq!(said.code, 0, "{story}: {}", said.all());
                let backup = order.xr["spec"]["backup"]["enabled"] != json!(false);
                the_pod_is_whole(&story, &documents, backup);
                eprintln!("{story}: accepted");
            }
        }
        if chart.line >= 20 {
            the_schema_looks(&charts, chart, folder.path());
        }
    }
}

/// A key of no chart is refused, so what was accepted was looked at.
fn the_schema_looks(charts: &[Chart], chart: &Chart, folder: &Path) {
    let mut release = Order::of(charts, &chart.version, "k8s").release();
    release["spec"]["forProvider"]["values"]["noSuchKey"] = json!(1);
    let values = write_values(&release, &folder.join("values.json"));
    let mut helm = cluster::helm();
    let said = run(helm.args(["template", "x"]).arg(&chart.folder).arg("--values").arg(values), "");
    assert!(said.code != 0 && said.all().contains("noSuchKey"), "{}: {}", chart.version, said.all());
}

/// The sidecar and the restore init container are in the pod when they are ordered, with every volume they mount and the
/// user that owns the database.
fn the_pod_is_whole(story: &str, documents: &[Value], backup: bool) {
    let set = documents.iter().find(|document| document["kind"] == "StatefulSet");
    let set = set.unwrap_or_else(|| panic!("{story}: no StatefulSet"));
    let pod = &set["spec"]["template"]["spec"];
    let list = |at: &Value| at.as_array().cloned().unwrap_or_default();
    let (containers, inits) = (list(&pod["containers"]), list(&pod["initContainers"]));
    let named = |containers: &[Value], name: &str| containers.iter().find(|one| one["name"] == name).cloned();
    let ours = [named(&containers, "backup"), named(&inits, "backup-restore")];
    assert_eq!(ours.each_ref().map(Option::is_some), [backup; 2], "{story}: sidecar and restore");
    // A claim template is a volume by the same name.
    let claims = list(&set["spec"]["volumeClaimTemplates"]);
    let claims: Vec<&Value> = claims.iter().map(|claim| &claim["metadata"]["name"]).collect();
    let volumes = list(&pod["volumes"]);
    let known = |name: &Value| claims.contains(&name) || volumes.iter().any(|volume| &volume["name"] == name);
    for container in containers.iter().chain(&inits) {
        for mount in list(&container["volumeMounts"]) {
            assert!(known(&mount["name"]), "{story}: no volume {}", mount["name"]);
        }
    }
    assert!(claims.contains(&&json!("data")), "{story}: the database lies in a claimed volume");
    for container in ours.into_iter().flatten() {
        let mounts = list(&container["volumeMounts"]);
        assert!(mounts.iter().any(|mount| mount["name"] == "data" && mount["mountPath"] == "/data"), "{story}");
        assert_eq!(container["securityContext"]["runAsUser"], 0, "{story}");
        let image = container["image"].as_str().unwrap_or_default();
        assert!(
            ["registry.example.org/", "registry.example.org/mirror/"]
                .map(|registry| format!("{registry}vcluster-backup:0.1.0"))
                .contains(&image.to_owned()),
            "{story}: {image}"
        );
    }
}

/// A StatefulSet refuses most changes of what it was made with, so one life through all the charts is the proof.
#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_vcluster_lives_through_every_real_chart() {
    let charts = charts();
    if charts.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&folder.path().join("host"), &folder.path().join("host-data"));
    let first = &charts[0];
    let mut order = Order::of(&charts, &first.version, first.distros().last().expect("a distro"));
    let mut steps = 0;
    for (chart, next) in charts.iter().zip(charts.iter().skip(1).map(Some).chain([None])) {
        order.xr["spec"]["chartVersion"] = json!(chart.version);
        upgrade(&cluster, folder.path(), chart, &mut order);
        steps += 1;
        let ends = next.is_none_or(|next| next.line >= 33);
        if order.xr["spec"]["distro"] == "k3s" && chart.line < 33 && ends {
            assert!(chart.line >= 25, "the step from k3s to k8s needs a chart of 0.25 to 0.32");
            order.xr["spec"]["distro"] = json!("k8s");
            upgrade(&cluster, folder.path(), chart, &mut order);
            steps += 1;
        }
    }
    let release = order.release();
    let name = yaml::helm_name(&release);
    let set =
        cluster.object("statefulset", yaml::str_at(&release, "/spec/forProvider/namespace"), name).expect("there");
    let last = charts.last().expect("one at least");
    assert!(set.to_string().contains(&last.version), "{} is what runs: {set}", last.version);
    eprintln!("{steps} upgrades, each accepted");
}

fn upgrade(cluster: &Cluster, folder: &Path, chart: &Chart, order: &mut Order) {
    let release = order.release();
    let (name, namespace) = (yaml::helm_name(&release), yaml::str_at(&release, "/spec/forProvider/namespace"));
    let values = write_values(&release, &folder.join("values.json")).display().to_string();
    let source = chart.folder.display().to_string();
    let arguments = ["upgrade", "--install", name, &source, "--namespace", namespace, "--create-namespace"];
    let said = cluster.helm(&[&arguments[..], &["--values", &values]].concat());
    assert_eq!(said.code, 0, "{} {}: {}", chart.version, order.xr["spec"]["distro"], said.all());
    eprintln!("{} {}: upgraded", chart.version, order.xr["spec"]["distro"]);
    order.done(release);
}
