//! The only room that knows `object_store`. Objects are named by keys below the URL's prefix; every failure becomes a
//! [`Fault`], a sentence that says why and what to do and never quotes what the store answered, since such answers
//! repeat access keys.

mod clouds;
mod config;
mod fault;
mod put;
mod unfinished;

use std::{
    fmt,
    io::Write,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

pub(crate) use self::unfinished::settle;
pub use self::{
    config::{Config, Patience, Variables},
    fault::{Cloud, Fault},
};
use crate::{
    error::Error,
    seal::{Digest, Digesting},
    traffic::Counted,
};

/// A manifest is about 1 KiB; nobody may make us read more than this.
const SMALL_OBJECT_BYTES: u64 = 256 << 10;

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A folder that is not there is no repository: a mount that is missing must not look like an empty store.
    Read,
    /// A folder is made, so that the first backup has a place.
    Write,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Below the store's prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When the store took it, by the store's clock.
    pub modified: Timestamp,
}

/// An open store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    cloud: Cloud,
    /// Nobody gave credentials; the machine's own identity is asked for.
    ambient: bool,
    /// It has answered that it cannot create only where nothing is.
    plain_puts: Arc<AtomicBool>,
    /// How it was opened, if by a URL.
    config: Option<Arc<Config>>,
    /// The same with a digest in the header of each upload. Made once the store has asked for that, as AWS does for
    /// buckets with a lock: not every look-alike takes the header.
    digesting: Arc<OnceLock<Arc<dyn ObjectStore>>>,
    /// Where it is, if it is a folder.
    folder: Option<PathBuf>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

impl Store {
    /// Opens a store; asks nothing of it yet.
    ///
    /// # Errors
    /// A URL or certificate that cannot be used, no credentials, or no folder to read.
    pub fn open(config: &Config, access: Access) -> Result<Self, Error> {
        let clouds::Opened { inner, prefix, cloud, ambient, folder } = clouds::open(config, access)?;
        let (inner, url) = (Arc::new(Counted(inner)), config.url.clone());
        let config = Some(Arc::new(config.clone()));
        let (plain_puts, digesting) = (Arc::default(), Arc::default());
        Ok(Self { inner, prefix, url, cloud, ambient, plain_puts, config, digesting, folder })
    }

    /// A store over anything that behaves like one: memory, or one that fails when a test wants it to. No URL leads here.
    #[must_use]
    pub fn over(inner: Arc<dyn ObjectStore>, url: &str) -> Self {
        let (inner, prefix, url) = (Arc::new(Counted(inner)), Path::default(), url.to_owned());
        let (plain_puts, digesting) = (Arc::default(), Arc::default());
        let (cloud, ambient, config, folder) = (Cloud::Local, false, None, None);
        Self { inner, prefix, url, cloud, ambient, plain_puts, config, digesting, folder }
    }

    /// The URL, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads a small object whole.
    ///
    /// # Errors
    /// [`Fault::NotFound`], too large for a small object, or the store fails.
    pub async fn get_small(&self, key: &str) -> Result<Bytes, Error> {
        let failed = |e| self.error("get", key, &e);
        let object = self.inner.get(&self.path(key)).await.map_err(failed)?;
        if object.meta.size > SMALL_OBJECT_BYTES {
            return Err(Error::Damaged { object: key.to_owned(), why: format!("it has {} bytes", object.meta.size) });
        }
        object.bytes().await.map_err(failed)
    }

    /// Reads the first bytes of an object, all of a shorter one.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or the store fails.
    pub async fn get_start(&self, key: &str, count: u64) -> Result<Bytes, Error> {
        let failed = |e| self.error("get", key, &e);
        self.inner.get_range(&self.path(key), 0..count).await.map_err(failed)
    }

    /// Reads an object into a file, digesting on the way; stops at `limit` bytes, so that a swapped object cannot fill
    /// the disk.
    ///
    /// # Errors
    /// [`Fault::NotFound`], the store fails, or the disk is full.
    pub async fn download(&self, key: &str, file: std::fs::File, limit: u64) -> Result<(std::fs::File, Digest), Error> {
        let failed = |e| self.error("get", key, &e);
        let mut stream = self.inner.get(&self.path(key)).await.map_err(failed)?.into_stream();
        let mut file = Digesting::new(file);
        let mut size = 0;
        while let Some(bytes) = stream.try_next().await.map_err(failed)? {
            size += bytes.len() as u64;
            if size > limit {
                break;
            }
            file.write_all(&bytes).map_err(|source| Error::Seal { action: "write the downloaded backup", source })?;
        }
        let (mut file, digest) = file.finish();
        rewind(&mut file)?;
        Ok((file, digest))
    }

