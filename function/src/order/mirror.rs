//! A mirror of images: charts below 0.30 put it before the sidecar's image as well. Pure.

use super::Build;
use crate::error::Refusal;

/// Looks that the chart finds the sidecar's image where it will look. What runs goes on as it is when the new image is
/// not there.
///
/// # Errors
/// An image outside of the mirror, for a chart that looks nowhere else.
pub(super) fn check(kept: &Build, fresh: &mut Build) -> Result<(), Refusal> {
    let Some(registry) = missing(fresh) else { return Ok(()) };
    let (image, version) = (&fresh.sidecar_image, &fresh.chart_version);
    let problem = format!(
        "{image:?} is not in {registry:?}, which vcluster charts below 0.30 put before this image, too, and {version} is \
         wanted; mirror it there"
    );
    let stays = Build { sidecar_image: kept.sidecar_image.clone(), registry: kept.registry.clone(), ..fresh.clone() };
    if missing(&stays).is_some() {
        return Err(Refusal::field("input.images.sidecar", problem));
    }
    *fresh = stays;
    Ok(())
}

/// The mirror in which the image is not, though the chart looks there.
fn missing(build: &Build) -> Option<&str> {
    let registry = build.registry.as_deref().filter(|_| build.family.mirrors_sidecar())?;
    let inside = build.sidecar_image.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'));
    (!inside).then_some(registry)
}
