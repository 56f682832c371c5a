//! What the Go program of the same name left behind: its objects here, its flags in [`flags`].
//!
//! It put copies of the database as `backup_<time>.db.enc` at the top of the bucket: 12 bytes of nonce, then AES-256-GCM
//! under the SHA-256 of the passphrase. They are shown by `list` and read by `restore`; nothing here ever removes one.
//! GCM vouches for them as far as the passphrase is secret, so they need no signature. What it cannot vouch for is the
//! copy itself: that program read a file in use, without its WAL.

pub mod flags;

use std::{
    io::{Read, Seek, Write},
    path::Path,
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    backup::Place,
    catalog::Catalog,
    cli::{Options, RestoreArgs},
    config::{self, Config},
    error::Error,
    install::{self, Work},
    kine::{Marker, Recipe},
    lock::Lock,
    manifest::Layout,
    program::{OK, PARTIAL, print, size},
    sqlite,
    store::{self, Access, Listed, Store},
};

/// Such an object is opened in memory, so there is an end to it.
const LARGEST: u64 = 1 << 30;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// An object of that program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its key below the prefix, which is also how it is named to `restore --at`.
    pub name: String,
    /// From its name; that program's clock was set to UTC in every image.
    pub time: Timestamp,
    /// Bytes, sealed.
    pub size: u64,
}

/// Whether this is the name of such an object: `backup_20240304143145.db.enc`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    time_of(text).is_some()
}

fn time_of(name: &str) -> Option<Timestamp> {
    let digits = name.strip_prefix("backup_")?.strip_suffix(".db.enc")?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Those of a store, oldest first.
///
/// # Errors
/// The store fails.
pub async fn copies(store: &Store) -> Result<Vec<Copy>, Error> {
    let copy = |object: Listed| Some(Copy { time: time_of(&object.key)?, name: object.key, size: object.size });
    let mut copies: Vec<Copy> = store.list_top().await?.into_iter().filter_map(copy).collect();
    copies.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(copies)
}

impl Copy {
    /// Its line in a list for people.
    #[must_use]
    pub fn row(&self) -> String {
        let time = self.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        format!(
            "{:<43} {time:<20} {:<5} {:>10} {:>10}  nobody, sealed by a passphrase\n",
            self.name,
            "copy",
            size(self.size),
            "-"
        )
    }

    /// Its line in a list for programs.
    #[must_use]
    pub fn row_as_json(&self) -> String {
        let row =
            json!({ "id": self.name, "time": self.time, "kind": "copy", "sizeBytes": self.size, "trusted": false });
        format!("{row}\n")
    }
}

/// Opens the bytes of such an object.
///
/// # Errors
/// [`Error::WrongKey`]: GCM cannot tell a wrong passphrase from a changed byte. [`Error::Damaged`] when what is inside
/// is no database.
pub fn open(mut sealed: Vec<u8>, passphrase: &SecretString, name: &str) -> Result<Vec<u8>, Error> {
    let damaged = |why: &str| Error::Damaged { object: name.to_owned(), why: why.to_owned() };
    let wrong = || Error::WrongKey { point: name.to_owned() };
    let key = digest(&SHA256, passphrase.expose_secret().as_bytes());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| wrong())?);
    let nonce = sealed.get(..NONCE_LEN).ok_or_else(|| damaged("it is too short"))?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged("it is too short"))?;
    let length = key.open_within(nonce, Aad::empty(), &mut sealed, NONCE_LEN..).map_err(|_| wrong())?.len();
    sealed.truncate(length);
    if sealed.starts_with(MAGIC) { Ok(sealed) } else { Err(damaged("it holds no SQLite database")) }
}

