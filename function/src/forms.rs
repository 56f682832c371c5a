//! The forms in which people write values: names, quantities, versions, URLs, recipients. Each check says in one
//! sentence what is wrong and what is right; where a value could be a secret by mistake, the sentence does not repeat it.

mod host;
pub(crate) mod pattern;
mod store;

use std::cmp::Ordering;

pub(crate) use self::{
    host::{host, host_suffix, host_template},
    store::{Place, store_url},
};

/// The newest chart line this function knows, and the oldest.
const CHART_LINES: std::ops::RangeInclusive<u64> = 19..=36;

/// What a vcluster is called: anything, its key is made of it.
pub(crate) fn id(text: &str) -> Result<(), String> {
    match text.chars().count() {
        1..=63 => Ok(()),
        length => Err(format!("{length} characters; write 1 to 63")),
    }
}

/// What tells two platforms apart, in bytes: it is a part of every key.
pub(crate) fn platform_id(text: &str) -> Result<(), String> {
    match text.len() {
        1..=63 => Ok(()),
        length => Err(format!("{length} characters; write 1 to 63")),
    }
}

/// The name of a composed resource: what a person chose in a Composition.
pub(crate) fn resource_name(text: &str) -> Result<(), String> {
    if (1..=253).contains(&text.len()) && !text.contains(char::is_control) {
        return Ok(());
    }
    Err("not the name of a composed resource; write it as the Composition does".to_owned())
}

/// What tells one request from another.
pub(crate) fn token(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:/+-".contains(&b);
    if (1..=63).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err("not a word that tells requests apart; write 1 to 63 of A-Z, a-z, 0-9 and ._:/+-, as 2026-11-22a".to_owned())
}

/// What can be restored.
pub(crate) fn restore_point(text: &str) -> Result<(), String> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let backup = text.split_once('/').is_some_and(|(generation, sequence)| plain(generation) && plain(sequence));
    if ["latest", "empty"].contains(&text) || (text.len() <= 128 && backup) || text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no backup; write latest, empty, a time as 2026-11-22T06:00:00Z, or an id as status.backup.newest \
         has it"
    ))
}

/// A Kubernetes version as the platform's table names it.
pub(crate) fn kubernetes_version(text: &str) -> Result<(), String> {
    let number = |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
    match (2..=3).contains(&text.split('.').count()) && text.split('.').all(number) {
        true => Ok(()),
        false => Err(format!("{text:?} is not a Kubernetes version; write it as \"1.33\"")),
    }
}

/// The tag of an image.
pub(crate) fn tag(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(format!("{text:?} is not the tag of an image; write it as v1.33.4"))
}

/// A path into the values of the vcluster chart.
pub(crate) fn values_path(text: &str) -> Result<(), String> {
    let name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if text.split('.').all(name) {
        return Ok(());
    }
    Err(format!("{text:?} is not a path into values; write it as sync.toHost.ingresses"))
}

/// A DNS-1123 label: names of namespaces and of most other things.
pub(crate) fn dns_label(text: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last()) {
        return Ok(());
    }
    Err(format!("{text:?} is not a DNS label; write at most 63 of a-z, 0-9 and -, a letter or digit at both ends"))
}

/// The name of an object: labels joined by dots.
pub(crate) fn object_name(text: &str) -> Result<(), String> {
    if text.len() <= 253 && text.split('.').all(|label| dns_label(label).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends"))
}

/// A kind, of which an API's plural is made.
pub(crate) fn kind(text: &str) -> Result<(), String> {
    let capital = text.starts_with(|c: char| c.is_ascii_uppercase());
    if text.len() < 63 && capital && text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(format!("{text:?} is not a kind; write letters and digits, a capital first, as VCluster"))
}

/// The name of a Secret. What stands here by mistake may be its content.
pub(crate) fn secret_name(text: &str) -> Result<(), String> {
    if object_name(text).is_ok() {
        return Ok(());
    }
    Err("not the name of a Secret; write the name of a Secret in the platform namespace, not its content".to_owned())
}

/// A principal as Rancher spells it. It travels through a chart into a Job's script, beside a token: nothing a shell or
/// JSON could take for its own.
pub(crate) fn principal(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@:/+-=, ".contains(&b);
    if !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("{text:?} is not a principal; write it as local://u-abc12 or keycloak_user://name@example.org"))
}

/// The name of a Secret, in which `{key}` stands for the key of the vcluster.
pub(crate) fn secret_template(text: &str) -> Result<(), String> {
    secret_name(&text.replacen("{key}", "k", 1))
}

