//! What is there already, as a typed view: the values that must not move under a running vcluster live here. Pure.

mod parts;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vcluster_proto::settings::Settings;

pub use self::parts::{OLD_S3, Parts, S3_BESIDE};
use crate::{
    adopt::{self, OldStore},
    error::Refusal,
    key::Names,
    platform::{Platform, ProviderConfig, Register},
    read,
    xr::Scope,
};

/// The composed resource of the vcluster.
pub const VCLUSTER: &str = "vcluster";
/// The composed resource of bucket, user and settings.
pub const S3: &str = "s3";
/// The composed resource of the registration.
pub const RANCHER: &str = "rancher";
/// The composed resource of Secrets that are copied while they are needed.
pub const KEYS: &str = "keys";
/// The composed resource that keeps the s3 Release while the vcluster is there.
pub const S3_USAGE: &str = "usage-s3";
/// The composed resource that keeps the vcluster while its registration is there.
pub const VCLUSTER_USAGE: &str = "usage-vcluster";
/// All names that are ours.
pub const OURS: [&str; 6] = [VCLUSTER, S3, RANCHER, KEYS, S3_USAGE, VCLUSTER_USAGE];

/// What all our labels and annotations begin with.
pub const OWN_PREFIX: &str = "vcluster.fn.crossplane.io/";
/// The annotation that remembers which Secret of an adopted vcluster opens its bucket.
pub const CREDENTIALS_ANNOTATION: &str = "vcluster.fn.crossplane.io/credentials";
/// The annotation that remembers the preset a vcluster was made with.
pub const SIZE_ANNOTATION: &str = "vcluster.fn.crossplane.io/size";
/// The annotation that remembers the Kubernetes version a vcluster was made with, as the platform's table names it.
pub const KUBERNETES_ANNOTATION: &str = "vcluster.fn.crossplane.io/kubernetes-version";
/// The annotation that remembers the platform's own chart values a vcluster was made with, as JSON.
pub const DEFAULTS_ANNOTATION: &str = "vcluster.fn.crossplane.io/default-values";
/// The annotation that tells the owner's chart values from others: their fingerprint.
pub const VALUES_ANNOTATION: &str = "vcluster.fn.crossplane.io/values";
/// The annotation that remembers for which fields the owner has given his word: taken back, a default may follow.
pub const ORDERED_ANNOTATION: &str = "vcluster.fn.crossplane.io/ordered";
/// The annotation that remembers that a vcluster is not to be backed up: a sidecar that is merely missing is put back.
pub const BACKUP_ANNOTATION: &str = "vcluster.fn.crossplane.io/backup";
/// The annotation that fixes the Helm release's name.
pub const EXTERNAL_NAME: &str = "crossplane.io/external-name";

/// The key under which the kubeconfig travels to the claim.
pub const KUBECONFIG: &str = "kubeconfig";

/// Everything a request says of what is there.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Composed resources by their pipeline name.
    pub resources: BTreeMap<String, Resource>,
    /// Which of them is what.
    pub parts: Parts,
    /// Names that earlier steps desire.
    pub desired: BTreeSet<String>,
    /// The kubeconfig the XR's own connection Secret holds.
    pub kubeconfig: Option<Vec<u8>>,
    /// Objects that Crossplane has handed over where the sidecar's report was asked for; unset: it has not.
    pub reports: Option<Vec<Value>>,
    /// The same for the report of the vcluster whose backups a clone reads.
    pub origin: Option<Vec<Value>>,
}

/// One composed resource as the API server has it.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// The object.
    pub object: Value,
    /// The kubeconfig among its connection details.
    pub kubeconfig: Option<Vec<u8>>,
}

/// One of our Releases as the API server has it.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a>(&'a Resource);

impl<'a> Release<'a> {
    fn text(self, pointer: &str) -> &'a str {
        read::at(&self.0.object, pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The whole object.
    pub(crate) fn object(self) -> &'a Value {
        &self.0.object
    }

