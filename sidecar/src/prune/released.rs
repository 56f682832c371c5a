//! The word of a person that the rules may have earlier lives, too.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    lock,
    signing::{OWN_FOLDER, PublicKey},
};

/// Signing keys of earlier lives that a person has given up to the rules, in `.vcluster-backup/earlier-lives.json`. It
/// goes with the volume: after another loss it has to be said again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Released(pub BTreeSet<PublicKey>);

const RELEASED_FILE: &str = "earlier-lives.json";

impl Released {
    /// What the data directory knows; nothing where there is none.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(OWN_FOLDER).join(RELEASED_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::file("understand (mend or remove it)", &path)(std::io::Error::other(e))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::file("read", &path)(e)),
        }
    }

    /// Writes it where there is a data directory; elsewhere the word counts once.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn save(&self, data_dir: &Path) -> Result<(), Error> {
        if !data_dir.is_dir() || self.0.is_empty() {
            return Ok(());
        }
        let folder = lock::make_own_folder(data_dir)?;
        let path = folder.join(RELEASED_FILE);
        let failed = |e| Error::file("write", &path)(e);
        let bytes = serde_json::to_vec(self).map_err(|e| failed(std::io::Error::other(e)))?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        std::io::Write::write_all(&mut file, &bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&path).map(drop).map_err(|e| failed(e.error))
    }
}