/// The name of a storage class; empty: the host cluster's default.
pub(crate) fn class_name(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { object_name(text) }
}

/// A key inside a Secret.
pub(crate) fn secret_key(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Ok(());
    }
    Err("not a key of a Secret; write the name of the key, not its content".to_owned())
}

/// PEM certificates, and no private key among them.
pub(crate) fn certificates(text: &str) -> Result<(), String> {
    if text.contains("PRIVATE KEY") {
        return Err("holds a private key; only certificates belong here".to_owned());
    }
    if text.contains("-----BEGIN CERTIFICATE-----") && text.contains("-----END CERTIFICATE-----") {
        return Ok(());
    }
    Err("not a PEM certificate; begin it with -----BEGIN CERTIFICATE-----".to_owned())
}

/// A chart repository: HTTP or OCI, without credentials.
pub(crate) fn repository(text: &str) -> Result<(), String> {
    if text.contains('@') {
        return Err("holds a user or password; name a Secret with both in pullSecret".to_owned());
    }
    let rest = ["https://", "http://", "oci://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => Ok(()),
        _ => Err(format!("{text:?} is not a chart repository; write it as https://... or oci://...")),
    }
}

/// What stands before a key: a label may go on after it.
pub(crate) fn prefix(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || (text.len() <= max && dns_label(&format!("{text}x")).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} cannot stand before a name; write at most {max} of a-z, 0-9 and -, a letter or digit first"))
}

/// A Kubernetes quantity as a number, for comparisons.
pub(crate) fn quantity(text: &str) -> Result<f64, String> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let known = SUFFIXES.iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|n| (n, factor)));
    let number = known.filter(|(n, _)| match n.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(n),
    });
    let value = number.and_then(|(n, factor)| n.parse::<f64>().ok().map(|n| n * factor));
    value.ok_or_else(|| format!("{text:?} is not a quantity; write it as 500m, 2, 256Mi or 5Gi"))
}

/// The size of a bucket, as chart s3-register and the store read it alike.
pub(crate) fn quota(text: &str) -> Result<(), String> {
    match text.strip_suffix(['m', 'k']) {
        None if storage(text).is_ok() => Ok(()),
        _ => Err(format!("{text:?} is not the size of a bucket; write it as 50Gi")),
    }
}

/// A quantity of storage: more than nothing.
pub(crate) fn storage(text: &str) -> Result<f64, String> {
    match quantity(text)? {
        bytes if bytes >= 1.0 => Ok(bytes),
        _ => Err(format!("{text:?} is no room at all; write it as 5Gi")),
    }
}

/// A chart version: SemVer without a leading `v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: [u64; 3],
    pre: Option<String>,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a chart version; write it as 0.36.1");
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre.to_owned())),
            None => (text, None),
        };
        let fine =
            |pre: &String| !pre.is_empty() && pre.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
        let parts: Vec<&str> = core.split('.').collect();
        let [major, minor, patch] = parts[..] else { return Err(wrong()) };
        let number = |s: &str| match s.bytes().all(|b| b.is_ascii_digit()) && (s == "0" || !s.starts_with('0')) {
            true => s.parse::<u64>().map_err(|_| wrong()),
            false => Err(wrong()),
        };
        if pre.as_ref().is_some_and(|pre| !fine(pre)) {
            return Err(wrong());
        }
        Ok(Self { numbers: [number(major)?, number(minor)?, number(patch)?], pre })
    }

    /// The chart line: the middle number.
    pub(crate) fn minor(&self) -> u64 {
        self.numbers[1]
    }

    /// Only charts whose values this version of the function renders.
    pub(crate) fn known_vcluster(text: &str) -> Result<Self, String> {
        let version = Self::parse(text)?;
        match version.numbers {
            [0, minor, _] if CHART_LINES.contains(&minor) => Ok(version),
            _ => Err(format!(
                "vcluster chart {text} is not one this version of the function renders; use 0.{} to 0.{}",
                CHART_LINES.start(),
                CHART_LINES.end()
            )),
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    /// SemVer's order, but for pre-releases of one version, which are compared as text.
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.pre, &other.pre) {
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (ours, theirs) => ours.cmp(theirs),
        })
    }
}

/// Ours begin with 0.1.0. The upstream chart, of the same name, cannot be installed by provider-helm from 1.4 on, and
/// draws a new password at each upgrade.
pub(crate) fn s3_register(text: &str) -> Result<(), String> {
    match Version::parse(text)?.numbers {
        [0, 0, _] => Err(format!(
            "{text:?} is the upstream chart of that name, which loses the user's password; use 0.1.0 or newer, of this project"
        )),
        _ => Ok(()),
    }
}

