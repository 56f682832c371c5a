//! Side by side in real time: three times the same database under the same load of kine's clients, one alone, one with our
//! sidecar, one with litestream. Two on one database would not do: litestream writes to it, holds a read transaction open
//! and makes the checkpoints its own, so neither would meet what it meets alone.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::{cluster, process::Running};
use jiff::Timestamp;

use crate::{
    contender::{Contender, Cost, Program},
    database::Found,
    load::{Acknowledged, Done, Load},
    workload::Workload,
};

/// How long each phase takes.
pub(crate) struct Plan {
    /// With the first copy in it.
    pub(crate) first: Duration,
    /// After it.
    pub(crate) steady: Duration,
    /// For a look at what a restart without a change costs.
    pub(crate) idle: Duration,
    pub(crate) writes_per_second: u32,
    /// kine's: short, so that its checkpoints are met.
    pub(crate) compact_interval: &'static str,
}

/// A database with clients and maybe somebody who backs it up.
struct Side {
    kine: Running,
    contender: Option<Contender>,
    load: Load,
    folder: PathBuf,
}

/// The same once its clients have stopped.
struct Quiet {
    kine: Running,
    contender: Option<Contender>,
    folder: PathBuf,
}

/// What was measured of one side.
pub(crate) struct Measured {
    pub(crate) done: Done,
    /// Nothing of the side that is alone.
    pub(crate) backup: Option<Backup>,
}

/// What was measured of a program.
pub(crate) struct Backup {
    pub(crate) first: Cost,
    pub(crate) steady: Cost,
    /// While steady; of litestream it is not known.
    pub(crate) backups: Option<usize>,
    pub(crate) restarted: Cost,
    pub(crate) peak_bytes: u64,
    pub(crate) restored_in: Duration,
    /// Acknowledged before the last copy began, and not in it; of litestream it is not known when that was.
    pub(crate) missed: Option<usize>,
    /// Acknowledged before everything was lost at once, and not in the store.
    pub(crate) lost: usize,
    /// Acknowledged, older than the newest that was restored, and not there.
    pub(crate) holes: usize,
}

/// Runs all phases for all programs at once; `template` is the database, `workload` what its clients go on with.
pub(crate) fn measure(
    plan: &Plan,
    scratch: &Path,
    template: &Path,
    workload: &Workload,
    store: &str,
    identity: &Path,
    programs: Vec<Option<Program>>,
) -> Vec<Measured> {
    let mut sides: Vec<Side> = programs
        .into_iter()
        .enumerate()
        .map(|(index, program)| {
            Side::start(plan, &scratch.join(format!("side-{index}")), template, workload, store, program)
        })
        .collect();
    // kine looks around a little after its start.
    std::thread::sleep(plan.first / 10);
    eprintln!("side by side: the first copy");
    let begun = costs(&sides);
    each(&mut sides, Contender::start);
    std::thread::sleep(plan.first);
    let first = costs(&sides);
    eprintln!("side by side: steady");
    let steady_since = Timestamp::now();
    std::thread::sleep(plan.steady);
    let steady = costs(&sides);
    let (steady_until, counts) = (Timestamp::now(), sides.iter().map(|side| side.load.count()).collect::<Vec<_>>());
    assert!(counts.iter().all(|count| *count > 0), "every kine has acknowledged something: {counts:?}");
    let lost_at = Timestamp::now();
    each(&mut sides, Contender::kill);
    let sides: Vec<(Quiet, Done)> = sides.into_iter().map(Side::without_load).collect();
    eprintln!("side by side: restores, and a restart");
    let measured = sides.into_iter().enumerate().map(|(index, (mut side, done))| {
        let costs = begun[index].as_ref().zip(first[index].as_ref()).zip(steady[index].as_ref());
        let backup = costs.map(|((begun, first), steady)| {
            let backups = side.backups();
            let during = |time: &&(Timestamp, i64)| time.0 >= steady_since && time.0 < steady_until;
            let (restored_in, found) = side.restore(identity);
            Backup {
                first: first.since(begun),
                steady: steady.since(first),
                backups: backups.as_ref().map(|backups| backups.iter().filter(during).count()),
                missed: backups.as_ref().map(|backups| missed(backups, &done)),
                lost: done.acknowledged.iter().filter(|w| w.at < lost_at && w.revision > found.revision).count(),
                holes: holes(&found, &done),
                restored_in,
                restarted: side.restart(plan.idle),
                peak_bytes: side.contender.as_ref().map_or(0, Contender::peak_bytes),
            }
        });
        side.kine.stop();
        if let Some(Backup { missed: Some(missed), holes, .. }) = &backup {
            assert_eq!((*missed, *holes), (0, 0), "ours has everything that was acknowledged before it began");
        }
        Measured { done, backup }
    });
    measured.collect()
}

