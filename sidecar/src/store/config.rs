//! Where a store is and how to ask it: a value that can be compared and never shows a secret.

use std::{collections::BTreeMap, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::error::Error;

/// Where backups go.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `s3://bucket[/prefix]`, `gs://bucket[/prefix]`, `az://container[/prefix]` or `file:///folder`.
    pub url: String,
    /// The endpoint of S3 or of a look-alike of another cloud.
    pub endpoint: Option<String>,
    /// The S3 region.
    pub region: Option<String>,
    /// Bucket in the path.
    pub path_style: Option<bool>,
    /// PEM certificates to trust.
    pub ca: Option<String>,
    /// Access key and secret key; of Azure the account and its key. Without, the cloud's own variables.
    pub credentials: Option<(String, SecretString)>,
    /// The cloud's own variables (`AWS_...`, `GOOGLE_...`, `AZURE_...`) as they stand in the environment or as files of
    /// `s3/` in the config folder.
    pub cloud: Variables,
    /// How long the store is waited for.
    pub patience: Patience,
}

/// How long a store is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes. The library counts it while a body is still going out, too: a part must get through within it
    /// on a slow line.
    pub read: Duration,
    /// How often a request is sent.
    pub tries: usize,
    /// After this long none is sent again.
    pub try_for: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        const CONNECT: Duration = Duration::from_secs(5);
        const READ: Duration = Duration::from_secs(60);
        Self { connect: CONNECT, read: READ, tries: 5, try_for: Duration::from_secs(60) }
    }
}

/// Variables of a cloud by name, any of which may be a secret.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, SecretString>);

impl Variables {
    /// The names that are looked for.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// Whether there is one that says who asks, of this cloud: `AWS_`, `GOOGLE_` or `AZURE_`.
    pub(super) fn identify(&self, cloud: &str) -> bool {
        KNOWN.iter().any(|(name, who)| *who == Who::Asks && name.starts_with(cloud) && self.0.contains_key(*name))
    }

    /// Adds one, if it is not there yet.
    pub fn add(&mut self, name: &str, value: SecretString) {
        self.0.entry(name.to_owned()).or_insert(value);
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(ExposeSecret::expose_secret)
    }

    /// All whose names begin so, in lower case as the library spells them.
    pub(super) fn of<'a>(&'a self, cloud: &'a str) -> impl Iterator<Item = (String, &'a str)> {
        let own = self.0.iter().filter(move |(name, _)| name.starts_with(cloud));
        own.map(|(name, value)| (name.to_ascii_lowercase(), value.expose_secret()))
    }
}

/// What a variable tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Who asks; enough to be let in, with others of its kind.
    Asks,
    /// Something else.
    Else,
}

