//! Flags, then the environment, then the config folder, made into one [`Config`]. The folder is the one the pod mounts;
//! every file of it is read anew each time, since kubelet swaps them under us.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use vcluster_proto::{
    interval,
    settings::{self, Bootstrap, Settings},
};

use crate::{
    backup::{Cluster, Place},
    catalog::Trust,
    cli::Options,
    error::Error,
    keys::{Identities, Recipients},
    legacy,
    manifest::Layout,
    report::{InCluster, Report},
    signing::{PublicKey, Signer},
    store::{self, Access},
};

/// Shorter and a backup would follow its own tail; longer and clocks overflow.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Everything the commands need to know. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose database.
    pub cluster: Cluster,
    /// The store, if one is named.
    pub store: Option<store::Config>,
    /// The Job that registers bucket and user.
    pub registration: Option<String>,
    /// Whom to seal for, if anybody is named.
    pub recipients: Option<Recipients>,
    /// Time between two backups.
    pub interval: Duration,
    /// How often the newest chain is read back; nothing: never.
    pub prove_every: Option<Duration>,
    /// Any text; a new one asks for a backup at once.
    pub trigger: Option<String>,
    /// What is kept; nothing: everything.
    pub retention: Option<settings::Retention>,
    /// What an empty disk does with an earlier life.
    pub bootstrap: Option<Bootstrap>,
    /// This XR has had a backup before.
    pub lived: bool,
    /// What is asked to be restored.
    pub restore: Option<settings::Restore>,
    /// Keys from settings and flags.
    pub trusted: Vec<PublicKey>,
    /// Whether settings.yaml is there, or is not needed.
    pub has_settings: bool,
}

/// Reads one environment variable; a parameter, so that tests need not change the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment, before it what the Go program's flags say; empty counts as unset.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    legacy::flags::given(name).or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// A value that cannot be used, named with its flag, variable or file; never its content if that is secret.
    pub fn load(options: &Options, environment: Environment<'_>) -> Result<Self, Error> {
        let (config, settings) = Self::load_to_read(options, environment)?;
        let recipients = recipients(options, &settings, &Folder(options.config_dir.as_deref()), environment)?;
        Ok(Self { recipients, ..config })
    }

    /// The same for commands that seal nothing: whom to seal for is not looked at, so that a passphrase can open what was
    /// sealed before there were recipients.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn for_reading(options: &Options, environment: Environment<'_>) -> Result<Self, Error> {
        Self::load_to_read(options, environment).map(|(config, _)| config)
    }

    fn load_to_read(options: &Options, environment: Environment<'_>) -> Result<(Self, Settings), Error> {
        let folder = Folder(options.config_dir.as_deref());
        let found = folder.settings()?;
        let has_settings = found.is_some() || options.config_dir.is_none();
        let settings = found.unwrap_or_default();
        let mut trusted = options.trust_keys.clone();
        for key in &settings.trusted_keys {
            // A key of a later version's kind is none we can verify with; the others still count.
            match key.parse() {
                Ok(key) => trusted.push(key),
                Err(error) => tracing::debug!(%error, "a trusted key in the settings is passed over"),
            }
        }
        let interval = match &options.interval {
            Some(text) => parse_interval(text)?,
            None => settings.backup.interval,
        };
        let config = Self {
            cluster: cluster(options.cluster.as_deref(), &settings.cluster),
            store: store_config(options, &settings, &folder, environment)?,
            registration: settings.store.registration.clone(),
            recipients: None,
            interval: interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            prove_every: prove_every(options.prove_every.as_deref(), settings.backup.prove_every)?,
            trigger: settings.backup.trigger.clone().filter(|trigger| !trigger.is_empty()),
            retention: settings.backup.retention.filter(|rules| *rules != settings::Retention::default()),
            bootstrap: settings.bootstrap,
            lived: settings.lived,
            restore: settings.restore.clone().filter(|restore| !restore.id.is_empty()),
            trusted,
            has_settings,
        };
        Ok((config, settings))
    }

    /// Whether a person has asked for backups that anybody can read.
    #[must_use]
    pub fn seals_for_nobody(&self) -> bool {
        matches!(self.recipients, Some(Recipients::Nobody))
    }

    /// The store, opened.
    ///
    /// # Errors
    /// None is named, or it cannot be used.
    pub fn open_store(&self, access: Access) -> Result<store::Store, Error> {
        let missing = || Error::Usage("there is no store: name one by --store, or store.url in settings.yaml".into());
        store::Store::open(self.store.as_ref().ok_or_else(missing)?, access)
    }

    /// The store of another cluster, read with the same credentials.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open_source(&self, source: &settings::Source) -> Result<store::Store, Error> {
        let missing = || Error::Usage("there is no store: name one by --store, or store.url in settings.yaml".into());
        let own = self.store.as_ref().ok_or_else(missing)?;
        store::Store::open(&store::Config { url: source.url.clone(), ..own.clone() }, Access::Read)
    }

    /// Whom to trust: settings and flags, the status document, and the data directory's own key.
    ///
    /// # Errors
    /// The data directory's key or the status document cannot be read.
    pub async fn trust(&self, options: &Options, data_dir: &Path, report: &Report) -> Result<Trust, Error> {
        if options.trust_any {
            return Ok(Trust::Any);
        }
        let mut keys: BTreeSet<_> = self.trusted.iter().copied().collect();
        keys.extend(Signer::load(data_dir)?.map(|signer| signer.public()));
        if let Some(status) = report.read().await? {
            keys.extend(status.trusted_keys.iter().filter_map(|key| key.parse::<PublicKey>().ok()));
        }
        Ok(Trust::Keys(keys))
    }
}

