//! The tables, each number beside its target of today's plan.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use vcluster_backup::manifest::Kind;

use crate::{
    contender::{Cost, ours},
    database::Found,
    day::{Day, Made, RESTORED},
    live::{Backup, Measured, Plan},
    load::Done,
    table::{Table, megabytes, milliseconds, seconds},
};

/// The columns: nobody, ours, and litestream if it was there.
const NAMES: [&str; 3] = ["nobody", "vcluster-backup", "litestream"];

pub(crate) fn side_by_side(plan: &Plan, interval: &str, measured: &[Measured]) {
    let mut columns = vec!["Side by side"];
    columns.extend(&NAMES[..measured.len()]);
    columns.push("Target");
    let mut table = Table::new(&columns);
    let minutes = plan.steady.as_secs_f64() / 60.0;
    let mut row = |name: &str, target: &str, of: &dyn Fn(&Backup) -> String| {
        let cells = measured.iter().map(|side| side.backup.as_ref().map_or_else(String::new, of));
        table.row(&[name.to_owned()].into_iter().chain(cells).chain([target.to_owned()]).collect::<Vec<_>>());
    };
    let first = plan.first.as_secs();
    let bytes = |cost: &Cost| megabytes(cost.seen.sent_bytes as f64);
    row(&format!("sent in the first {first} s"), "one copy", &|b| bytes(&b.first));
    row("sent a minute after that", "", &|b| megabytes(b.steady.seen.sent_bytes as f64 / minutes));
    row("requests a minute after that", "", &|b| format!("{:.0}", b.steady.seen.requests as f64 / minutes));
    row("CPU a minute after that", "", &|b| seconds(b.steady.cpu.div_f64(minutes)));
    row(&format!("backups, one every {interval}"), "", &|b| b.backups.map_or("all the time".into(), |n| n.to_string()));
    row("CPU for each", "100 ms at most", &|b| per_backup(b, |b, n| milliseconds(b.steady.cpu.div_f64(n))));
    row("requests for each", "2.1 at most", &|b| {
        per_backup(b, |b, n| format!("{:.2}", b.steady.seen.requests as f64 / n))
    });
    row("sent by a restart without a change", "no full", &|b| bytes(&b.restarted));
    row("peak memory (RSS), plain HTTP, no API server", "", &|b| megabytes(b.peak_bytes as f64));
    row("acknowledged before a copy began, and not in it", "0", &|b| b.missed.map_or("?".into(), |n| n.to_string()));
    row("acknowledged before a sudden end, and not in the store", "", &|b| b.lost.to_string());
    row("holes in what was restored", "0", &|b| b.holes.to_string());
    row("restore from the store, integrity checked", "", &|b| seconds(b.restored_in));
    let mut writes = |name: &str, of: &dyn Fn(&Done) -> String| {
        let cells = measured.iter().map(|side| of(&side.done));
        table.row(&[name.to_owned()].into_iter().chain(cells).chain([String::new()]).collect::<Vec<_>>());
    };
    let fine = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    writes("writes of kine's clients", &|done| done.acknowledged.len().to_string());
    writes("of them failed", &|done| done.failed.to_string());
    for (name, percent) in [("half of them within", 50), ("99 of 100 within", 99), ("all of them within", 100)] {
        writes(name, &|done| fine(done.waited(percent)));
    }
    table.print();
    for (name, side) in NAMES.iter().zip(measured) {
        if let Some(backup) = &side.backup {
            eprintln!("{name}: first {:?}", backup.first.seen);
            eprintln!("{name}: steady {:?}", backup.steady.seen);
            eprintln!("{name}: restarted {:?}", backup.restarted.seen);
        }
    }
}

fn per_backup(backup: &Backup, of: impl Fn(&Backup, f64) -> String) -> String {
    backup.backups.filter(|count| *count > 0).map_or_else(String::new, |count| of(backup, count as f64))
}

