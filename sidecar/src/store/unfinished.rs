//! Uploads in parts that do not get to their end: what was sent of them costs money as long as nobody gives them up.

use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use object_store::MultipartUpload;
use tokio::{runtime::Handle, task::JoinHandle};

use super::Listed;

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

/// What a program that was killed has left in a folder: the library writes `name#7`, renames it at the end, and shows it
/// in no listing.
pub(super) fn left_behind(folder: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    walk(&folder.join("v1"), "v1", &mut found)?;
    Ok(found)
}

/// Whether a key is of such a file.
pub(super) fn is_left_behind(key: &str) -> bool {
    let number = key.rsplit_once('#').map_or("", |(_, number)| number);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn walk(folder: &Path, key: &str, found: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let key = format!("{key}/{name}");
        // Never through a link: it leads out of the store.
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &key, found)?;
        } else if is_left_behind(&key) {
            let Ok(about) = entry.metadata() else { continue };
            let modified = about.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            found.push(Listed { key, size: about.len(), modified: modified.unwrap_or(Timestamp::MAX) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_library_leaves_counts() {
        for (key, is) in [("v1/full/g/1.age#7", true), ("v1/full/g/1.age", false), ("v1/a#", false), ("v1/a#7x", false)]
        {
            assert_eq!(is_left_behind(key), is, "{key}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(left_behind(folder.path()).expect("looked"), []);
        std::fs::create_dir_all(folder.path().join("v1/full/g")).expect("made");
        for name in ["00000001.json", "00000001.json#2", "00000002.tar.zst.age#13"] {
            std::fs::write(folder.path().join("v1/full/g").join(name), "12345").expect("written");
        }
        let mut keys: Vec<_> = left_behind(folder.path()).expect("looked").into_iter().map(|l| l.key).collect();
        keys.sort();
        assert_eq!(keys, ["v1/full/g/00000001.json#2", "v1/full/g/00000002.tar.zst.age#13"]);
    }
}