/// Where data and spool are.
///
/// # Errors
/// `BACKUP_FILE` is no path a vcluster keeps its database under.
pub fn place(options: &Options, environment: Environment<'_>) -> Result<Place, Error> {
    const DEFAULT_DATA_DIR: &str = "/data";
    let data_dir = match (&options.data_dir, environment("BACKUP_FILE")) {
        (Some(dir), _) => dir.clone(),
        (None, Some(file)) => data_dir_of(Path::new(&file))?,
        (None, None) => DEFAULT_DATA_DIR.into(),
    };
    Ok(Place { data_dir, spool_dir: options.spool_dir.clone().unwrap_or_else(std::env::temp_dir) })
}

/// The Go program names the file; we probe for it, so that a vcluster may migrate from k3s to k8s.
fn data_dir_of(file: &Path) -> Result<PathBuf, Error> {
    [Layout::K3s, Layout::K8s]
        .into_iter()
        .find(|layout| file.ends_with(layout.database()))
        .and_then(|layout| file.ancestors().nth(Path::new(layout.database()).components().count()))
        .map(Path::to_owned)
        .ok_or_else(|| {
            Error::Usage(format!("cannot use BACKUP_FILE {file:?}: it must end in state.db; or give --data-dir"))
        })
}

/// What a container of the pod mounts where; a person who runs a command in it need not know.
const IN_POD: [&str; 2] = ["/etc/vcluster-backup", "/var/spool/vcluster-backup"];

/// The pod's folders for those that are not named, where they are there.
#[must_use]
pub fn in_pod(mut options: Options) -> Options {
    let there = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_dir());
    let [config_dir, spool_dir] = IN_POD.map(there);
    options.config_dir = options.config_dir.or(config_dir);
    options.spool_dir = options.spool_dir.or(spool_dir);
    options
}

