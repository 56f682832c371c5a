//! Measures function-vcluster's server, and beside it one that renders the same Releases from a template; prints a table.
//!
//! `e2e/bench/function` builds what is measured and calls this. The phases of both servers take turns, so that whatever
//! else the machine does meets both; of each number the median over the rounds is printed.

mod measure;
mod order;

use std::path::{Path, PathBuf};

use clap::Parser;
use measure::{Load, Server};

/// Measures function servers on loopback
#[derive(Parser)]
struct Arguments {
    /// Our program, optimised
    #[arg(long)]
    ours: PathBuf,
    /// function-go-templating
    #[arg(long)]
    peer: Option<PathBuf>,
    /// The load generator
    #[arg(long)]
    ghz: PathBuf,
    /// How often each phase is repeated
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one phase
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// What was measured of one server.
#[derive(Default)]
struct Numbers {
    alone: Vec<Load>,
    crowd: Vec<Load>,
}

fn main() {
    let Arguments { ours, peer, ghz, rounds, seconds } = Arguments::parse();
    let folder = tempfile::tempdir().expect("a folder");
    let order = order::Order::of_the_example();
    let mut measured =
        vec![(Server::start("function-vcluster", &ours, folder.path()), order.ours(), Numbers::default())];
    if let Some(peer) = &peer {
        let server = Server::start("function-go-templating", peer, folder.path());
        measured.push((server, order.as_template(), Numbers::default()));
    }
    for (server, request, _) in &measured {
        order::check(&server.address, request);
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (server, request, numbers) in &mut measured {
            numbers.alone.push(server.load(&ghz, folder.path(), request, 1, seconds));
            numbers.crowd.push(server.load(&ghz, folder.path(), request, 32, seconds));
        }
    }
    let columns: Vec<Column> = measured.into_iter().map(|(server, _, numbers)| Column::of(&server, &numbers)).collect();
    print(&columns);
}

/// One server's numbers, as they are printed.
struct Column {
    name: String,
    rows: [String; 5],
}

const ROWS: [&str; 5] = [
    "p50 at 1 connection",
    "requests/s at 32 connections",
    "CPU of the server per request at 32 connections",
    "peak memory (RSS)",
    "program",
];

impl Column {
    fn of(server: &Server, numbers: &Numbers) -> Self {
        let p50 = median(numbers.alone.iter().map(|load| load.p50_ms));
        let requests = median(numbers.crowd.iter().map(|load| load.requests_per_second));
        let cpu = median(numbers.crowd.iter().map(|load| load.cpu_ms));
        let rows = [
            format!("{p50:.2} ms"),
            format!("{requests:.0}"),
            format!("{cpu:.3} ms"),
            format!("{:.1} MB", server.peak_bytes() / 1e6),
            format!("{:.1} MB", size(&server.program)),
        ];
        Self { name: server.name.to_owned(), rows }
    }
}

/// In megabytes of a million bytes.
fn size(program: &Path) -> f64 {
    let bytes = std::fs::metadata(program).expect("a program is a file").len();
    // Sizes of programs are far below where a float loses a byte.
    u32::try_from(bytes).map_or(f64::INFINITY, f64::from) / 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(columns: &[Column]) {
    let names = columns.iter().map(|column| format!(" {} |", column.name));
    println!("| |{}", names.collect::<String>());
    println!("|---|{}", "---|".repeat(columns.len()));
    for (index, row) in ROWS.iter().enumerate() {
        let cells = columns.iter().map(|column| format!(" {} |", column.rows[index]));
        println!("| {row} |{}", cells.collect::<String>());
    }
}
