//! What a roll-out moves: chart, family, distro, images, presets. Kept as it runs, and fresh as it would be made. Pure.

use serde_json::{Map, Value, json};

use super::{
    distro,
    kubernetes::{self, Kubernetes},
    made::Made,
    operator::{self, Import},
};
use crate::{
    error::Refusal,
    forms::Version,
    observed::Release,
    overlay,
    platform::{Platform, unknown_size},
    render::family::{Distro, Family},
    xr::{Values, Xr},
};

/// Where the vcluster chart comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its repository.
    pub repository: String,
    /// The Secret that opens the repository.
    pub pull_secret: Option<String>,
}

/// What a roll-out moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// The chart.
    pub source: Source,
    /// The chart's version.
    pub chart_version: String,
    /// Its family.
    pub family: Family,
    /// The Kubernetes inside.
    pub distro: Distro,
    /// Its version; unset: the chart's own.
    pub kubernetes: Option<Kubernetes>,
    /// The sidecar's image.
    pub sidecar_image: String,
    /// Where the chart's own images come from.
    pub registry: Option<String>,
    /// What its Service tells the vcluster-rancher-operator.
    pub import: Import,
    /// Chart values of the platform.
    pub defaults: Values,
    /// The preset.
    pub size: Option<String>,
    /// Its requests and limits; unset: the chart's own.
    pub resources: Option<Value>,
}

pub(super) fn builds(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<(Build, Build), Refusal> {
    let (size, resources) = size(xr, platform, made)?;
    let chart_version = chart_version(xr, platform, made)?;
    let distro = distro::choose(xr, platform, made, &chart_version)?;
    let (kept_kubernetes, kubernetes) = kubernetes::choose(xr, platform, made, distro)?;
    let family = |version: &str| Family::of(version).map_err(|problem| Refusal::field("spec.chartVersion", problem));
    let charts = &platform.charts.vcluster;
    let source = Source {
        name: charts.name.clone(),
        repository: charts.repository.clone(),
        pull_secret: charts.pull_secret.clone(),
    };
    let (kept_import, import) = operator::imports(xr, platform, made);
    let defaults = overlay::defaults(&platform.defaults.values, &charts.version, &chart_version);
    let fresh = Build {
        source,
        family: family(&chart_version)?,
        chart_version,
        distro,
        kubernetes,
        sidecar_image: platform.images.sidecar.clone(),
        registry: platform.images.registry.clone(),
        import,
        defaults,
        size,
        resources,
    };
    let Some(made) = made else { return Ok((fresh.clone(), fresh)) };
    let explicit = xr.spec.chart_version.as_deref();
    let chart_version = explicit.unwrap_or(made.version).to_owned();
    let kept = Build {
        source: made.source(&fresh.source).unwrap_or_else(|| fresh.source.clone()),
        family: family(&chart_version)?,
        chart_version,
        distro,
        kubernetes: kept_kubernetes,
        sidecar_image: made.sidecar_image().unwrap_or_else(|| fresh.sidecar_image.clone()),
        registry: made.registry().map(str::to_owned),
        import: kept_import,
        defaults: made.defaults(&fresh.defaults),
        size: made.release.size().map(str::to_owned),
        // Without a preset they are those of chart values, or none.
        resources: made.resources().filter(|_| made.release.size().is_some()).cloned(),
    };
    let fresh = match distro == made.distro() {
        // Values of others may not fit another chart.
        true if made.adopted => {
            let Build { sidecar_image, size, resources, .. } = fresh;
            Build { sidecar_image, size, resources, ..kept.clone() }
        }
        true => fresh,
        // The step to another distro moves nothing else, unless the owner orders it beside.
        false if kept.size == fresh.size => kept.clone(),
        false => Build {
            sidecar_image: kept.sidecar_image.clone(),
            registry: kept.registry.clone(),
            kubernetes: kept.kubernetes.clone(),
            import: kept.import,
            defaults: kept.defaults.clone(),
            ..fresh
        },
    };
    Ok((kept, fresh))
}

/// The owner's word, which the platform must allow unless it runs already; else the default, which never goes back.
fn chart_version(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<String, Refusal> {
    let running = made.and_then(|made| made.release.chart_version());
    if let Some(wanted) = &xr.spec.chart_version {
        if let Some(made) = made.filter(|made| made.adopted) {
            made.reads_the_same(wanted)?;
        }
        if platform.allows(wanted) || running == Some(wanted) {
            return Ok(wanted.clone());
        }
        let chart = &platform.charts.vcluster;
        let mut allowed: Vec<&str> = chart.allowed.iter().map(String::as_str).chain([chart.version.as_str()]).collect();
        allowed.sort_unstable();
        allowed.dedup();
        let problem = format!("{wanted:?} is not allowed by this platform; use one of {}", allowed.join(", "));
        return Err(Refusal::field("spec.chartVersion", problem));
    }
    let default = &platform.charts.vcluster.version;
    let ahead = |text: &&str| match (Version::parse(text), Version::parse(default)) {
        (Ok(running), Ok(default)) => running > default,
        _ => false,
    };
    let stays = |running: &&str| {
        ahead(running) || made.is_some_and(|made| made.adopted || distro::holds_back(xr, made, default))
    };
    Ok(running.filter(stays).unwrap_or(default).to_owned())
}

/// The preset and what it gives. One that is gone from the platform goes on as it runs.
fn size(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<(Option<String>, Option<Value>), Refusal> {
    let running = made.map(|made| made.release);
    let ran = running.and_then(Release::size);
    let wanted = xr.spec.size.as_deref();
    let new = running.is_none_or(|running| running.was_ordered("size"));
    let default = if new { platform.defaults.size.as_deref() } else { ran };
    // Without a preset, requests and limits are the chart's, or those of values.
    let Some(name) = wanted.or(default) else { return Ok((None, None)) };
    let Some(preset) = platform.sizes.get(name) else {
        if ran == Some(name) {
            return Ok((Some(name.to_owned()), made.and_then(Made::resources).cloned()));
        }
        return Err(Refusal::field("spec.size", unknown_size(name, platform)));
    };
    let mut resources = Map::new();
    for (kind, amounts) in [("requests", &preset.requests), ("limits", &preset.limits)] {
        if !amounts.is_empty() {
            resources.insert(kind.to_owned(), json!(amounts));
        }
    }
    Ok((Some(name.to_owned()), (!resources.is_empty()).then_some(Value::Object(resources))))
}
