//! What the function makes of the claim, and the few things the demo puts in place of a cluster's.

use std::path::Path;

use serde_json::Value;
use vcluster_proto::settings::{FILE_NAME, Settings, Store};

use crate::Failure;

const XR: &str = include_str!("../../../../examples/claim-v1/xr.yaml");
const COMPOSITION: &str = include_str!("../../../../examples/claim-v1/composition.yaml");

/// The rendered order.
pub(crate) struct Order {
    pub(crate) claim: String,
    pub(crate) releases: Vec<String>,
    /// Arguments of the rendered sidecar container.
    pub(crate) sidecar: Vec<String>,
    /// Arguments of the rendered init container.
    pub(crate) init: Vec<String>,
    settings: Settings,
}

impl Order {
    /// Renders the embedded example.
    pub(crate) fn render() -> Result<Self, Failure> {
        let documents = function_vcluster::offline::render_files(XR, COMPOSITION, None, None)?;
        let release = |name: &str| {
            let is = |d: &&Value| {
                d.pointer("/metadata/annotations/crossplane.io~1composition-resource-name") == Some(&name.into())
            };
            documents.iter().find(is).ok_or(format!("no Release {name} was rendered"))
        };
        let (vcluster, s3) = (release("vcluster")?, release("s3")?);
        let settings = text(s3, "/spec/forProvider/values/settings")?;
        let stateful_set = "/spec/forProvider/values/controlPlane/statefulSet";
        Ok(Self {
            claim: claim(&documents)?,
            releases: [s3, vcluster].into_iter().map(describe).collect::<Result<_, _>>()?,
            sidecar: arguments(vcluster, &format!("{stateful_set}/sidecarContainers/0/args"))?,
            init: arguments(vcluster, &format!("{stateful_set}/initContainers/0/args"))?,
            settings: Settings::from_yaml(&settings)?,
        })
    }

    /// The config folder as the pod would mount it: the rendered settings, with the demo's store and recipient.
    pub(crate) fn write_config(&self, config: &Path, store: &Path, recipient: &str) -> Result<(), Failure> {
        let mut settings = self.settings.clone();
        settings.store = Store { url: format!("file://{}", store.display()), ..Store::default() };
        settings.backup.recipients = vec![recipient.to_owned()];
        std::fs::create_dir_all(config.join("settings"))?;
        std::fs::write(config.join("settings").join(FILE_NAME), settings.to_yaml()?)?;
        Ok(())
    }

    /// A container's arguments with the demo's folders in place of the pod's.
    pub(crate) fn arguments(&self, rendered: &[String], folder: &Path) -> Result<Vec<String>, Failure> {
        let places = [("/etc/vcluster-backup", "config"), ("/data", "data"), ("/var/spool/vcluster-backup", "spool")];
        std::fs::create_dir_all(folder.join("spool"))?;
        let place = |argument: &String| {
            let found = places.iter().find(|(pod, _)| pod == argument);
            found.map_or_else(|| argument.clone(), |(_, here)| folder.join(here).display().to_string())
        };
        Ok(rendered.iter().map(place).collect())
    }

    /// What the demo puts in place of a cluster's things.
    pub(crate) fn substitutions(&self) -> Vec<String> {
        vec![
            format!("{} is a folder", self.settings.store.url),
            "/data, /etc/vcluster-backup and /var/spool/vcluster-backup are folders, too".into(),
        ]
    }
}

/// How many objects there are, and that none of them can be read.
pub(crate) fn describe_store(store: &Path) -> Result<String, Failure> {
    let (mut objects, mut bytes, mut open) = (0, 0, 0);
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = std::fs::read(&path)?;
            objects += 1;
            bytes += content.len();
            let holds = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
            open += usize::from(holds(crate::tenant::TELLTALE) || holds(b"SQLite format 3"));
        }
    }
    match open {
        0 => Ok(format!("{objects} objects, {} KiB, none of them shows a row", bytes / 1024)),
        _ => Err(format!("{open} of {objects} objects in the store are not sealed").into()),
    }
}

fn claim(documents: &[Value]) -> Result<String, Failure> {
    let xr = documents.first().ok_or("nothing was rendered")?;
    let (kind, name) = (text(xr, "/kind")?, text(xr, "/metadata/name")?);
    let (key, namespace) = (text(xr, "/status/vcluster/key")?, text(xr, "/status/vcluster/namespace")?);
    Ok(format!("{kind} {name} -> everything is named {key}, in namespace {namespace}"))
}

fn describe(release: &Value) -> Result<String, Failure> {
    let (chart, version) =
        (text(release, "/spec/forProvider/chart/name")?, text(release, "/spec/forProvider/chart/version")?);
    Ok(format!("{}  (chart {chart} {version})", text(release, "/metadata/name")?))
}

fn arguments(release: &Value, pointer: &str) -> Result<Vec<String>, Failure> {
    let list = release.pointer(pointer).and_then(Value::as_array).ok_or(format!("{pointer} was not rendered"))?;
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn text(document: &Value, pointer: &str) -> Result<String, Failure> {
    let found = document.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or(format!("{pointer} was not rendered"))?.to_owned())
}
