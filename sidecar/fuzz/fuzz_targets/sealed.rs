//! Whatever a data object holds: neither its age header nor a compressed stream behind a good one asks for more memory
//! than its windows, and nothing panics.
#![no_main]

use std::{io::Read, sync::LazyLock};

use age::x25519;
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret;
use vcluster_backup::{keys::Identities, seal};

static IDENTITY: LazyLock<x25519::Identity> = LazyLock::new(x25519::Identity::generate);

/// A reader stops at what its manifest names; a bomb is never read to its end.
const MOST: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut identities = Identities::default();
    identities.add_file(IDENTITY.to_string().expose_secret(), "fuzz").expect("an identity");
    assert!(seal::open(bytes, &identities, "g/1").is_err(), "nobody seals by chance");
    let sealed = age::encrypt(&IDENTITY.to_public(), bytes).expect("sealed");
    if let Ok(plain) = seal::open(&sealed[..], &identities, "g/1") {
        let _ = plain.take(MOST).read_to_end(&mut Vec::new());
    }
});
