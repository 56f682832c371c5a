//! The way out, a straight line: one read transaction, straight through zstd and age into an unlinked spool file, then
//! the data object, then its manifest. `restore.rs` is the same line read upwards.
//!
//! No network inside the transaction, no plaintext on disk, memory that does not grow with the database.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use age::x25519;
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use crate::{
    catalog::{Catalog, Trust},
    config::Config,
    error::Error,
    keys::{self, GenerationKey, Recipients},
    lock::Lock,
    manifest::{self, Data, FORMAT, Head, Kind, Layout, Manifest, Signed},
    payload,
    requests::Ledger,
    seal::{Digest, Sealer},
    signing::Signer,
    sqlite::{self, Live},
    store::{self, Store},
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

/// A sealed copy that is not in the store yet.
pub struct Captured {
    spool: File,
    digest: Digest,
    time: Timestamp,
    layout: Layout,
    root: String,
    page_size: u32,
    page_count: u32,
    revision: i64,
    restored_from: Option<String>,
    requests: Vec<manifest::Request>,
    /// What was copied; equal marks mean that nothing has changed since.
    pub mark: Mark,
}

/// Tells whether anything has changed since a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    version: i64,
    pki: Vec<u8>,
}

impl Mark {
    /// The mark of the present state; equal to a capture's if that capture is still everything there is.
    ///
    /// # Errors
    /// The database or PKI cannot be read.
    pub fn now(live: &Live, data_dir: &Path, layout: Layout) -> Result<Self, Error> {
        Ok(Self { version: live.version()?, pki: payload::fingerprint(&payload::read_pki(data_dir, layout)?) })
    }
}

/// Copies everything into the spool, sealed.
///
/// # Errors
/// The database cannot be read within its time, or the spool is full.
pub fn capture(
    live: &mut Live,
    layout: Layout,
    recipients: &[x25519::Recipient],
    place: &Place,
) -> Result<Captured, Error> {
    let spool_failed =
        |source| Error::File { action: "write the sealed copy in", path: place.spool_dir.clone(), source };
    let pki = payload::read_pki(&place.data_dir, layout)?;
    let mut sealer = Sealer::new(recipients, store::spool(&place.spool_dir)?).map_err(spool_failed)?;
    let time = Timestamp::now();
    let snapshot = live.snapshot()?;
    if snapshot.page_count == 0 {
        return Err(Error::NoDatabase { data_dir: place.data_dir.clone(), tried: vec![layout.database().into()] });
    }
    let modified = u64::try_from(time.as_second()).unwrap_or(0);
    let ((), root) = snapshot.read_pages(|database| {
        payload::write_full(&mut sealer, &pki, layout, database, snapshot.size(), modified).map_err(spool_failed)
    })?;
    let (page_size, page_count, revision) = (snapshot.page_size, snapshot.page_count, snapshot.revision);
    let mark = Mark { version: snapshot.version, pki: payload::fingerprint(&pki) };
    let restored_from = snapshot.restored_from.clone();
    let requests = Ledger::load(&place.data_dir)?.to_manifest();
    // The writers wait no longer; the rest of the sealing is ours alone.
    drop(snapshot);
    let (mut spool, digest) = sealer.finish().map_err(spool_failed)?;
    spool.flush().map_err(spool_failed)?;
    Ok(Captured { spool, digest, time, layout, root, page_size, page_count, revision, restored_from, requests, mark })
}

/// One writer's chain of backups. Each start opens its own, so two writers never write one name.
pub struct Lineage {
    generation: String,
    sequence: u64,
    previous: Option<String>,
    supersedes: Vec<Head>,
    /// Only with a passphrase.
    key: Option<GenerationKey>,
    key_is_stored: bool,
    recipients: Vec<x25519::Recipient>,
    fingerprint: String,
}

