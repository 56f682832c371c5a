//! The way out, a straight line: `capture` copies into the spool, `lineage` puts the data object and then its manifest.
//! `restore.rs` is the same line read upwards.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::{
    capture,
    catalog::{Catalog, Trust},
    config::Config,
    error::Error,
    lineage::Lineage,
    lock::Lock,
    manifest::{Manifest, Signed},
    signing::Signer,
    sqlite::{self, Live},
    store::Store,
};

/// The program and version that manifests name.
pub const TOOL: &str = concat!("vcluster-backup ", env!("CARGO_PKG_VERSION"));

/// Whose database it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The vcluster's one name.
    pub key: String,
    /// Its Helm release, whose name its Service and Secrets bear.
    pub release: String,
    /// The XR's uid.
    pub uid: String,
    /// The host namespace; empty outside a cluster.
    pub namespace: String,
}

impl Cluster {
    /// Whether a backup is of this cluster: by the XR's uid, which no later life shares; outside Crossplane by name.
    #[must_use]
    pub fn owns(&self, manifest: &Manifest) -> bool {
        match (self.uid.is_empty(), self.key.is_empty()) {
            (false, _) => manifest.uid == self.uid,
            (true, false) => manifest.cluster == self.key,
            (true, true) => true,
        }
    }
}

/// Where a capture reads and writes.
#[derive(Clone, Debug)]
pub struct Place {
    /// The vcluster's data directory.
    pub data_dir: PathBuf,
    /// A folder for ciphertext; never the data directory's volume.
    pub spool_dir: PathBuf,
}

/// One backup of a database that nobody here has open: of what has changed since the last, if that can be told.
///
/// # Errors
/// There is no key or database, another of these programs is at work, or the store fails.
pub async fn once(
    config: &Config,
    catalog: &Catalog,
    trust: &Trust,
    store: &Store,
    place: &Place,
) -> Result<Signed, Error> {
    let recipients = config.recipients.clone().ok_or(Error::NoKey)?;
    let (path, layout) = sqlite::find(&place.data_dir)?.ok_or_else(|| Error::no_database(&place.data_dir))?;
    let _alone = Lock::take(&place.data_dir)?;
    let mut live = Live::open(&path)?;
    let signer = Signer::load_or_make(&place.data_dir)?;
    let now = Timestamp::now();
    let lineage = Lineage::begin(catalog, trust, &config.cluster, &recipients, &place.data_dir, now)?;
    let folders = place.clone();
    let (mut captured, mut lineage) = crate::blocking(move || {
        let captured = capture::capture(&mut live, layout, &lineage, &folders, Timestamp::now())?;
        Ok((captured, lineage))
    })
    .await?;
    lineage.commit(store, &signer, &config.cluster, &mut captured, &place.data_dir).await
}
