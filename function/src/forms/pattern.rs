//! Forms as regular expressions, for the API server: what it refuses, nobody has to explain. The checks beside them are
//! stricter, with one exception: a duration has many spellings, and the pattern knows the one we show.

/// `1h30m`.
pub(crate) const INTERVAL: &str = "^([0-9]+(h|m|s))+$";
/// `0.36.1`.
pub(crate) const CHART_VERSION: &str = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$";
/// `1.33`.
pub(crate) const KUBERNETES_VERSION: &str = r"^[0-9]{1,4}(\.[0-9]{1,4}){1,2}$";
/// `5Gi`.
pub(crate) const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?([kKMGTPE]i?|m)?$";
/// `age1...`.
pub(crate) const RECIPIENT: &str = "^age1[02-9ac-hj-np-z]{58}$";
/// `2026-11-22a`.
pub(crate) const TOKEN: &str = "^[A-Za-z0-9._:/+-]{1,63}$";
/// `ed25519:...`.
pub(crate) const SIGNING_KEY: &str = "^ed25519:[A-Za-z0-9+/]{43}=$";
