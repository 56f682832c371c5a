//! The only file that knows `object_store`. Objects are named by keys below the URL's prefix; every failure becomes a
//! [`Fault`], a sentence that says why and what to do and never quotes what the store answered, since such answers
//! repeat access keys.

use std::{
    fmt,
    io::Write,
    path::Path as FilePath,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{
    Certificate, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig, WriteMultipart,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    error::Error,
    seal::{Digest, Digesting},
    traffic::Counted,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The library counts it while a body is still going out, too: a part must get through within it on a slow line.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const TRIES: usize = 5;
const TRY_FOR: Duration = Duration::from_secs(60);
/// Larger objects are sent in parts.
const SINGLE_PUT_BYTES: u64 = PART_BYTES as u64;
/// The smallest part S3 allows; two are in flight.
const PART_BYTES: usize = 5 << 20;
const PARTS_IN_FLIGHT: usize = 2;
/// A manifest is about 1 KiB; nobody may make us read more than this.
const SMALL_OBJECT_BYTES: u64 = 256 << 10;

/// Where backups go.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `s3://bucket[/prefix]` or `file:///folder`.
    pub url: String,
    /// The S3 endpoint.
    pub endpoint: Option<String>,
    /// The S3 region.
    pub region: Option<String>,
    /// Bucket in the path.
    pub path_style: Option<bool>,
    /// PEM certificates to trust.
    pub ca: Option<String>,
    /// Access key and secret key; without, the cloud's own environment.
    pub credentials: Option<(String, SecretString)>,
}

impl Config {
    /// Whether both lead to the same objects, by whatever credentials.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.url == other.url && self.endpoint == other.endpoint
    }

    /// Looks whether URL and endpoint can be used, and hold nothing that must not be repeated.
    ///
    /// # Errors
    /// A sentence that does not repeat what may be a secret.
    pub fn check(&self) -> Result<(), Error> {
        for text in [Some(&self.url), self.endpoint.as_ref()].into_iter().flatten() {
            if text.contains('@') {
                let why =
                    "cannot use a store URL or endpoint with credentials in it: give them as ACCESS_KEY and SECRET_KEY";
                return Err(Error::Usage(why.into()));
            }
        }
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let parsed = Url::parse(endpoint).ok();
        let usable = parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if usable { Ok(()) } else { Err(Error::Usage(format!("endpoint {endpoint:?} is no http(s)://host[:port]"))) }
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        let open = |c: &Self| c.credentials.as_ref().map(|(user, key)| (user.clone(), key.expose_secret().to_owned()));
        (&self.url, &self.endpoint, &self.region, self.path_style, &self.ca)
            == (&other.url, &other.endpoint, &other.region, other.path_style, &other.ca)
            && open(self) == open(other)
    }
}

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Unreachable(String),
    /// No credentials to ask with.
    NoCredentials,
    /// An answer: you may not. Holds the store's error code.
    Refused(String),
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    Exists,
    /// Somebody put an object there whose key cannot be read.
    BadKey,
    /// Anything else. Holds the store's error code or the system's words.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the store does not answer ({why}); check its endpoint and the network"),
            Self::NoCredentials => f.write_str(
                "there are no credentials; give ACCESS_KEY and SECRET_KEY, or s3/s3accesskey and s3/s3secretkey in the config folder",
            ),
            Self::Refused(code) => write!(f, "the store refuses the credentials ({code}); check access key, secret key and policy"),
            Self::NoBucket => f.write_str("the bucket does not exist; is it registered?"),
            Self::NotFound => f.write_str("there is no such object"),
            Self::Exists => f.write_str("it exists already"),
            Self::BadKey => f.write_str("an object there has a key with illegal characters, which is none of ours; remove it"),
            Self::Other(why) => write!(f, "the store failed ({why})"),
        }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A folder that is not there is no repository: a mount that is missing must not look like an empty store.
    Read,
    /// A folder is made, so that the first backup has a place.
    Write,
}