/// Changes when a file of the config folder does; cheap enough to ask every second.
#[must_use]
pub fn fingerprint(options: &Options) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let Some(folder) = &options.config_dir else { return hasher.finish() };
    for below in ["settings/settings.yaml", "key/identity", "key/passphrase"] {
        std::fs::read(folder.join(below)).ok().hash(&mut hasher);
    }
    let mut keys: Vec<_> = std::fs::read_dir(folder.join("s3")).into_iter().flatten().flatten().collect();
    keys.sort_by_key(std::fs::DirEntry::file_name);
    for key in keys {
        (key.file_name(), std::fs::read(key.path()).ok()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Where the status document is: the file that is named, else in a pod the vcluster's ConfigMap, else the config
/// folder's file.
#[must_use]
pub fn report(options: &Options, cluster: Option<&Cluster>, environment: Environment<'_>) -> Report {
    let in_folder = |dir: &PathBuf| dir.join("status").join(vcluster_proto::status::FILE_NAME);
    let file = options.status_file.clone().or_else(|| options.config_dir.as_ref().map(in_folder));
    let in_pod = environment("KUBERNETES_SERVICE_HOST").is_some() && options.status_file.is_none();
    let named = cluster.filter(|c| in_pod && !c.key.is_empty() && !c.namespace.is_empty());
    if in_pod && named.is_none() {
        // Its mount cannot be written; which ConfigMap that is, the settings will tell.
        return Report::default();
    }
    let map = |c: &Cluster| InCluster { namespace: c.namespace.clone(), name: format!("{}-backup-status", c.key) };
    Report::new(file, named.map(map))
}

/// Minutes when it is a bare number, as the Go program reads it.
fn parse_interval(text: &str) -> Result<Duration, Error> {
    match text.trim().parse::<u64>() {
        Ok(minutes) => Ok(Duration::from_secs(minutes.saturating_mul(60))),
        Err(_) => interval::parse(text).map_err(|why| Error::Usage(format!("cannot use the interval: {why}"))),
    }
}

/// `off` and `0s` are never.
fn prove_every(named: Option<&str>, settings: Option<Duration>) -> Result<Option<Duration>, Error> {
    const DAILY: Duration = Duration::from_secs(24 * 3600);
    let every = match named.map(str::trim) {
        Some("off") => Duration::ZERO,
        Some(text) => {
            interval::parse(text).map_err(|why| Error::Usage(format!("cannot use the time between proofs: {why}")))?
        }
        None => settings.unwrap_or(DAILY),
    };
    Ok(Some(every).filter(|every| !every.is_zero()))
}

fn store_config(
    options: &Options,
    settings: &Settings,
    folder: &Folder<'_>,
    environment: Environment<'_>,
) -> Result<Option<store::Config>, Error> {
    let bucket = || environment("BUCKET_NAME").map(|bucket| format!("s3://{bucket}"));
    let from_settings = || Some(settings.store.url.clone()).filter(|url| !url.is_empty());
    let Some(url) = options.store.clone().or_else(bucket).or_else(from_settings) else { return Ok(None) };
    let ca = match &options.ca_file {
        Some(path) => Some(read(path)?),
        None => settings.store.ca.clone(),
    };
    let insecure = environment("INSECURE").is_some_and(|value| !matches!(value.as_str(), "0" | "false"));
    let endpoint = options.endpoint.as_deref().or(settings.store.endpoint.as_deref()).map(|endpoint| match endpoint {
        url if url.contains("://") => url.to_owned(),
        host if insecure => format!("http://{host}"),
        host => format!("https://{host}"),
    });
    let access_key = secret("ACCESS_KEY", folder.path("s3/s3accesskey"), environment)?;
    let secret_key = secret("SECRET_KEY", folder.path("s3/s3secretkey"), environment)?;
    let cloud = cloud_variables(folder, environment)?;
    let config = store::Config {
        url,
        endpoint,
        region: options.region.clone().or_else(|| environment("AWS_REGION")).or_else(|| settings.store.region.clone()),
        path_style: if options.virtual_host_style { Some(false) } else { settings.store.path_style },
        ca,
        credentials: access_key.zip(secret_key).map(|(user, key)| (user, key.into())),
        cloud,
        patience: store::Patience::default(),
    };
    config.check()?;
    Ok(Some(config))
}

/// The cloud's own variables: from the environment, also by `_FILE`, else as files of that name beside the store's keys,
/// so that one Secret can be mounted or be an environment.
fn cloud_variables(folder: &Folder<'_>, environment: Environment<'_>) -> Result<store::Variables, Error> {
    let mut variables = store::Variables::default();
    for name in store::Variables::names() {
        // `..._TOKEN_FILE` is a path that the cloud's own library follows by itself.
        if let Some(value) = secret(name, folder.path("s3").map(|s3| s3.join(name)), environment)? {
            variables.add(name, value.into());
        }
    }
    Ok(variables)
}

fn recipients(
    options: &Options,
    settings: &Settings,
    folder: &Folder<'_>,
    environment: Environment<'_>,
) -> Result<Option<Recipients>, Error> {
    // A Secret or ConfigMap that ends in a line feed is no second, empty recipient.
    let mut list: Vec<String> =
        options.recipients.iter().map(|r| r.trim().to_owned()).filter(|r| !r.is_empty()).collect();
    if let Some(path) = &options.recipients_file {
        let text = read(path)?;
        list.extend(text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
    }
    let passphrase = secret("ENC_KEY", folder.path("key/passphrase"), environment)?;
    if list.is_empty() {
        list.clone_from(&settings.backup.recipients);
    }
    if options.insecure_no_encryption && !(list.is_empty() && passphrase.is_none()) {
        let why = "there is a key, and --insecure-no-encryption asks for backups without one: take one of both away";
        return Err(Error::Usage(why.into()));
    }
    match (list.is_empty(), passphrase) {
        (false, Some(_)) => {
            Err(Error::Usage("cannot seal for recipients and by a passphrase at once: keep one of both".into()))
        }
        (false, None) => Recipients::parse(&list).map(Some),
        (true, Some(passphrase)) => Ok(Some(Recipients::Passphrase(passphrase.into()))),
        (true, None) => Ok(options.insecure_no_encryption.then_some(Recipients::Nobody)),
    }
}

/// A flag's name stands for the vcluster in manifests; what the host cluster calls it only the settings know.
fn cluster(named: Option<&str>, settings: &settings::Cluster) -> Cluster {
    Cluster {
        key: named.unwrap_or(&settings.key).to_owned(),
        release: settings.release.as_ref().unwrap_or(&settings.key).clone(),
        uid: settings.uid.clone(),
        namespace: settings.namespace.clone(),
    }
}

/// What opens backups; looked for only when one is to be opened, so that a broken identity never stops backups.
///
/// # Errors
/// A file or variable that holds no identity; named, never shown.
pub fn identities(options: &Options, environment: Environment<'_>) -> Result<Identities, Error> {
    let folder = Folder(options.config_dir.as_deref());
    let mut identities = Identities::default();
    if let Some(path) = &options.identity {
        identities.add_file(&read(path)?, &path.display().to_string())?;
    }
    if let Some(text) = environment("AGE_IDENTITY") {
        identities.add_file(&text, "AGE_IDENTITY")?;
    }
    if let Some(path) = folder.path("key/identity")
        && let Some(text) = read_if_there(&path)?
    {
        identities.add_file(&text, "key/identity in the config folder")?;
    }
    if let Some(passphrase) = secret("ENC_KEY", folder.path("key/passphrase"), environment)? {
        identities.add_passphrase(passphrase.into());
    }
    Ok(identities)
}

/// A secret from the environment, from the file its `_FILE` twin names, or from the config folder.
fn secret(name: &str, file: Option<PathBuf>, environment: Environment<'_>) -> Result<Option<String>, Error> {
    if let Some(value) = environment(name) {
        return Ok(Some(value));
    }
    if let Some(path) = environment(&format!("{name}_FILE")) {
        return Ok(Some(read(Path::new(&path))?.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let Some(path) = file else { return Ok(None) };
    Ok(read_if_there(&path)?.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty()))
}

/// The config folder, if there is one.
struct Folder<'a>(Option<&'a Path>);

impl Folder<'_> {
    fn path(&self, below: &str) -> Option<PathBuf> {
        self.0.map(|folder| folder.join(below))
    }

    fn settings(&self) -> Result<Option<Settings>, Error> {
        let Some(path) = self.path("settings").map(|p| p.join(settings::FILE_NAME)) else { return Ok(None) };
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        Settings::from_yaml(&text).map(Some).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::file("read", path))
}

fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path)(e)),
    }
}