impl Lineage {
    /// Begins a generation that follows every end a reader may see ([`Catalog::ends`]): of all manifests, of those he
    /// trusts, of those of this cluster. A planted manifest that follows ours must not hide ours from the next of ours.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn begin(
        catalog: &Catalog,
        trust: &Trust,
        cluster: &Cluster,
        recipients: &Recipients,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let trusted = catalog.filter(|e| trust.covers(&e.signer));
        let own = trusted.filter(|e| cluster.owns(&e.manifest));
        let heads: BTreeSet<Head> =
            [catalog, &trusted, &own].iter().flat_map(|view| view.ends()).map(Signed::as_head).collect();
        let (key, list) = match recipients {
            Recipients::Keys(list) => (None, list.clone()),
            Recipients::Passphrase(passphrase) => {
                let key = keys::make_generation_key(passphrase)?;
                let recipient = key.recipient.clone();
                (Some(key), vec![recipient])
            }
        };
        Ok(Self {
            generation: generation(now)?,
            sequence: 0,
            previous: None,
            supersedes: heads.into_iter().collect(),
            key,
            key_is_stored: false,
            recipients: list,
            fingerprint: recipients.fingerprint(),
        })
    }

    /// Whom this generation seals for.
    #[must_use]
    pub fn recipients(&self) -> &[x25519::Recipient] {
        &self.recipients
    }

    /// Whether these recipients are the ones this generation seals for; if not, a new one begins.
    #[must_use]
    pub fn seals_for(&self, recipients: &Recipients) -> bool {
        self.fingerprint == recipients.fingerprint()
    }

    /// Its name.
    #[must_use]
    pub fn generation(&self) -> &str {
        &self.generation
    }

    /// Puts the data, then the manifest; the manifest is the commit.
    ///
    /// # Errors
    /// The store fails. Whether the manifest got through is then unknown: go on with a new lineage, which follows
    /// whatever is there.
    pub async fn commit(
        &mut self,
        store: &Store,
        signer: &Signer,
        cluster: &Cluster,
        captured: &mut Captured,
    ) -> Result<Signed, Error> {
        let sequence = self.sequence + 1;
        let stem = manifest::stem(Kind::Full, &self.generation, sequence);
        let data_key = format!("{stem}.tar.zst.age");
        store.put_file(&data_key, &mut captured.spool, captured.digest.size).await?;
        let identity = self.store_key(store).await?;
        let manifest = Manifest {
            changed: None,
            cluster: cluster.key.clone(),
            data: Data { key: data_key, sha256: captured.digest.sha256.clone(), size: captured.digest.size },
            format: FORMAT,
            generation: self.generation.clone(),
            identity,
            kind: Kind::Full,
            layout: captured.layout,
            page_count: captured.page_count,
            page_size: captured.page_size,
            parent: None,
            previous: self.previous.clone(),
            requests: captured.requests.clone(),
            restored_from: captured.restored_from.clone(),
            revision: captured.revision,
            root: captured.root.clone(),
            sequence,
            supersedes: self.supersedes.clone(),
            time: captured.time,
            tool: TOOL.to_owned(),
            uid: cluster.uid.clone(),
        };
        let signed = put_manifest(store, &manifest, &manifest.sign(signer)?).await?;
        self.sequence = sequence;
        self.previous = Some(signed.digest.clone());
        Ok(signed)
    }

    async fn store_key(&mut self, store: &Store) -> Result<Option<String>, Error> {
        let Some(key) = &self.key else { return Ok(None) };
        let object = format!("v1/full/{}/identity.age", self.generation);
        if !self.key_is_stored {
            store.put_new(&object, key.sealed.clone().into()).await?;
            self.key_is_stored = true;
        }
        Ok(Some(object))
    }
}

/// One backup of a database that nobody here has open, as a chain of its own.
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
    let mut lineage = Lineage::begin(catalog, trust, &config.cluster, &recipients, Timestamp::now())?;
    let (list, place) = (lineage.recipients().to_vec(), place.clone());
    let mut captured = crate::blocking(move || capture(&mut live, layout, &list, &place)).await?;
    lineage.commit(store, &signer, &config.cluster, &mut captured).await
}

/// Puts the manifest; after any failure it is read back, since the answer may have been lost and not the object.
async fn put_manifest(store: &Store, manifest: &Manifest, bytes: &[u8]) -> Result<Signed, Error> {
    let key = manifest.key();
    if let Err(error) = store.put_new(&key, bytes.to_vec().into()).await {
        match store.get_small(&key).await {
            Ok(there) if there == bytes => {}
            Ok(_) => return Err(Error::TwoWriters { store: store.url().to_owned(), heads: manifest.id() }),
            Err(_) => return Err(error),
        }
    }
    manifest::verify(bytes, &key)
}

/// Start time for people, 80 random bits for uniqueness.
fn generation(now: Timestamp) -> Result<String, Error> {
    let mut random = [0; 10];
    SystemRandom::new().fill(&mut random).map_err(|_| Error::Usage("the system has no random numbers".into()))?;
    Ok(format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), BASE32_NOPAD.encode(&random).to_ascii_lowercase()))
}