    /// `metadata.name`.
    pub fn object_name(self) -> &'a str {
        self.text("/metadata/name")
    }

    /// The Helm release.
    pub fn helm_name(self) -> &'a str {
        self.annotation(EXTERNAL_NAME).unwrap_or_else(|| self.object_name())
    }

    /// The namespace of the Helm release: in the namespaced group, the object's own when nothing is said.
    pub fn home(self) -> &'a str {
        match self.text("/spec/forProvider/namespace") {
            "" => self.text("/metadata/namespace"),
            namespace => namespace,
        }
    }

    /// A list below `forProvider`.
    pub(crate) fn list(self, pointer: &str) -> &'a [Value] {
        let list =
            read::at(&self.0.object, "/spec/forProvider").and_then(|provider| read::at(provider, pointer)?.as_array());
        list.map(Vec::as_slice).unwrap_or_default()
    }

    /// Containers among its values that bear our names and are not ours.
    pub(crate) fn foreign_containers(self) -> Vec<&'a str> {
        adopt::values::foreign_containers(self.values())
    }

    /// One of its annotations.
    pub fn annotation(self, name: &str) -> Option<&'a str> {
        read::at(&self.0.object, "/metadata/annotations")?.get(name)?.as_str()
    }

    /// Whether provider-helm calls it Ready.
    pub fn ready(self) -> bool {
        let conditions = read::at(&self.0.object, "/status/conditions").and_then(Value::as_array);
        let is =
            |condition: &Value, field: &str, want: &str| condition.get(field).and_then(Value::as_str) == Some(want);
        conditions.into_iter().flatten().any(|c| is(c, "type", "Ready") && is(c, "status", "True"))
    }

    /// Whether it was told to begin a failed revision anew.
    pub(crate) fn rolls_back(self) -> bool {
        self.0.object.get("spec").is_some_and(|spec| spec.get("rollbackLimit").is_some())
    }

    /// What it says of its chart.
    pub fn chart(self, pointer: &str) -> Option<&'a str> {
        let text = read::at(read::at(&self.0.object, "/spec/forProvider/chart")?, pointer)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// The chart's version.
    pub fn chart_version(self) -> Option<&'a str> {
        self.chart("/version")
    }

    /// The preset it was made with.
    pub fn size(self) -> Option<&'a str> {
        self.annotation(SIZE_ANNOTATION)
    }

    /// Whether the owner had given his word for a field.
    pub fn was_ordered(self, field: &str) -> bool {
        self.annotation(ORDERED_ANNOTATION).is_some_and(|fields| fields.split(',').any(|ordered| ordered == field))
    }

    /// One of its values.
    pub fn value(self, pointer: &str) -> Option<&'a Value> {
        read::at(read::at(&self.0.object, "/spec/forProvider/values")?, pointer).filter(|value| !value.is_null())
    }

    /// One of its values that is text.
    pub fn value_text(self, pointer: &str) -> Option<&'a str> {
        self.value(pointer)?.as_str()
    }

    /// All its values.
    pub fn values(self) -> &'a Value {
        read::at(&self.0.object, "/spec/forProvider/values").unwrap_or(&Value::Null)
    }

    /// The kubeconfig among its connection details.
    pub fn kubeconfig(self) -> Option<&'a [u8]> {
        self.0.kubeconfig.as_deref()
    }
}

impl Observed {
    /// Goes on with what the Platform says another Composition has made.
    #[must_use]
    pub fn adopting(mut self, platform: &Platform) -> Self {
        self.parts = Parts::find(&platform.adopt, &self.resources);
        self
    }

