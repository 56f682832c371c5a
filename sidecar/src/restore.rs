//! The way back: the line of `backup.rs` read upwards. Everything is checked before anything is replaced: signature and
//! chain (in `catalog`), size and digest of the ciphertext, the key, the root of the pages, SQLite's own integrity
//! check, and only then one rename.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use futures::{StreamExt, TryStreamExt};

use crate::{
    changes::{self, Restored},
    error::Error,
    install::{self, Cancel, Work},
    keys::{self, Identities},
    kine::{Marker, Recipe},
    lock::Lock,
    manifest::{Layout, Manifest, Signed},
    payload::{self, PkiFile},
    requests::Ledger,
    seal, sqlite,
    store::{self, Store},
};

/// An age header of a hundred recipients is shorter.
const HEADER_BYTES: u64 = 1 << 15;

/// What a restore into a data directory is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purpose {
    /// The highest revision known of any backup.
    pub seen: i64,
    /// The request it serves.
    pub request: Option<String>,
    /// It is another cluster's backup: this one keeps its own keys, and what ties the database to the other is left out.
    pub clone: bool,
    /// Requests served before, as manifests tell: a new disk must not serve them again.
    pub served: Ledger,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The backup.
    pub point: String,
    /// The file that is there now.
    pub path: PathBuf,
    /// Bytes of the database.
    pub size_bytes: u64,
    /// The kine revision the database begins at now; nothing if it has no kine table.
    pub revision: Option<i64>,
    /// PKI and token files that were absent and are there now.
    pub pki_files: usize,
    /// What a person should know: pods that were not understood, volumes that will go.
    pub remarks: Vec<String>,
}

/// A backup whose ciphertext is here, with all that it builds on, and is what the manifests name.
pub struct Fetched {
    /// The backup itself.
    manifest: Manifest,
    /// A full, then what was built on it; never empty.
    links: Vec<Link>,
    cancel: Cancel,
}

/// One backup of a chain.
struct Link {
    manifest: Manifest,
    ciphertext: std::fs::File,
    identities: Identities,
}

/// Gets the ciphertext of a backup and of all that it builds on into the spool, and finds the keys that open it. `chain`
/// is what [`crate::catalog::Catalog::chain`] gives for the backup.
///
/// # Errors
/// The store fails, an object is not what its manifest says, or there is no key.
pub async fn fetch(
    store: &Store,
    chain: &[&Signed],
    identities: &Identities,
    spool_dir: &Path,
    cancel: Cancel,
) -> Result<Fetched, Error> {
    /// Downloads under way: a chain is many small objects.
    const AT_ONCE: usize = 4;
    let manifest = chain.last().ok_or_else(|| Error::NoRepository { store: store.url().to_owned() })?.manifest.clone();
    let mut keys = Vec::new();
    let mut unlocked: BTreeMap<&Option<String>, Identities> = BTreeMap::new();
    for link in chain {
        // One for each generation, and it takes a while.
        let of_generation = &link.manifest.identity;
        if !unlocked.contains_key(of_generation) {
            unlocked.insert(of_generation, unlock(store, &link.manifest, identities).await?);
        }
        keys.push(unlocked[of_generation].clone());
    }
    let links = futures::stream::iter(chain.iter().zip(keys))
        .map(|(link, identities)| download(store, &link.manifest, identities, spool_dir))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Fetched { manifest, links, cancel })
}

async fn download(store: &Store, manifest: &Manifest, identities: Identities, spool_dir: &Path) -> Result<Link, Error> {
    let damaged = |why: String| Error::Damaged { object: manifest.data.key.clone(), why };
    let (ciphertext, digest) = store.download(&manifest.data.key, store::spool(spool_dir)?, manifest.data.size).await?;
    if digest.size != manifest.data.size {
        let (got, want) = (digest.size, manifest.data.size);
        return Err(damaged(format!("it has {got} bytes, its manifest names {want}")));
    }
    if digest.sha256 != manifest.data.sha256 {
        return Err(damaged("its bytes are not those its manifest names".into()));
    }
    Ok(Link { manifest: manifest.clone(), ciphertext, identities })
}

/// Looks whether a backup is there and opens with these keys, by its first bytes.
///
/// # Errors
/// The store fails, or the keys are others.
pub async fn can_open(store: &Store, signed: &Signed, identities: &Identities) -> Result<(), Error> {
    let manifest = &signed.manifest;
    let identities = unlock(store, manifest, identities).await?;
    let start = store.get_start(&manifest.data.key, HEADER_BYTES).await?;
    seal::open_data(&start[..], manifest, &identities).map(drop)
}

/// With a passphrase the generation's own identity is opened first.
async fn unlock(store: &Store, manifest: &Manifest, identities: &Identities) -> Result<Identities, Error> {
    if manifest.unencrypted {
        return Ok(Identities::default());
    }
    if identities.is_empty() {
        return Err(Error::NoIdentity { point: manifest.id() });
    }
    match (&manifest.identity, identities.passphrase()) {
        (Some(key), Some(passphrase)) => {
            let sealed = store.get_small(key).await?;
            keys::open_generation_key(&sealed, passphrase, &manifest.id())
        }
        (Some(_), None) => Err(Error::WrongKey { point: manifest.id() }),
        (None, _) => Ok(identities.clone()),
    }
}

