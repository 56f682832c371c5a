//! When a backup was last proven, in `.vcluster-backup/proof.json`: `verify` and `run` write it, `run` puts it into the
//! status document, `prune` never removes that backup, nor the last that a trial restore has proven. It is a note, not a trust: whoever can write it owns the database anyway.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{error::Error, signing::OWN_FOLDER};

const FILE: &str = "proof.json";

/// A proof that held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The backup.
    pub point: String,
    /// When the proof ended.
    pub at: Timestamp,
    /// How it was proven.
    pub how: How,
    /// A restore's time from the first byte asked for to the database in place, in seconds; of the last that was tried,
    /// none if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_seconds: Option<f64>,
    /// The last backup that was proven by a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// When a backup was last proven that was the newest then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_at: Option<Timestamp>,
}

/// How a backup was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// By the digests of its objects.
    Digests,
    /// By a restore into scratch space.
    Restore,
}

impl Proof {
    /// A proof that has just held; what it does not tell anew is taken from the one before.
    #[must_use]
    pub fn new(point: String, how: How, took: Option<f64>, is_newest: bool, before: Option<Self>) -> Self {
        let at = Timestamp::now();
        let restored = match how {
            How::Restore => Some(point.clone()),
            How::Digests => before.as_ref().and_then(Self::last_restored),
        };
        let recovery_seconds = took.or(before.as_ref().and_then(|before| before.recovery_seconds));
        let newest_at = if is_newest { Some(at) } else { before.and_then(|before| before.newest_at) };
        Self { point, at, how, recovery_seconds, restored, newest_at }
    }

    /// The last backup that was proven by a restore; an older program did not say so beside a later proof.
    fn last_restored(&self) -> Option<String> {
        self.restored.clone().or_else(|| (self.how == How::Restore).then(|| self.point.clone()))
    }

    /// The backups that a prune must keep.
    #[must_use]
    pub fn points(&self) -> Vec<String> {
        std::iter::once(self.point.clone()).chain(self.last_restored()).collect()
    }

    /// What is known of one store says nothing about another.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn forget(data_dir: &Path) -> Result<(), Error> {
        let path = data_dir.join(OWN_FOLDER).join(FILE);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// The last one, if the data directory knows of any; one that cannot be read proves nothing.
    #[must_use]
    pub fn load(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data_dir.join(OWN_FOLDER).join(FILE)).ok()?).ok()
    }

    /// Writes it where backups are made; elsewhere there is nobody to tell, and that is said by `false`.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn save(&self, data_dir: &Path) -> Result<bool, Error> {
        let folder = data_dir.join(OWN_FOLDER);
        if !folder.is_dir() {
            return Ok(false);
        }
        let path = folder.join(FILE);
        let failed = |e| Error::file("write", &path)(e);
        let bytes = serde_json::to_vec(self).map_err(|e| failed(std::io::Error::other(e)))?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        std::io::Write::write_all(&mut file, &bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&path).map(|_| true).map_err(|e| failed(e.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_kept_where_backups_are_made_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        let proof = Proof {
            point: "g/00000001".into(),
            at: Timestamp::UNIX_EPOCH,
            how: How::Restore,
            recovery_seconds: Some(0.5),
            restored: None,
            newest_at: None,
        };
        assert!(!proof.save(dir.path()).expect("nothing to write"));
        assert_eq!(Proof::load(dir.path()), None);
        std::fs::create_dir(dir.path().join(OWN_FOLDER)).expect("made");
        assert!(proof.save(dir.path()).expect("written"));
        assert_eq!(Proof::load(dir.path()), Some(proof));
        Proof::forget(dir.path()).expect("removed");
        assert_eq!(Proof::load(dir.path()), None);
        Proof::forget(dir.path()).expect("nothing to remove");
    }

    #[test]
    fn a_proof_by_digests_forgets_no_restore_and_one_of_an_old_backup_is_none_of_the_newest() {
        // As an older program wrote it.
        let text = r#"{"point":"g/00000001","at":"2026-01-01T00:00:00Z","how":"Restore","recoverySeconds":0.5}"#;
        let older: Proof = serde_json::from_str(text).expect("still read");
        assert_eq!(older.newest_at, None);
        let daily = Proof::new("g/00000007".into(), How::Digests, None, true, Some(older));
        assert_eq!(daily.points(), ["g/00000007", "g/00000001"]);
        assert_eq!((daily.recovery_seconds, daily.newest_at), (Some(0.5), Some(daily.at)));
        let of_old = Proof::new("g/00000002".into(), How::Restore, Some(2.0), false, Some(daily.clone()));
        assert_eq!((of_old.newest_at, of_old.recovery_seconds), (Some(daily.at), Some(2.0)));
        let next = Proof::new("g/00000008".into(), How::Digests, None, true, Some(of_old));
        assert_eq!(next.points(), ["g/00000008", "g/00000002"]);
    }
}
