//! What people write after `--at`, and what a request says: it is refused, or says the same again when it is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcluster_backup::{catalog::At, listen::Address};

fuzz_target!(|text: &str| {
    if let Ok(At::Id(id)) = text.parse::<At>() {
        assert_eq!(id.parse::<At>().expect("its own print"), At::Id(id));
    }
    if let Ok(address) = text.parse::<Address>() {
        assert!(!address.to_string().is_empty());
    }
    let _ = vcluster_proto::interval::parse(text);
});