/// `restore --at backup_<time>.db.enc`; whether a database may be replaced has been asked before.
///
/// # Errors
/// The store fails, the passphrase is missing or another, or the copy is torn and was to go into the data directory.
pub(crate) async fn restore(
    options: &Options,
    args: &RestoreArgs,
    config: &Config,
    place: &Place,
    name: &str,
) -> Result<u8, Error> {
    let store = config.open_store(Access::Read)?;
    if args.dry_run {
        let there = copies(&store).await?.into_iter().find(|copy| copy.name == name);
        let copy = there.ok_or_else(|| absent(name, &store))?;
        return print(&format!("would restore {name} of {}, {}\n", copy.time, size(copy.size)));
    }
    let identities = config::identities(options, &config::process_environment)?;
    let passphrase = identities.passphrase().ok_or_else(|| Error::NoIdentity { point: name.to_owned() })?.clone();
    let (mut file, digest) = store.download(name, store::spool(&place.spool_dir)?, LARGEST).await?;
    if digest.size > LARGEST {
        return Err(Error::Damaged { object: name.to_owned(), why: "it is larger than 1 GiB".into() });
    }
    let mut sealed = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut sealed));
    read.map_err(|source| Error::Seal { action: "read the downloaded backup", source })?;
    let database = open(sealed, &passphrase, name)?;
    if let Some(output) = &args.output {
        return into_file(&database, name, output);
    }
    let report = config::report(options, Some(&config.cluster), &config::process_environment);
    let trust = config.trust(options, &place.data_dir, &report).await?;
    let seen = Catalog::load(&store).await?.highest_revision(&trust);
    let marker = Marker { backup: name.to_owned(), request: args.request_id.clone() };
    let data_dir = place.data_dir.clone();
    crate::blocking(move || into_data_dir(&database, &data_dir, seen, marker)).await.and_then(|said| print(&said))
}

fn absent(name: &str, store: &Store) -> Error {
    let window = "`vcluster-backup list` shows what there is".into();
    Error::NoSuchPoint { at: name.to_owned(), store: store.url().to_owned(), window }
}

/// A torn copy is better than none for whoever looks into it, so it is written all the same, and said.
fn into_file(database: &[u8], name: &str, path: &Path) -> Result<u8, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(Error::file("write in", folder))?;
    let written = part.write_all(database).and_then(|()| part.as_file().sync_all());
    written.map_err(Error::file("write", path))?;
    let torn = install::look_into(part.path(), name).err();
    part.persist_noclobber(path).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Exists { path: path.to_owned(), remedy: "choose another name for --output" }
        }
        _ => Error::file("write", path)(e.error),
    })?;
    print(&format!("restored {name}\n{} is in place, {}\n", path.display(), size(database.len() as u64)))?;
    let Some(torn) = torn else { return Ok(OK) };
    tracing::warn!(
        "{}: the file was copied while it was written to; look into it with `sqlite3 FILE .recover`",
        torn.chain()
    );
    Ok(PARTIAL)
}

fn into_data_dir(database: &[u8], data_dir: &Path, seen: i64, marker: Marker) -> Result<String, Error> {
    let name = marker.backup.clone();
    let _alone = Lock::take(data_dir)?;
    install::roll_forward(data_dir)?;
    // That program knew k3s only, and vcluster migrates by itself.
    let layout = sqlite::find(data_dir)?.map_or(Layout::K3s, |(_, layout)| layout);
    let mut work = Work::create(&data_dir.join(layout.database()), database.len() as u64)?;
    work.file.write_all(database).map_err(|source| Error::Seal { action: "write the restored database", source })?;
    let seen = seen.max(work.old_revision());
    let made = work.finish(&Recipe { seen, marker, clone: false })?;
    let plan = work.plan(&name)?;
    let (path, ()) = work.commit(&plan, || Ok(()))?;
    let revision =
        made.map(|made| format!("it begins at revision {}; clients of before will list anew\n", made.revision));
    let (path, size) = (path.display(), size(database.len() as u64));
    Ok(format!("restored {name}\n{path} is in place, {size}, sound\n{}", revision.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_names_count() {
        assert!(is_name("backup_20240304143145.db.enc"));
        for other in [
            "backup_2024.db.enc",
            "backup_20241304143145.db.enc",
            "backup_20240304143145.db",
            "v1/full/g/00000001.json",
        ] {
            assert!(!is_name(other), "{other}");
        }
        let time = time_of("backup_20240304143145.db.enc").expect("a time");
        assert_eq!(time.to_string(), "2024-03-04T14:31:45Z");
    }

    #[test]
    fn what_is_no_such_object_is_refused_and_never_a_panic() {
        let passphrase = SecretString::from("12345");
        for bytes in [vec![], vec![0; 5], vec![0; 12], vec![0; 27], vec![0; 28], vec![7; 5_000]] {
            let length = bytes.len();
            assert!(open(bytes, &passphrase, "x").is_err(), "{length}");
        }
    }
}
