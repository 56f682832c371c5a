//! Everything two programs must agree on, and nothing else.
//!
//! ```text
//!                       settings.yaml                       status.yaml
//!   function-vcluster ----------------> vcluster-backup ----------------> function-vcluster
//!        (one string in the values of chart s3-register)   (a ConfigMap, or a file outside a cluster)
//! ```
//!
//! * [`settings`]: what the function asks of the sidecar; travels through Helm values and a ConfigMap unchanged.
//! * [`status`]: what the sidecar tells the function and people.
//! * [`interval`]: the one spelling of durations.
//! * `run_function` (feature `grpc`): the RunFunction wire contract, served as `v1` and `v1beta1` alike.
//!
//! Images and functions are never upgraded at the same moment, so every reader here ignores fields it does not know and
//! fills fields it misses with their defaults.

mod document;
pub mod interval;
#[cfg(feature = "grpc")]
pub mod run_function;
pub mod settings;
pub mod status;

pub use document::{API_VERSION, DocumentError};
