//! The forms in which people write values: names, quantities, versions, URLs, recipients. Each check says in one
//! sentence what is wrong and what is right; where a value could be a secret by mistake, the sentence does not repeat it.

mod address;
mod host;
mod key;
mod names;
pub(crate) mod pattern;
mod quantity;
mod store;
mod version;

pub(crate) use self::{
    address::{certificates, http_url, image, region, registry, repository, tag},
    host::{host, host_suffix, host_template},
    key::{recipient, signing_key},
    names::{
        class_name, dns_label, id, kind, object_name, platform_id, prefix, principal, resource_name, secret_key,
        secret_name, secret_template, token,
    },
    quantity::{quantity, quota, storage},
    store::{Place, store_url},
    version::{Version, is_upstream_rancher, kubernetes_version, s3_register},
};

/// What can be restored.
pub(crate) fn restore_point(text: &str) -> Result<(), String> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let backup = text.split_once('/').is_some_and(|(generation, sequence)| plain(generation) && plain(sequence));
    if ["latest", "empty"].contains(&text) || (text.len() <= 128 && backup) || text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no backup; write latest, empty, a time as 2026-11-22T06:00:00Z, or an id as status.backup.newest \
         has it"
    ))
}

/// A path into the values of the vcluster chart.
pub(crate) fn values_path(text: &str) -> Result<(), String> {
    let name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if text.split('.').all(name) {
        return Ok(());
    }
    Err(format!("{text:?} is not a path into values; write it as sync.toHost.ingresses"))
}
