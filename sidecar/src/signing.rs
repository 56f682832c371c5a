//! Who wrote a backup. age says nothing about that, and whoever may put into the bucket could plant a database that a
//! restore would make root of the cluster; so manifests are signed with an Ed25519 key that never leaves the volume.

use std::{
    fmt,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    str::FromStr,
};

use data_encoding::BASE64;
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

use crate::{error::Error, lock};

/// The folder of our own below the data directory; mode 0700.
pub const OWN_FOLDER: &str = ".vcluster-backup";
const KEY_FILE: &str = "signing.key";
const PREFIX: &str = "ed25519:";

/// A public signing key, written `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether `signature` over `message` was made with this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.trim()
            .strip_prefix(PREFIX)
            .and_then(|key| BASE64.decode(key.as_bytes()).ok())
            .and_then(|key| key.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                Error::Usage(format!("{text:?} is not a signing key: write {PREFIX} and 44 characters of base64"))
            })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// The private half; prints nothing.
pub struct Signer(Ed25519KeyPair);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// The key of this volume, if it has one already.
    ///
    /// # Errors
    /// The file cannot be read or is no key.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, Error> {
        let path = data_dir.join(OWN_FOLDER).join(KEY_FILE);
        let mut bytes = Vec::new();
        match std::fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(Self::from_pkcs8(&bytes, &path)?)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file("read the signing key", &path)(e)),
        }
    }

    /// The key of this volume, made at first use: 0600 in a folder of 0700, durable before it signs anything.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn load_or_make(data_dir: &Path) -> Result<Self, Error> {
        if let Some(signer) = Self::load(data_dir)? {
            return Ok(signer);
        }
        let folder = lock::make_own_folder(data_dir)?;
        let path = folder.join(KEY_FILE);
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| Error::Usage("the system has no random numbers".into()))?;
        let write = || {
            let part = path.with_extension("part");
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(pkcs8.as_ref())?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            std::fs::File::open(&folder)?.sync_all()
        };
        write().map_err(Error::file("write the signing key", &path))?;
        Self::from_pkcs8(pkcs8.as_ref(), &path)
    }

    fn from_pkcs8(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(|_| {
            let path = path.display();
            Error::Usage(format!(
                "{path} is no signing key: remove it, and the next start makes one, to be trusted anew"
            ))
        })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_volume_keeps_its_key_to_itself() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert!(Signer::load(dir.path()).expect("readable").is_none());
        let made = Signer::load_or_make(dir.path()).expect("made");
        let loaded = Signer::load_or_make(dir.path()).expect("loaded");
        assert_eq!(made.public(), loaded.public());
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join(OWN_FOLDER)), 0o700);
        assert_eq!(mode(&dir.path().join(OWN_FOLDER).join(KEY_FILE)), 0o600);
    }

    #[test]
    fn only_the_signed_message_verifies() {
        let dir = tempfile::tempdir().expect("tempdir");
        let signer = Signer::load_or_make(dir.path()).expect("made");
        let public: PublicKey = signer.public().to_string().parse().expect("what is printed is parsed");
        let signature = signer.sign(b"state");
        assert!(public.verifies(b"state", &signature));
        assert!(!public.verifies(b"other", &signature));
        assert!("ed25519:short".parse::<PublicKey>().is_err());
    }
}
