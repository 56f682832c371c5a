//! The Composition: our one step, with a Platform to edit. Text rather than a value, for its comments.

use super::{Api, packages::FUNCTION};
use crate::error::Error;

/// Every field with a comment: those with a default are comments themselves. A test reads it as the function would.
pub(super) const PLATFORM: &str = include_str!("platform.yaml");

/// Where the Platform begins in the Composition.
const INDENT: &str = "        ";

pub(super) fn composition(api: &Api) -> Result<String, Error> {
    let secrets = match api.claims() {
        true => {
            "  # provider-helm copies kubeconfigs through it into the claim's Secret; the Platform's own namespace.\n  \
                 writeConnectionSecretsToNamespace: vcluster-platform\n"
        }
        false => "",
    };
    let platform: String = PLATFORM
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{INDENT}{line}\n") })
        .collect();
    Ok(format!(
        "---\n\
         # What the platform team decides once, for all its tenants. Edit the step's input.\n\
         apiVersion: apiextensions.crossplane.io/v1\n\
         kind: Composition\n\
         metadata:\n  \
           name: {name}\n\
         spec:\n  \
           compositeTypeRef:\n    \
             apiVersion: {api_version}\n    \
             kind: {kind}\n  \
           mode: Pipeline\n\
         {secrets}  \
           pipeline:\n    \
             - step: vcluster\n      \
               functionRef:\n        \
                 name: {FUNCTION}\n      \
               input:\n\
         {platform}",
        name = api.composition,
        api_version = api.api_version(),
        kind = api.kind,
    ))
}
