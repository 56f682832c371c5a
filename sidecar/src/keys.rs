//! Whom a backup is sealed for and who can open it. Secrets live in types whose `Debug` shows nothing.

use std::{fmt, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::LazyLock};

use age::{scrypt, x25519};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// The work of turning a passphrase into a key when sealing: scrypt with N = 2^15.
const SEALING_WORK_FACTOR: u8 = 15;
/// The most work a stored object may ask of a reader.
const OPENING_WORK_FACTOR: u8 = 18;

/// What is said, and said again, of backups that are sealed for nobody.
pub const UNENCRYPTED: &str = "backups are NOT ENCRYPTED, as --insecure-no-encryption asks: whoever can read the store \
     reads every Secret, key and token of the cluster";

/// Whom backups are sealed for.
#[derive(Clone)]
pub enum Recipients {
    /// age recipients: the pod cannot read what it wrote.
    Keys(Vec<x25519::Recipient>),
    /// A passphrase: each generation has a random identity, itself sealed by the passphrase beside the full backup.
    Passphrase(SecretString),
    /// Nobody: whoever reads the store reads the cluster's Secrets. Only when a person says so in so many words.
    Nobody,
}

impl Recipients {
    /// Reads `age1...` recipients.
    ///
    /// # Errors
    /// One is no recipient; it is named, since recipients are public. No recipient at all is [`Error::NoKey`].
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, Error> {
        let keys = texts
            .iter()
            .map(|text| text.as_ref().trim())
            .map(|text| {
                // A person who pastes the wrong half of a key pair must not read it again in a log.
                text.parse::<x25519::Recipient>().map_err(|_| match text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") {
                    true => Error::Usage("a recipient is an age identity: give its public half (age1...), and change that identity, it was exposed".into()),
                    false => Error::Usage(format!("{text:?} is not an age recipient: write age1 and 58 characters")),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(Error::NoKey) } else { Ok(Self::Keys(keys)) }
    }

    /// Something that changes when the recipients do. Of a passphrase it tells nothing, and is another in each run of the
    /// program: it may be written down, and a chain never goes on under a passphrase that nobody compared.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        static OF_THIS_RUN: LazyLock<[u8; blake3::KEY_LEN]> = LazyLock::new(|| {
            *blake3::hash(x25519::Identity::generate().to_string().expose_secret().as_bytes()).as_bytes()
        });
        match self {
            Self::Keys(keys) => {
                let mut keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
                keys.sort();
                keys.join(",")
            }
            Self::Passphrase(passphrase) => {
                blake3::keyed_hash(&OF_THIS_RUN, passphrase.expose_secret().as_bytes()).to_hex().to_string()
            }
            Self::Nobody => "nobody".to_owned(),
        }
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "{} recipients", keys.len()),
            Self::Passphrase(_) => f.write_str("a passphrase"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// What can open backups.
#[derive(Clone, Default)]
pub struct Identities {
    keys: Vec<x25519::Identity>,
    passphrase: Option<SecretString>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities, passphrase: {}", self.keys.len(), self.passphrase.is_some())
    }
}

impl Identities {
    /// Reads the text of an age identity file: `AGE-SECRET-KEY-1...` lines, comments and empty lines.
    ///
    /// # Errors
    /// A line is neither; its number is named, never its text.
    pub fn add_file(&mut self, text: &str, source: &str) -> Result<(), Error> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.keys.push(line.parse().map_err(|_| {
                Error::Usage(format!("line {} of {source} is not an age identity (AGE-SECRET-KEY-1...)", number + 1))
            })?);
        }
        Ok(())
    }

    /// Adds the passphrase.
    pub fn add_passphrase(&mut self, passphrase: SecretString) {
        self.passphrase = Some(passphrase);
    }

    /// Whether there is anything to try.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.passphrase.is_none()
    }

    /// The passphrase, if one was given.
    #[must_use]
    pub fn passphrase(&self) -> Option<&SecretString> {
        self.passphrase.as_ref()
    }

    /// The identities as age wants them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| key as &dyn age::Identity)
    }
}

/// A generation's own identity and its sealed form.
pub struct GenerationKey {
    /// What backups of the generation are sealed for.
    pub recipient: x25519::Recipient,
    /// The identity, sealed by the passphrase; the bytes of an age file.
    pub sealed: Vec<u8>,
}

