//! Compress and encrypt on the way out, decrypt and decompress on the way back: [`Sealer`] and [`open`] mirror each
//! other, both stream, neither holds more than its windows.
//!
//! ```text
//! bytes -> zstd -> age (recipients) -> counted and digested -> writer
//! ```
//!
//! Age is left out where a person has asked for backups that anybody can read; the manifest says so, and nothing else
//! makes a reader believe it.

use std::io::{self, BufReader, Read, Write};

use age::x25519;
use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use crate::{error::Error, keys::Identities, manifest::Manifest};

/// A stored object may ask a reader for at most this zstd window: 2^23 = 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// Size and SHA-256 (hex) of what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Bytes.
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// Counts and digests what passes.
pub struct Digesting<T> {
    inner: T,
    context: Context,
    size: u64,
}

impl<T> Digesting<T> {
    /// Wraps a reader or writer.
    pub fn new(inner: T) -> Self {
        Self { inner, context: Context::new(&SHA256), size: 0 }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The inner thing, and what has passed.
    pub fn finish(self) -> (T, Digest) {
        (self.inner, Digest { size: self.size, sha256: HEXLOWER.encode(self.context.finish().as_ref()) })
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pass(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// SHA-256 of a short text, in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(ring::digest::digest(&SHA256, bytes).as_ref())
}

/// Who can open what is sealed.
#[derive(Clone, Copy)]
pub enum For<'a> {
    /// These.
    Recipients(&'a [x25519::Recipient]),
    /// Anybody.
    Nobody,
}

/// How hard compression tries; a reader need not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Half of the time for a tenth more bytes: for all of a database, since its writers may wait for the end.
    Quick,
    /// For the few pages that have changed.
    Usual,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Self::Quick => 1,
            Self::Usual => 3,
        }
    }
}

/// A writer that seals what is written to it.
pub struct Sealer<W: Write> {
    zstd: zstd::Encoder<'static, Cover<W>>,
}

/// What lies between compression and the writer.
enum Cover<W: Write> {
    Age(age::stream::StreamWriter<Digesting<W>>),
    None(Digesting<W>),
}

impl<W: Write> Write for Cover<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Age(age) => age.write(bytes),
            Self::None(plain) => plain.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Age(age) => age.flush(),
            Self::None(plain) => plain.flush(),
        }
    }
}

impl<W: Write> Sealer<W> {
    /// Seals for them.
    ///
    /// # Errors
    /// An empty list of recipients, or the writer fails.
    pub fn new(sealed_for: For<'_>, writer: W, effort: Effort) -> io::Result<Self> {
        let writer = Digesting::new(writer);
        let cover = match sealed_for {
            For::Recipients(recipients) => {
                let recipients = recipients.iter().map(|r| r as &dyn age::Recipient);
                let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
                Cover::Age(encryptor.wrap_output(writer)?)
            }
            For::Nobody => Cover::None(writer),
        };
        Ok(Self { zstd: zstd::Encoder::new(cover, effort.level())? })
    }

    /// Ends both streams; gives the writer back with size and digest of the ciphertext.
    ///
    /// # Errors
    /// The writer fails.
    pub fn finish(self) -> io::Result<(W, Digest)> {
        Ok(match self.zstd.finish()? {
            Cover::Age(age) => age.finish()?.finish(),
            Cover::None(plain) => plain.finish(),
        })
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.zstd.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.zstd.flush()
    }
}

/// Opens a sealed stream; `point` is named in errors.
///
/// # Errors
/// [`Error::WrongKey`] when none of the identities fits, [`Error::Damaged`] when it is no sealed stream.
pub fn open<R: Read>(reader: R, identities: &Identities, point: &str) -> Result<impl Read + use<R>, Error> {
    let damaged = |why: &str| Error::Damaged { object: format!("backup {point}"), why: why.into() };
    let decryptor = age::Decryptor::new_buffered(BufReader::new(reader)).map_err(|_| damaged("it is no age file"))?;
    let plain = decryptor.decrypt(identities.iter()).map_err(|e| match e {
        age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed => {
            Error::WrongKey { point: point.to_owned() }
        }
        _ => damaged("its age header is broken"),
    })?;
    decompress(BufReader::new(plain), point)
}

