//! The Kubernetes version: the owner's word, and the image the platform's table gives for it. Pure.

use std::cmp::Ordering;

use super::made::Made;
use crate::{error::Refusal, observed::VCLUSTER, platform::Platform, render::family::Distro, xr::Xr};

/// A Kubernetes version that somebody has chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Kubernetes {
    /// Its name in the platform's table.
    pub version: String,
    /// The tag of the distro's image.
    pub tag: String,
}

/// The version as it runs, and as a roll-out makes it; none: the chart's own.
///
/// The name is the owner's, or a default of the day the vcluster was made. The tag behind a name moves like every default:
/// only with a restart that comes anyway.
///
/// # Errors
/// A version the platform does not offer for the distro, or a way back.
pub(super) fn choose(
    xr: &Xr,
    platform: &Platform,
    made: Option<Made<'_>>,
    distro: Distro,
) -> Result<(Option<Kubernetes>, Option<Kubernetes>), Refusal> {
    let ran = made.and_then(|made| made.kubernetes(platform));
    let Some(version) = name(xr, platform, made, distro)? else { return Ok((None, None)) };
    let kept = ran.filter(|(name, _)| *name == version).map(|(_, tag)| tag);
    // The image of another distro is no image of this one.
    let kept = kept.filter(|_| made.is_some_and(|made| made.distro() == distro));
    let offered = platform.kubernetes_versions.get(version).and_then(|images| images.tag(distro));
    let Some(fresh) = offered.or(kept) else { return Err(missing(version, platform, distro)) };
    let of = |tag: &str| Some(Kubernetes { version: version.to_owned(), tag: tag.to_owned() });
    Ok((of(kept.unwrap_or(fresh)), of(fresh)))
}

fn name<'a>(
    xr: &'a Xr,
    platform: &'a Platform,
    made: Option<Made<'a>>,
    distro: Distro,
) -> Result<Option<&'a str>, Refusal> {
    let ran = made.and_then(|made| made.kubernetes(platform)).map(|(name, _)| name);
    let back = |wanted: &str| ran.is_some_and(|ran| minor(wanted).cmp(&minor(ran)) == Ordering::Less);
    if let Some(wanted) = xr.spec.kubernetes_version.as_deref() {
        return match ran.filter(|_| back(wanted)) {
            Some(ran) => Err(Refusal::Fixed {
                path: "spec.kubernetesVersion",
                wanted: wanted.to_owned(),
                found: ran.to_owned(),
                resource: VCLUSTER,
                reason: "an older API server may not read what a newer one has written",
            }),
            None => Ok(Some(wanted)),
        };
    }
    let new = made.is_none_or(|made| made.release.was_ordered("kubernetesVersion"));
    // A default is for the distros that have it, and never goes back.
    let has = |version: &&str| platform.kubernetes_versions.get(*version).is_some_and(|v| v.tag(distro).is_some());
    let default = platform.defaults.kubernetes_version.as_deref().filter(has);
    Ok(default.filter(|default| new && !back(default)).or(ran))
}

fn missing(version: &str, platform: &Platform, distro: Distro) -> Refusal {
    let offers = platform.kubernetes_versions.iter().filter(|(_, images)| images.tag(distro).is_some());
    let mut offers: Vec<&str> = offers.map(|(name, _)| name.as_str()).collect();
    offers.sort_unstable_by_key(|name| minor(name));
    let distro = distro.as_str();
    let problem = match offers.is_empty() {
        true => format!("{version:?}, but this platform offers no Kubernetes version for {distro}; remove the field"),
        false => {
            format!("{version:?} is not a version this platform offers for {distro}; use one of {}", offers.join(", "))
        }
    };
    Refusal::field("spec.kubernetesVersion", problem)
}

/// Major and minor number: patches go both ways.
fn minor(version: &str) -> [u32; 2] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or_default());
    [numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()]
}
