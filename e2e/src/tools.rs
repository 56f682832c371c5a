//! Where programs are. A missing one ends the story with a sentence that says how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The folder of the real programs.
///
/// # Panics
/// When `E2E_TOOLS_BIN` does not name a folder.
#[must_use]
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("E2E_TOOLS_BIN").map(PathBuf::from).unwrap_or_default();
    assert!(
        folder.is_dir(),
        "E2E_TOOLS_BIN does not name the folder of the real programs: run e2e/tools/build and give it what it prints"
    );
    folder
}

/// A real program out of `e2e/tools`.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.exists(), "{} is missing: run e2e/tools/build", path.display());
    path
}

/// The CRDs of a program that is not run, as one text; `name` is one of `e2e/tools/crds/modules`.
///
/// # Panics
/// When they have not been fetched.
#[must_use]
pub fn crds(name: &str) -> String {
    let path = folder().join("crds").join(name);
    let entries =
        std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}; run e2e/tools/build", path.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files.iter().map(|file| format!("{}\n---\n", std::fs::read_to_string(file).expect("readable"))).collect()
}

/// One of our own programs, built in the profile of this test.
///
/// Cargo builds libraries of dependencies for a test, but not their programs, so this asks it to; with nothing to do
/// that takes a moment. It asks for the workspace's features, as a plain `cargo build` does, so that both share one build.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn ours(name: &str) -> PathBuf {
    // Two cargos at once only wait for one another, and print that they do.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(repository()).args(["build", "--quiet", "--locked", "--workspace", "--bin", name]);
    // What cargo tells a test of its package would have dependencies that look at it built anew, here and the next time.
    let of_test = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_test)) {
        build.env_remove(name);
    }
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().is_ok_and(|status| status.success()), "cannot build {name}");
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in deps of its profile");
    profile.join(name)
}

/// The top of this repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e/ lies in the repository").to_path_buf()
}

/// A folder of contract data that lies outside of the repository, if it is there. Says so if it is not: a story that
/// needs it then passes without having told anything.
#[must_use]
pub fn contracts(part: &str) -> Option<PathBuf> {
    let top = std::env::var_os("CONTRACTS_DIR").map_or_else(|| repository().join("../shared/contracts"), PathBuf::from);
    let folder = top.join(part);
    if folder.exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is not there; CONTRACTS_DIR may name the folder above it", folder.display());
    None
}

/// A port nobody listens on.
///
/// # Panics
/// When the machine has none left.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
