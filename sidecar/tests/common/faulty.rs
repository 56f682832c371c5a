//! A store in memory one of whose calls fails.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, memory::InMemory, path::Path,
};

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It never reached the store.
    Before,
    /// The store has done it, and its answer was lost.
    After,
}

/// Counts down to the call that fails; negative: it has.
#[derive(Debug)]
struct Fuse {
    left: AtomicI64,
    when: Mutex<When>,
}

impl Fuse {
    /// Whether this call is the one.
    fn burns(&self) -> Option<When> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        (left == 0).then(|| *self.when.lock().expect("a word"))
    }

    async fn around<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.burns() {
            Some(When::Before) => Err(failure()),
            Some(When::After) => work.await.and(Err(failure())),
            None => work.await,
        }
    }
}

fn failure() -> Error {
    Error::Generic { store: "Faulty", source: "the line is cut".into() }
}

/// A store in memory.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    inner: Arc<InMemory>,
    fuse: Arc<Fuse>,
}

impl Faulty {
    /// One that works.
    pub(crate) fn new() -> Self {
        let fuse = Fuse { left: AtomicI64::new(-1), when: Mutex::new(When::Before) };
        Self { inner: Arc::new(InMemory::new()), fuse: Arc::new(fuse) }
    }

    /// Lets the call after the next `calls` fail.
    pub(crate) fn fail_after(&self, calls: usize, when: When) {
        *self.fuse.when.lock().expect("a word") = when;
        self.fuse.left.store(i64::try_from(calls).expect("few"), Ordering::SeqCst);
    }

    /// Works again; tells whether a call has failed.
    pub(crate) fn mend(&self) -> bool {
        self.fuse.left.swap(-1, Ordering::SeqCst) < 0
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.fuse.around(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.fuse.around(self.inner.put_multipart_opts(location, options)).await?;
        Ok(Box::new(FaultyUpload { inner: upload, fuse: Arc::clone(&self.fuse) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.fuse.around(self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.fuse.around(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, fuse) = (Arc::clone(&self.inner), Arc::clone(&self.fuse));
        let one = move |location: Result<Path>| {
            let (inner, fuse) = (Arc::clone(&inner), Arc::clone(&fuse));
            async move {
                let location = location?;
                let only = futures::stream::once(futures::future::ready(Ok(location))).boxed();
                let removed = async { inner.delete_stream(only).next().await.unwrap_or_else(|| Err(failure())) };
                fuse.around(removed).await
            }
        };
        locations.then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fuse.burns() {
            // A listing that breaks off: what came before it is true.
            Some(_) => {
                let cut = futures::stream::once(futures::future::ready(Err(failure())));
                self.inner.list(prefix).take(1).chain(cut).boxed()
            }
            None => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.fuse.around(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.fuse.around(self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, fuse) = (self.inner.put_part(data), Arc::clone(&self.fuse));
        async move { fuse.around(part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.fuse.around(self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.fuse.around(self.inner.abort()).await
    }
}