/// An open store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    /// It has answered that it cannot create only where nothing is.
    plain_puts: Arc<AtomicBool>,
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
        config.check()?;
        let bad = |why: &str| Error::Usage(format!("cannot use store {:?}: {why}", config.url));
        let url = Url::parse(&config.url).map_err(|_| bad("write it as s3://bucket/prefix or file:///folder"))?;
        let (inner, prefix): (Arc<dyn ObjectStore>, Path) = match url.scheme() {
            "s3" => {
                let prefix = Path::from_url_path(url.path()).map_err(|_| bad("its prefix is no object key"))?;
                (Arc::new(s3(&url, config)?), prefix)
            }
            "file" => {
                let folder = url.to_file_path().map_err(|()| bad("write a folder as file:///folder"))?;
                if access == Access::Write {
                    std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
                } else if !folder.is_dir() {
                    return Err(Error::NoRepository { store: config.url.clone() });
                }
                let store = LocalFileSystem::new_with_prefix(&folder).map_err(|e| bad(&innermost(&e)))?;
                (Arc::new(store.with_fsync(true)), Path::default())
            }
            other => return Err(bad(&format!("{other} is not one of s3, file"))),
        };
        Ok(Self { inner: Arc::new(Counted(inner)), prefix, url: config.url.clone(), plain_puts: Arc::default() })
    }

    /// A store over anything that behaves like one: memory, or one that fails when a test wants it to. No URL leads here.
    #[must_use]
    pub fn over(inner: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self {
            inner: Arc::new(Counted(inner)),
            prefix: Path::default(),
            url: url.to_owned(),
            plain_puts: Arc::default(),
        }
    }

    /// The URL, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts a sealed file; large ones in parts, whose sum is looked at afterwards.
    ///
    /// # Errors
    /// The store fails, or holds another size afterwards.
    pub async fn put_file(&self, key: &str, file: &mut std::fs::File, size: u64) -> Result<(), Error> {
        let failed = |e| self.error("put", key, &e);
        rewind(file)?;
        if size <= SINGLE_PUT_BYTES {
            let bytes = read_up_to(file, usize::try_from(size).unwrap_or(usize::MAX))?;
            self.inner.put(&self.path(key), bytes.into()).await.map_err(failed)?;
            return Ok(());
        }
        let upload = self.inner.put_multipart(&self.path(key)).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        loop {
            let sent = match read_up_to(file, PART_BYTES) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => {
                    upload.put(bytes);
                    upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(failed)
                }
                Err(e) => Err(e),
            };
            if let Err(error) = sent {
                // The first error is what matters; an upload that stays unfinished is the lifecycle rules' to clean.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        upload.finish().await.map_err(failed)?;
        let stored = self.inner.head(&self.path(key)).await.map_err(failed)?.size;
        if stored == size {
            Ok(())
        } else {
            {
                let why = format!("{size} bytes were sent, {stored} are there");
                Err(Error::Store {
                    action: "put",
                    object: key.to_owned(),
                    store: self.url.clone(),
                    fault: Fault::Other(why),
                })
            }
        }
    }

    /// Puts a small object that must not exist yet; a store that cannot check that simply takes it.
    ///
    /// # Errors
    /// [`Fault::Exists`], or the store fails.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let failed = |e| self.error("put", key, &e);
        if !self.plain_puts.load(Ordering::Relaxed) {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.inner.put_opts(&self.path(key), bytes.clone().into(), options).await {
                Err(e) if cannot_create_only(&e) => self.plain_puts.store(true, Ordering::Relaxed),
                other => return other.map(drop).map_err(failed),
            }
        }
        self.inner.put(&self.path(key), bytes.into()).await.map(drop).map_err(failed)
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

    /// The keys below `folder`, streamed to the end; an empty store has none.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let below = self.path(folder);
        let prefix = self.prefix.as_ref();
        self.inner
            .list(Some(&below))
            .map_ok(|meta| {
                meta.location.as_ref().strip_prefix(prefix).unwrap_or_default().trim_start_matches('/').to_owned()
            })
            .try_collect()
            .await
            .map_err(|e| self.error("list", folder, &e))
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
        Error::Store { action, object: object.to_owned(), store: self.url.clone(), fault: fault(error) }
    }
}