    /// The Release that plays a part, if it is there.
    pub fn release(&self, part: &'static str) -> Option<Release<'_>> {
        let name = self.parts.name(part);
        // No part is nameless, though a resource may be: render of Crossplane 1.16 observes such ones.
        self.resources.get(name).filter(|_| !name.is_empty()).map(Release)
    }

    /// API version and kind of one of our Usages, if it is there.
    pub fn usage(&self, resource: &'static str) -> Option<(&str, &str)> {
        self.release(resource).map(|object| (object.text("/apiVersion"), object.text("/kind")))
    }

    /// Whether one of our Usages is there and has a refused deletion done again when it goes.
    pub(crate) fn replays(&self, usage: &'static str) -> bool {
        let replay = self.release(usage).and_then(|object| read::at(&object.0.object, "/spec/replayDeletion"));
        replay.and_then(Value::as_bool) == Some(true)
    }

    /// Looks whether what is there can be ours to go on with.
    ///
    /// # Errors
    /// Anything that makes going on dangerous: see the variants of [`Refusal`].
    pub fn check(&self, names: &Names, old: Option<&OldStore>, platform: &Platform) -> Result<(), Refusal> {
        let ours = |name: &&String| OURS.contains(&name.as_str()) || self.parts.holds(name);
        if let Some(resource) = self.desired.iter().find(ours) {
            return Err(Refusal::Taken { resource: resource.clone() });
        }
        let homes = [
            (VCLUSTER, names.release.clone(), &names.host_namespace, "input.hostNamespacePrefix"),
            (S3, names.s3(), &names.host_namespace, "input.hostNamespacePrefix"),
            (RANCHER, names.rancher(), &names.platform_namespace, "input.namespace"),
            (KEYS, names.keys(), &names.platform_namespace, "input.namespace"),
        ];
        for (resource, helm_name, namespace, path) in homes {
            match self.parts.is_adopted(resource) {
                true => self.check_kind(resource, &names.scope)?,
                false => self.check_release(names, resource, &helm_name, namespace, path)?,
            }
            self.check_target(names, resource, &platform.provider_config)?;
        }
        self.check_kubeconfig(names)?;
        self.check_kind(OLD_S3, &names.scope)?;
        for resource in [S3_USAGE, VCLUSTER_USAGE] {
            let foreign = |(_, kind): &(&str, &str)| !["Usage", "ClusterUsage"].contains(kind);
            if let Some((api_version, kind)) = self.usage(resource).filter(foreign) {
                let (found, wanted) = (format!("{api_version} {kind}"), "Usage".to_owned());
                return Err(Refusal::NotOurs { resource: resource.to_owned(), wanted, found });
            }
        }
        let bucket = "a vcluster's backups stay in one bucket";
        self.check_s3("/bucket", &names.bucket, "input.store.bucketPrefix", bucket)?;
        let register = old.map_or(platform.store.register, |_| Register::None).as_str();
        self.check_s3("/register", register, "input.store.register", "a vcluster keeps the credentials it began with")?;
        let url = old.map_or_else(|| platform.store.url_of(&names.bucket, names.key.as_str()), OldStore::url);
        self.check_place(&url)?;
        let credentials = "the store's credentials were drawn there";
        self.check_s3("/platformNamespace", &names.platform_namespace, "input.namespace", credentials)?;
        self.check_orphans(platform)
    }

    fn check_kind(&self, part: &'static str, scope: &Scope) -> Result<(), Refusal> {
        let Some(release) = self.release(part) else { return Ok(()) };
        let (api_version, kind, group) = (release.text("/apiVersion"), release.text("/kind"), scope.helm_group());
        if api_version.split_once('/').is_none_or(|(found, _)| found != group) || kind != "Release" {
            let (found, wanted) = (format!("{api_version} {kind}"), format!("Release of {group}"));
            return Err(Refusal::NotOurs { resource: self.parts.name(part).to_owned(), wanted, found });
        }
        Ok(())
    }

    fn check_release(
        &self,
        names: &Names,
        resource: &'static str,
        helm_name: &str,
        namespace: &str,
        path: &'static str,
    ) -> Result<(), Refusal> {
        let Some(release) = self.release(resource) else { return Ok(()) };
        self.check_kind(resource, &names.scope)?;
        let (found, object) = (release.helm_name(), release.object_name());
        if found != helm_name || object != names.object(resource) {
            // Whichever of the two names is foreign.
            let found = if found == helm_name { object } else { found };
            return Err(Refusal::AnotherKey { resource, found: found.to_owned(), key: names.key.to_string() });
        }
        let home = release.home();
        if home != namespace {
            return Err(Refusal::Fixed {
                path,
                wanted: namespace.to_owned(),
                found: home.to_owned(),
                resource,
                reason: "a Helm release never changes its namespace",
            });
        }
        Ok(())
    }

    /// Another target would get everything installed anew, beside what runs in the old one.
    fn check_target(&self, names: &Names, resource: &'static str, config: &ProviderConfig) -> Result<(), Refusal> {
        let Some(release) = self.release(resource) else { return Ok(()) };
        // The cluster-scoped group has one kind only, and its Releases name none.
        let kind = names.scope.namespace().map_or("", |_| config.kind.as_str());
        let parts = [
            ("input.providerConfig.name", "/spec/providerConfigRef/name", config.name.as_str()),
            ("input.providerConfig.kind", "/spec/providerConfigRef/kind", kind),
        ];
        for (path, pointer, wanted) in parts {
            let found = release.text(pointer);
            if !found.is_empty() && !wanted.is_empty() && found != wanted {
                return Err(Refusal::Fixed {
                    path,
                    wanted: wanted.to_owned(),
                    found: found.to_owned(),
                    resource,
                    reason: "a Helm release never moves to another cluster",
                });
            }
        }
        Ok(())
    }

    /// The copy in the platform namespace is the one thing there of a vcluster without backups or registration. In another
    /// namespace it would be a second one, and the first nobody's.
    fn check_kubeconfig(&self, names: &Names) -> Result<(), Refusal> {
        let Some(release) = self.release(VCLUSTER) else { return Ok(()) };
        let ours = release.text("/spec/writeConnectionSecretToRef/name") == names.connection();
        let found = release.text("/spec/writeConnectionSecretToRef/namespace");
        if !ours || found.is_empty() || found == names.platform_namespace {
            return Ok(());
        }
        Err(Refusal::Fixed {
            path: "input.namespace",
            wanted: names.platform_namespace.clone(),
            found: found.to_owned(),
            resource: VCLUSTER,
            reason: "its kubeconfig is handed over there",
        })
    }

    fn check_s3(&self, pointer: &str, wanted: &str, path: &'static str, reason: &'static str) -> Result<(), Refusal> {
        match self.release(S3).and_then(|s3| s3.value_text(pointer)).filter(|found| *found != wanted) {
            None => Ok(()),
            Some(found) => {
                Err(Refusal::Fixed { path, wanted: wanted.to_owned(), found: found.to_owned(), resource: S3, reason })
            }
        }
    }

    /// The store's URL stands in the settings alone.
    fn check_place(&self, wanted: &str) -> Result<(), Refusal> {
        let Some(settings) = self.release(S3).and_then(|s3| s3.value_text("/settings")) else { return Ok(()) };
        // Nearly always; reading the whole file costs more than the rest of an answer.
        if settings.contains(&format!("\nstore:\n  url: {wanted}\n")) {
            return Ok(());
        }
        match Settings::from_yaml(settings).map(|settings| settings.store.url) {
            Ok(found) if !found.is_empty() && found != wanted => Err(Refusal::Fixed {
                path: "input.store.url",
                wanted: wanted.to_owned(),
                found,
                resource: S3,
                reason: "a vcluster's backups stay in one place",
            }),
            _ => Ok(()),
        }
    }

    /// A Release of one of our charts under another name would be uninstalled with everything it holds.
    fn check_orphans(&self, platform: &Platform) -> Result<(), Refusal> {
        let charts = &platform.charts;
        let rancher = charts.rancher_cluster.as_ref().map_or("rancher-cluster", |chart| &chart.name);
        let keys = charts.backup_keys.as_ref().map_or("backup-keys", |chart| &chart.name);
        let ours = [charts.vcluster.name.as_str(), charts.s3_register.name.as_str(), adopt::UPSTREAM, rancher, keys];
        for (name, resource) in &self.resources {
            let release = Release(resource);
            let chart = release.text("/spec/forProvider/chart/name");
            let is_release = release.text("/kind") == "Release" && release.text("/apiVersion").starts_with("helm.");
            let foreign = !self.parts.holds(name) && !self.desired.contains(name);
            if is_release && foreign && ours.contains(&chart) {
                return Err(Refusal::Orphan { resource: name.clone(), chart: chart.to_owned() });
            }
        }
        Ok(())
    }
}
