//! Kubernetes' quantities. Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, want) in [("5Gi", 5.0 * 1_073_741_824.0), ("500m", 0.5), ("2", 2.0), ("1.5k", 1500.0)] {
            assert_eq!(quantity(text), Ok(want), "{text}");
        }
        for text in ["", "Gi", "-1", "1.", ".5", "5 Gi", "5gb", "1e3", "ü"] {
            assert!(quantity(text).is_err(), "{text}");
        }
    }
}
