//! How much memory the sidecar needs with everything on: TLS to the store, and the status document in the ConfigMap of a
//! real API server. Measured with a small and a large database, since nothing may grow with it.

use std::path::Path;

use e2e::{
    cluster::Cluster,
    minio::{ADMIN_PASSWORD, ADMIN_USER, Minio},
    process::{Running, peak_bytes, run},
    sidecar::{KEY, NAMESPACE, Surroundings},
};
use vcluster_proto::settings::{self, Settings};

use crate::{contender::BUCKET, database::Database, day, store, workload::Workload};

/// Backups that are waited for after the first, each of a minute's writes.
const DELTAS: usize = 3;
const WRITES: usize = 1200;

/// The stage on which each size gets its turn.
pub(crate) struct Stage {
    host: Cluster,
    store: Minio,
    ca: String,
    recipient: String,
}

impl Stage {
    pub(crate) fn set(folder: &Path, recipient: &str) -> Self {
        let host = Cluster::start(&folder.join("host"), &folder.join("host-data"));
        let (store, ca) = Minio::start_signed(folder);
        store::make_bucket(folder, &store, "https");
        Self { host, store, ca, recipient: recipient.to_owned() }
    }

    /// The most memory of one run each, by size of the database in bytes.
    pub(crate) fn peaks(&self, folder: &Path, program: &Path, sizes: &[u64]) -> Vec<u64> {
        let around = Surroundings::install(&self.host, folder);
        let _ = around.make_pod();
        std::fs::create_dir_all(folder.join("config/s3")).expect("writable");
        for (name, value) in [("s3accesskey", ADMIN_USER), ("s3secretkey", ADMIN_PASSWORD)] {
            std::fs::write(folder.join("config/s3").join(name), value).expect("writable");
        }
        sizes.iter().map(|bytes| self.peak(&around, program, *bytes)).collect()
    }

    fn peak(&self, around: &Surroundings<'_>, program: &Path, bytes: u64) -> u64 {
        let data = around.folder.join("data");
        std::fs::remove_dir_all(&data).expect("ours");
        let database = Database::make(&data, &around.folder);
        let mut workload = database.transaction(|| Workload::fill(&database, bytes));
        self.write_settings(around, &bytes.to_string());
        let newest = || around.status().and_then(|status| status.newest);
        let before = newest().map(|point| point.id);
        let mut sidecar = Running::start("backup", &around.folder, &mut around.run_by(program, &["run"]));
        sidecar.wait_until("its first backup", || newest().is_some_and(|point| Some(&point.id) != before.as_ref()));
        assert_eq!(newest().map(|point| point.kind), Some("full".to_owned()));
        for _ in 0..DELTAS {
            day::minute(&database, &mut workload, 1, WRITES);
            // Asked for: after a long pass it would rest before the next by itself.
            let asked = run(&mut around.run_by(program, &["backup", "--json"]), "").ok();
            assert!(asked.contains("\"kind\":\"delta\""), "{asked}");
        }
        let peak = peak_bytes(sidecar.id());
        sidecar.stop();
        peak
    }

    fn write_settings(&self, around: &Surroundings<'_>, prefix: &str) {
        let mut settings = Settings::default();
        settings.cluster.key = KEY.to_owned();
        settings.cluster.namespace = NAMESPACE.to_owned();
        settings.store.url = format!("s3://{BUCKET}/{prefix}");
        settings.store.endpoint = Some(format!("https://{}", self.store.address));
        settings.store.ca = Some(self.ca.clone());
        settings.backup.recipients = vec![self.recipient.clone()];
        let yaml = settings.to_yaml().expect("YAML");
        std::fs::write(around.folder.join("config/settings").join(settings::FILE_NAME), yaml).expect("writable");
    }
}
