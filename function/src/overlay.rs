//! Values of the vcluster chart that others add: the platform for all its vclusters, a tenant for his own. Pure.
//!
//! What the function writes is laid over them, so they cannot change it; what they may not even reach stands in
//! [`limits`]. A leaf is what counts: a list is one, since lists are replaced as a whole, and so is an empty map. Where a
//! leaf would stand for a whole branch that holds something closed, it is refused like that.

mod limits;
mod roots;

use std::fmt::Write;

use ring::digest;
use serde_json::{Map, Value};

use self::limits::Binds;
pub(crate) use self::limits::Era;
use crate::{error::Refusal, forms::Version, xr::Values};

/// Where a tenant's overlay stands.
const TENANTS: &str = "spec.values";
/// Where the platform's stands.
const PLATFORMS: &str = "input.defaults.values";
/// The platform's values travel in an annotation, of which an object bears 256 KiB.
const MAX_BYTES: usize = 128 << 10;
/// The longest path that a sentence repeats.
const MAX_PATH: usize = 200;

/// What the platform adds for a chart; what that chart does not have is left out, as a default is for the charts that
/// have it. `home` is the version the platform has written it for.
pub(crate) fn defaults(values: &Values, home: &str, chart: &str) -> Values {
    if Era::of(home) != Era::of(chart) {
        return Values::new();
    }
    values
        .iter()
        .filter(|(root, _)| roots::problem(&[root], chart).is_none())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Looks that the platform's values reach nothing that backups and names stand on.
///
/// # Errors
/// The first path that does, or that the platform's own chart does not have.
pub(crate) fn check_defaults(values: &Values, chart: &str) -> Result<(), Refusal> {
    let era = Era::of(chart);
    if Value::Object(values.clone()).to_string().len() > MAX_BYTES {
        let problem = format!("more than {} KiB; write less", MAX_BYTES >> 10);
        return Err(Refusal::field(PLATFORMS, problem));
    }
    each(PLATFORMS, values, |path, leaf| {
        if let Some(problem) = roots::problem(path, chart) {
            return Err(problem);
        }
        let limit = limits::closed(era, Binds::Everybody, path);
        limit.map_or(Ok(()), |limit| Err(format!("closed to every overlay: {}", limit.why)))?;
        match limits::moves_the_database(path, leaf) {
            Some(flag) => Err(format!("{flag} would take the database from where backups look for it; remove it")),
            None => Ok(()),
        }
    })
}

/// Looks that a path can be given to tenants at all.
///
/// # Errors
/// One that is closed to them whatever the platform says, or that no chart has.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    let path: Vec<&str> = path.split('.').collect();
    let eras = [Era::Legacy, Era::Current].into_iter().filter(|era| roots::has(*era, path[0]));
    let mut limits = eras.map(|era| limits::whole(era, &path)).peekable();
    if limits.peek().is_none() {
        return Err("no vcluster chart from 0.19 to 0.36 has such values; mend the name".to_owned());
    }
    // Open in one era is open.
    let mut closed = None;
    for limit in limits {
        match limit {
            None => return Ok(()),
            Some(limit) => closed = Some(limit.why),
        }
    }
    closed.map_or(Ok(()), |why| Err(format!("closed to tenants on every platform: {why}; remove it")))
}

/// A tenant's overlay, and what decides over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenants<'a> {
    /// It.
    pub(crate) values: &'a Values,
    /// The paths below which the platform lets tenants write; none when what runs has been allowed before.
    pub(crate) allowed: Option<&'a [String]>,
    /// The chart's version.
    pub(crate) chart: &'a str,
    /// Where requests and limits of the control plane stand, when a preset gives them.
    pub(crate) preset: Option<&'a str>,
}

impl Tenants<'_> {
    /// Looks that nothing closed is reached, and nothing beyond what the platform allows.
    ///
    /// # Errors
    /// The first path that is not to be had, with what is.
    pub(crate) fn check(self) -> Result<(), Refusal> {
        let era = Era::of(self.chart);
        each(TENANTS, self.values, |path, _| {
            if let Some(problem) = roots::problem(path, self.chart) {
                return Err(problem);
            }
            if let Some(limit) = limits::closed(era, Binds::Tenants, path) {
                return Err(format!("closed to tenants on every platform: {}", limit.why));
            }
            self.allow(path)?;
            let preset: Option<Vec<&str>> = self.preset.map(|pointer| pointer.split('/').skip(1).collect());
            match preset.filter(|preset| path.starts_with(preset) || preset.starts_with(path)) {
                Some(_) => {
                    Err("requests and limits are those of the size; remove it, or take another spec.size".to_owned())
                }
                None => Ok(()),
            }
        })
    }

    fn allow(self, path: &[&str]) -> Result<(), String> {
        let Some(allowed) = self.allowed else { return Ok(()) };
        let below = |allowed: &String| allowed.split('.').eq(path.iter().copied().take(allowed.split('.').count()));
        if allowed.iter().any(below) {
            return Ok(());
        }
        Err(match allowed.is_empty() {
            true => "this platform lets tenants write no values; remove it".to_owned(),
            false => format!(
                "not among the values that this platform lets tenants write; use those below {}",
                allowed.join(", ")
            ),
        })
    }
}

/// Lays one tree over another: maps join, everything else is replaced as a whole.
pub(crate) fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// Tells one overlay from another: 16 hexadecimal characters.
pub(crate) fn fingerprint(values: &Values) -> String {
    let text = Value::Object(values.clone()).to_string();
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).fold(String::new(), |mut hex, byte| {
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Every leaf with its path; the first problem ends it.
fn each(
    root: &str,
    values: &Map<String, Value>,
    mut check: impl FnMut(&[&str], &Value) -> Result<(), String>,
) -> Result<(), Refusal> {
    let mut path = Vec::new();
    values.iter().try_for_each(|(name, value)| walk(root, &mut path, name, value, &mut check))
}

fn walk<'v>(
    root: &str,
    path: &mut Vec<&'v str>,
    name: &'v str,
    value: &'v Value,
    check: &mut impl FnMut(&[&str], &Value) -> Result<(), String>,
) -> Result<(), Refusal> {
    path.push(name);
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            inner.iter().try_for_each(|(name, value)| walk(root, path, name, value, check))?;
        }
        leaf => {
            let checked = match holds_null(leaf) {
                true => Err("null would delete what the chart has; write the value itself, or remove it".to_owned()),
                false => check(path, leaf),
            };
            checked.map_err(|problem| Refusal::field(printed(root, path), problem))?;
        }
    }
    path.pop();
    Ok(())
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(fields) => fields.values().any(holds_null),
        _ => false,
    }
}

/// A path as people write it; what would break the sentence is left out.
fn printed(root: &str, path: &[&str]) -> String {
    let path = format!("{root}.{}", path.join(".")).replace(char::is_control, " ");
    match path.char_indices().nth(MAX_PATH) {
        Some((end, _)) => format!("{}...", &path[..end]),
        None => path,
    }
}

#[cfg(test)]
mod tests;