impl Fetched {
    /// Decrypts and checks into `work`, which is no database anybody knows of yet: the full, then what was built on it,
    /// the root compared after each.
    fn open_into(&self, work: &mut std::fs::File) -> Result<Vec<PkiFile>, Error> {
        let (mut files, mut leaves) = (Vec::new(), Vec::new());
        let mut parent: Option<&Manifest> = None;
        for link in &self.links {
            let ciphertext = link
                .ciphertext
                .try_clone()
                .map_err(|source| Error::Seal { action: "read the downloaded backup", source })?;
            let plain = seal::open_data(ciphertext, &link.manifest, &link.identities)?;
            if let Some(parent) = parent {
                let mut restored = Restored { file: work, leaves };
                changes::apply(plain, &link.manifest, parent, &mut restored, &self.cancel)?;
                leaves = restored.leaves;
            } else {
                (files, leaves) = payload::read_full(plain, &link.manifest, work, &self.cancel)?;
            }
            parent = Some(&link.manifest);
        }
        Ok(files)
    }

    /// Bytes of the database, at its largest on the way.
    fn room(&self) -> u64 {
        self.links.iter().map(|link| link.manifest.size()).max().unwrap_or(0)
    }

    /// Restores into a data directory. PKI and token files that are absent are written, others stay.
    ///
    /// # Errors
    /// Anything that does not fit; nothing is replaced then.
    pub fn into_data_dir(self, data_dir: &Path, purpose: &Purpose) -> Result<Outcome, Error> {
        let id = self.manifest.id();
        let _alone = Lock::take(data_dir)?;
        install::roll_forward(data_dir)?;
        let layout = self.layout_for(data_dir)?;
        let mut work = Work::create(&data_dir.join(layout.database()), self.room())?;
        let mut pki = self.open_into(&mut work.file)?;
        if layout != self.manifest.layout || purpose.clone {
            // k3s's files would make the syncer migrate once more, over the restored database; and a clone has its own.
            pki.clear();
        }
        let marker = Marker { backup: id.clone(), request: purpose.request.clone() };
        // What was written since the last backup has been seen, too.
        let seen = purpose.seen.max(work.old_revision());
        let made = work.finish(&Recipe { seen, marker, clone: purpose.clone })?;
        let plan = work.plan(&id)?;
        let mut remarks = Vec::new();
        if let Some(made) = &made {
            remarks.extend(remark("pods that cannot be understood keep their node", &made.pods_unknown));
        }
        remarks.extend(remark("the syncer will delete volumes this backup does not know", &work.lost_volumes()));
        for remark in &remarks {
            tracing::warn!("{remark}");
        }
        self.cancel.check()?;
        let (path, pki_files) = work.commit(&plan, || {
            let mut ledger = Ledger::load(data_dir)?;
            if ledger.learn(purpose.served.iter()) {
                ledger.save(data_dir)?;
            }
            payload::write_pki(data_dir, &pki)
        })?;
        Ok(Outcome {
            point: id,
            path,
            size_bytes: self.manifest.size(),
            revision: made.map(|made| made.revision),
            pki_files,
            remarks,
        })
    }

    /// An empty disk gets the backup's layout. One that has migrated to k8s stays there; there is no way back to k3s.
    fn layout_for(&self, data_dir: &Path) -> Result<Layout, Error> {
        match (sqlite::find(data_dir)?.map(|(_, layout)| layout), self.manifest.layout) {
            (Some(Layout::K3s), Layout::K8s) => {
                Err(Error::Layout { point: self.manifest.id(), data_dir: data_dir.to_owned() })
            }
            (Some(layout), _) | (None, layout) => Ok(layout),
        }
    }

    /// Writes the database as it was, without the recipe, to a file that must not exist.
    ///
    /// # Errors
    /// Anything that does not fit; no file is left then.
    pub fn into_file(self, path: &Path) -> Result<Outcome, Error> {
        let taken = || Error::Exists { path: path.to_owned(), remedy: "choose another name for --output" };
        if path.exists() {
            return Err(taken());
        }
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Anybody may have signed it: what it claims must not fill the disk.
        install::check_room(folder, self.room())?;
        let mut part = tempfile::NamedTempFile::new_in(folder).map_err(Error::file("write in", folder))?;
        self.open_into(part.as_file_mut())?;
        part.as_file().sync_all().map_err(Error::file("write", path))?;
        self.cancel.check()?;
        part.persist_noclobber(path).map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(),
            _ => Error::file("write", path)(e.error),
        })?;
        Ok(Outcome {
            point: self.manifest.id(),
            path: path.to_owned(),
            size_bytes: self.manifest.size(),
            revision: None,
            pki_files: 0,
            remarks: Vec::new(),
        })
    }
}

/// The first few of a list, with what it is a list of; nothing of an empty one.
fn remark(what: &str, names: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("{what}: {shown}")),
        (false, more) => Some(format!("{what}: {shown} and {more} more")),
    }
}
