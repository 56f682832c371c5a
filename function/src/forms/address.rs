//! Where things are fetched from and who is believed there: URLs, repositories, images, certificates. Pure.

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

/// The tag of an image.
pub(crate) fn tag(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(format!("{text:?} is not the tag of an image; write it as v1.33.4"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