/// Makes the identity of a generation and seals it by the passphrase.
///
/// # Errors
/// Only if encryption itself fails.
pub fn make_generation_key(passphrase: &SecretString) -> Result<GenerationKey, Error> {
    let identity = x25519::Identity::generate();
    let mut by_passphrase = scrypt::Recipient::new(passphrase.clone());
    by_passphrase.set_work_factor(SEALING_WORK_FACTOR);
    let failed = |e: std::io::Error| Error::Seal { action: "seal the generation's identity", source: e };
    let sealed = age::encrypt(&by_passphrase, identity.to_string().expose_secret().as_bytes())
        .map_err(|e| failed(std::io::Error::other(e)))?;
    Ok(GenerationKey { recipient: identity.to_public(), sealed })
}

/// Opens a generation's sealed identity.
///
/// # Errors
/// A wrong passphrase, or an object that asks for too much work.
pub fn open_generation_key(sealed: &[u8], passphrase: &SecretString, point: &str) -> Result<Identities, Error> {
    let mut by_passphrase = scrypt::Identity::new(passphrase.clone());
    by_passphrase.set_max_work_factor(OPENING_WORK_FACTOR);
    let damaged = |why: &str| Error::Damaged { object: format!("sealed identity of {point}"), why: why.into() };
    let text = age::decrypt(&by_passphrase, sealed).map_err(|e| match e {
        age::DecryptError::ExcessiveWork { required, .. } => {
            damaged(&format!("it asks for a work factor of {required}, at most {OPENING_WORK_FACTOR} is allowed"))
        }
        age::DecryptError::DecryptionFailed
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::NoMatchingKeys => Error::WrongKey { point: point.to_owned() },
        _ => damaged("it is no age file"),
    })?;
    let mut identities = Identities::default();
    let text = String::from_utf8(text).map_err(|_| damaged("it holds no identity"))?;
    identities.add_file(&text, "the sealed identity")?;
    Ok(identities)
}

/// `keygen`: makes a key pair. With a file the identity goes there (0600, never over another) and the recipient is
/// returned; without, both are returned as an identity file.
///
/// # Errors
/// The file exists or cannot be written.
pub fn keygen(output: Option<&Path>) -> Result<String, Error> {
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let text = SecretString::from(format!("# public key: {recipient}\n{}\n", identity.to_string().expose_secret()));
    let Some(path) = output else {
        return Ok(text.expose_secret().to_owned());
    };
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| {
            match e.kind() {
                std::io::ErrorKind::AlreadyExists => Error::Exists {
                    path: path.to_owned(),
                    remedy: "choose another name; without that identity its backups stay closed for ever",
                },
                _ => Error::file("write the identity to", path)(e),
            }
        })?;
    file.write_all(text.expose_secret().as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Error::file("write the identity to", path))?;
    Ok(format!("{recipient}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pair_fits_together_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("identity");
        let recipient = keygen(Some(&path)).expect("made");
        let mut identities = Identities::default();
        identities.add_file(&std::fs::read_to_string(&path).expect("written"), "identity").expect("an identity file");
        let sealed =
            age::encrypt(&recipient.trim().parse::<x25519::Recipient>().expect("a recipient"), b"x").expect("sealed");
        assert_eq!(age::decrypt(&identities.keys[0], &sealed).expect("opens"), b"x");
        assert!(matches!(keygen(Some(&path)), Err(Error::Exists { .. })));
    }

    #[test]
    fn a_passphrase_opens_its_generation_and_another_does_not() {
        let right = SecretString::from("correct horse");
        let made = make_generation_key(&right).expect("made");
        let identities = open_generation_key(&made.sealed, &right, "g/1").expect("opens");
        let sealed = age::encrypt(&made.recipient, b"x").expect("sealed");
        assert_eq!(age::decrypt(&identities.keys[0], &sealed).expect("opens"), b"x");
        let wrong = open_generation_key(&made.sealed, &SecretString::from("battery"), "g/1");
        assert!(matches!(wrong, Err(Error::WrongKey { .. })));
    }

    #[test]
    fn another_passphrase_is_noticed_and_neither_is_told() {
        let fingerprint = |text: &str| Recipients::Passphrase(SecretString::from(text)).fingerprint();
        assert_eq!(fingerprint("correct horse"), fingerprint("correct horse"));
        assert_ne!(fingerprint("correct horse"), fingerprint("battery"));
        // What anybody could compute from a guess would be a way to try guesses.
        assert_ne!(fingerprint("battery"), blake3::hash(b"battery").to_hex().to_string());
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_printed() {
        let secret = x25519::Identity::generate().to_string();
        let error = Recipients::parse(&[secret.expose_secret()]).expect_err("no recipient").to_string();
        assert!(!error.contains(&secret.expose_secret()[15..20]), "{error}");
        let error = Identities::default().add_file("hunter2", "key/identity").expect_err("no identity").to_string();
        assert_eq!(error, "line 1 of key/identity is not an age identity (AGE-SECRET-KEY-1...)");
    }
}
