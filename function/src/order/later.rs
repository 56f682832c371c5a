//! What can be written and is not served yet: refused by its path, never ignored. Pure.

use crate::{
    error::Refusal,
    platform::{Platform, RancherMode},
    xr::Xr,
};

/// # Errors
/// The first field that is there and would have no effect.
pub(super) fn check(xr: &Xr, platform: &Platform) -> Result<(), Refusal> {
    let (spec, defaults) = (&xr.spec, &platform.defaults);
    let fields = [
        ("spec.access", spec.access.host.is_some()),
        ("spec.kubernetesVersion", spec.kubernetes_version.is_some()),
        ("spec.values", !spec.values.is_empty()),
        ("input.defaults.access", defaults.access.host.is_some()),
        ("input.defaults.kubernetesVersion", defaults.kubernetes_version.is_some()),
        ("input.defaults.values", !defaults.values.is_empty()),
        ("input.store.quota", platform.store.quota.is_some()),
        ("input.rancher.mode", platform.rancher.mode == RancherMode::Operator),
        ("input.adopt", platform.adopt != crate::platform::Adopt::default()),
    ];
    match fields.into_iter().find(|(_, said)| *said) {
        Some((path, _)) => Err(Refusal::Later { path: path.to_owned() }),
        None => Ok(()),
    }
}
