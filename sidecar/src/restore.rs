//! The way back: the line of `backup.rs` read upwards. Everything is checked before anything is replaced: signature and
//! chain (in `catalog`), size and digest of the ciphertext, the key, the root of the pages, SQLite's own integrity
//! check, and only then one rename.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    install::Work,
    keys::{self, Identities},
    manifest::{Kind, Manifest, Signed},
    payload::{self, PkiFile},
    seal,
    store::{self, Store},
};

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
}

/// A backup whose ciphertext is here and is what the manifest names.
pub struct Fetched {
    manifest: Manifest,
    ciphertext: std::fs::File,
    identities: Identities,
}

/// Gets a backup's ciphertext into the spool and finds the key that opens it.
///
/// # Errors
/// The store fails, the object is not what its manifest says, or there is no key.
pub async fn fetch(
    store: &Store,
    signed: &Signed,
    identities: &Identities,
    spool_dir: &Path,
) -> Result<Fetched, Error> {
    let manifest = signed.manifest.clone();
    let damaged = |why: String| Error::Damaged { object: manifest.data.key.clone(), why };
    if manifest.kind != Kind::Full {
        return Err(damaged(format!(
            "it is a {}, which this version cannot restore; use a newer one",
            manifest.kind.as_str()
        )));
    }
    let identities = unlock(store, &manifest, identities).await?;
    let (ciphertext, digest) = store.download(&manifest.data.key, store::spool(spool_dir)?, manifest.data.size).await?;
    if digest.size != manifest.data.size {
        let (got, want) = (digest.size, manifest.data.size);
        return Err(damaged(format!("it has {got} bytes, its manifest names {want}")));
    }
    if digest.sha256 != manifest.data.sha256 {
        return Err(damaged("its bytes are not those its manifest names".into()));
    }
    Ok(Fetched { manifest, ciphertext, identities })
}

/// With a passphrase the generation's own identity is opened first.
async fn unlock(store: &Store, manifest: &Manifest, identities: &Identities) -> Result<Identities, Error> {
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
    /// Decrypts and checks into `work`, which is no database anybody knows of yet.
    fn open_into(&self, work: &mut std::fs::File) -> Result<Vec<PkiFile>, Error> {
        let ciphertext = self
            .ciphertext
            .try_clone()
            .map_err(|source| Error::Seal { action: "read the downloaded backup", source })?;
        let plain = seal::open(ciphertext, &self.identities, &self.manifest.id())?;
        payload::read_full(plain, &self.manifest, work)
    }

    fn size(&self) -> u64 {
        u64::from(self.manifest.page_size) * u64::from(self.manifest.page_count)
    }

    /// Restores into a data directory, in the backup's layout; `seen` is the highest revision known of any backup.
    /// PKI and token files that are absent are written, others stay.
    ///
    /// # Errors
    /// Anything that does not fit; nothing is replaced then.
    pub fn into_data_dir(self, data_dir: &Path, seen: i64) -> Result<Outcome, Error> {
        let id = self.manifest.id();
        let mut work = Work::create(&data_dir.join(self.manifest.layout.database()), self.size())?;
        let prepared = self.open_into(&mut work.file).and_then(|pki| Ok((pki, work.finish(seen, &id)?)));
        let (pki, revision) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                work.discard();
                return Err(error);
            }
        };
        let pki_files = payload::write_pki(data_dir, &pki)?;
        let path = work.commit(&id)?;
        Ok(Outcome { point: id, path, size_bytes: self.size(), revision, pki_files })
    }

    /// Writes the database as it was, without the recipe, to a file that must not exist.
    ///
    /// # Errors
    /// Anything that does not fit; no file is left then.
    pub fn into_file(self, path: &Path) -> Result<Outcome, Error> {
        let opened = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let mut file = opened.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::Exists { path: path.to_owned(), remedy: "choose another name for --output" }
            }
            _ => Error::file("make", path)(e),
        })?;
        let written = self.open_into(&mut file).and_then(|_| file.sync_all().map_err(Error::file("write", path)));
        if let Err(error) = written {
            // Ours alone, just made: nobody can miss it.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(Outcome {
            point: self.manifest.id(),
            path: path.to_owned(),
            size_bytes: self.size(),
            revision: None,
            pki_files: 0,
        })
    }
}
