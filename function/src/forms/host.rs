//! Host names: what a vcluster may be reached under, and the platform's word on it. Pure.

use super::dns_label;

/// A host name of at least two labels.
pub(crate) fn host(text: &str) -> Result<(), String> {
    let labels = text.split('.').count();
    if text.len() <= 253 && labels > 1 && text.split('.').all(|label| dns_label(label).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} is not a host name; write it in lower case, as team-a.k8s.example.org"))
}

/// What host names have to end with: a dot and more labels. `{owner}` stands for the namespace of the claim or XR.
pub(crate) fn host_suffix(text: &str) -> Result<(), String> {
    let name = text.replace("{owner}", "o");
    if name.strip_prefix('.').is_some_and(|rest| host(rest).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} is not the end of a host name; write it as .{{owner}}.k8s.example.org"))
}

/// A host name in which `{key}` and `{owner}` stand for those of the vcluster.
pub(crate) fn host_template(text: &str) -> Result<(), String> {
    if !text.contains("{key}") {
        return Err(format!("{text:?} is the same for all vclusters; write it as {{key}}.k8s.example.org"));
    }
    host(&text.replace("{key}", "k").replace("{owner}", "o"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_their_ends() {
        for good in ["a.b", "team-a.k8s.example.org", "1.example.org"] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "A.b", "a..b", ".a.b", "a.b.", "a.b:443", "*.a.b", "a b.c", "a.b/c", &"a.".repeat(150)] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for good in [".example.org", ".{owner}.k8s.example.org"] {
            assert_eq!(host_suffix(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "example.org", ".org", ".{key}.example.org", "-{owner}.example.org"] {
            assert!(host_suffix(bad).is_err(), "{bad}");
        }
        assert_eq!(host_template("{key}.{owner}.example.org"), Ok(()));
        assert!(host_template("api.example.org").is_err() && host_template("{id}.example.org").is_err());
    }
}
