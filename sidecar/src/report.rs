//! The status document: read at start, written after every try. Outside a cluster it is a file; through the API server
//! it will be ConfigMap `<key>-backup-status`, whose mount is this very file.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use vcluster_proto::status::Status;

use crate::error::Error;

/// Where the status document is.
#[derive(Clone, Debug, Default)]
pub struct Report {
    path: Option<PathBuf>,
}

impl Report {
    /// A report into this file, or into none.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// The document as it stands; one that is absent, empty or unreadable tells nothing.
    #[must_use]
    pub fn read(&self) -> Option<Status> {
        let text = std::fs::read_to_string(self.path.as_ref()?).ok()?;
        Status::from_yaml(&text).inspect_err(|error| tracing::warn!(%error, "the status document is not believed")).ok()
    }

    /// Writes the document whole: readers see the old one or the new one.
    ///
    /// # Errors
    /// There is no place for it, or the folder cannot be written.
    pub fn write(&self, status: &Status) -> Result<(), Error> {
        let path = self.path.as_deref().ok_or_else(|| {
            Error::Usage(
                "cannot write the status document: name a file by --status-file, or a folder by --config-dir".into(),
            )
        })?;
        let yaml = status.to_yaml().map_err(|e| Error::Usage(e.to_string()))?;
        replace(path, yaml.as_bytes()).map_err(Error::file("write the status document", path))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Temporary files are 0600; a status holds no secret and others may read it.
    file.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|e| e.error)
}
