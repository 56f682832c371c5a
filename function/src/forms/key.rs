//! Keys that may be written down: recipients and signing keys. Pure.

/// An age X25519 recipient: bech32 of 32 bytes under `age`, checksum included.
pub(crate) fn recipient(text: &str) -> Result<(), String> {
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(
            "holds an age identity, which must never be here: whoever reads the claim could open every backup; \
                    put its recipient (age1...) here and make a new identity"
                .to_owned(),
        );
    }
    if text.len() == 62 && text.starts_with("age1") && bech32_holds("age", &text[4..]) {
        return Ok(());
    }
    Err("not an age recipient; copy the whole of age1... (62 characters) as `vcluster-backup keygen` prints it"
        .to_owned())
}

/// A signing key as the sidecar publishes it: `ed25519:` and 32 bytes in base64.
pub(crate) fn signing_key(text: &str) -> Result<(), String> {
    let key = text.strip_prefix("ed25519:").and_then(|b64| data_encoding::BASE64.decode(b64.as_bytes()).ok());
    match key {
        Some(bytes) if bytes.len() == 32 => Ok(()),
        _ => Err("not a signing key; copy it from status.backup.trustedKeys, as ed25519: and 44 characters of base64"
            .to_owned()),
    }
}

/// BIP-173's checksum.
fn bech32_holds(human: &str, data: &str) -> bool {
    const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let values = data.bytes().map(|byte| ALPHABET.iter().position(|&a| a == byte).map(|at| at as u32));
    let Some(values) = values.collect::<Option<Vec<u32>>>() else { return false };
    let human = human.bytes().map(u32::from);
    let expanded = human.clone().map(|c| c >> 5).chain([0]).chain(human.map(|c| c & 31)).chain(values);
    let sum = expanded.fold(1u32, |sum, value| {
        let top = sum >> 25;
        let shifted = ((sum & 0x01ff_ffff) << 5) ^ value;
        GENERATOR.iter().enumerate().fold(shifted, |s, (bit, g)| if top >> bit & 1 == 1 { s ^ g } else { s })
    });
    sum == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_checked_to_the_last_character() {
        let good = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert_eq!(recipient(good), Ok(()));
        assert!(recipient(&good.replace("8p", "8q")).is_err(), "a typing error is found by the checksum");
        assert!(recipient("age1").is_err());
        assert!(recipient("agë1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p").is_err());
        let identity = recipient("AGE-SECRET-KEY-1XYZ").expect_err("an identity");
        assert!(!identity.contains("1XYZ"), "a secret is never repeated: {identity}");
    }
}