fn s3(url: &Url, config: &Config) -> Result<object_store::aws::AmazonS3, Error> {
    let usage = |why: String| Error::Usage(format!("cannot use store {:?}: {why}", config.url));
    let bucket = url.host_str().ok_or_else(|| usage("it names no bucket".into()))?;
    let mut builder = match &config.credentials {
        Some((access_key, secret_key)) => {
            AmazonS3Builder::new().with_access_key_id(access_key).with_secret_access_key(secret_key.expose_secret())
        }
        None if cloud_credentials() => AmazonS3Builder::from_env(),
        None => {
            return Err(Error::Store {
                action: "use",
                object: "objects".into(),
                store: config.url.clone(),
                fault: Fault::NoCredentials,
            });
        }
    };
    let mut client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_timeout_disabled();
    if let Some(pem) = &config.ca {
        for certificate in
            Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| usage("its CA is no PEM certificate".into()))?
        {
            client = client.with_root_certificate(certificate);
        }
    }
    if let Some(endpoint) = &config.endpoint {
        client = client.with_allow_http(endpoint.starts_with("http://"));
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let retry = RetryConfig { max_retries: TRIES - 1, retry_timeout: TRY_FOR, ..RetryConfig::default() };
    builder
        .with_bucket_name(bucket)
        .with_region(config.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(!config.path_style.unwrap_or(config.endpoint.is_some()))
        .with_client_options(client)
        .with_retry(retry)
        .build()
        .map_err(|e| usage(innermost(&e)))
}

/// Whether the environment holds credentials in the cloud's own way. Without them the library would ask a metadata
/// service that most clusters do not have, and wait for it.
fn cloud_credentials() -> bool {
    const NAMES: [&str; 5] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_METADATA_ENDPOINT",
    ];
    NAMES.iter().any(|name| std::env::var_os(name).is_some())
}

/// A store without conditional writes says so in one of these ways; uniqueness of names does not depend on it.
fn cannot_create_only(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let answered = |fault| matches!(fault, Fault::Other(why) if why == "NotImplemented" || why.starts_with("501"));
    matches!(error, E::NotImplemented { .. } | E::NotSupported { .. }) || answered(fault(error))
}

fn fault(error: &object_store::Error) -> Fault {
    use object_store::Error as E;
    let text = error.to_string();
    let code =
        text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code.to_owned());
    match (error, code.as_deref()) {
        (_, Some("NoSuchBucket")) => Fault::NoBucket,
        (E::NotFound { .. }, _) => Fault::NotFound,
        (E::AlreadyExists { .. } | E::Precondition { .. }, _) => Fault::Exists,
        (E::PermissionDenied { .. } | E::Unauthenticated { .. }, code) => {
            Fault::Refused(code.unwrap_or("AccessDenied").to_owned())
        }
        (_, Some(code @ ("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken"))) => {
            Fault::Refused(code.to_owned())
        }
        (_, Some(code)) => Fault::Other(code.to_owned()),
        (_, None) => {
            let why = innermost(error);
            match error {
                _ if text.contains("illegal character") => Fault::BadKey,
                _ if text.contains("non-2xx status code") => Fault::Other(status_of(&text)),
                E::Generic { store: "LocalFileSystem", .. } => Fault::Other(why),
                _ => Fault::Unreachable(why),
            }
        }
    }
}

/// `503 Service Unavailable` out of a longer text, without the body that follows.
fn status_of(text: &str) -> String {
    let rest = text.split_once("status code: ").map_or("", |(_, rest)| rest);
    rest.split_once(':').map_or(rest, |(status, _)| status).trim().to_owned()
}

/// The cause at the bottom: the system's words, free of URLs and bodies.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().lines().next().unwrap_or("unknown").chars().take(200).collect()
}

fn rewind(file: &mut std::fs::File) -> Result<(), Error> {
    use std::io::Seek;
    file.rewind().map_err(|source| Error::Seal { action: "read the spool", source })
}

fn read_up_to(file: &mut std::fs::File, limit: usize) -> Result<Bytes, Error> {
    use std::io::Read;
    let mut bytes = Vec::with_capacity(limit.min(PART_BYTES.max(SINGLE_PUT_BYTES as usize)));
    Read::by_ref(file)
        .take(limit as u64)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Seal { action: "read the spool", source })?;
    Ok(bytes.into())
}

/// An unlinked file for ciphertext: it has no name, so nothing is left after a crash.
///
/// # Errors
/// The folder cannot be written.
pub fn spool(folder: &FilePath) -> Result<std::fs::File, Error> {
    tempfile::tempfile_in(folder).map_err(Error::file("make a spool file in", folder))
}