fn each(sides: &mut [Side], act: impl Fn(&mut Contender)) {
    sides.iter_mut().filter_map(|side| side.contender.as_mut()).for_each(act);
}

fn costs(sides: &[Side]) -> Vec<Option<Cost>> {
    sides.iter().map(|side| side.contender.as_ref().map(Contender::cost)).collect()
}

/// The worst of all backups: what was acknowledged before it began and is newer than it.
fn missed(backups: &[(Timestamp, i64)], done: &Done) -> usize {
    let of = |(began, revision): &(Timestamp, i64)| {
        done.acknowledged.iter().filter(|write| write.at < *began && write.revision > *revision).count()
    };
    backups.iter().map(of).max().expect("there was a backup")
}

/// kine gives revisions in order, so what is older than the newest that is there must be there, unless it was replaced,
/// or deleted and compacted.
fn holes(found: &Found, done: &Done) -> usize {
    let known = done.acknowledged.iter().filter(|write| write.revision <= found.revision);
    let deleted: std::collections::BTreeSet<&str> =
        known.clone().filter(|write| write.is_deletion).map(|write| &*write.key).collect();
    let gone = |key: &str, revision: i64| found.keys.get(key).is_none_or(|newest| *newest < revision);
    let holes = known.filter(|write| !deleted.contains(&*write.key) && gone(&write.key, write.revision));
    let said = |write: &&Acknowledged| {
        let (key, revision, there) = (&write.key, write.revision, found.keys.get(&write.key));
        eprintln!("not there: {key} at {revision}, but {there:?}; the newest is {}", found.revision);
    };
    holes.inspect(said).count()
}

impl Side {
    fn start(
        plan: &Plan,
        folder: &Path,
        template: &Path,
        workload: &Workload,
        store: &str,
        program: Option<Program>,
    ) -> Self {
        let data = folder.join("data");
        std::fs::create_dir_all(data.join("pki")).expect("writable");
        std::fs::copy(template, data.join("state.db")).expect("copied");
        for n in 0..20 {
            std::fs::write(data.join(format!("pki/{n}.key")), format!("{n} ").repeat(800)).expect("writable");
        }
        let (kine, address) = cluster::kine("kine", folder, &data, &["--compact-interval", plan.compact_interval]);
        let contender = program.map(|program| Contender::new(program, folder, store));
        let load = Load::start(&address, workload.clone(), plan.writes_per_second);
        Self { kine, contender, load, folder: folder.to_owned() }
    }

    fn without_load(self) -> (Quiet, Done) {
        let Self { kine, contender, load, folder } = self;
        let done = load.stop();
        (Quiet { kine, contender, folder }, done)
    }
}

impl Quiet {
    /// When each backup of ours began, and its newest revision.
    fn backups(&self) -> Option<Vec<(Timestamp, i64)>> {
        let contender = self.contender.as_ref()?;
        contender.newest()?;
        let rows = contender.ask(&["list", "--json"]).ok();
        let rows = rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).expect("JSON"));
        let time = |row: &serde_json::Value| row["time"].as_str().and_then(|time| time.parse().ok());
        Some(rows.map(|row| (time(&row).expect("a time"), row["revision"].as_i64().expect("a number"))).collect())
    }

    fn restore(&self, identity: &Path) -> (Duration, Found) {
        let output = self.folder.join("restored.db");
        let contender = self.contender.as_ref().expect("only who has backed up restores");
        let took = contender.restore(&output, identity);
        (took, Found::of(&output))
    }

    /// Once everything is in the store, what a stop and a start cost without a change of the database.
    fn restart(&mut self, idle: Duration) -> Cost {
        let contender = self.contender.as_mut().expect("only who has backed up restarts");
        contender.start();
        std::thread::sleep(idle);
        contender.stop();
        let before = contender.cost();
        contender.start();
        std::thread::sleep(idle);
        contender.stop();
        contender.cost().since(&before)
    }
}
