//! The CompositeResourceDefinition (XRD): what a tenant may order and what the API server itself refuses.

use serde_json::{Value, json};

use super::{
    Api, VERSION, plural,
    schema::{self, FREE},
};
use crate::{observed::KUBECONFIG, xr};

/// A tenant's own short name for what he orders.
const SHORT_NAME: &str = "vcl";

/// Names become values of labels; Crossplane says the same of every XR and shortens a claim's name before it adds six
/// characters to it.
const MAX_NAME: u64 = 63;

/// At the level of `spec`: cores 1.14 to 1.20 drop rules of the root, and a rule of the field itself would not see it
/// come or go. `storage` is fixed as well, but not here: what is fixed is the volume that exists, so it is the function
/// that refuses. A rule here would lock in a size the platform had refused before anything was made.
const IMMUTABLE_ID: &str = "has(self.id) == has(oldSelf.id) && (!has(self.id) || self.id == oldSelf.id)";

pub(super) fn definition(api: &Api) -> Value {
    let mut spec = json!({
        "group": api.group,
        "names": names(&api.kind, !api.claims()),
        "defaultCompositionRef": { "name": api.composition },
        "versions": [{
            "name": VERSION,
            "served": true,
            "referenceable": true,
            "additionalPrinterColumns": columns(),
            "schema": { "openAPIV3Schema": schema() },
        }],
    });
    if api.claims() {
        spec["claimNames"] = names(&api.claim_kind, true);
        spec["connectionSecretKeys"] = json!([KUBECONFIG]);
    } else {
        spec["scope"] = json!("Namespaced");
    }
    json!({
        "apiVersion": format!("apiextensions.crossplane.io/{}", if api.claims() { "v1" } else { "v2" }),
        "kind": "CompositeResourceDefinition",
        "metadata": { "name": api.name() },
        "spec": spec,
    })
}

fn names(kind: &str, ordered: bool) -> Value {
    let mut names = json!({
        "kind": kind,
        "listKind": format!("{kind}List"),
        "plural": plural(kind),
        "singular": kind.to_ascii_lowercase(),
    });
    if ordered {
        names["shortNames"] = json!([SHORT_NAME]);
    }
    names
}

/// Beside Crossplane's own, among which is READY.
fn columns() -> Value {
    let column = |name: &str, kind: &str, path: &str, about: &str| json!({ "name": name, "type": kind, "jsonPath": path, "description": about });
    json!([
        column("VERSION", "string", ".status.vcluster.chartVersion", "The version of the vcluster chart"),
        column("BACKUP", "string", ".status.backup.state", "How the backups are"),
        column("LAST-BACKUP", "date", ".status.backup.newest.time", "How old the newest backup is"),
    ])
}

/// Of the whole XR, and so of the claim.
pub(super) fn schema() -> Value {
    let mut spec = schema::without_defaults(schema::of::<xr::Spec>());
    spec["x-kubernetes-validations"] =
        json!([{ "rule": IMMUTABLE_ID, "message": "spec.id cannot change: every name is made from it" }]);
    let mut status = schema::without_defaults(schema::of::<xr::status::Status>());
    for part in status["properties"].as_object_mut().into_iter().flat_map(|parts| parts.values_mut()) {
        // A function of the next version may say more before its XRD is there: a field Crossplane does not find in the
        // schema would stop every reconcile.
        part[FREE] = json!(true);
    }
    json!({
        "type": "object",
        "description": "A vcluster with its backups and its registration.",
        "required": ["spec"],
        "properties": {
            "metadata": { "type": "object", "properties": { "name": { "type": "string", "maxLength": MAX_NAME } } },
            "spec": spec,
            "status": status,
        },
    })
}