/// The day that was not waited for.
pub(crate) fn day(day: &Day) {
    let mut table =
        Table::new(&["The day", "backups", "mean sent", "most sent", "mean pages", "longest read, per 100 MB"]);
    for kind in [Kind::Full, Kind::Diff, Kind::Delta] {
        let made: Vec<&Made> = day.of(kind).collect();
        if made.is_empty() {
            continue;
        }
        let count = made.len() as f64;
        let sent = made.iter().map(|made| made.sent_bytes as f64);
        let pages = made.iter().filter_map(|made| made.pages).map(f64::from).reduce(|a, b| a + b);
        let longest = made.iter().map(|made| made.took.div_f64(made.size_bytes as f64 / 1e8)).max();
        let target = if kind == Kind::Full { "300 ms" } else { "100 ms" };
        table.row(&[
            kind.as_str().to_owned(),
            made.len().to_string(),
            megabytes(sent.clone().sum::<f64>() / count),
            megabytes(sent.fold(0.0, f64::max)),
            pages.map_or_else(|| "all".to_owned(), |pages| format!("{:.0}", pages / count)),
            format!("{} (target {target})", milliseconds(longest.unwrap_or_default())),
        ]);
    }
    let sent: f64 = day.made.iter().map(|made| made.sent_bytes as f64).sum();
    let count = day.made.len();
    let size = day.made.last().map_or(0, |made| made.size_bytes);
    table.row(&[
        "all".to_owned(),
        count.to_string(),
        format!("**{}** (target 1.2 MB)", megabytes(sent / count as f64)),
        String::new(),
        String::new(),
        format!("the database ends with {}", megabytes(size as f64)),
    ]);
    table.print();
}

/// Restores of the day's first full, and of the longest chain.
pub(crate) fn restores(day: &Day, program: &Path, identity: &Path) {
    let mut table = Table::new(&["Restore from a folder, verified", "time", "Target"]);
    for (count, target) in [(1, "0.7 s at most"), (RESTORED, "2 s at most")] {
        let made = &day.made[..count.min(day.made.len())];
        let (chain, point) = chain(made);
        table.row(&[chain, seconds(restore(day, program, identity, point)), target.to_owned()]);
    }
    table.print();
}

/// What a restore of the last of these reads, in words, and the last.
fn chain(made: &[Made]) -> (String, &Made) {
    let deltas = made.iter().rev().take_while(|made| made.kind == Kind::Delta).count();
    let (base, point) = (&made[made.len() - 1 - deltas], &made[made.len() - 1]);
    let diff = if base.kind == Kind::Diff { " + diff" } else { "" };
    let deltas = if deltas > 0 { format!(" + {deltas} deltas") } else { String::new() };
    (format!("full{diff}{deltas}"), point)
}

fn restore(day: &Day, program: &Path, identity: &Path, point: &Made) -> Duration {
    let output = day.folder.join("restored.db");
    let _ = std::fs::remove_file(&output);
    let mut command = ours(program, &day.folder);
    command.arg("restore").arg("--store").arg(format!("file://{}", day.folder.join("store").display()));
    command.args(["--trust-any", "--at", &point.id, "--identity"]).arg(identity).arg("--output").arg(&output);
    let begun = Instant::now();
    let said = e2e::process::run(&mut command, "");
    let took = begun.elapsed();
    let _ = said.ok();
    let found = Found::of(&output);
    assert!(found.revision > 0, "{} holds something", point.id);
    took
}

pub(crate) fn memory(sizes: &[u64], peaks: &[u64]) {
    let mut table = Table::new(&["Peak memory (RSS) with TLS and an API server", "vcluster-backup", "Target"]);
    for (size, peak) in sizes.iter().zip(peaks) {
        table.row(&[format!("database of {size} MB"), megabytes(*peak as f64), "32 MB at most, the same".to_owned()]);
    }
    table.print();
}
