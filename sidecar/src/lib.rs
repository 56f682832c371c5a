//! Consistent, encrypted, signed backups of a vcluster's SQLite database, and their restore.
//!
//! ```text
//! backup    sqlite -> capture -> payload, changes -> seal -> lineage: store (data) -> manifest -> store (commit)
//!             |       plan, table   tar     pages  zstd+age      SHA-256       Ed25519
//!           one read transaction; no checkpoint, ever
//!
//! restore   install <- payload, changes <- seal <- store (data) <- catalog <- manifest <- store (list)
//!             |        root of the pages  age+zstd   size and      newest and   signature
//!           one rename, at each link                 SHA-256       its chain    and trust
//! ```
//!
//! The two lines mirror each other: what one writes, the other asserts. Pure rooms, which know neither clock nor disk
//! nor network: [`pages`], [`plan`], [`manifest`], [`catalog`] but for its loading, [`init`], [`objects`], [`pace`], [`retention`]. The only room that opens the live
//! database is [`sqlite`]; the only one that knows object stores is [`store`]; the only one that decides about retries
//! is [`run`].

pub mod backup;
pub mod capture;
pub mod catalog;
pub mod changes;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod event;
pub mod health;
pub mod host;
pub mod init;
pub mod install;
pub mod keys;
pub mod kine;
pub mod legacy;
pub mod lineage;
pub mod listen;
pub mod lock;
pub mod manifest;
pub mod metrics;
pub mod objects;
pub mod overview;
pub mod owner;
pub mod pace;
pub mod pages;
pub mod payload;
pub mod plan;
pub mod program;
pub mod progress;
pub mod proof;
pub mod prune;
pub mod report;
pub mod requests;
pub mod restore;
pub mod retention;
pub mod run;
pub mod seal;
pub mod serve;
pub mod signal;
pub mod signing;
pub mod sqlite;
pub mod start;
pub mod store;
pub mod table;
pub mod traffic;
pub mod verify;

pub use error::Error;

/// Runs what blocks (SQLite, files, encryption) beside the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(Error::Seal { action: "finish the work", source: std::io::Error::other(panic.to_string()) })
    })
}