/// Until a file of the config folder changes, or `most` has passed.
pub async fn changed(options: &Options, since: u64, most: Duration) {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    let until = tokio::time::Instant::now() + most;
    while fingerprint(options) == since && tokio::time::Instant::now() < until {
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_host_bear_the_release_s_name_where_it_is_not_the_key() {
        let settings = |release: Option<&str>| settings::Cluster {
            key: "shop-abcdefgh".into(),
            release: release.map(str::to_owned),
            ..settings::Cluster::default()
        };
        let names = |named, release| {
            let cluster = cluster(named, &settings(release));
            (cluster.key, cluster.release)
        };
        assert_eq!(names(None, None), ("shop-abcdefgh".into(), "shop-abcdefgh".into()));
        assert_eq!(names(None, Some("old-shop")), ("shop-abcdefgh".into(), "old-shop".into()));
        assert_eq!(names(Some("x"), None), ("x".into(), "shop-abcdefgh".into()), "a flag renames no Secret");
    }

    #[test]
    fn proofs_are_daily_unless_somebody_says_otherwise() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let cases = [
            (None, None, hours(24)),
            (None, hours(2), hours(2)),
            (Some("12h"), hours(2), hours(12)),
            (None, Some(Duration::ZERO), None),
            (Some("off"), hours(2), None),
            (Some("0s"), None, None),
        ];
        for (named, settings, want) in cases {
            assert_eq!(prove_every(named, settings).expect("understood"), want, "{named:?} {settings:?}");
        }
        assert!(prove_every(Some("often"), None).is_err());
    }
}
