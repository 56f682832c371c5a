//! The one name, and everything derived from it. Pure; golden: a released key never changes.
//!
//! Bucket, store user, Rancher cluster and host namespace are global, while names of XRs are not: the key joins what a
//! person can read with a hash of everything that tells two vclusters apart. Whatever a tenant writes into `spec.id`,
//! the result can only be the tenant's own.

use data_encoding::BASE32_NOPAD;
use ring::digest::{SHA256, digest};

use crate::xr::Scope;

/// How much of the id stays readable: 31 + `-` + 8 = 40 characters fit every name that is made from a key.
const READABLE: usize = 31;
/// 40 bits are eight base32 characters.
const HASH_BYTES: usize = 5;
const HASH: usize = 8;
/// What a platform may put before a key: 23 + 40 = 63.
pub const MAX_PREFIX: usize = 23;

/// The one name of a vcluster: at most 40 characters of `[a-z0-9-]`, the first a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// What tells two vclusters apart.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// `input.id`: two platforms can share a store.
    pub platform: &'a str,
    /// The XR's API group.
    pub group: &'a str,
    /// The XR's kind.
    pub kind: &'a str,
    /// The namespace of the claim or of the namespaced XR; empty for one without either, which only cluster administrators
    /// can make.
    pub owner: &'a str,
    /// `spec.id` or the XR's name.
    pub id: &'a str,
}

impl Key {
    /// Derives the key.
    pub fn derive(identity: &Identity<'_>) -> Self {
        let readable: String = readable(identity.id).take(READABLE).collect();
        Self(format!("{readable}-{}", hash(identity)))
    }

