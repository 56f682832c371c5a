//! Whether a Release registers the vcluster with Rancher. Pure.

use super::build::Build;
use crate::{
    error::Refusal,
    forms,
    observed::{Observed, RANCHER},
    platform::{Platform, RancherMode},
    render::family::Distro,
    xr::Xr,
};

/// Only an explicit `false` in the claim removes a registration that is there.
pub(super) fn rancher(xr: &Xr, platform: &Platform, observed: &Observed) -> Result<bool, Refusal> {
    let registered = observed.release(RANCHER).is_some();
    // An adopted one needs nothing of the Platform.
    let offered = platform.rancher.mode == RancherMode::Chart || observed.parts.is_adopted(RANCHER);
    match xr.spec.rancher.enabled {
        Some(false) => Ok(false),
        _ if registered && !offered => Err(Refusal::RancherGone { mode: platform.rancher.mode.as_str() }),
        _ if registered => Ok(true),
        // By the operator, which needs no Release.
        _ if platform.rancher.mode == RancherMode::Operator => Ok(false),
        Some(true) if !offered => Err(Refusal::field(
            "spec.rancher.enabled",
            "true, but this platform has no Rancher (input.rancher.mode: none); remove the field",
        )),
        Some(true) => Ok(true),
        None => Ok(offered && platform.defaults.rancher.enabled.unwrap_or(true)),
    }
}

/// The upstream chart's script reads a file that only k3s writes. A registration that is there is not made again.
pub(super) fn upstream_registration(platform: &Platform, build: &Build) -> Result<(), Refusal> {
    let version = platform.charts.rancher_cluster.as_ref().map(|chart| chart.version.as_str()).unwrap_or_default();
    if !forms::is_upstream_rancher(version) || build.distro == Distro::K3s {
        return Ok(());
    }
    let problem = format!(
        "{version:?} is the upstream chart, which registers vclusters on k3s only, and this one runs {} on chart {}; use \
         the chart of this project, or rancher.mode: operator",
        build.distro.as_str(),
        build.chart_version
    );
    Err(Refusal::field("input.charts.rancherCluster.version", problem))
}
