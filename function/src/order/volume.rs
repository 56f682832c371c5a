//! The volume, and what becomes of the data when the order goes. Pure.

use super::{build::Build, made::Made, unless_taken_back};
use crate::{
    error::Refusal,
    forms,
    observed::{Observed, S3, VCLUSTER},
    platform::Platform,
    xr::{DeletionPolicy, Xr},
};

/// The volume of a vcluster nobody gave a size.
const DEFAULT_STORAGE: &str = "5Gi";

/// Fixed when the volume is made: a volume claim template of a StatefulSet cannot change.
pub(super) fn storage(
    xr: &Xr,
    platform: &Platform,
    made: Option<Made<'_>>,
    fresh: &Build,
) -> Result<(String, String), Refusal> {
    let (wanted, defaults) = (&xr.spec.storage, &platform.defaults.storage);
    if let Some(made) = made {
        let fixed = |path, wanted: &Option<String>, found: &str, same: bool| match wanted {
            Some(wanted) if !same => Err(Refusal::Fixed {
                path,
                wanted: wanted.clone(),
                found: found.to_owned(),
                resource: VCLUSTER,
                reason: "the volume of a running vcluster keeps its size and class",
            }),
            _ => Ok(()),
        };
        let (size, class) = (made.storage_size().unwrap_or(DEFAULT_STORAGE), made.storage_class().unwrap_or_default());
        let same_size = wanted.size.as_deref().is_none_or(|w| forms::storage(w) == forms::storage(size));
        fixed("spec.storage.size", &wanted.size, size, same_size)?;
        fixed("spec.storage.className", &wanted.class_name, class, wanted.class_name.as_deref() == Some(class))?;
        return Ok((size.to_owned(), class.to_owned()));
    }
    let preset = fresh.size.as_ref().and_then(|name| Some((name, platform.sizes.get(name)?.storage.as_ref()?)));
    let (path, size) = match (&wanted.size, preset, &defaults.size) {
        (Some(wanted), ..) => ("spec.storage.size".to_owned(), wanted.as_str()),
        (None, Some((name, size)), _) => (format!("input.sizes.{name}.storage"), size.as_str()),
        (None, None, Some(size)) => ("input.defaults.storage.size".to_owned(), size.as_str()),
        (None, None, None) => ("input.defaults.storage.size".to_owned(), DEFAULT_STORAGE),
    };
    let room = |text: &str| forms::storage(text).unwrap_or(f64::INFINITY);
    if let Some(max) = platform.limits.max_storage.as_deref().filter(|max| room(size) > room(max)) {
        let problem = match &wanted.size {
            Some(_) => format!("{size:?} is more than this platform gives; ask for at most {max}"),
            None => format!("{size:?}, but input.limits.maxStorage is {max}; raise that, or write less here"),
        };
        return Err(Refusal::field(path, problem));
    }
    let class = wanted.class_name.as_ref().or(defaults.class_name.as_ref());
    Ok((size.to_owned(), class.cloned().unwrap_or_default()))
}

/// A default that changes must not decide over data that is already there, nor may an edit of one Release by hand: where
/// bucket and volume disagree, both are kept.
pub(super) fn deletion_policy(
    xr: &Xr,
    platform: &Platform,
    made: Option<Made<'_>>,
    observed: &Observed,
) -> DeletionPolicy {
    if made.is_some_and(|made| made.adopted) {
        return xr.spec.deletion_policy.unwrap_or(DeletionPolicy::Retain);
    }
    let bucket = observed.release(S3).and_then(|s3| s3.value_text("/deletionPolicy")).map(|policy| {
        if policy == DeletionPolicy::Delete.as_str() { DeletionPolicy::Delete } else { DeletionPolicy::Retain }
    });
    let ran = match (bucket, made.map(Made::deletion_policy)) {
        (Some(bucket), Some(volume)) if bucket != volume => Some(DeletionPolicy::Retain),
        (bucket, volume) => bucket.or(volume),
    };
    let ran = unless_taken_back(made.map(|made| made.release), "deletionPolicy", ran);
    xr.spec.deletion_policy.or(ran).or(platform.defaults.deletion_policy).unwrap_or(DeletionPolicy::Retain)
}

/// The word itself, or that it was taken back.
pub(super) fn word_on_retention(xr: &Xr, made: Made<'_>) -> Option<DeletionPolicy> {
    xr.spec.deletion_policy.or_else(|| made.release.was_ordered("deletionPolicy").then_some(DeletionPolicy::Retain))
}
