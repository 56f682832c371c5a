//! Counts what this process asks of its stores: every call of the library's, whoever made it. Tries that the library
//! repeats within one call count once.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// What went over the line, of the whole process.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Calls by operation and outcome.
    pub calls: Family<Call, Counter>,
    /// Bytes of objects and parts that were put.
    pub sent_bytes: Counter,
    /// Bytes of objects that were got.
    pub received_bytes: Counter,
    /// Calls and pieces of objects that came back, whatever they said.
    answers: Arc<AtomicU64>,
}

/// One kind of call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// `put`, `part`, `get`, `list`, `delete`, ...
    pub operation: &'static str,
    /// `ok`, `absent` (which is an answer), or `failed`.
    pub outcome: &'static str,
}

/// The one account of this process.
pub fn traffic() -> &'static Traffic {
    static TRAFFIC: LazyLock<Traffic> = LazyLock::new(Traffic::default);
    &TRAFFIC
}

impl Traffic {
    fn note<T>(&self, operation: &'static str, result: &Result<T>) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(object_store::Error::NotFound { .. }) => "absent",
            Err(_) => "failed",
        };
        self.calls.get_or_create(&Call { operation, outcome }).inc();
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Does the work for as long as stores answer, however long it takes; none once nothing at all has come back for
/// `silence`. A limit on the whole would be too short for every store that is large enough.
pub async fn unless_silent<T>(silence: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let answers = || traffic().answers.load(Ordering::Relaxed);
    loop {
        let before = answers();
        match tokio::time::timeout(silence, &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if answers() == before => return None,
            Err(_) => {}
        }
    }
}

/// A store whose calls are counted.
#[derive(Debug)]
pub struct Counted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for Counted<T> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let size = payload.content_length() as u64;
        let result = self.0.put_opts(location, payload, options).await;
        traffic().note("put", &result);
        if result.is_ok() {
            traffic().sent_bytes.inc_by(size);
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let result = self.0.put_multipart_opts(location, options).await;
        traffic().note("begin", &result);
        result.map(|upload| Box::new(CountedUpload(upload)) as Box<dyn MultipartUpload>)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "head" } else { "get" };
        let result = self.0.get_opts(location, options).await;
        traffic().note(operation, &result);
        let mut got = result?;
        got.payload = match got.payload {
            GetResultPayload::Stream(stream) if operation == "get" => {
                GetResultPayload::Stream(stream.inspect_ok(|bytes| note_received(bytes.len() as u64)).boxed())
            }
            // A file that is here.
            other => {
                note_received(if operation == "get" { got.range.end.saturating_sub(got.range.start) } else { 0 });
                other
            }
        };
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let result = self.0.get_ranges(location, ranges).await;
        traffic().note("get", &result);
        for bytes in result.iter().flatten() {
            note_received(bytes.len() as u64);
        }
        result
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations).inspect(|result| traffic().note("delete", result)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        note_listing(self.0.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        note_listing(self.0.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let result = self.0.list_with_delimiter(prefix).await;
        traffic().note("list", &result);
        result
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let result = self.0.copy_opts(from, to, options).await;
        traffic().note("copy", &result);
        result
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let result = self.0.rename_opts(from, to, options).await;
        traffic().note("rename", &result);
        result
    }
}

fn note_received(count: u64) {
    traffic().received_bytes.inc_by(count);
    traffic().answers.fetch_add(1, Ordering::Relaxed);
}

/// A listing is one call a page of a thousand keys, as S3 bills it; an empty one is one, too.
fn note_listing(listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    const PAGE: u64 = 1000;
    let mut seen = 0;
    let end = futures::stream::once(async { None });
    let noted = listing.map(Some).chain(end).filter_map(move |item| {
        match &item {
            Some(Ok(_)) => {
                seen += 1;
                if seen % PAGE == 0 {
                    traffic().note("list", &Ok(()));
                }
            }
            Some(failed) => traffic().note("list", failed),
            None if seen == 0 || seen % PAGE > 0 => traffic().note("list", &Ok(())),
            None => {}
        }
        futures::future::ready(item)
    });
    noted.boxed()
}

#[derive(Debug)]
struct CountedUpload(Box<dyn MultipartUpload>);

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let size = data.content_length() as u64;
        let part = self.0.put_part(data);
        let noted = part.inspect(move |result| {
            traffic().note("part", result);
            if result.is_ok() {
                traffic().sent_bytes.inc_by(size);
            }
        });
        noted.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.0.complete().await;
        traffic().note("complete", &result);
        result
    }

    async fn abort(&mut self) -> Result<()> {
        let result = self.0.abort().await;
        traffic().note("abort", &result);
        result
    }
}

#[cfg(test)]
mod tests {
    use object_store::{
        ObjectStoreExt,
        memory::InMemory,
        throttle::{ThrottleConfig, ThrottledStore},
    };

    use super::*;

    /// Gets an object so many times from a store that takes so long for each.
    async fn get(times: usize, wait_get_per_call: Duration) {
        let store = InMemory::new();
        store.put(&Path::from("x"), "x".into()).await.expect("put");
        let config = ThrottleConfig { wait_get_per_call, ..ThrottleConfig::default() };
        let store = Counted(ThrottledStore::new(store, config));
        for _ in 0..times {
            store.get(&Path::from("x")).await.expect("there");
        }
    }

    #[tokio::test]
    async fn work_goes_on_while_answers_come_and_ends_with_silence() {
        let silence = Duration::from_secs(1);
        // In all it takes longer than a silence may.
        assert!(unless_silent(silence, get(30, Duration::from_millis(50))).await.is_some());
        assert!(unless_silent(silence, get(1, Duration::from_secs(3600))).await.is_none());
    }
}
