//! When a backup was last proven, in `.vcluster-backup/proof.json`: `verify` and `run` write it, `run` puts it into the
//! status document, `prune` never removes that backup. It is a note, not a trust: whoever can write it owns the database anyway.

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
        };
        assert!(!proof.save(dir.path()).expect("nothing to write"));
        assert_eq!(Proof::load(dir.path()), None);
        std::fs::create_dir(dir.path().join(OWN_FOLDER)).expect("made");
        assert!(proof.save(dir.path()).expect("written"));
        assert_eq!(Proof::load(dir.path()), Some(proof));
    }
}
