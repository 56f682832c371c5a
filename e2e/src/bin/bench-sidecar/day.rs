//! A day's backups, one a minute, without waiting for the minutes: between two of them the database gets what a minute's
//! clients and kine's compactions do to it, then the library backs it up as if it were a minute later. The way is the
//! sidecar's own, from the read transaction to the manifest.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use vcluster_backup::{
    backup::{Cluster, Place},
    capture,
    catalog::{Catalog, Trust},
    keys::Recipients,
    lineage::Lineage,
    manifest::{Kind, Layout},
    signing::Signer,
    sqlite::Live,
    store::{self, Access, Store},
    traffic::traffic,
};

use crate::{database::Database, workload::Workload};

/// How the day goes.
pub(crate) struct Schedule {
    pub(crate) backups: usize,
    pub(crate) writes_between: usize,
}

/// One backup of the day.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Everything that was put, the manifest too.
    pub(crate) sent_bytes: u64,
    pub(crate) pages: Option<u32>,
    /// The read transaction, and the end of the sealing.
    pub(crate) took: Duration,
    /// Of the database.
    pub(crate) size_bytes: u64,
}

/// The day's backups in order, and where the store has the first of them.
pub(crate) struct Day {
    pub(crate) made: Vec<Made>,
    pub(crate) folder: PathBuf,
}

/// kine's clients compact every five minutes.
pub(crate) const COMPACTED_EVERY: usize = 5;
/// A full, a diff and 59 deltas: what is restored afterwards. The data of all later ones is dropped.
pub(crate) const RESTORED: usize = 120;

impl Day {
    /// Backs up the database of `workload` in `<folder>/data`.
    pub(crate) fn live(folder: &Path, mut workload: Workload, recipient: &str, schedule: &Schedule) -> Self {
        let data = folder.join("data");
        std::fs::create_dir_all(folder.join("spool")).expect("writable");
        let writer = Database::open(&data.join("state.db"));
        let place = Place { data_dir: data.clone(), spool_dir: folder.join("spool") };
        let config = store::Config { url: format!("file://{}", folder.join("store").display()), ..Default::default() };
        let store = Store::open(&config, Access::Write).expect("a folder");
        let cluster = Cluster { key: "shop".to_owned(), ..Cluster::default() };
        let recipients = Recipients::parse(&[recipient]).expect("a recipient");
        let signer = Signer::load_or_make(&data).expect("a key");
        let begin = Timestamp::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let catalog = runtime.block_on(Catalog::load(&store)).expect("an empty store");
        let mut lineage =
            Lineage::begin(&catalog, &Trust::Any, &cluster, &recipients, &data, begin).expect("a beginning");
        let mut live = Live::open(&data.join("state.db")).expect("a database");
        let mut made = Vec::new();
        for minute in 0..schedule.backups {
            if minute > 0 {
                self::minute(&writer, &mut workload, minute, schedule.writes_between);
            }
            let now = begin + SignedDuration::from_mins(i64::try_from(minute).expect("a day is short"));
            let sent_before = traffic().sent_bytes.get();
            let begun = Instant::now();
            let mut captured = capture::capture(&mut live, Layout::K8s, &lineage, &place, now).expect("captured");
            let took = begun.elapsed();
            let put = lineage.commit(&store, &signer, &cluster, &mut captured, &data);
            let manifest = runtime.block_on(put).expect("in the store").manifest;
            if minute >= RESTORED {
                std::fs::remove_file(folder.join("store").join(&manifest.data.key)).expect("there");
            }
            made.push(Made {
                id: manifest.id(),
                kind: manifest.kind,
                sent_bytes: traffic().sent_bytes.get() - sent_before,
                pages: manifest.changed,
                took,
                size_bytes: manifest.size(),
            });
        }
        Self { made, folder: folder.to_owned() }
    }

    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Made> {
        self.made.iter().filter(move |made| made.kind == kind)
    }
}

/// What clients and compactions do to a database in the `minute`th.
pub(crate) fn minute(database: &Database, workload: &mut Workload, minute: usize, writes: usize) {
    database.transaction(|| {
        for _ in 0..writes {
            let revision = database.write(&workload.next());
            workload.acknowledge(revision);
        }
    });
    if minute.is_multiple_of(COMPACTED_EVERY) {
        database.compact();
    }
}
