//! Measures the sidecar, and litestream beside it: side by side on real kine in real time, then a day's schedule without
//! waiting for it, restores, and memory. Prints Markdown tables.
//!
//! `e2e/bench/sidecar` builds what is measured and calls this.

mod contender;
mod database;
mod day;
mod etcd;
mod live;
mod load;
mod memory;
mod proxy;
mod report;
mod store;
mod table;
mod workload;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use e2e::minio::Minio;

use crate::{
    contender::Program,
    database::Database,
    day::{Day, Schedule},
    live::Plan,
    workload::Workload,
};

/// Measures the sidecar on loopback
#[derive(Parser)]
struct Arguments {
    /// Our program, optimised
    #[arg(long)]
    ours: PathBuf,
    /// litestream; left out, its column is too
    #[arg(long)]
    litestream: Option<PathBuf>,
    /// Everything once and small, in less than a minute: its numbers say nothing
    #[arg(long)]
    quick: bool,
    /// Megabytes of the database
    #[arg(long, default_value_t = 60)]
    database: u64,
    /// Time between two of our backups
    #[arg(long, default_value = "15s")]
    interval: String,
    /// Seconds with the first copy in them
    #[arg(long, default_value_t = 45)]
    first: u64,
    /// Seconds after that
    #[arg(long, default_value_t = 120)]
    steady: u64,
    /// Backups of the day that is not waited for
    #[arg(long, default_value_t = 1440, value_parser = clap::value_parser!(u64).range(2..))]
    day: u64,
    /// Megabytes of the databases that memory is measured with
    #[arg(long, default_value = "60,1000", value_delimiter = ',')]
    memory: Vec<u64>,
    /// What is measured
    #[arg(long, value_enum, default_value = "live,day,memory", value_delimiter = ',')]
    parts: Vec<Part>,
}

/// A part that can be measured without the others.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Side by side, in real time
    Live,
    /// A day's schedule, and restores
    Day,
    /// Peak memory with a small and a large database
    Memory,
}

/// Of kine's clients, in real time and in the day.
const WRITES_PER_SECOND: u32 = 20;

impl Arguments {
    /// Where a minute is not waited for.
    fn writes_a_minute(&self) -> usize {
        WRITES_PER_SECOND as usize * if self.quick { 1 } else { 60 }
    }
}

fn main() {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        "1s".clone_into(&mut arguments.interval);
        (arguments.database, arguments.first, arguments.steady, arguments.day) = (4, 4, 8, day::RESTORED as u64);
        arguments.parts.retain(|part| *part != Part::Memory);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = folder.path();
    let (identity, recipient) = contender::keys(&arguments.ours, scratch);
    let begun = Instant::now();
    let (template, workload) = fill(scratch, &arguments);
    if arguments.parts.contains(&Part::Live) {
        side_by_side(&arguments, scratch, (&template, &workload), (&identity, &recipient));
    }
    if arguments.parts.contains(&Part::Day) {
        day(&arguments, scratch, (&template, workload), (&identity, &recipient));
    }
    if arguments.parts.contains(&Part::Memory) {
        memory(&arguments, scratch, &recipient);
    }
    eprintln!("all of it took {} s", begun.elapsed().as_secs());
}

/// A database that kine has made and that has lived for a while: half of it are objects, the rest is history that
/// waits to be compacted, and room that a compaction has left.
fn fill(scratch: &Path, arguments: &Arguments) -> (PathBuf, Workload) {
    eprintln!("a database of {} MB", arguments.database);
    let folder = scratch.join("template");
    let database = Database::make(&folder, scratch);
    let mut workload = database.transaction(|| Workload::fill(&database, arguments.database * 1_000_000 / 2));
    for minute in 0..4 * day::COMPACTED_EVERY {
        day::minute(&database, &mut workload, minute, arguments.writes_a_minute());
    }
    database.close();
    (folder.join("state.db"), workload)
}

fn side_by_side(
    arguments: &Arguments,
    scratch: &Path,
    (template, workload): (&Path, &Workload),
    (identity, recipient): (&Path, &str),
) {
    let minio = Minio::start(scratch);
    store::make_bucket(scratch, &minio, "http");
    let plan = Plan {
        first: Duration::from_secs(arguments.first),
        steady: Duration::from_secs(arguments.steady),
        idle: Duration::from_secs(if arguments.quick { 3 } else { 20 }),
        writes_per_second: WRITES_PER_SECOND,
        compact_interval: if arguments.quick { "2s" } else { "1m" },
    };
    let ours = Program::Ours {
        file: arguments.ours.clone(),
        interval: arguments.interval.clone(),
        recipient: recipient.to_owned(),
    };
    let litestream = arguments.litestream.clone().map(|file| Program::Litestream { file });
    let mut programs = vec![None, Some(ours)];
    programs.extend(litestream.map(Some));
    let measured = live::measure(&plan, scratch, template, workload, &minio.address, identity, programs);
    report::side_by_side(&plan, &arguments.interval, &measured);
}

fn day(
    arguments: &Arguments,
    scratch: &Path,
    (template, workload): (&Path, Workload),
    (identity, recipient): (&Path, &str),
) {
    eprintln!("a day of {} backups", arguments.day);
    let folder = scratch.join("day");
    std::fs::create_dir_all(folder.join("data")).expect("writable");
    std::fs::copy(template, folder.join("data/state.db")).expect("copied");
    let schedule = Schedule {
        backups: usize::try_from(arguments.day).expect("a day is short"),
        writes_between: arguments.writes_a_minute(),
    };
    let day = Day::live(&folder, workload, recipient, &schedule);
    report::day(&day);
    report::restores(&day, &arguments.ours, identity);
}

fn memory(arguments: &Arguments, scratch: &Path, recipient: &str) {
    eprintln!("memory with databases of {:?} MB", arguments.memory);
    let folder = scratch.join("memory");
    std::fs::create_dir_all(&folder).expect("writable");
    let sizes: Vec<u64> = arguments.memory.iter().map(|megabytes| megabytes * 1_000_000).collect();
    let peaks = memory::Stage::set(&folder, recipient).peaks(&folder, &arguments.ours, &sizes);
    report::memory(&arguments.memory, &peaks);
}
