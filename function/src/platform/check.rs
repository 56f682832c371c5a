//! Whether a Platform can be used: every value has the form it needs, and nothing that needs another is alone.

use super::{Chart, Platform, RancherMode, Register, unknown_size};
use crate::{error::Refusal, forms, key::MAX_PREFIX, order::missing_distro, read, render::family::Family};

/// The Secret of the platform namespace that chart rancher-cluster reads.
const TOKEN_SECRET: &str = "apitoken";

impl Platform {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.id.is_empty() || self.id.len() > 63 {
            return Err(Refusal::field("input.id", format!("{} characters; write 1 to 63", self.id.len())));
        }
        read::check("input.namespace", Some(&self.namespace), forms::dns_label)?;
        let prefix = |text: &str| forms::prefix(text, MAX_PREFIX);
        read::check("input.hostNamespacePrefix", Some(&self.host_namespace_prefix), prefix)?;
        read::check("input.store.bucketPrefix", Some(&self.store.bucket_prefix), prefix)?;
        self.check_charts()?;
        self.check_store()?;
        self.check_rancher()?;
        self.check_sizes()?;
        for (index, key) in self.encryption.recipients.iter().enumerate() {
            read::check(&format!("input.encryption.recipients[{index}]"), Some(key), forms::recipient)?;
        }
        for (index, key) in self.trust.iter().enumerate() {
            read::check(&format!("input.trust[{index}]"), Some(key), forms::signing_key)?;
        }
        Ok(())
    }

    fn check_charts(&self) -> Result<(), Refusal> {
        let vcluster = &self.charts.vcluster;
        let known = |version: &str| forms::Version::known_vcluster(version).map(|_| ());
        let version = |version: &str| forms::Version::parse(version).map(|_| ());
        read::check("input.charts.vcluster.version", Some(&vcluster.version), known)?;
        for (index, allowed) in vcluster.allowed.iter().enumerate() {
            read::check(&format!("input.charts.vcluster.allowed[{index}]"), Some(allowed), known)?;
        }
        if let Some(distro) = self.defaults.distro
            && !Family::of(&vcluster.version).is_ok_and(|family| family.has(distro))
        {
            return Err(Refusal::field("input.defaults.distro", missing_distro(&vcluster.version, distro)));
        }
        let charts = [
            ("vcluster", Some((&vcluster.name, &vcluster.repository, &vcluster.pull_secret))),
            ("s3Register", Some(parts(&self.charts.s3_register))),
            ("rancherCluster", self.charts.rancher_cluster.as_ref().map(parts)),
        ];
        for (field, chart) in charts {
            let Some((name, repository, pull_secret)) = chart else { continue };
            read::check(&format!("input.charts.{field}.name"), Some(name), forms::dns_label)?;
            read::check(&format!("input.charts.{field}.repository"), Some(repository), forms::repository)?;
            read::check(&format!("input.charts.{field}.pullSecret"), pull_secret.as_deref(), forms::secret_name)?;
        }
        read::check("input.charts.s3Register.version", Some(&self.charts.s3_register.version), version)?;
        let rancher = self.charts.rancher_cluster.as_ref().map(|chart| chart.version.as_str());
        read::check("input.charts.rancherCluster.version", rancher, version)?;
        read::check("input.images.sidecar", Some(&self.images.sidecar), forms::image)?;
        read::check("input.images.registry", self.images.registry.as_deref(), forms::registry)?;
        read::check("input.images.registration", self.images.registration.as_deref(), forms::image)
    }

    fn check_store(&self) -> Result<(), Refusal> {
        if self.store.register == Register::None {
            return Err(Refusal::Later { path: "input.store.register".to_owned(), value: "\"none\"".to_owned() });
        }
        read::check("input.store.endpoint", Some(&self.store.endpoint), forms::http_url)?;
        read::check("input.store.region", self.store.region.as_deref(), forms::region)?;
        read::check("input.store.adminSecret", Some(&self.store.admin_secret), forms::secret_name)?;
        read::check("input.store.adminUserKey", Some(&self.store.admin_user_key), forms::secret_key)?;
        read::check("input.store.adminPasswordKey", Some(&self.store.admin_password_key), forms::secret_key)?;
        read::check("input.store.ca", self.store.ca.as_deref(), forms::certificates)
    }

    fn check_rancher(&self) -> Result<(), Refusal> {
        read::check("input.rancher.url", self.rancher.url.as_deref(), forms::http_url)?;
        if self.rancher.token_secret.as_deref().is_some_and(|secret| secret != TOKEN_SECRET) {
            let problem =
                format!("chart rancher-cluster reads Secret {TOKEN_SECRET:?}, key APITOKEN; give it that name");
            return Err(Refusal::field("input.rancher.tokenSecret", problem));
        }
        if self.rancher.mode == RancherMode::None {
            return Ok(());
        }
        if self.rancher.url.is_none() {
            return Err(Refusal::field("input.rancher.url", "missing; rancher.mode chart needs the server's URL"));
        }
        if self.charts.rancher_cluster.is_none() {
            return Err(Refusal::field("input.charts.rancherCluster", "missing; rancher.mode chart installs it"));
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Refusal> {
        let quantity = |text: &str| forms::quantity(text).map(|_| ());
        let storage = |text: &str| forms::storage(text).map(|_| ());
        for (name, size) in &self.sizes {
            for (kind, amounts) in [("requests", &size.requests), ("limits", &size.limits)] {
                for (resource, amount) in amounts {
                    read::check(&format!("input.sizes.{name}.{kind}.{resource}"), Some(amount), quantity)?;
                }
            }
            read::check(&format!("input.sizes.{name}.storage"), size.storage.as_deref(), storage)?;
        }
        if let Some(size) = self.defaults.size.as_ref().filter(|size| !self.sizes.contains_key(*size)) {
            return Err(Refusal::field("input.defaults.size", unknown_size(size, self)));
        }
        let class = self.defaults.storage.class_name.as_deref();
        read::check("input.defaults.storage.className", class, forms::class_name)?;
        read::check("input.defaults.storage.size", self.defaults.storage.size.as_deref(), storage)?;
        read::check("input.limits.maxStorage", self.limits.max_storage.as_deref(), storage)?;
        if self.limits.min_interval.is_zero() {
            return Err(Refusal::field(
                "input.limits.minInterval",
                "0s is no time at all; write it as 30s, 1m or 1h30m",
            ));
        }
        read::check("input.providerConfig.name", Some(&self.provider_config.name), forms::object_name)
    }
}

fn parts(chart: &Chart) -> (&String, &String, &Option<String>) {
    (&chart.name, &chart.repository, &chart.pull_secret)
}
