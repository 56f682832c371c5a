//! Names, units and meanings of the metrics. What is a fact of the backups is taken from the status document, which
//! knows the newest and the oldest backup from the bucket: a restart forgets none of it.

use std::{sync::atomic::AtomicU64, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use vcluster_proto::{
    interval,
    status::{self, Point, State, Status},
};

use crate::traffic::{Call, traffic};

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How an attempt to back up ended, for [`Metrics::attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A backup of this kind is in the store.
    BackedUp(&'static str),
    /// The newest backup is everything there is.
    Unchanged,
    /// The reason, in one word.
    Failed(&'a str),
}

/// Everything that is measured. A timestamp of zero is one that is not known.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    healthy: Gauge,
    interval_seconds: Gauge<f64, AtomicU64>,
    last_attempt: Gauge,
    last_success: Gauge,
    newest: Gauge,
    oldest: Gauge,
    last_verified: Gauge,
    newest_revision: Gauge,
    newest_size: Gauge,
    stored: Gauge,
    restore_pending: Gauge,
    retention_blocked: Gauge,
    spool_available: Gauge,
    data_available: Gauge,
    database: Gauge,
    prove_every: Gauge<f64, AtomicU64>,
    attempts: Family<Attempt, Counter>,
    failures: Family<Failure, Counter>,
    backups: Family<Backup, Counter>,
    proofs: Family<Attempt, Counter>,
    attempt_duration: Histogram,
    capture_duration: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Backup {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Self {
            registry: Registry::with_prefix("vcluster_backup"),
            healthy: Gauge::default(),
            interval_seconds: Gauge::default(),
            last_attempt: Gauge::default(),
            last_success: Gauge::default(),
            newest: Gauge::default(),
            oldest: Gauge::default(),
            last_verified: Gauge::default(),
            newest_revision: Gauge::default(),
            newest_size: Gauge::default(),
            stored: Gauge::default(),
            restore_pending: Gauge::default(),
            retention_blocked: Gauge::default(),
            spool_available: Gauge::default(),
            data_available: Gauge::default(),
            database: Gauge::default(),
            prove_every: Gauge::default(),
            attempts: Family::default(),
            failures: Family::default(),
            backups: Family::default(),
            proofs: Family::default(),
            // From 10 ms to 5 min; what the API server's writers may have waited for, and a slow upload.
            attempt_duration: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
            capture_duration: Histogram::new(exponential_buckets(0.005, 2.0, 12)),
        };
        for outcome in ["backed_up", "unchanged", "failed"] {
            drop(all.attempts.get_or_create(&Attempt { outcome }));
        }
        for outcome in ["proven", "failed", "undecided"] {
            drop(all.proofs.get_or_create(&Attempt { outcome }));
        }
        drop(traffic().calls.get_or_create(&Call { operation: "put", outcome: "ok" }));
        all.register();
        all
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("healthy", "1 if the last attempt left everything in the store, else 0", self.healthy.clone());
        let mut time = |name: &str, help: &str, gauge: &Gauge| {
            r.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        };
        time("last_attempt_timestamp", "When the last attempt began, since 1970", &self.last_attempt);
        time(
            "last_success_timestamp",
            "When everything was last known to be in the store, since 1970",
            &self.last_success,
        );
        time("newest_timestamp", "Time of the newest backup, since 1970", &self.newest);
        time("oldest_timestamp", "Time of the oldest backup that can be restored, since 1970", &self.oldest);
        time("last_verified_timestamp", "When a backup was last proven, since 1970", &self.last_verified);
        r.register_with_unit(
            "interval",
            "Time between two attempts, as it is in force",
            Unit::Seconds,
            self.interval_seconds.clone(),
        );
        let mut bytes = |name: &str, help: &str, gauge: &Gauge| {
            r.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        };
        bytes("newest_size", "Ciphertext of the newest backup", &self.newest_size);
        bytes("stored", "Everything this cluster keeps in the store, as last counted", &self.stored);
        bytes("spool_available", "Room in the folder for ciphertext on its way", &self.spool_available);
        bytes("data_available", "Room on the vcluster's data volume", &self.data_available);
        bytes("database", "The vcluster's database, without what waits in its WAL", &self.database);
        r.register_with_unit(
            "prove_every",
            "Time between two proofs of the newest chain; 0: none",
            Unit::Seconds,
            self.prove_every.clone(),
        );
        r.register("newest_revision", "The highest kine revision that is in the store", self.newest_revision.clone());
        r.register("restore_pending", "1 while a restore is asked for and not served", self.restore_pending.clone());
        r.register(
            "retention_blocked",
            "1 while backups stay that no rule keeps, 0 while there are none",
            self.retention_blocked.clone(),
        );
        r.register("attempts", "Attempts by outcome", self.attempts.clone());
        r.register("failures", "Failed attempts by reason, the words of the status document", self.failures.clone());
        r.register("backups", "Backups put into the store by kind", self.backups.clone());
        r.register("proofs", "Times the newest chain was read back by outcome", self.proofs.clone());
        r.register_with_unit(
            "attempt_duration",
            "From the first look at the settings to the manifest in the store",
            Unit::Seconds,
            self.attempt_duration.clone(),
        );
        r.register_with_unit(
            "capture_duration",
            "One read transaction and its sealing; the API server's checkpoint waits at most as long",
            Unit::Seconds,
            self.capture_duration.clone(),
        );
        let traffic = traffic();
        r.register("store_requests", "Calls of the object store by operation and outcome", traffic.calls.clone());
        r.register_with_unit("sent", "Put into the object store", Unit::Bytes, traffic.sent_bytes.clone());
        r.register_with_unit("received", "Got from the object store", Unit::Bytes, traffic.received_bytes.clone());
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        r.register("build_info", "Always 1; its label is the version", build);
    }

    /// One more attempt. `capture` is how long the database was read, if it was.
    pub fn attempt(&self, outcome: Outcome<'_>, took: Duration, capture: Option<Duration>) {
        self.attempt_duration.observe(took.as_secs_f64());
        if let Some(capture) = capture {
            self.capture_duration.observe(capture.as_secs_f64());
        }
        let word = match outcome {
            Outcome::BackedUp(kind) => {
                self.backups.get_or_create(&Backup { kind }).inc();
                "backed_up"
            }
            Outcome::Unchanged => "unchanged",
            Outcome::Failed(reason) => {
                self.failures.get_or_create(&Failure { reason: reason.to_owned() }).inc();
                "failed"
            }
        };
        self.attempts.get_or_create(&Attempt { outcome: word }).inc();
    }

    /// One more proof of the newest chain, `proven`, `failed` or `undecided`.
    pub fn proof(&self, outcome: &'static str) {
        self.proofs.get_or_create(&Attempt { outcome }).inc();
    }

    /// Takes over what the status document says; a success that it does not know of is as old as the newest backup.
    pub fn show(&self, status: &Status) {
        let since = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_second);
        let well = matches!(status.state, State::Healthy | State::Stopped);
        self.healthy.set(i64::from(well));
        self.last_attempt.set(since(status.last_attempt));
        self.last_verified.set(since(status.last_verified));
        let of = |point: &Option<Point>| since(point.as_ref().and_then(|point| point.time));
        self.newest.set(of(&status.newest));
        self.oldest.set(of(&status.oldest));
        if well && status.newest.is_some() {
            self.last_success.set(since(status.last_attempt));
        } else if self.last_success.get() == 0 {
            self.last_success.set(of(&status.newest));
        }
        let newest = status.newest.as_ref();
        self.newest_revision.set(newest.map_or(0, |point| point.revision));
        self.newest_size.set(newest.map_or(0, |point| clamp(point.size_bytes)));
        self.stored.set(status.stored_bytes.map_or(0, clamp));
        self.interval_seconds.set(interval::parse(&status.interval).map_or(0.0, |interval| interval.as_secs_f64()));
        let pending = status.restore.as_ref().is_some_and(|restore| restore.phase == status::PENDING);
        self.restore_pending.set(i64::from(pending));
        self.retention_blocked.set(i64::from(!status.retention.is_empty()));
    }

    /// Room for the spool and on the data volume, in bytes.
    pub fn room(&self, spool: u64, data: u64) {
        self.spool_available.set(clamp(spool));
        self.data_available.set(clamp(data));
    }

    /// The database's size in bytes, and the time between two proofs, if there are any.
    pub fn database(&self, bytes: u64, prove_every: Option<Duration>) {
        self.database.set(clamp(bytes));
        self.prove_every.set(prove_every.map_or(0.0, |every| every.as_secs_f64()));
    }

    /// All of it as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &Metrics, name: &str) -> f64 {
        let text = metrics.text();
        let line = text.lines().find(|line| line.starts_with(&format!("vcluster_backup_{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    fn status(state: State) -> Status {
        let time = |second| Timestamp::from_second(second).ok();
        Status {
            state,
            interval: "1m30s".into(),
            last_attempt: time(2000),
            newest: Some(Point { time: time(1000), revision: 7, size_bytes: 9, ..Point::default() }),
            ..Status::default()
        }
    }

    #[test]
    fn a_restart_knows_the_last_success_from_the_bucket_and_failures_do_not_move_it() {
        let metrics = Metrics::default();
        metrics.show(&Status::default());
        assert!(value(&metrics, "last_success_timestamp_seconds").abs() < 0.1, "never");
        metrics.show(&status(State::Failing));
        assert!((value(&metrics, "last_success_timestamp_seconds") - 1000.0).abs() < 0.1);
        metrics.show(&status(State::Healthy));
        assert!((value(&metrics, "last_success_timestamp_seconds") - 2000.0).abs() < 0.1);
        let mut later = status(State::Failing);
        later.last_attempt = Timestamp::from_second(3000).ok();
        metrics.show(&later);
        assert!((value(&metrics, "last_success_timestamp_seconds") - 2000.0).abs() < 0.1);
        assert!((value(&metrics, "last_attempt_timestamp_seconds") - 3000.0).abs() < 0.1);
        assert!((value(&metrics, "interval_seconds") - 90.0).abs() < 0.1);
    }

    #[test]
    fn every_name_has_its_prefix_and_every_quantity_its_unit() {
        let metrics = Metrics::default();
        metrics.attempt(Outcome::Failed("NoKey"), Duration::from_secs(1), None);
        metrics.attempt(Outcome::BackedUp("full"), Duration::from_secs(1), Some(Duration::from_secs(1)));
        let text = metrics.text();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|l| l.split(' ').next().expect("a name"))
            .collect();
        metrics.database(7, None);
        assert!(metrics.text().contains("vcluster_backup_database_bytes 7"), "{text}");
        assert!(metrics.text().contains("vcluster_backup_prove_every_seconds 0"), "{text}");
        assert!(names.len() > 20 && names.iter().all(|name| name.starts_with("vcluster_backup_")), "{names:?}");
        for name in names.iter().filter(|name| name.contains("timestamp") || name.contains("duration")) {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        assert!(text.contains("vcluster_backup_failures_total{reason=\"NoKey\"} 1"), "{text}");
        assert!(text.contains("vcluster_backup_backups_total{kind=\"full\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