/// The upstream chart of the registration ended with 0.1.4; ours of the same name begins with 0.2.0.
pub(crate) fn is_upstream_rancher(version: &str) -> bool {
    Version::parse(version).is_ok_and(|version| matches!(version.numbers, [0, 0 | 1, _]))
}

/// `http(s)://host[:port]` and nothing more; credentials in a URL would travel into a ConfigMap.
pub(crate) fn http_url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    // Whatever else is wrong with it: what may be a password is not repeated.
    if text.contains('@') {
        return Err("holds a user or password; credentials belong into a Secret".to_owned());
    }
    let wrong = || format!("{text:?} is not a URL of the form http(s)://host[:port], without a path");
    let (host, port) = match rest.ok_or_else(wrong)? {
        v6 if v6.starts_with('[') => {
            v6.split_once(']').map(|(h, p)| (&h[1..], p.strip_prefix(':').unwrap_or(p))).ok_or_else(wrong)?
        }
        name => name.split_once(':').unwrap_or((name, "443")),
    };
    let host_ok = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b));
    let port_ok = port.is_empty() && text.ends_with(']') || port.parse::<u16>().is_ok_and(|port| port > 0);
    if host_ok && port_ok { Ok(()) } else { Err(wrong()) }
}

/// A region as chart s3-register takes it.
pub(crate) fn region(text: &str) -> Result<(), String> {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(());
    }
    Err(format!("{text:?} is not a region; write it as eu-west-1"))
}

/// An image reference: loose on purpose, registries differ.
pub(crate) fn image(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./:@_-".contains(&b)) {
        return Ok(());
    }
    Err(format!("{text:?} is not an image reference; write it as registry/name:tag"))
}

/// What stands before the name of an image, up to its slash.
pub(crate) fn registry(text: &str) -> Result<(), String> {
    if image(text).is_ok() && text.split('/').all(|part| !part.is_empty() && !part.contains('@')) {
        return Ok(());
    }
    if text.contains('@') {
        return Err("holds a user, a password or a digest; write it as registry.example.org/mirror".to_owned());
    }
    Err(format!("{text:?} is not a registry; write it as registry.example.org/mirror"))
}

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

    #[test]
    fn quantities() {
        for (text, want) in [("5Gi", 5.0 * 1_073_741_824.0), ("500m", 0.5), ("2", 2.0), ("1.5k", 1500.0)] {
            assert_eq!(quantity(text), Ok(want), "{text}");
        }
        for text in ["", "Gi", "-1", "1.", ".5", "5 Gi", "5gb", "1e3", "ü"] {
            assert!(quantity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let v = |text: &str| Version::parse(text).expect(text);
        assert!(v("0.36.10") > v("0.36.9"));
        assert!(v("0.36.1") > v("0.36.1-rc.1"));
        for text in ["v0.36.1", "0.36", "0.36.1.2", "0.036.1", "0.36.1-", "", "0.36.x"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        for (text, known) in
            [("0.18.1", false), ("0.19.0", true), ("0.36.1", true), ("0.37.0", false), ("1.33.0", false)]
        {
            assert_eq!(Version::known_vcluster(text).is_ok(), known, "{text}");
        }
    }

    #[test]
    fn urls_hold_no_path_and_no_password() {
        for good in ["http://minio.minio:9000", "https://rancher.example.org", "http://[::1]:9000", "http://[::1]"] {
            assert_eq!(http_url(good), Ok(()), "{good}");
        }
        for bad in [
            "minio:9000",
            "ftp://x",
            "http://",
            "http://x/y",
            "http://x:port",
            "http://x:0",
            "http://x y",
            "http://[::1",
            "http://x:99999",
        ] {
            assert!(http_url(bad).is_err(), "{bad}");
        }
        let error = http_url("http://admin:hunter2@minio").expect_err("a password");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn registries() {
        for good in ["registry.example.org", "localhost:5000", "registry.example.org/a/mirror"] {
            assert_eq!(registry(good), Ok(()), "{good}");
        }
        for bad in ["", "registry.example.org/", "/a", "https://registry.example.org", "a b", "user@registry"] {
            assert!(registry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(
            dns_label("a-1").is_ok() && dns_label("-a").is_err() && dns_label("A").is_err() && dns_label("").is_err()
        );
        assert!(prefix("vc-", 23).is_ok() && prefix("", 23).is_ok() && prefix("-", 23).is_err());
        assert!(prefix(&"a".repeat(24), 23).is_err());
        assert!(secret_name("minio.admin").is_ok() && secret_name("hunter 2").is_err());
    }
}
