//! From a URL to what the library calls a store: one function a cloud, each with the same patience and certificates.

use std::{path::PathBuf, sync::Arc};

use object_store::{
    Certificate, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, Checksum},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    local::LocalFileSystem,
    path::Path,
};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    Access, Config,
    fault::{Cloud, Fault, innermost},
};
use crate::error::Error;

/// What a URL leads to.
pub(super) struct Opened {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) cloud: Cloud,
    /// Nobody gave credentials; the machine's own identity is asked for.
    pub(super) ambient: bool,
    /// Where it is, if it is one.
    pub(super) folder: Option<PathBuf>,
}

/// Opens what the URL names; asks nothing of it yet.
pub(super) fn open(config: &Config, access: Access) -> Result<Opened, Error> {
    config.check()?;
    let forms = "write it as s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder";
    let url = Url::parse(&config.url).map_err(|_| bad(config, forms))?;
    let prefix = || Path::from_url_path(url.path()).map_err(|_| bad(config, "its prefix is no object key"));
    match url.scheme() {
        "s3" => {
            Ok(Opened { inner: s3(&url, config)?, prefix: prefix()?, cloud: Cloud::S3, ambient: false, folder: None })
        }
        "gs" => {
            let ambient = !config.cloud.identify("GOOGLE_");
            Ok(Opened { inner: gcs(&url, config)?, prefix: prefix()?, cloud: Cloud::Gcs, ambient, folder: None })
        }
        "az" => {
            let ambient = config.credentials.is_none() && !config.cloud.identify("AZURE_");
            Ok(Opened { inner: azure(&url, config)?, prefix: prefix()?, cloud: Cloud::Azure, ambient, folder: None })
        }
        "file" => {
            let folder = url.to_file_path().map_err(|()| bad(config, "write a folder as file:///folder"))?;
            if access == Access::Write {
                std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
            } else if !folder.is_dir() {
                return Err(Error::NoRepository { store: config.url.clone() });
            }
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|e| bad(config, &innermost(&e)))?;
            let inner = Arc::new(store.with_fsync(true));
            Ok(Opened { inner, prefix: Path::default(), cloud: Cloud::Local, ambient: false, folder: Some(folder) })
        }
        other => Err(bad(config, &format!("{other} is not one of s3, gs, az, file"))),
    }
}

/// S3 once more, with a digest in the header of each upload.
pub(super) fn digesting(config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let url = Url::parse(&config.url).map_err(|_| bad(config, "it is no URL"))?;
    let built = s3_builder(&url, config)?.with_checksum_algorithm(Checksum::SHA256).build();
    Ok(Arc::new(built.map_err(|e| bad(config, &innermost(&e)))?))
}

fn s3(url: &Url, config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
    Ok(Arc::new(s3_builder(url, config)?.build().map_err(|e| bad(config, &innermost(&e)))?))
}

