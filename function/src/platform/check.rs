//! Whether a Platform can be used: every value has the form it needs, and nothing that needs another is alone.

use super::{Adopt, Platform};
use crate::{error::Refusal, forms, key::MAX_PREFIX, overlay, read};

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
        for (field, name) in [("s3", &self.s3), ("vcluster", &self.vcluster), ("rancher", &self.rancher)] {
            read::check(&format!("input.adopt.{field}"), name.as_deref(), forms::resource_name)?;
        }
        Ok(())
    }
}
