//! What is written: sealed files, in parts when they are large, and small objects; with what the store's first refusal has
//! taught.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::{TryStreamExt, stream::FuturesUnordered};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::{Fault, Store, clouds, fault, rewind, unfinished::Unfinished};
use crate::{error::Error, traffic::Counted};

/// Larger objects are sent in parts.
const SINGLE_PUT_BYTES: u64 = 8 << 20;
/// The smallest part S3 allows; two are in flight.
const PART_BYTES: usize = 5 << 20;
const PARTS_IN_FLIGHT: usize = 2;

impl Store {
    /// Puts a sealed file; large ones in parts, whose sum is looked at afterwards.
    ///
    /// # Errors
    /// The store fails, or holds another size afterwards.
    pub async fn put_file(&self, key: &str, file: &mut std::fs::File, size: u64) -> Result<(), Error> {
        match self.put_file_once(key, file, size).await {
            Err(error) if self.begins_to_digest(&error)? => self.put_file_once(key, file, size).await,
            other => other,
        }
    }

    async fn put_file_once(&self, key: &str, file: &mut std::fs::File, size: u64) -> Result<(), Error> {
        let failed = |e| self.error("put", key, &e);
        rewind(file)?;
        if size <= SINGLE_PUT_BYTES {
            let bytes = read_up_to(file, usize::try_from(size).unwrap_or(usize::MAX))?;
            self.writer().put(&self.path(key), bytes.into()).await.map_err(failed)?;
            return Ok(());
        }
        self.put_parts(key, file).await?;
        let stored = self.inner.head(&self.path(key)).await.map_err(failed)?.size;
        if stored == size {
            return Ok(());
        }
        let fault = Fault::Other(format!("{size} bytes were sent, {stored} are there"));
        Err(Error::Store { action: "put", object: key.to_owned(), store: self.url.clone(), fault })
    }

    async fn put_parts(&self, key: &str, file: &mut std::fs::File) -> Result<(), Error> {
        let upload = self.writer().put_multipart(&self.path(key)).await.map_err(|e| self.error("put", key, &e))?;
        let mut unfinished = Unfinished(Some(upload));
        let outcome = match &mut unfinished.0 {
            Some(upload) => self.send_parts(key, upload.as_mut(), file).await,
            None => Ok(()),
        };
        if let (Err(_), Some(upload)) = (&outcome, &mut unfinished.0) {
            // The first error is what matters; one in the way of giving up is the lifecycle rules' to deal with.
            let _ = upload.abort().await;
        }
        unfinished.0 = None;
        outcome
    }

    async fn send_parts(
        &self,
        key: &str,
        upload: &mut dyn MultipartUpload,
        file: &mut std::fs::File,
    ) -> Result<(), Error> {
        let failed = |e| self.error("put", key, &e);
        let mut in_flight = FuturesUnordered::new();
        loop {
            // Before the next is read: no more parts are in memory than on their way.
            if in_flight.len() == PARTS_IN_FLIGHT {
                in_flight.try_next().await.map_err(failed)?;
            }
            let bytes = read_up_to(file, PART_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            in_flight.push(upload.put_part(bytes.into()));
        }
        while in_flight.try_next().await.map_err(failed)?.is_some() {}
        upload.complete().await.map(drop).map_err(failed)
    }

    /// Puts a small object that must not exist yet; a store that cannot check that simply takes it.
    ///
    /// # Errors
    /// [`Fault::Exists`], or the store fails.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        match self.put_new_once(key, &bytes).await {
            Err(error) if self.begins_to_digest(&error)? => self.put_new_once(key, &bytes).await,
            other => other,
        }
    }

    async fn put_new_once(&self, key: &str, bytes: &Bytes) -> Result<(), Error> {
        let failed = |e| self.error("put", key, &e);
        if !self.plain_puts.load(Ordering::Relaxed) {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.writer().put_opts(&self.path(key), bytes.clone().into(), options).await {
                Err(e) if fault::cannot_create_only(self.cloud, &e) => self.plain_puts.store(true, Ordering::Relaxed),
                other => return other.map(drop).map_err(failed),
            }
        }
        self.writer().put(&self.path(key), bytes.clone().into()).await.map(drop).map_err(failed)
    }

    /// Puts a small object once more, so that it is young. Where that is not allowed it stays as old as it is.
    ///
    /// # Errors
    /// The store fails in another way than by refusing.
    pub async fn renew(&self, key: &str, bytes: &[u8]) -> Result<(), Error> {
        let bytes = Bytes::copy_from_slice(bytes);
        match self.writer().put(&self.path(key), bytes.into()).await.map_err(|e| self.error("put", key, &e)) {
            Err(Error::Store { fault: Fault::Refused(..) | Fault::Held(_) | Fault::Exists, .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    fn writer(&self) -> &Arc<dyn ObjectStore> {
        self.digesting.get().unwrap_or(&self.inner)
    }

    /// Whether this failure is the store's first wish for digests: from now on it gets them.
    fn begins_to_digest(&self, error: &Error) -> Result<bool, Error> {
        match &self.config {
            Some(config)
                if matches!(error, Error::Store { fault: Fault::WantsDigest, .. })
                    && self.digesting.get().is_none() =>
            {
                let digesting = Arc::new(Counted(clouds::digesting(config)?));
                Ok(self.digesting.set(digesting).is_ok())
            }
            _ => Ok(false),
        }
    }
}

fn read_up_to(file: &mut std::fs::File, limit: usize) -> Result<Bytes, Error> {
    use std::io::Read;
    let mut bytes = Vec::with_capacity(limit.min(SINGLE_PUT_BYTES as usize));
    Read::by_ref(file)
        .take(limit as u64)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Seal { action: "read the spool", source })?;
    Ok(bytes.into())
}
