//! The program; see the library for everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    vcluster_backup::program::main(std::env::args_os())
}
