//! `function-vcluster`: one claim becomes a backed-up, registered vcluster.
//!
//! ```text
//!  RunFunctionRequest                                                               RunFunctionResponse
//!   observed XR ------ xr ------.                                                  .---> desired Releases
//!   pipeline input --- platform -+--> order --+-------> render ----> Rendered -----+---> status, conditions
//!   observed Releases- observed -'   (joined  |   (vcluster,  ^                    |---> kubeconfig
//!                                     once)   v    s3, rancher)                    '---> whose report to hand over
//!   sidecar's report, the time ----------> health ------------'
//!        wire: decode                         pure                       wire: encode
//! ```
//!
//! The middle is pure: no clock, no network, no randomness; the same request at the same time gives the same bytes, and
//! the time shows only in whether the sidecar's report is stale. Around it are two shells: [`serve`], the gRPC server,
//! and [`offline`], which renders files in process. What cannot be honoured is a [`Refusal`](error::Refusal), never a
//! missing resource: whatever a function leaves out, Crossplane deletes.
//!
//! * [`key`]: the one name every other name is made from.
//! * [`xr`], [`platform`], [`observed`]: what is written and what is there, as types.
//! * [`adopt`]: what another Composition has made, gone on with under its names.
//! * [`order`]: the three joined; a default never moves under a running vcluster.
//! * `overlay`: chart values of tenants and platform, and what they never reach.
//! * [`restore`]: what the owner asks back, and whether it is done.
//! * [`render`]: the Releases.
//! * [`health`]: the sidecar's report, judged.
//! * [`manifests`]: XRD, Composition, rights and reference pages, printed from the types.
//! * [`wire`]: the only room that knows protobuf: the contract's messages with objects unopened, and what opens them.

pub mod adopt;
pub mod check;
pub mod error;
mod forms;
pub mod health;
pub mod key;
pub mod manifests;
pub mod observed;
pub mod offline;
pub mod order;
mod overlay;
pub mod platform;
mod read;
pub mod render;
pub mod restore;
pub mod serve;
pub mod wire;
pub mod xr;
