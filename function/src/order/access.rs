//! The host under which a vcluster is reached from outside. Pure.

use super::made::Made;
use crate::{error::Refusal, forms, platform::Platform, xr::Xr};

/// The owner's word, which must end as the platform says; else what runs; else the platform's default.
///
/// A host that runs goes on when the platform's limits change, and when its default does: kubeconfigs bear it.
///
/// # Errors
/// A host that is not this owner's to choose, or a default that cannot be filled in.
pub(super) fn host(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<Option<String>, Refusal> {
    let ran = made.and_then(Made::host);
    if let Some(wanted) = &xr.spec.access.host {
        if ran != Some(wanted.as_str()) {
            allow(wanted, xr, platform)?;
        }
        return Ok(Some(wanted.clone()));
    }
    match made {
        Some(made) if !made.release.was_ordered("access.host") => Ok(ran.map(str::to_owned)),
        _ => default(xr, platform),
    }
}

fn default(xr: &Xr, platform: &Platform) -> Result<Option<String>, Refusal> {
    let Some(template) = &platform.defaults.access.host else { return Ok(None) };
    let key = super::names(xr, platform, xr.id()).key;
    let host = expand(template, xr).map(|host| host.replace("{key}", key.as_str()));
    match host.filter(|host| forms::host(host).is_ok()) {
        Some(host) => Ok(Some(host)),
        None => {
            let problem = format!(
                "{template:?} is no host name for owner {:?}; write it without {{owner}}, or shorter",
                xr.owner
            );
            Err(Refusal::field("input.defaults.access.host", problem))
        }
    }
}

fn allow(wanted: &str, xr: &Xr, platform: &Platform) -> Result<(), Refusal> {
    let refused = |problem: String| Err(Refusal::field("spec.access.host", problem));
    let suffixes = &platform.limits.host_suffixes;
    if suffixes.is_empty() {
        return refused(format!("{wanted:?}, but this platform lets nobody choose a host; remove the field"));
    }
    // A suffix begins with a dot, and a host has no empty label: the match ends where a label begins, and something
    // stands before it.
    let suffixes: Vec<String> = suffixes.iter().filter_map(|suffix| expand(suffix, xr)).collect();
    if suffixes.iter().any(|suffix| wanted.ends_with(suffix.as_str())) {
        return Ok(());
    }
    refused(match suffixes.is_empty() {
        true => format!(
            "{wanted:?}, but every host of this platform bears its owner, and this XR has none; remove the field"
        ),
        false => format!("{wanted:?} is not a host of yours; let it end with {}", suffixes.join(" or ")),
    })
}

/// `{owner}` filled in. The owner is one label: another text would move the end of the suffix.
fn expand(template: &str, xr: &Xr) -> Option<String> {
    let holds_owner = template.contains("{owner}");
    (!holds_owner || forms::dns_label(&xr.owner).is_ok()).then(|| template.replace("{owner}", &xr.owner))
}
