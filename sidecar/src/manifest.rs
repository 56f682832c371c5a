//! A manifest is the commit point of a backup: it names the data object, its digests and its place in the chain, and
//! is signed. Pure: bytes in, bytes out.
//!
//! ```text
//! line 1   canonical JSON (keys in alphabetical order, no spaces)
//! line 2   ed25519:<public key, base64> <signature over line 1 without its line feed, base64>
//! ```

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    seal::sha256,
    signing::{PublicKey, Signer},
};

/// The format this program writes. A reader refuses a higher one.
pub const FORMAT: u32 = 1;

/// What kind of backup a manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Everything: PKI and the whole database.
    Full,
    /// Pages changed since the full.
    Diff,
    /// Pages changed since the previous backup.
    Delta,
}

impl Kind {
    /// The word used in object keys and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Diff => "diff",
            Self::Delta => "delta",
        }
    }

    /// How the data object's key ends; shows at a glance what anybody can read.
    #[must_use]
    pub fn ending(self, unencrypted: bool) -> &'static str {
        match (self, unencrypted) {
            (Self::Full, false) => "tar.zst.age",
            (Self::Full, true) => "tar.zst",
            (Self::Diff | Self::Delta, false) => "pages.zst.age",
            (Self::Diff | Self::Delta, true) => "pages.zst",
        }
    }
}

/// Which distro's paths a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `state.db` and `pki/` below the data directory.
    K8s,
    /// `server/db/state.db` and `server/{token,tls,cred}`.
    K3s,
}

impl Layout {
    /// The database below the data directory.
    #[must_use]
    pub fn database(self) -> &'static str {
        match self {
            Self::K8s => "state.db",
            Self::K3s => "server/db/state.db",
        }
    }

    /// Files and folders of PKI and token below the data directory.
    #[must_use]
    pub fn pki(self) -> &'static [&'static str] {
        match self {
            Self::K8s => &["pki"],
            Self::K3s => &["server/token", "server/tls", "server/cred"],
        }
    }
}

/// The data object of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its key below the store's prefix.
    pub key: String,
    /// Lower-case hex, of the ciphertext.
    pub sha256: String,
    /// Bytes of ciphertext.
    pub size: u64,
}

/// Another backup: by digest, and by name for the day that manifest is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Head {
    /// SHA-256 of the manifest, in hex.
    pub digest: String,
    /// Its generation.
    pub generation: String,
    /// Its sequence.
    pub sequence: u64,
}

impl Head {
    /// `<generation>/<sequence>`.
    #[must_use]
    pub fn id(&self) -> String {
        id(&self.generation, self.sequence)
    }
}

/// A restore request that was served: its id is never served again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The backup that was asked for, or `empty`.
    pub from: String,
    /// Tells requests apart.
    pub id: String,
    /// `Succeeded` or `Failed`; a word of a later version counts as served.
    pub outcome: String,
    /// When it ended.
    pub time: Timestamp,
}

/// Line 1. Fields stand in alphabetical order, so that what serde writes is canonical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Pages in the payload of a diff or delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u32>,
    /// The vcluster's one name.
    pub cluster: String,
    /// The data object.
    pub data: Data,
    /// See [`FORMAT`].
    pub format: u32,
    /// Start time and 80 random bits: unique by construction.
    pub generation: String,
    /// A generation's identity sealed by a passphrase: its key below the store's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Full, diff or delta.
    pub kind: Kind,
    /// Which distro's paths.
    pub layout: Layout,
    /// Pages of the database.
    pub page_count: u32,
    /// Bytes of a page.
    pub page_size: u32,
    /// The backup a diff or delta builds on, maybe of an earlier generation: a diff's is the full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Head>,
    /// SHA-256 of the previous manifest of this writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Restore requests served so far, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Request>,
    /// The backup this life of the database began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<String>,
    /// The highest kine revision in the database; 0 if it has no kine table.
    pub revision: i64,
    /// Root of all pages, see [`crate::pages`].
    pub root: String,
    /// Counts up within the generation, from 1.
    pub sequence: u64,
    /// What this generation follows: in its first manifest and in fulls every end that was there when it began, in the
    /// others the heads alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<Head>,
    /// When the read transaction began.
    pub time: Timestamp,
    /// Program and version.
    pub tool: String,
    /// The XR's uid; empty outside Crossplane.
    #[serde(default)]
    pub uid: String,
    /// The data is sealed for nobody: compressed and signed for, but anybody can read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unencrypted: bool,
}

impl Manifest {
    /// `<generation>/<sequence>`; what people and `--at` use.
    #[must_use]
    pub fn id(&self) -> String {
        id(&self.generation, self.sequence)
    }

    /// Bytes of the database.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from(self.page_size) * u64::from(self.page_count)
    }

    /// The manifest's own key below the store's prefix.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.json", stem(self.kind, &self.generation, self.sequence))
    }

    /// The two lines, signed.
    ///
    /// # Errors
    /// Never for manifests this program makes.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|e| Error::Seal { action: "write the manifest", source: std::io::Error::other(e) })?;
        let signature = BASE64.encode(&signer.sign(&bytes));
        bytes.extend_from_slice(format!("\n{} {signature}\n", signer.public()).as_bytes());
        Ok(bytes)
    }
}

/// `<generation>/<sequence>`, the sequence padded so that ids sort.
#[must_use]
pub fn id(generation: &str, sequence: u64) -> String {
    format!("{generation}/{sequence:08}")
}