/// Opens the data of a backup as its manifest says that it is sealed.
///
/// # Errors
/// As [`open`].
pub fn open_data<'a, R: Read + 'a>(
    reader: R,
    manifest: &Manifest,
    identities: &Identities,
) -> Result<Box<dyn Read + 'a>, Error> {
    let point = manifest.id();
    Ok(if manifest.unencrypted {
        Box::new(decompress(BufReader::new(reader), &point)?)
    } else {
        Box::new(open(reader, identities, &point)?)
    })
}

fn decompress<R: io::BufRead>(reader: R, point: &str) -> Result<impl Read + use<R>, Error> {
    let damaged =
        |_| Error::Damaged { object: format!("backup {point}"), why: "its compression cannot be read".into() };
    let mut zstd = zstd::Decoder::with_buffer(reader).map_err(damaged)?;
    zstd.window_log_max(WINDOW_LOG_MAX).map_err(damaged)?;
    Ok(zstd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn seal(bytes: &[u8], identity: &x25519::Identity) -> (Vec<u8>, Digest) {
        let mut sealer =
            Sealer::new(For::Recipients(&[identity.to_public()]), Vec::new(), Effort::Usual).expect("sealer");
        sealer.write_all(bytes).expect("written");
        sealer.finish().expect("finished")
    }

    fn identities(identity: &x25519::Identity) -> Identities {
        let mut identities = Identities::default();
        identities.add_file(identity.to_string().expose_secret(), "test").expect("identity");
        identities
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn open_undoes_seal(bytes in proptest::collection::vec(any::<u8>(), 0..200_000)) {
            let identity = x25519::Identity::generate();
            let (sealed, digest) = seal(&bytes, &identity);
            prop_assert_eq!(digest, Digest { size: sealed.len() as u64, sha256: sha256(&sealed) });
            let mut opened = Vec::new();
            open(&sealed[..], &identities(&identity), "g/1").expect("opens").read_to_end(&mut opened).expect("reads");
            prop_assert_eq!(opened, bytes);
        }
    }

    #[test]
    fn only_a_manifest_makes_a_reader_do_without_a_key() {
        let mut sealer = Sealer::new(For::Nobody, Vec::new(), Effort::Usual).expect("sealer");
        sealer.write_all(b"state").expect("written");
        let (plain, _) = sealer.finish().expect("finished");
        let nobody = Identities::default();
        let mut manifest = crate::manifest::tests::example("g", 1);
        let read = |manifest: &Manifest, bytes: &[u8]| {
            let mut opened = Vec::new();
            open_data(bytes, manifest, &nobody).map(|mut reader| reader.read_to_end(&mut opened).map(|_| opened))
        };
        assert!(matches!(read(&manifest, &plain), Err(Error::Damaged { .. })), "it is no age file");
        manifest.unencrypted = true;
        assert_eq!(read(&manifest, &plain).expect("opens").expect("reads"), b"state");
        let (sealed, _) = seal(b"state", &x25519::Identity::generate());
        assert!(!matches!(read(&manifest, &sealed), Ok(Ok(_))), "an age file is no compression");
        assert!(Sealer::new(For::Recipients(&[]), Vec::new(), Effort::Usual).is_err(), "an empty list is not nobody");
    }

    #[test]
    fn another_key_is_a_wrong_key_not_damage() {
        let (sealed, _) = seal(b"state", &x25519::Identity::generate());
        let result = open(&sealed[..], &identities(&x25519::Identity::generate()), "g/1").map(drop);
        assert!(matches!(result, Err(Error::WrongKey { .. })));
    }

    #[test]
    fn a_cut_or_bent_stream_never_reads_to_its_end() {
        let identity = x25519::Identity::generate();
        let (sealed, _) = seal(&[7; 300_000], &identity);
        for (name, bytes) in [
            ("cut", &sealed[..sealed.len() - 1]),
            (
                "bent",
                &{
                    let mut b = sealed.clone();
                    let at = b.len() - 20;
                    b[at] ^= 1;
                    b
                }[..],
            ),
        ] {
            let outcome = open(bytes, &identities(&identity), "g/1").map(|mut r| r.read_to_end(&mut Vec::new()));
            assert!(!matches!(outcome, Ok(Ok(_))), "{name} was read as if whole");
        }
    }
}