/// Each is one that the cloud's own tools know.
const KNOWN: [(&str, Who); 40] = [
    ("AWS_ACCESS_KEY_ID", Who::Asks),
    ("AWS_SECRET_ACCESS_KEY", Who::Else),
    ("AWS_SESSION_TOKEN", Who::Else),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", Who::Asks),
    ("AWS_ROLE_ARN", Who::Else),
    ("AWS_ROLE_SESSION_NAME", Who::Else),
    ("AWS_ENDPOINT_URL", Who::Else),
    ("AWS_ENDPOINT_URL_S3", Who::Else),
    ("AWS_ENDPOINT_URL_STS", Who::Else),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", Who::Asks),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Who::Asks),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Who::Else),
    ("AWS_METADATA_ENDPOINT", Who::Asks),
    ("AWS_IMDSV1_FALLBACK", Who::Else),
    ("AWS_SERVER_SIDE_ENCRYPTION", Who::Else),
    ("AWS_SSE_KMS_KEY_ID", Who::Else),
    ("AWS_SSE_BUCKET_KEY_ENABLED", Who::Else),
    ("AWS_SSE_CUSTOMER_KEY_BASE64", Who::Else),
    ("AWS_REQUEST_PAYER", Who::Else),
    ("GOOGLE_SERVICE_ACCOUNT", Who::Asks),
    ("GOOGLE_SERVICE_ACCOUNT_PATH", Who::Asks),
    ("GOOGLE_SERVICE_ACCOUNT_KEY", Who::Asks),
    ("GOOGLE_APPLICATION_CREDENTIALS", Who::Asks),
    ("GOOGLE_BEARER_TOKEN", Who::Asks),
    ("GOOGLE_SKIP_SIGNATURE", Who::Asks),
    ("AZURE_STORAGE_ACCOUNT_NAME", Who::Else),
    ("AZURE_STORAGE_ACCOUNT_KEY", Who::Asks),
    ("AZURE_STORAGE_ACCESS_KEY", Who::Asks),
    ("AZURE_STORAGE_SAS_KEY", Who::Asks),
    ("AZURE_STORAGE_SAS_TOKEN", Who::Asks),
    ("AZURE_STORAGE_TOKEN", Who::Asks),
    ("AZURE_CLIENT_ID", Who::Asks),
    ("AZURE_CLIENT_SECRET", Who::Else),
    ("AZURE_TENANT_ID", Who::Else),
    ("AZURE_AUTHORITY_HOST", Who::Else),
    ("AZURE_FEDERATED_TOKEN_FILE", Who::Else),
    ("AZURE_MSI_ENDPOINT", Who::Else),
    ("AZURE_MSI_RESOURCE_ID", Who::Else),
    ("AZURE_OBJECT_ID", Who::Else),
    ("AZURE_SKIP_SIGNATURE", Who::Asks),
];

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        let open = |v: &Self| v.0.iter().map(|(n, s)| (n.clone(), s.expose_secret().to_owned())).collect::<Vec<_>>();
        open(self) == open(other)
    }
}

impl Config {
    /// Whether both lead to the same objects, by whatever credentials.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.url == other.url && self.endpoint == other.endpoint
    }

    /// Looks whether URL and endpoint can be used, and hold nothing that must not be repeated.
    ///
    /// # Errors
    /// A sentence that does not repeat what may be a secret.
    pub fn check(&self) -> Result<(), Error> {
        for text in [Some(&self.url), self.endpoint.as_ref()].into_iter().flatten() {
            // A signature in the query of an Azure URL is as good as a key.
            if text.contains(['@', '?']) {
                let why = "cannot use a store URL or endpoint with credentials in it: give them as ACCESS_KEY and \
                           SECRET_KEY, or in the cloud's own variables";
                return Err(Error::Usage(why.into()));
            }
        }
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let parsed = Url::parse(endpoint).ok();
        let usable = parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if usable { Ok(()) } else { Err(Error::Usage(format!("endpoint {endpoint:?} is no http(s)://host[:port]"))) }
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        let open = |c: &Self| c.credentials.as_ref().map(|(user, key)| (user.clone(), key.expose_secret().to_owned()));
        (&self.url, &self.endpoint, &self.region, self.path_style, &self.ca, &self.cloud, self.patience)
            == (&other.url, &other.endpoint, &other.region, other.path_style, &other.ca, &other.cloud, other.patience)
            && open(self) == open(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_refusal_shows_a_secret() {
        let mut config = Config { url: "az://shop".into(), ..Config::default() };
        config.credentials = Some(("shop".into(), "hunter2".to_owned().into()));
        config.cloud.add("AZURE_STORAGE_SAS_KEY", "sig=hunter2".to_owned().into());
        assert!(!format!("{config:?}").contains("hunter2"));
        config.endpoint = Some("https://shop.blob.example.org/?sig=hunter2".into());
        assert!(!config.check().expect_err("a signature").to_string().contains("hunter2"));
    }

    #[test]
    fn another_secret_is_another_config() {
        let with = |secret: &str| {
            let mut config = Config::default();
            config.cloud.add("AWS_SESSION_TOKEN", secret.to_owned().into());
            config
        };
        assert_ne!(with("a"), with("b"));
        assert_eq!(with("a"), with("a"));
    }
}
