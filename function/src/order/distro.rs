//! The distro: fixed by what runs, but for the one step there is, from k3s to k8s. Pure.
//!
//! The control plane itself takes that step when it starts: it renames the database and takes over the k3s authority.
//! It never goes back.

use std::ops::RangeInclusive;

use super::made::Made;
use crate::{
    error::Refusal,
    forms::Version,
    observed::VCLUSTER,
    platform::Platform,
    render::family::{Distro, Family},
    xr::Xr,
};

/// The chart lines that take the step: they have both distros, and know how.
const STEP: RangeInclusive<u64> = 25..=32;

/// The distro a vcluster gets with a chart version.
///
/// # Errors
/// One the chart does not have, a way back, or a step beside something else.
pub(super) fn choose(xr: &Xr, platform: &Platform, made: Option<Made<'_>>, version: &str) -> Result<Distro, Refusal> {
    let family = Family::of(version).map_err(|problem| Refusal::field("spec.chartVersion", problem))?;
    let wanted = xr.spec.distro;
    let Some(made) = made else {
        // A default is for the charts that have it.
        let default = platform.defaults.distro.filter(|distro| family.has(*distro));
        let distro = wanted.or(default).unwrap_or(family.usual_distro());
        return if family.has(distro) {
            Ok(distro)
        } else {
            Err(Refusal::field("spec.distro", missing(version, distro)))
        };
    };
    let ran = made.distro();
    match wanted.unwrap_or(ran) {
        same if same == ran => stay(ran, made.version, version, family),
        Distro::K8s => step(made.version, version),
        Distro::K3s => Err(Refusal::Fixed {
            path: "spec.distro",
            wanted: Distro::K3s.as_str().to_owned(),
            found: ran.as_str().to_owned(),
            resource: VCLUSTER,
            reason: "a vcluster goes from k3s to k8s and never back",
        }),
    }
}

/// Whether a new default version has to wait: its chart has lost what runs, or another step is being taken.
pub(super) fn holds_back(xr: &Xr, made: Made<'_>, default: &str) -> bool {
    let gone = !Family::of(default).is_ok_and(|family| family.has(made.distro()));
    gone || xr.spec.distro.is_some_and(|wanted| wanted != made.distro())
}

/// What is missing, and the ways out.
pub(crate) fn missing(version: &str, distro: Distro) -> String {
    match distro {
        Distro::K3s => format!(
            "\"k3s\" is gone from the vcluster chart with 0.33, and {version} is wanted; write k8s, or take a chart \
             from 0.19 to 0.32"
        ),
        Distro::K8s => {
            format!(
                "\"k8s\" is not in vcluster chart {version}, which has k3s only; write k3s, or take a chart from 0.20"
            )
        }
    }
}

fn stay(ran: Distro, running: &str, version: &str, family: Family) -> Result<Distro, Refusal> {
    if family.has(ran) {
        return Ok(ran);
    }
    let (first, last) = (STEP.start(), STEP.end());
    let problem = match ran {
        Distro::K3s => format!(
            "{version:?} has no k3s, on which this vcluster runs with chart {running}; set spec.distro: k8s on a chart \
             from 0.{first} to 0.{last} first, and change the version after that step"
        ),
        Distro::K8s => format!(
            "{version:?} has k3s only, and this vcluster runs k8s with chart {running}; put it back, a vcluster goes \
             from k3s to k8s and never back"
        ),
    };
    Err(Refusal::field("spec.chartVersion", problem))
}

fn step(running: &str, version: &str) -> Result<Distro, Refusal> {
    let (first, last) = (STEP.start(), STEP.end());
    if !Version::parse(running).is_ok_and(|running| STEP.contains(&running.minor())) {
        let problem = format!(
            "\"k8s\" differs from \"k3s\", which runs here with chart {running}: the step between them is taken on \
             charts 0.{first} to 0.{last}; put it back, and set spec.chartVersion to one of those first"
        );
        return Err(Refusal::field("spec.distro", problem));
    }
    if running != version {
        let problem = format!(
            "{version:?} beside spec.distro: k8s, but the step from k3s to k8s moves nothing else; write {running} \
             until this vcluster runs k8s"
        );
        return Err(Refusal::field("spec.chartVersion", problem));
    }
    Ok(Distro::K8s)
}