/// A backup's objects without their endings: `v1/<kind>/<generation>/<sequence>`. The kind leads, so that a bucket's
/// lifecycle rules can expire deltas before fulls.
#[must_use]
pub fn stem(kind: Kind, generation: &str, sequence: u64) -> String {
    format!("v1/{}/{}", kind.as_str(), id(generation, sequence))
}

/// A manifest whose signature is good; whether the signer is trusted is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Line 1.
    pub manifest: Manifest,
    /// SHA-256 of both lines, in hex: names this manifest in chains and pins.
    pub digest: String,
    /// Who signed.
    pub signer: PublicKey,
}

impl Signed {
    /// How a later generation names it.
    #[must_use]
    pub fn as_head(&self) -> Head {
        let Manifest { generation, sequence, .. } = &self.manifest;
        Head { digest: self.digest.clone(), generation: generation.clone(), sequence: *sequence }
    }
}

/// Reads the bytes of a manifest found under `key`.
///
/// # Errors
/// [`Error::Damaged`] if lines, JSON or signature do not fit, if the manifest speaks of another key than the one it was
/// found under, or of a format this program does not know.
pub fn verify(bytes: &[u8], key: &str) -> Result<Signed, Error> {
    let damaged = |why: &str| Error::Damaged { object: key.to_owned(), why: why.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let (body, rest) = text.split_once('\n').ok_or_else(|| damaged("it has no signature line"))?;
    let (signer, signature) = rest.trim_end().split_once(' ').ok_or_else(|| damaged("its signature line is broken"))?;
    let signer: PublicKey = signer.parse().map_err(|_| damaged("its signature line is broken"))?;
    let signature = BASE64.decode(signature.as_bytes()).map_err(|_| damaged("its signature line is broken"))?;
    if !signer.verifies(body.as_bytes(), &signature) {
        return Err(damaged("its signature does not fit"));
    }
    let manifest: Manifest = serde_json::from_str(body).map_err(|_| match format_of(body) {
        Some(format) if format > FORMAT => damaged("it was written by a newer version of this program; use that one"),
        _ => damaged("it is no manifest"),
    })?;
    if manifest.format > FORMAT {
        return Err(damaged("it was written by a newer version of this program; use that one"));
    }
    if manifest.key() != key {
        return Err(damaged("it is the manifest of another backup"));
    }
    Ok(Signed { manifest, digest: sha256(bytes), signer })
}

fn format_of(body: &str) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get("format")?.as_u64()?.try_into().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(generation: &str, sequence: u64) -> Manifest {
        Manifest {
            changed: None,
            cluster: "team-a-abcdefgh".into(),
            data: Data {
                key: format!("{}.tar.zst.age", stem(Kind::Full, generation, sequence)),
                sha256: "00".into(),
                size: 1,
            },
            format: FORMAT,
            generation: generation.into(),
            identity: None,
            kind: Kind::Full,
            layout: Layout::K8s,
            page_count: 1,
            page_size: 4096,
            parent: None,
            previous: None,
            requests: Vec::new(),
            restored_from: None,
            revision: 7,
            root: "00".into(),
            sequence,
            supersedes: Vec::new(),
            time: Timestamp::from_second(1_700_000_000 + i64::try_from(sequence).expect("small")).expect("a time"),
            tool: "vcluster-backup 0".into(),
            uid: "uid-1".into(),
            unencrypted: false,
        }
    }

    pub(crate) fn signer() -> (tempfile::TempDir, Signer) {
        let dir = tempfile::tempdir().expect("tempdir");
        let signer = Signer::load_or_make(dir.path()).expect("signer");
        (dir, signer)
    }

    #[test]
    fn what_is_signed_verifies() {
        let (_dir, signer) = signer();
        let manifest = example("g", 1);
        let bytes = manifest.sign(&signer).expect("signed");
        let signed = verify(&bytes, "v1/full/g/00000001.json").expect("verifies");
        assert_eq!((signed.manifest, signed.signer), (manifest, signer.public()));
    }

    #[test]
    fn the_body_is_canonical_json() {
        let (_dir, signer) = signer();
        let bytes = example("g", 1).sign(&signer).expect("signed");
        let body = String::from_utf8(bytes).expect("text").lines().next().expect("a line").to_owned();
        let sorted: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(&body).expect("JSON");
        assert_eq!(serde_json::to_string(&sorted).expect("JSON"), body);
    }

    #[test]
    fn what_was_touched_is_named_and_refused() {
        let (_dir, signer) = signer();
        let bytes = example("g", 1).sign(&signer).expect("signed");
        let text = String::from_utf8(bytes.clone()).expect("text");
        let key = "v1/full/g/00000001.json";
        let mut newer = example("g", 1);
        newer.format = FORMAT + 1;
        let cases: [(&str, Vec<u8>, &str, &str); 5] = [
            ("changed body", text.replace("uid-1", "uid-2").into_bytes(), key, "its signature does not fit"),
            ("no signature", text.lines().next().expect("a line").as_bytes().to_vec(), key, "it has no signature line"),
            ("moved", bytes.clone(), "v1/full/g/00000002.json", "it is the manifest of another backup"),
            ("cut", bytes[..bytes.len() - 9].to_vec(), key, "its signature does not fit"),
            (
                "newer",
                newer.sign(&signer).expect("signed"),
                key,
                "it was written by a newer version of this program; use that one",
            ),
        ];
        for (name, bytes, key, why) in cases {
            match verify(&bytes, key) {
                Err(Error::Damaged { why: found, .. }) => assert_eq!(found, why, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
