//! Uploads in parts that do not get to their end: what was sent of them costs money as long as nobody gives them up.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use object_store::MultipartUpload;
use tokio::{runtime::Handle, task::JoinHandle};

/// Those that are being given up. One for the program: whoever ends it knows of no store.
static GIVEN_UP: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// An upload that is given up when it is dropped before somebody takes it out: by a signal, or by a time limit.
pub(super) struct Unfinished(pub(super) Option<Box<dyn MultipartUpload>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        // What does not answer is left to the store's own rules.
        let given_up = runtime.spawn(async move { upload.abort().await.unwrap_or_default() });
        let mut all = GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|earlier| !earlier.is_finished());
        all.push(given_up);
    }
}

/// Before the program ends: waits until those that are being given up are gone, but no longer than this.
pub(crate) async fn settle(within: Duration) {
    let all = std::mem::take(&mut *GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner));
    let _ = tokio::time::timeout(within, futures::future::join_all(all)).await;
}
