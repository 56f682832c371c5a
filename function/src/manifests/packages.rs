//! What is installed, and what the packages say about themselves.

use serde_json::{Value, json};
use vcluster_proto::API_VERSION;

use super::{
    Api, package_version, plural,
    schema::{self, FREE},
};
use crate::platform::{self, Platform};

/// The function's name: in the pipeline, as a package and as an image.
pub(super) const FUNCTION: &str = "function-vcluster";
/// The provider that turns Releases into Helm releases.
pub(super) const PROVIDER: &str = "xpkg.crossplane.io/crossplane-contrib/provider-helm";

/// For `kubectl apply`. `v1beta1` is served by every Crossplane from 1.14 on, `v1` only from 1.17.
pub(super) fn function(api: &Api) -> Value {
    json!({
        "apiVersion": "pkg.crossplane.io/v1beta1",
        "kind": "Function",
        "metadata": { "name": FUNCTION },
        "spec": { "package": format!("{}/{FUNCTION}:{}", api.registry, package_version()) },
    })
}

/// `crossplane.yaml` of the function's package.
pub(super) fn function_package() -> Value {
    let about =
        "Turns a claim for a vcluster into its Helm releases: bucket, control plane with backups, registration.";
    meta("meta.pkg.crossplane.io/v1beta1", "Function", FUNCTION, about, ">=v1.14.0-0")
}

/// `crossplane.yaml` of a Configuration.
pub(super) fn configuration(api: &Api) -> Value {
    let (name, about, core, provider) = match api.claims() {
        true => ("configuration-vcluster-claims", "VClusters ordered by claims.", ">=v1.14.0-0", ">=v0.21.0"),
        false => (
            "configuration-vcluster-namespaced",
            "VClusters ordered in the tenant's namespace.",
            ">=v2.0.0-0",
            ">=v1.0.2",
        ),
    };
    let mut package = meta("meta.pkg.crossplane.io/v1", "Configuration", name, about, core);
    package["spec"]["dependsOn"] = json!([
        { "function": format!("{}/{FUNCTION}", api.registry), "version": format!(">={}", package_version()) },
        { "provider": PROVIDER, "version": provider },
    ]);
    package
}

fn meta(api_version: &str, kind: &str, name: &str, about: &str, core: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": {
                "meta.crossplane.io/description": about,
                "meta.crossplane.io/license": env!("CARGO_PKG_LICENSE"),
            },
        },
        "spec": { "crossplane": { "version": core } },
    })
}

/// The input's schema as Crossplane wants it in a function's package: a CRD that is never installed, for editors and
/// for `crossplane resource validate`.
pub(super) fn input() -> Value {
    let (group, version) = API_VERSION.split_once('/').unwrap_or(("", API_VERSION));
    let plural = plural(platform::KIND);
    let mut schema = schema::of::<Platform>();
    schema["properties"]["apiVersion"] = json!({ "type": "string", "enum": [API_VERSION] });
    schema["properties"]["kind"] = json!({ "type": "string", "enum": [platform::KIND] });
    schema["properties"]["metadata"] = json!({ "type": "object" });
    schema["required"]
        .as_array_mut()
        .into_iter()
        .for_each(|required| required.extend([json!("apiVersion"), json!("kind")]));
    debug_assert!(schema.get(FREE).is_none(), "the input knows its fields");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "names": {
                "categories": ["crossplane"],
                "kind": platform::KIND,
                "listKind": format!("{}List", platform::KIND),
                "plural": plural,
                "singular": platform::KIND.to_ascii_lowercase(),
            },
            "scope": "Namespaced",
            "versions": [{ "name": version, "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}
