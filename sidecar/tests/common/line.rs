//! The library itself, driven as `run` drives it: one connection, one lineage, a clock of its own; and a source whose
//! pages are compared with what comes back.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vcluster_backup::{
    Error,
    backup::{Cluster, Place},
    capture,
    catalog::{At, Catalog, Trust},
    install::Cancel,
    keys::{self, Identities, Recipients},
    lineage::Lineage,
    manifest::{Layout, Manifest, Signed},
    restore,
    signing::Signer,
    sqlite::{self, Live},
    store::{self, Access, Store},
};

/// A data directory, a store, and what is between them.
pub struct Line {
    pub folder: TempDir,
    runtime: Runtime,
    store: Store,
    recipients: Recipients,
    identities: Identities,
    live: Option<(Live, Layout)>,
    lineage: Option<Lineage>,
    pub clock: Timestamp,
}

impl Line {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let identity = folder.path().join("identity");
        let recipient = keys::keygen(Some(&identity)).expect("a key pair");
        let mut identities = Identities::default();
        identities.add_file(&std::fs::read_to_string(&identity).expect("read"), "identity").expect("an identity");
        Self::over(folder, Recipients::parse(&[recipient]).expect("a recipient"), identities)
    }

    pub fn under_passphrase(passphrase: &str) -> Self {
        let mut identities = Identities::default();
        identities.add_passphrase(passphrase.into());
        Self::over(tempfile::tempdir().expect("tempdir"), Recipients::Passphrase(passphrase.into()), identities)
    }

    pub fn unencrypted() -> Self {
        Self::over(tempfile::tempdir().expect("tempdir"), Recipients::Nobody, Identities::default())
    }

    fn over(folder: TempDir, recipients: Recipients, identities: Identities) -> Self {
        for name in ["data", "spool"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        let url = format!("file://{}/store", folder.path().display());
        let store = Store::open(&store::Config { url, ..store::Config::default() }, Access::Write).expect("a store");
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            recipients,
            clock: Timestamp::from_second(1_800_000_000).expect("a time"),
            live: None,
            lineage: None,
            folder,
            store,
            identities,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A table file on the data volume.
    pub fn table(&self, name: &str) -> PathBuf {
        self.path("data/.vcluster-backup").join(name)
    }

    /// The source, opened as another program would.
    pub fn source(&self) -> Connection {
        open(&self.path("data/state.db"))
    }

    pub fn pass(&mut self, minutes: i64) {
        self.clock = self.clock.saturating_add(SignedDuration::from_mins(minutes)).expect("in range");
    }

    /// The program ends and starts again.
    pub fn restart(&mut self) {
        self.live = None;
        self.lineage = None;
    }

    pub fn signer(&self) -> Signer {
        Signer::load_or_make(&self.data()).expect("a signer")
    }

    pub fn catalog(&self) -> Catalog {
        self.runtime.block_on(Catalog::load(&self.store)).expect("a catalog")
    }

    fn trust(&self) -> Trust {
        Trust::Keys([self.signer().public()].into())
    }

    /// Backs up as `run` does: another file under the database's name is opened anew, the lineage goes on.
    pub fn back_up(&mut self) -> Manifest {
        self.back_up_through(None)
    }

    /// The same while the store refuses objects of `kind` at first; what happens before it is offered them again is
    /// `meanwhile`.
    pub fn back_up_through(&mut self, trouble: Option<(&str, &dyn Fn())>) -> Manifest {
        let (path, layout) = sqlite::find(&self.data()).expect("a disk").expect("a database");
        if self.live.as_ref().is_none_or(|(live, _)| !live.is_current(&path)) {
            self.live = None;
            self.live = Some((Live::open(&path).expect("opens"), layout));
        }
        let cluster = Cluster { key: "shop".into(), uid: "uid-1".into(), ..Cluster::default() };
        if self.lineage.is_none() {
            let trust = self.trust();
            let load = Catalog::load_for_writer(&self.store, &trust, &cluster);
            let (catalog, data, now) = (self.runtime.block_on(load).expect("a catalog"), self.data(), self.clock);
            let begun = Lineage::begin(&catalog, &trust, &cluster, &self.recipients, &data, now);
            self.lineage = Some(begun.expect("begun"));
        }
        let place = Place { data_dir: self.data(), spool_dir: self.path("spool") };
        let (signer, now) = (self.signer(), self.clock);
        let ((live, layout), lineage) = (self.live.as_mut().expect("open"), self.lineage.as_mut().expect("begun"));
        let mut captured = capture::capture(live, *layout, lineage, &place, now).expect("captured");
        if let Some((kind, meanwhile)) = trouble {
            // A file where the folder would be.
            let obstacle = self.folder.path().join("store/v1").join(kind);
            std::fs::write(&obstacle, "").expect("written");
            let put = lineage.commit(&self.store, &signer, &cluster, &mut captured, &place.data_dir);
            let error = self.runtime.block_on(put).expect_err("refused");
            assert!(matches!(error, Error::Store { .. }), "{error}");
            std::fs::remove_file(&obstacle).expect("removed");
            meanwhile();
        }
        let put = lineage.commit(&self.store, &signer, &cluster, &mut captured, &place.data_dir);
        self.runtime.block_on(put).expect("committed").manifest
    }

    /// Restores a backup into a file and gives its bytes, or why not.
    pub fn restore(&self, at: &At) -> Result<Vec<u8>, Error> {
        let catalog = self.catalog();
        let chosen: &Signed = catalog.select(at, &self.trust())?;
        let chain = catalog.chain(chosen)?;
        let spool = self.path("spool");
        let fetched = restore::fetch(&self.store, &chain, &self.identities, &spool, Cancel::default());
        let file = self.path("restored.db");
        self.runtime.block_on(fetched)?.into_file(&file)?;
        let bytes = std::fs::read(&file).expect("read");
        std::fs::remove_file(&file).expect("removed");
        Ok(bytes)
    }

    pub fn restore_id(&self, manifest: &Manifest) -> Result<Vec<u8>, Error> {
        self.restore(&At::Id(manifest.id()))
    }

    /// The manifests of a chain from its full on.
    pub fn chain(&self, manifest: &Manifest) -> Vec<Manifest> {
        let catalog = self.catalog();
        let chosen = catalog.select(&At::Id(manifest.id()), &self.trust()).expect("there");
        catalog.chain(chosen).expect("whole").into_iter().map(|link| link.manifest.clone()).collect()
    }

    pub fn object(&self, key: &str) -> PathBuf {
        self.path("store").join(key)
    }
}

pub fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("SQLite");
    connection.busy_timeout(std::time::Duration::from_secs(30)).expect("a timeout");
    connection
}

/// Every page as SQLite sees it now, the WAL included.
pub fn pages(source: &Connection) -> Vec<u8> {
    let mut statement = source.prepare("SELECT data FROM sqlite_dbpage('main') ORDER BY pgno").expect("prepared");
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("queried");
    rows.flat_map(|page| page.expect("a page")).collect()
}