fn s3_builder(url: &Url, config: &Config) -> Result<AmazonS3Builder, Error> {
    // Before the credentials: a URL without a bucket is a mistake in the settings, whoever asks.
    let bucket = bucket(url, config)?;
    let mut builder = match &config.credentials {
        Some((access_key, secret_key)) => {
            AmazonS3Builder::new().with_access_key_id(access_key).with_secret_access_key(secret_key.expose_secret())
        }
        // Without them the library would ask a metadata service that most clusters do not have, and wait for it.
        None if config.cloud.identify("AWS_") => {
            let mut builder = AmazonS3Builder::new();
            for (name, value) in config.cloud.of("AWS_") {
                let key = name.parse().map_err(|_| bad(config, &format!("{name} is no variable of S3")))?;
                builder = builder.with_config(key, value);
            }
            builder
        }
        None => {
            return Err(Error::Store {
                action: "use",
                object: "objects".into(),
                store: config.url.clone(),
                fault: Fault::NoCredentials(Cloud::S3),
            });
        }
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    Ok(builder
        .with_bucket_name(bucket)
        .with_region(config.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(!config.path_style.unwrap_or(config.endpoint.is_some()))
        // One by one: not every look-alike has the other call, and an answer for each object says which one is held.
        .with_disable_bulk_delete(true)
        .with_client_options(client(config)?)
        .with_retry(retry(config)))
}

fn gcs(url: &Url, config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in config.cloud.of("GOOGLE_") {
        let key = name.parse().map_err(|_| bad(config, &format!("{name} is no variable of GCS")))?;
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let built = builder
        .with_bucket_name(bucket(url, config)?)
        .with_client_options(client(config)?)
        .with_retry(retry(config))
        .build();
    Ok(Arc::new(built.map_err(|e| bad(config, &shown(&e, "the Google credentials cannot be used")))?))
}

fn azure(url: &Url, config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in config.cloud.of("AZURE_") {
        let key = name.parse().map_err(|_| bad(config, &format!("{name} is no variable of Azure")))?;
        builder = builder.with_config(key, value);
    }
    if let Some((account, key)) = &config.credentials {
        builder = builder.with_account(account).with_access_key(key.expose_secret());
    } else if config.cloud.get("AZURE_STORAGE_ACCOUNT_NAME").is_none() {
        let account = config.endpoint.as_deref().and_then(account_of).ok_or_else(|| {
            bad(config, "it names no storage account: give AZURE_STORAGE_ACCOUNT_NAME, or the account's own endpoint")
        })?;
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let built = builder
        .with_container_name(bucket(url, config)?)
        .with_client_options(client(config)?)
        .with_retry(retry(config))
        .build();
    Ok(Arc::new(built.map_err(|e| bad(config, &shown(&e, "the Azure credentials cannot be used")))?))
}

/// The storage account of an endpoint: its first part of the path (an emulator) or else of the host name.
fn account_of(endpoint: &str) -> Option<String> {
    let url = Url::parse(endpoint).ok()?;
    let in_path = url.path_segments()?.find(|part| !part.is_empty()).map(str::to_owned);
    in_path.or_else(|| url.domain()?.split_once('.').map(|(account, _)| account.to_owned()))
}

fn bucket<'a>(url: &'a Url, config: &Config) -> Result<&'a str, Error> {
    if url.port().is_some() {
        return Err(bad(config, "a bucket has no port: name the server by --endpoint, ENDPOINT or store.endpoint"));
    }
    url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| bad(config, "it names no bucket"))
}

fn client(config: &Config) -> Result<ClientOptions, Error> {
    let mut client = ClientOptions::new()
        .with_connect_timeout(config.patience.connect)
        .with_read_timeout(config.patience.read)
        .with_timeout_disabled()
        .with_allow_http(config.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    if let Some(pem) = &config.ca {
        for certificate in
            Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| bad(config, "its CA is no PEM certificate"))?
        {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

fn retry(config: &Config) -> RetryConfig {
    let patience = config.patience;
    RetryConfig { max_retries: patience.tries.max(1) - 1, retry_timeout: patience.try_for, ..RetryConfig::default() }
}

/// The library's words may quote what it could not parse, and that may be a key: only the kind of the trouble is said.
fn shown(error: &object_store::Error, otherwise: &str) -> String {
    let words = innermost(error);
    let missing = words.starts_with("Missing") || words.contains("No such file");
    if missing { words } else { otherwise.to_owned() }
}

fn bad(config: &Config, why: &str) -> Error {
    Error::Usage(format!("cannot use store {:?}: {why}", config.url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Config { url: url.into(), ..Config::default() }
    }

    fn refusal(config: &Config) -> String {
        open(config, Access::Read).err().expect("refused").to_string()
    }

    #[test]
    fn each_cloud_opens_with_its_own_variables() {
        let mut gcs = config("gs://shop/a/b");
        gcs.cloud.add("GOOGLE_SKIP_SIGNATURE", "true".to_owned().into());
        let opened = open(&gcs, Access::Read).expect("opens");
        assert_eq!((opened.cloud, opened.prefix.as_ref(), opened.ambient), (Cloud::Gcs, "a/b", false));

        let mut azure = config("az://shop/a");
        azure.cloud.add("AZURE_STORAGE_ACCOUNT_NAME", "store".to_owned().into());
        azure.cloud.add("AZURE_STORAGE_ACCOUNT_KEY", "a2V5".to_owned().into());
        let opened = open(&azure, Access::Read).expect("opens");
        assert_eq!((opened.cloud, opened.prefix.as_ref(), opened.ambient), (Cloud::Azure, "a", false));

        let mut pair = config("az://shop");
        pair.credentials = Some(("store".into(), "a2V5".to_owned().into()));
        assert!(!open(&pair, Access::Read).expect("opens").ambient);

        let mut aws = config("s3://shop");
        aws.cloud.add("AWS_ACCESS_KEY_ID", "user".to_owned().into());
        aws.cloud.add("AWS_SECRET_ACCESS_KEY", "key".to_owned().into());
        aws.cloud.add("AWS_SESSION_TOKEN", "token".to_owned().into());
        assert!(open(&aws, Access::Read).is_ok());
    }

    #[test]
    fn every_name_we_look_for_is_one_the_library_knows() {
        use object_store::{aws::AmazonS3ConfigKey, azure::AzureConfigKey, gcp::GoogleConfigKey};
        for name in super::super::Variables::names() {
            let lower = name.to_ascii_lowercase();
            let known = match name.split_once('_').map(|(cloud, _)| cloud) {
                Some("AWS") => lower.parse::<AmazonS3ConfigKey>().is_ok(),
                Some("GOOGLE") => lower.parse::<GoogleConfigKey>().is_ok(),
                _ => lower.parse::<AzureConfigKey>().is_ok(),
            };
            assert!(known, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_a_broken_key_is_not_repeated() {
        insta::assert_snapshot!(refusal(&config("az://shop")), @r#"cannot use store "az://shop": it names no storage account: give AZURE_STORAGE_ACCOUNT_NAME, or the account's own endpoint"#);
        insta::assert_snapshot!(refusal(&config("gs:///x")), @r#"cannot use store "gs:///x": it names no bucket"#);
        insta::assert_snapshot!(refusal(&config("s3://minio:9000/shop")), @r#"cannot use store "s3://minio:9000/shop": a bucket has no port: name the server by --endpoint, ENDPOINT or store.endpoint"#);
        insta::assert_snapshot!(refusal(&config("memory:///")), @r#"cannot use store "memory:///": memory is not one of s3, gs, az, file"#);
        let mut broken = config("gs://shop");
        broken.cloud.add("GOOGLE_SERVICE_ACCOUNT_KEY", r#"{"private_key": "hunter2""#.to_owned().into());
        let said = refusal(&broken);
        assert!(said.ends_with("the Google credentials cannot be used") && !said.contains("hunter2"), "{said}");
        let mut broken = config("az://shop");
        broken.credentials = Some(("store".into(), "hunter2!".to_owned().into()));
        let said = refusal(&broken);
        assert!(said.ends_with("the Azure credentials cannot be used") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn an_account_is_read_off_its_endpoint() {
        let cases = [
            ("https://store.blob.core.windows.net", Some("store")),
            ("http://127.0.0.1:10000/devstoreaccount1", Some("devstoreaccount1")),
            ("http://127.0.0.1:10000", None),
            ("https://localhost", None),
        ];
        for (endpoint, account) in cases {
            assert_eq!(account_of(endpoint).as_deref(), account, "{endpoint}");
        }
    }
}