    /// Size and SHA-256 of an object; of one that is larger than `limit`, of a little more than that.
    ///
    /// # Errors
    /// [`Fault::NotFound`], or the store fails.
    pub async fn digest(&self, key: &str, limit: u64) -> Result<Digest, Error> {
        let failed = |e| self.error("get", key, &e);
        let mut stream = self.inner.get(&self.path(key)).await.map_err(failed)?.into_stream();
        let mut sink = Digesting::new(std::io::sink());
        let mut size = 0;
        while let Some(bytes) = stream.try_next().await.map_err(failed)? {
            size += bytes.len() as u64;
            sink.write_all(&bytes).map_err(|source| Error::Seal { action: "digest the backup", source })?;
            if size > limit {
                break;
            }
        }
        Ok(sink.finish().1)
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`Fault::Refused`] without the right, [`Fault::Held`] by a lock, or the store fails.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        if let Some(folder) = self.folder.as_ref().filter(|_| unfinished::is_left_behind(key)) {
            let path = folder.join(key);
            return std::fs::remove_file(&path).map_err(Error::file("remove", &path));
        }
        match self.inner.delete(&self.path(key)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other.map_err(|e| self.error("delete", key, &e)),
        }
    }

    /// The keys below `folder`, streamed to the end; an empty store has none.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        Ok(self.list_objects(folder).await?.into_iter().map(|object| object.key).collect())
    }

    /// The objects below `folder`, streamed to the end, in no order.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list_objects(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let below = self.path(folder);
        let listing = self.inner.list(Some(&below)).map_ok(|meta| self.listed(&meta));
        listing.try_collect().await.map_err(|e| self.listing_error(folder, &e))
    }

    /// Rests of uploads that were killed, where only we can find them: of a folder. Others see to theirs by their rules.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn left_behind(&self) -> Result<Vec<Listed>, Error> {
        let Some(folder) = self.folder.clone() else { return Ok(Vec::new()) };
        crate::blocking(move || unfinished::left_behind(&folder).map_err(Error::file("list", &folder))).await
    }

    /// The objects right at the prefix, without those in folders below it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list_top(&self) -> Result<Vec<Listed>, Error> {
        let prefix = Some(&self.prefix).filter(|prefix| prefix.parts().next().is_some());
        let listing = self.inner.list_with_delimiter(prefix).await.map_err(|e| self.listing_error("objects", &e))?;
        Ok(listing.objects.iter().map(|meta| self.listed(meta)).collect())
    }

    fn listed(&self, meta: &object_store::ObjectMeta) -> Listed {
        let key = meta.location.as_ref().strip_prefix(self.prefix.as_ref()).unwrap_or_default();
        let modified = Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
        // A time no clock shows is never older than anything.
        let modified = modified.unwrap_or(Timestamp::MAX);
        Listed { key: key.trim_start_matches('/').to_owned(), size: meta.size, modified }
    }

    fn listing_error(&self, folder: &str, error: &object_store::Error) -> Error {
        match self.error("list", folder, error) {
            // A listing has nothing else to miss.
            Error::Store { action, object, store, fault: Fault::NotFound } => {
                Error::Store { action, object, store, fault: Fault::NoBucket }
            }
            other => other,
        }
    }

    /// Reads many small objects, a few at a time, in no order.
    pub fn get_many(&self, keys: Vec<String>) -> impl futures::Stream<Item = (String, Result<Bytes, Error>)> + '_ {
        const AT_ONCE: usize = 16;
        futures::stream::iter(keys)
            .map(move |key| async move {
                let bytes = self.get_small(&key).await;
                (key, bytes)
            })
            .buffer_unordered(AT_ONCE)
    }

    fn path(&self, key: &str) -> Path {
        Path::from_iter(self.prefix.parts().chain(Path::from(key).parts()))
    }

    fn error(&self, action: &'static str, object: &str, error: &object_store::Error) -> Error {
        let fault = match Fault::of(self.cloud, error) {
            // Of a machine without an identity of its own nobody answers but the network.
            Fault::Unreachable(_) if self.ambient => Fault::NoCredentials(self.cloud),
            fault => fault,
        };
        Error::Store { action, object: object.to_owned(), store: self.url.clone(), fault }
    }
}

fn rewind(file: &mut std::fs::File) -> Result<(), Error> {
    use std::io::Seek;
    file.rewind().map_err(|source| Error::Seal { action: "read the spool", source })
}

/// An unlinked file for ciphertext: it has no name, so nothing is left after a crash.
///
/// # Errors
/// The folder cannot be written.
pub fn spool(folder: &FilePath) -> Result<std::fs::File, Error> {
    tempfile::tempfile_in(folder).map_err(Error::file("make a spool file in", folder))
}
