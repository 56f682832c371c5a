//! Whether a Platform can be used: every value has the form it needs, and nothing that needs another is alone.

use super::{Adopt, Platform};
use crate::{
    error::Refusal,
    forms,
    key::MAX_PREFIX,
    observed::{OURS, RANCHER, S3, S3_BESIDE, VCLUSTER},
    overlay, read,
    xr::Spec,
};

impl Platform {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        read::check("input.id", Some(&self.id), forms::platform_id)?;
        read::check("input.namespace", Some(&self.namespace), forms::dns_label)?;
        let prefix = |text: &str| forms::prefix(text, MAX_PREFIX);
        read::check("input.hostNamespacePrefix", Some(&self.host_namespace_prefix), prefix)?;
        read::check("input.store.bucketPrefix", Some(&self.store.bucket_prefix), prefix)?;
        self.charts.check()?;
        self.images.check()?;
        self.store.check()?;
        self.rancher.check(&self.charts)?;
        self.sizes.iter().try_for_each(|(name, size)| size.check(name))?;
        self.kubernetes_versions.iter().try_for_each(|(name, version)| version.check(name))?;
        self.limits.check()?;
        self.defaults.check(self)?;
        self.encryption.check()?;
        self.check_backup_keys()?;
        self.adopt.check()?;
        read::check_all("input.trust", &self.trust, forms::signing_key)?;
        read::check_all("input.valuePaths", &self.value_paths, forms::values_path)?;
        read::check_all("input.valuePaths", &self.value_paths, overlay::check_path)?;
        read::check("input.providerConfig.name", Some(&self.provider_config.name), forms::object_name)
    }
}

impl Platform {
    /// A restore is no time to learn that the chart is missing.
    fn check_backup_keys(&self) -> Result<(), Refusal> {
        let (encryption, store) = (&self.encryption, &self.store);
        let secrets = [
            ("encryption.identitySecret", encryption.identity_secret.is_some()),
            ("encryption.passphraseSecret", encryption.passphrase_secret.is_some()),
            ("store.credentialsSecret", store.credentials_secret.is_some()),
        ];
        match secrets.into_iter().find(|(_, named)| *named && self.charts.backup_keys.is_none()) {
            Some((field, _)) => {
                let problem = format!("missing; it copies the Secret that input.{field} names");
                Err(Refusal::field("input.charts.backupKeys", problem))
            }
            None => Ok(()),
        }
    }
}

impl Adopt {
    fn check(&self) -> Result<(), Refusal> {
        let named = [(VCLUSTER, &self.vcluster), (S3, &self.s3), (RANCHER, &self.rancher)];
        for (part, name) in named {
            let path = format!("input.adopt.{part}");
            read::check(&path, name.as_deref(), forms::resource_name)?;
            let Some(name) = name else { continue };
            if self.vcluster.is_none() {
                let problem = "missing; nothing of a vcluster is adopted without it";
                return Err(Refusal::field("input.adopt.vcluster", problem));
            }
            let other = named.iter().any(|(other, named)| *other != part && named.as_ref() == Some(name));
            if other || name == S3_BESIDE || OURS.iter().any(|ours| *ours != part && ours == name) {
                let problem = format!("{name:?} is the name of another part; write it as the old Composition does");
                return Err(Refusal::field(path, problem));
            }
        }
        read::check("input.adopt.sidecar", self.sidecar.as_deref(), forms::dns_label)?;
        let unknown = |field: &str| match Spec::FIELDS.contains(&field) {
            true => Err(format!("{field:?} is a field of ours, too; rename it in the XRD first")),
            false => Ok(()),
        };
        read::check_all("input.adopt.specFields", &self.spec_fields, unknown)
    }
}
