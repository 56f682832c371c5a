//! The object store, and who can open what is in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::Refusal,
    forms::{self, Place},
    read,
};

/// The object store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Where the backups of a vcluster go: s3://, gs://, az:// or file:///data/, with {bucket} or {key} as one part of the
    /// path; unset: s3://{bucket}. Anything else needs register: none.
    pub url: Option<String>,
    /// The S3 endpoint, `http(s)://host[:port]`; unset: the cloud's own, which needs register: none.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// PEM certificates to trust.
    pub ca: Option<String>,
    /// Bucket in the path rather than in the host name.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Who makes buckets and users.
    #[serde(default)]
    pub register: Register,
    /// The Secret of the platform namespace with the store's admin; needed with register: minio.
    pub admin_secret: Option<String>,
    /// The key of the user in it.
    #[serde(default = "root_user")]
    pub admin_user_key: String,
    /// The key of the password in it.
    #[serde(default = "root_password")]
    pub admin_password_key: String,
    /// With register: none, the Secret of the platform namespace that opens the store: s3accesskey and s3secretkey, or for
    /// gs:// and az:// whatever the cloud asks for, each key named as its variable, such as GOOGLE_SERVICE_ACCOUNT_KEY or
    /// AZURE_STORAGE_ACCOUNT_NAME. {key} in its name stands for the vcluster's key. Unset: the pod's own identity opens the
    /// store.
    pub credentials_secret: Option<String>,
    /// Any text; a new one after each rotation of that Secret has it copied again.
    pub credentials_revision: Option<String>,
    /// Stands before the key in the name of every bucket.
    #[serde(default)]
    pub bucket_prefix: String,
    /// The largest size of a bucket, as 50Gi; register: minio sets it. One that is taken back stays on buckets that are
    /// there, until an administrator clears it.
    pub quota: Option<String>,
    /// Whether a vcluster's own user may delete objects.
    #[serde(default)]
    pub allow_delete: bool,
}

/// Who makes buckets and users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    /// A Job with `mc`.
    #[default]
    Minio,
    /// Somebody else: they are there already.
    None,
}

impl Register {
    /// As chart s3-register spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minio => "minio",
            Self::None => "none",
        }
    }
}

/// Who can open backups.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Encryption {
    /// age recipients of the platform, joined with each tenant's.
    pub recipients: Vec<String>,
    /// The Secret of the platform namespace with an age identity (key identity) that a restore needs; {key} in its name
    /// stands for the vcluster's key. It is copied beside a vcluster only while a restore is open.
    pub identity_secret: Option<String>,
    /// Any text; a new one after each rotation of that Secret has it copied again.
    pub identity_revision: Option<String>,
    /// The Secret of the platform namespace with a passphrase (key passphrase), instead of recipients.
    pub passphrase_secret: Option<String>,
    /// Any text; a new one after each rotation of that Secret has it copied again.
    pub passphrase_revision: Option<String>,
    /// Whether an empty disk gets the identity without being asked.
    pub auto_restore: bool,
}

impl Store {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let url = self.url.as_deref();
        read::check("input.store.url", url, |url| forms::store_url(url).map(|_| ()))?;
        read::check("input.store.endpoint", self.endpoint.as_deref(), forms::http_url)?;
        read::check("input.store.region", self.region.as_deref(), forms::region)?;
        read::check("input.store.adminSecret", self.admin_secret.as_deref(), forms::secret_name)?;
        read::check("input.store.adminUserKey", Some(&self.admin_user_key), forms::secret_key)?;
        read::check("input.store.adminPasswordKey", Some(&self.admin_password_key), forms::secret_key)?;
        read::check("input.store.credentialsSecret", self.credentials_secret.as_deref(), forms::secret_template)?;
        read::check("input.store.credentialsRevision", self.credentials_revision.as_deref(), forms::token)?;
        read::check("input.store.quota", self.quota.as_deref(), forms::quota)?;
        read::check("input.store.ca", self.ca.as_deref(), forms::certificates)?;
        match self.register {
            Register::Minio => self.check_minio(),
            Register::None => self.check_none(),
        }
    }

    /// The Job makes a bucket of its own for each, by the admin's Secret.
    fn check_minio(&self) -> Result<(), Refusal> {
        for (field, there) in [("endpoint", self.endpoint.is_some()), ("adminSecret", self.admin_secret.is_some())] {
            if !there {
                return Err(Refusal::field(format!("input.store.{field}"), "missing; store.register: minio needs it"));
            }
        }
        if self.url.as_deref().is_some_and(|url| url != "s3://{bucket}") {
            let problem =
                "store.register: minio makes a bucket for each vcluster; write s3://{bucket}, or register: none";
            return Err(Refusal::field("input.store.url", problem));
        }
        if self.credentials_secret.is_some() {
            let problem =
                "store.register: minio draws credentials for each vcluster; remove it, or write register: none";
            return Err(Refusal::field("input.store.credentialsSecret", problem));
        }
        Ok(())
    }

    fn check_none(&self) -> Result<(), Refusal> {
        let s3 = self.place() == Place::S3;
        for (field, there) in [("endpoint", self.endpoint.is_some()), ("region", self.region.is_some())] {
            if there && !s3 {
                let problem = "only S3 has one; remove it, or write an s3:// URL into store.url";
                return Err(Refusal::field(format!("input.store.{field}"), problem));
            }
        }
        if self.quota.is_some() {
            return Err(Refusal::field(
                "input.store.quota",
                "store.register: none makes no bucket to set it on; remove it",
            ));
        }
        Ok(())
    }

    /// The bucket or container of a vcluster; none: a folder is no bucket.
    pub fn bucket_of(&self, bucket: &str, key: &str) -> Option<String> {
        let url = self.url_of(bucket, key);
        let (_, path) = url.split_once("://").filter(|_| self.place() != Place::Folder)?;
        path.split('/').next().map(str::to_owned)
    }

    /// The kind of store.
    pub(crate) fn place(&self) -> Place {
        self.url.as_deref().and_then(|url| forms::store_url(url).ok()).unwrap_or(Place::S3)
    }

    /// Where the backups of one vcluster go.
    pub fn url_of(&self, bucket: &str, key: &str) -> String {
        self.url.as_deref().unwrap_or("s3://{bucket}").replace("{bucket}", bucket).replace("{key}", key)
    }
}

impl Encryption {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        read::check_all("input.encryption.recipients", &self.recipients, forms::recipient)?;
        read::check("input.encryption.identitySecret", self.identity_secret.as_deref(), forms::secret_template)?;
        read::check("input.encryption.identityRevision", self.identity_revision.as_deref(), forms::token)?;
        read::check("input.encryption.passphraseSecret", self.passphrase_secret.as_deref(), forms::secret_name)?;
        read::check("input.encryption.passphraseRevision", self.passphrase_revision.as_deref(), forms::token)
    }
}

fn yes() -> bool {
    true
}

fn root_user() -> String {
    "rootUser".to_owned()
}

fn root_password() -> String {
    "rootPassword".to_owned()
}
