//! The status document: read at start, written after every try.
//!
//! In the pod it is ConfigMap `<key>-backup-status`, made by chart s3-register and kept for ever; written through the
//! API server, since its mount cannot be written. Elsewhere it is a file.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::OnceCell;
use vcluster_proto::status::{FILE_NAME, Status};

use crate::error::Error;

/// A status must never hold up a backup, nor the way out after a signal.
pub(crate) const API_PATIENCE: Duration = Duration::from_secs(2);

/// One client for the life of the program; it reads a rotated token by itself.
static CLIENT: OnceCell<Client> = OnceCell::const_new();

/// The ConfigMap of a pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InCluster {
    /// The host namespace.
    pub namespace: String,
    /// `<key>-backup-status`.
    pub name: String,
}

/// Where the status document is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    file: Option<PathBuf>,
    cluster: Option<InCluster>,
}

impl Report {
    /// A report into a ConfigMap, else into a file, else nowhere. Of a ConfigMap the file is the mount.
    #[must_use]
    pub fn new(file: Option<PathBuf>, cluster: Option<InCluster>) -> Self {
        Self { file, cluster }
    }

    /// Whether it is a ConfigMap.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// The document as it stands; one that is absent or empty tells nothing. When the API server does not answer, the
    /// mount is as good as a minute ago.
    ///
    /// # Errors
    /// It is there and cannot be understood: then nobody may write over it, since it holds the trusted keys.
    pub async fn read(&self) -> Result<Option<Status>, Error> {
        let text = match &self.cluster {
            Some(cluster) => fetch(cluster).await.unwrap_or_else(|error| {
                tracing::warn!("{}; its mount is read instead", error.chain());
                self.read_file()
            }),
            None => self.read_file(),
        };
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        let refused = |e| Error::Usage(format!("{e}; mend or empty {}", self.place()));
        Status::from_yaml(&text).map(Some).map_err(refused)
    }

    /// Writes the document whole: readers see the old one or the new one.
    ///
    /// # Errors
    /// There is no place for it, or it cannot be written.
    pub async fn write(&self, status: &Status) -> Result<(), Error> {
        let yaml = status.to_yaml().map_err(|e| Error::Usage(e.to_string()))?;
        match (&self.cluster, &self.file) {
            (Some(cluster), _) => patch(cluster, &yaml).await,
            (None, Some(path)) => {
                replace(path, yaml.as_bytes()).map_err(Error::file("write the status document", path))
            }
            (None, None) => Err(Error::Usage(
                "cannot write the status document: name a file by --status-file, or a folder by --config-dir".into(),
            )),
        }
    }

    fn place(&self) -> String {
        match (&self.cluster, &self.file) {
            (Some(cluster), _) => format!("ConfigMap {}/{}", cluster.namespace, cluster.name),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => "it".into(),
        }
    }

    fn read_file(&self) -> Option<String> {
        std::fs::read_to_string(self.file.as_ref()?).ok()
    }
}

async fn fetch(cluster: &InCluster) -> Result<Option<String>, Error> {
    let found = ask("read", cluster, async |api, name| api.get_opt(name).await).await?;
    Ok(found.and_then(|map| map.data).and_then(|mut data| data.remove(FILE_NAME)))
}

async fn patch(cluster: &InCluster, yaml: &str) -> Result<(), Error> {
    let body = json!({ "data": { FILE_NAME: yaml } });
    let parameters = PatchParams::default();
    ask("write", cluster, async |api, name| api.patch(name, &parameters, &Patch::Merge(&body)).await).await.map(drop)
}

/// The one client of this program.
pub(crate) async fn client() -> kube::Result<&'static Client> {
    CLIENT.get_or_try_init(Client::try_default).await
}

/// One call, bounded, its failure in our words.
async fn ask<T>(
    action: &'static str,
    cluster: &InCluster,
    call: impl AsyncFnOnce(Api<ConfigMap>, &str) -> kube::Result<T>,
) -> Result<T, Error> {
    let failed = |source: Option<kube::Error>| Error::Status {
        action,
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
        source: source.map(Box::new),
    };
    let work = async {
        let client = client().await?;
        call(Api::namespaced(client.clone(), &cluster.namespace), &cluster.name).await
    };
    match tokio::time::timeout(API_PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(|e| failed(Some(e))),
        Err(_) => Err(failed(None)),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    // Temporary files are 0600; a status holds no secret and others may read it.
    file.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}
