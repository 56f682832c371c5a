//! The vcluster-rancher-operator: it registers every vcluster it finds, unless the Service says otherwise. Pure.
//!
//! What the Service says is a value of the chart, so it moves as such values do: the owner's own edit counts at once, a
//! platform that turns to the operator restarts nothing.

use super::made::Made;
use crate::{
    error::Refusal,
    platform::{Platform, RancherMode},
    xr::Xr,
};

/// What the Service of a vcluster tells the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Import {
    /// Nothing: the operator, where there is one, registers it under a name of its own.
    #[default]
    Unsaid,
    /// The name it is registered under: the key.
    Named,
    /// That it is passed by.
    Skipped,
}

/// The entry in the list of ordered fields that remembers a word against the registration.
pub(super) const DISABLED: &str = "rancher.disabled";

/// What the Service says as it runs, and what a roll-out makes of it.
pub(super) fn imports(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> (Import, Import) {
    let wants = xr.spec.rancher.enabled.or(platform.defaults.rancher.enabled).unwrap_or(true);
    let fresh = match (platform.rancher.mode, wants) {
        (RancherMode::Operator, true) => Import::Named,
        (RancherMode::Operator, false) => Import::Skipped,
        _ => Import::Unsaid,
    };
    let Some(made) = made else { return (fresh, fresh) };
    let ran = made.import();
    let had_word = made.release.was_ordered(DISABLED);
    let kept = match (xr.spec.rancher.enabled, ran) {
        // The owner's new word; one he had given before there was an operator waits.
        (Some(false), Import::Unsaid) if had_word => Import::Unsaid,
        (Some(false), _) if platform.rancher.mode == RancherMode::Operator => Import::Skipped,
        // His word for it, or the one against it taken back.
        (Some(true), Import::Skipped) => fresh,
        (None, Import::Skipped) if had_word => fresh,
        (_, ran) => ran,
    };
    (kept, fresh)
}

/// Looks that nobody is promised an owner the operator does not know. What runs is not stopped over it.
///
/// # Errors
/// An owner beside the operator.
pub(super) fn check(xr: &Xr, platform: &Platform, runs: bool) -> Result<(), Refusal> {
    if platform.rancher.mode != RancherMode::Operator || runs || xr.spec.rancher.owner.is_none() {
        return Ok(());
    }
    let problem = "has no effect: the vcluster-rancher-operator makes owners of the members of the Rancher project; remove \
                   the field";
    Err(Refusal::field("spec.rancher.owner", problem))
}
