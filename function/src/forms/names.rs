//! Names: of vclusters, platforms, Kubernetes' objects and Secrets, and of people. Pure.

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

/// What stands before a key: a label may go on after it.
pub(crate) fn prefix(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || (text.len() <= max && dns_label(&format!("{text}x")).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} cannot stand before a name; write at most {max} of a-z, 0-9 and -, a letter or digit first"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
