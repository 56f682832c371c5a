//! Versions of charts and of Kubernetes, and what is known of them. Pure.

use std::cmp::Ordering;

/// The newest chart line this function knows, and the oldest.
const CHART_LINES: std::ops::RangeInclusive<u64> = 19..=36;

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

/// A Kubernetes version as the platform's table names it.
pub(crate) fn kubernetes_version(text: &str) -> Result<(), String> {
    let number = |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
    match (2..=3).contains(&text.split('.').count()) && text.split('.').all(number) {
        true => Ok(()),
        false => Err(format!("{text:?} is not a Kubernetes version; write it as \"1.33\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
