//! Parses, sets up logs, dispatches: `serve` without a command, `render` for files, `manifests` for what is applied.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use function_vcluster::{check, error::Error, manifests, offline, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns a claim for a vcluster into its Helm releases: bucket, control plane with backups, registration.
///
/// Without a command it serves Crossplane's RunFunction calls.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Render an XR with a Composition's step of ours, without Crossplane, containers or a network
    Render(offline::Files),
    /// Look at a Platform, or the Composition around it: what would be refused, and what is unwise
    CheckPlatform(check::Args),
    /// Print XRD, Composition, Function and rights for an API group of your own; with --only also packages and pages
    Manifests(manifests::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Render(files)) => offline::run(files).map(|yaml| print(&yaml)),
        Some(Command::CheckPlatform(args)) => check::run(args).map(|text| print(&text)),
        Some(Command::Manifests(args)) => manifests::print(args).map(|text| print(&text)),
        None => serve(&cli.serve),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("function-vcluster: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough closes the pipe; that is no failure of ours.
fn print(yaml: &str) {
    _ = std::io::stdout().write_all(yaml.as_bytes());
}

fn serve(args: &serve::Args) -> Result<(), Error> {
    function_sdk_rust::logging::configure(args.debug);
    tokio::runtime::Runtime::new().map_err(Error::Runtime)?.block_on(serve::run(args))
}