    /// Whether a name could be a key: of whatever vcluster, on whatever platform.
    pub fn has_the_form(name: &str) -> bool {
        let hashed = |c: char| matches!(c, 'a'..='z' | '2'..='7');
        name.len() <= READABLE + 1 + HASH && {
            let parts = name.rsplit_once('-').filter(|(readable, _)| !readable.is_empty());
            parts.is_some_and(|(_, hash)| hash.len() == HASH && hash.chars().all(hashed))
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id in DNS-1035's alphabet; the vcluster's Service bears the key, so a letter must lead.
fn readable(id: &str) -> impl Iterator<Item = char> {
    let lead = if id.starts_with(|c: char| c.is_ascii_lowercase()) { None } else { Some('v') };
    lead.into_iter().chain(id.chars().map(|c| if matches!(c, 'a'..='z' | '0'..='9') { c } else { '-' }))
}

/// Every part is preceded by its length, so that ("a-b", "c") is not ("a", "b-c").
fn hash(identity: &Identity<'_>) -> String {
    let mut bytes = Vec::new();
    for part in [identity.platform, identity.group, identity.kind, identity.owner, identity.id] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    BASE32_NOPAD.encode(&digest(&SHA256, &bytes).as_ref()[..HASH_BYTES]).to_ascii_lowercase()
}

/// Every name that is derived from a key: one table, asked by all who render.
#[derive(Clone, Debug)]
pub struct Names {
    /// The key: what every name of ours begins with.
    pub key: Key,
    /// The Helm release and the Service of the vcluster: the key, or what an adopted one is called.
    pub release: String,
    /// The Secret beside the vcluster with the store's credentials.
    pub credentials: String,
    /// Where the vcluster lives, alone.
    pub host_namespace: String,
    /// Where the platform's own Secrets and Jobs live.
    pub platform_namespace: String,
    /// The bucket.
    pub bucket: String,
    /// Where the Releases themselves live.
    pub scope: Scope,
}

impl Names {
    /// `metadata.name` of a Release: fixed, so that a second XR with this key is the API server's error, not a takeover.
    pub fn object(&self, resource: &str) -> String {
        format!("{}-{resource}", self.key)
    }

    /// The Helm release of s3-register, its Job and both copies of the S3 Secret it draws.
    pub fn s3(&self) -> String {
        format!("{}-s3", self.key)
    }

    /// The Helm release of the Rancher registration.
    pub fn rancher(&self) -> String {
        format!("{}-rancher", self.key)
    }

    /// The Helm release of the copied Secrets.
    pub fn keys(&self) -> String {
        format!("{}-keys", self.key)
    }

    /// The ConfigMap with `settings.yaml`.
    pub fn settings(&self) -> String {
        format!("{}-backup", self.key)
    }

    /// The ConfigMap with `status.yaml`.
    pub fn status(&self) -> String {
        format!("{}-backup-status", self.key)
    }

    /// The Secret with an identity or passphrase, there only while a restore needs it.
    pub fn identity(&self) -> String {
        format!("{}-key", self.key)
    }

    /// The Secret with the kubeconfig, written by the vcluster.
    pub fn kubeconfig(&self) -> String {
        format!("vc-{}", self.release)
    }

    /// The Secret into which provider-helm copies the kubeconfig: in the platform namespace, from where it goes on to the
    /// claim, or in the namespaced XR's own.
    pub fn connection(&self) -> String {
        format!("{}-kubeconfig", self.key)
    }

    /// The API server as a host cluster's pods reach it.
    pub fn endpoint(&self) -> String {
        format!("https://{}.{}:443", self.release, self.host_namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: &str, id: &str) -> String {
        let identity = Identity { platform: "eu-1", group: "vcluster.example.org", kind: "XVCluster", owner, id };
        Key::derive(&identity).as_str().to_owned()
    }

    #[test]
    fn keys_are_golden() {
        // Buckets and namespaces bear these names: a changed line here is a lost backup.
        let a253 = "a".repeat(253);
        for (owner, id, want) in [
            ("team-a", "shop", "shop-zxmwhu77"),
            ("team-a", "1", "v1-ab3siedi"),
            ("team-a", "-", "v--rc2ngitv"),
            ("team-a", "ü", "v--fi72t6xx"),
            ("", "shop", "shop-2f6rycrg"),
            ("team-a", "kube-system", "kube-system-jgpuayan"),
            ("team-a", &a253[..63], "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-y2ioyuho"),
            ("team-a", &a253, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bw4tbthe"),
        ] {
            assert_eq!(key(owner, id), want, "{owner:?} {id:?}");
        }
    }

    #[test]
    fn every_key_is_a_service_name_of_at_most_40_characters() {
        let long = "x-9".repeat(84);
        for id in ["a", "1", "-", "ü", "", "Shop", "a.b", "../..", "😀😀", &long] {
            let key = key("team-a", id);
            assert!(key.len() <= 40, "{key}");
            assert!(Key::has_the_form(&key), "{key}");
            assert!(key.starts_with(|c: char| c.is_ascii_lowercase()), "{key}");
            assert!(key.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{key}");
            assert!(key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{key}");
        }
    }

    #[test]
    fn nothing_that_differs_shares_a_key() {
        assert_ne!(key("team-a", "shop"), key("team-b", "shop"), "owners are kept apart");
        assert_ne!(key("a-b", "c"), key("a", "b-c"), "parts are told apart by their length");
        assert_ne!(key("team-a", "-"), key("team-a", "ü"), "what is written alike is kept apart by the hash");
        let other = |platform, group, kind| {
            Key::derive(&Identity { platform, group, kind, owner: "team-a", id: "shop" }).as_str().to_owned()
        };
        let ours = key("team-a", "shop");
        assert_eq!(ours, other("eu-1", "vcluster.example.org", "XVCluster"));
        assert_ne!(ours, other("eu-2", "vcluster.example.org", "XVCluster"));
        assert_ne!(ours, other("eu-1", "vcluster.example.com", "XVCluster"));
        assert_ne!(ours, other("eu-1", "vcluster.example.org", "VCluster"));
        assert_ne!(other("eu-1", "ab", "c"), other("eu-1", "a", "bc"));
    }
}
