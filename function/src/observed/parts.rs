//! Which of the composed resources is what. Pure.

use std::collections::BTreeMap;

use super::{OURS, RANCHER, Release, Resource, S3, VCLUSTER};
use crate::{key::Key, platform::Adopt};

/// Our s3-register, where one of the upstream chart is gone on with: another name, since that one may have ours.
pub const S3_BESIDE: &str = "s3-settings";
/// The part that the upstream chart's Release plays; it has no name of ours.
pub const OLD_S3: &str = "old-s3";

/// The names of the composed resources: ours, but for those that another Composition has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    vcluster: Option<String>,
    rancher: Option<String>,
    old_s3: Option<String>,
    beside: bool,
}

impl Parts {
    /// Looks for what the Platform names among what is there. A resource that we have made is never adopted, whatever its
    /// name; so a new vcluster under the same Platform is made by our names.
    pub(super) fn find(adopt: &Adopt, resources: &BTreeMap<String, Resource>) -> Self {
        let made_elsewhere = |name: &Option<String>, part: &str| {
            let there = resources.get(name.as_deref()?).map(Release)?;
            (!is_ours(there, part)).then(|| name.clone()).flatten()
        };
        let old_s3 = made_elsewhere(&adopt.s3, S3);
        Self {
            vcluster: made_elsewhere(&adopt.vcluster, VCLUSTER),
            rancher: made_elsewhere(&adopt.rancher, RANCHER),
            beside: old_s3.is_some() || resources.contains_key(S3_BESIDE),
            old_s3,
        }
    }

    /// The composed resource that plays a part; empty when none can.
    pub fn name(&self, part: &'static str) -> &str {
        match part {
            VCLUSTER => self.vcluster.as_deref().unwrap_or(VCLUSTER),
            RANCHER => self.rancher.as_deref().unwrap_or(RANCHER),
            OLD_S3 => self.old_s3.as_deref().unwrap_or_default(),
            S3 if self.beside => S3_BESIDE,
            part => part,
        }
    }

    /// Whether another Composition has made it.
    pub fn is_adopted(&self, part: &str) -> bool {
        match part {
            VCLUSTER => self.vcluster.is_some(),
            RANCHER => self.rancher.is_some(),
            OLD_S3 => self.old_s3.is_some(),
            _ => false,
        }
    }

    /// Whether our s3-register stands beside an old one, or did.
    pub fn is_beside(&self) -> bool {
        self.beside
    }

    /// Whether a composed resource plays a part.
    pub(super) fn holds(&self, resource: &str) -> bool {
        !resource.is_empty() && OURS.iter().chain(&[OLD_S3]).any(|part| self.name(part) == resource)
    }
}

/// Our Releases bear the key in both of their names, whichever key that is.
fn is_ours(release: Release<'_>, part: &str) -> bool {
    let (object, helm) = (release.object_name(), release.helm_name());
    let Some(key) = object.strip_suffix(part).and_then(|rest| rest.strip_suffix('-')) else { return false };
    Key::has_the_form(key) && (helm == object || (part == VCLUSTER && helm == key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources(named: &[(&str, &str, &str)]) -> BTreeMap<String, Resource> {
        let one = |(resource, object, helm): &(&str, &str, &str)| {
            let annotations = json!({"crossplane.io/external-name": helm});
            let object = json!({"metadata": {"name": object, "annotations": annotations}});
            ((*resource).to_owned(), Resource { object, kubeconfig: None })
        };
        named.iter().map(one).collect()
    }

    #[test]
    fn what_others_have_made_is_told_from_what_we_have() {
        let adopt = Adopt { s3: Some("s3".into()), vcluster: Some("vcluster".into()), ..Adopt::default() };
        let parts = |named: &[(&str, &str, &str)]| {
            let parts = Parts::find(&adopt, &resources(named));
            (parts.is_adopted(VCLUSTER), parts.is_adopted(OLD_S3), parts.name(S3).to_owned())
        };
        let (key, other) = ("shop-3baw4pir", "shop-3baw4pi1");
        assert_eq!(parts(&[]), (false, false, S3.into()), "a new order");
        let ours = [("vcluster", "shop-3baw4pir-vcluster", key), ("s3", "shop-3baw4pir-s3", "shop-3baw4pir-s3")];
        assert_eq!(parts(&ours), (false, false, S3.into()), "one of ours");
        let theirs = [("vcluster", "shop-x7k2p-abcde", "shop"), ("s3", "shop-x7k2p-fghij", "shop-s3")];
        assert_eq!(parts(&theirs), (true, true, S3_BESIDE.into()));
        assert_eq!(parts(&[("vcluster", "shop-3baw4pi1-vcluster", other)]), (true, false, S3.into()), "1 is no base32");
        assert_eq!(parts(&[("vcluster", "shop-3baw4pir-vcluster", "shop")]), (true, false, S3.into()));
        // The old Release may be gone; ours remembers what it was beside.
        assert_eq!(parts(&[("s3-settings", "x", "x")]), (false, false, S3_BESIDE.into()));
    }
}
