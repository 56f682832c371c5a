//! The Go program's objects, their names, and its command lines: whatever lies there is refused or read, and what was
//! sealed as it sealed comes back.
#![no_main]

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use libfuzzer_sys::fuzz_target;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use secrecy::SecretString;
use vcluster_backup::legacy;

const NAME: &str = "backup_20240304143145.db.enc";

fuzz_target!(|bytes: &[u8]| {
    let passphrase = SecretString::from("correct horse");
    assert!(legacy::open(bytes.to_vec(), &passphrase, NAME).is_err(), "nobody seals by chance");

    let key = UnboundKey::new(&AES_256_GCM, digest(&SHA256, b"correct horse").as_ref()).expect("a key");
    let mut sealed = bytes.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    LessSafeKey::new(key).seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).expect("sealed");
    let opened = legacy::open([vec![0; NONCE_LEN], sealed].concat(), &passphrase, NAME);
    match opened {
        Ok(database) => assert_eq!(database, bytes),
        Err(_) => assert!(!bytes.starts_with(b"SQLite format 3\0"), "a database is one"),
    }

    if let Ok(text) = std::str::from_utf8(bytes)
        && legacy::is_name(text)
    {
        assert_eq!(text.len(), NAME.len());
    }
    let arguments: Vec<OsString> = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let (ours, _) = legacy::flags::translate(arguments.clone());
    assert!(ours.len() <= 2 * arguments.len() + 8, "a command line does not grow without end");
});
