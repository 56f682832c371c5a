//! Requests and limits of the control plane, as the API server will judge them: joined with the chart's own. Pure.
//!
//! Who writes a request above the limit that the chart has by itself gets a StatefulSet without pods, and no word of it on
//! the claim.

use serde_json::Value;

use crate::{error::Refusal, forms, forms::Version};

/// A resource with the request and the limit of a chart; an empty one is none.
type Own = [(&'static str, &'static str, &'static str); 3];

/// Below 0.20, chart vcluster.
const LEGACY: Own = [("cpu", "200m", ""), ("ephemeral-storage", "200Mi", "8Gi"), ("memory", "256Mi", "2Gi")];
/// From 0.20 on.
const SMALL: Own = [("cpu", "200m", ""), ("ephemeral-storage", "1Gi", "8Gi"), ("memory", "256Mi", "2Gi")];
/// From 0.30 on.
const LARGE: Own = [("cpu", "200m", ""), ("ephemeral-storage", "1Gi", "10Gi"), ("memory", "256Mi", "4Gi")];

/// Looks that no request is above its limit, whoever says either.
///
/// # Errors
/// The first that is, blamed on the preset, or on the values beside no preset.
pub(crate) fn check(resources: Option<&Value>, chart: &str, size: Option<&str>) -> Result<(), Refusal> {
    let Some(resources) = resources else { return Ok(()) };
    let own = match Version::known_vcluster(chart).map_or(u64::MAX, |version| version.minor()) {
        ..20 => LEGACY,
        20..30 => SMALL,
        30.. => LARGE,
    };
    let said = |kind: &str, resource: &str| resources.get(kind)?.get(resource)?.as_str();
    let names = ["requests", "limits"].into_iter().filter_map(|kind| resources.get(kind)?.as_object());
    for name in names.flat_map(serde_json::Map::keys) {
        let (_, request, limit) = own.iter().find(|(own, ..)| own == name).copied().unwrap_or_default();
        let (our_request, our_limit) = (said("requests", name), said("limits", name));
        let (request, limit) = (our_request.unwrap_or(request), our_limit.unwrap_or(limit));
        let (Ok(asked), Ok(most)) = (forms::quantity(request), forms::quantity(limit)) else { continue };
        if asked <= most {
            continue;
        }
        let root = size.map_or_else(|| "spec.values".to_owned(), |size| format!("input.sizes.{size}"));
        let (kind, problem) = match (our_request, our_limit) {
            (Some(_), None) => (
                "requests",
                format!(
                    "{request:?} is more than the {limit} that vcluster chart {chart} sets as limit; write limits.{name}, too"
                ),
            ),
            (None, _) => (
                "limits",
                format!(
                    "{limit:?} is less than the {request} that vcluster chart {chart} requests; write requests.{name}, too"
                ),
            ),
            _ => ("requests", format!("{request:?} is more than limits.{name}, {limit:?}; raise the limit")),
        };
        return Err(Refusal::field(format!("{root}.{kind}.{name}"), problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_and_limits_are_joined_with_the_charts_own() {
        let told = |resources: Value, chart: &str| {
            check(Some(&resources), chart, Some("big")).map_err(|refusal| refusal.to_string())
        };
        for (resources, chart) in [
            (json!({"requests": {"memory": "4Gi"}}), "0.36.1"),
            (json!({"requests": {"memory": "2Gi", "cpu": "64"}}), "0.29.3"),
            (json!({"requests": {"memory": "64Gi"}, "limits": {"memory": "64Gi"}}), "0.36.1"),
            (json!({"limits": {"memory": "256Mi", "cpu": "200m"}}), "0.19.10"),
            (json!({"requests": {"example.org/gpu": "8"}}), "0.36.1"),
            (json!({}), "0.36.1"),
        ] {
            assert_eq!(told(resources.clone(), chart), Ok(()), "{resources}");
        }
        let refused = [
            (json!({"requests": {"memory": "6Gi"}}), "0.36.1"),
            (json!({"requests": {"memory": "3Gi"}}), "0.29.3"),
            (json!({"limits": {"cpu": "100m"}}), "0.36.1"),
            (json!({"limits": {"ephemeral-storage": "500Mi"}}), "0.36.1"),
            (json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}), "0.36.1"),
        ];
        let sentences: Vec<String> =
            refused.into_iter().map(|(resources, chart)| told(resources, chart).expect_err("refused")).collect();
        insta::assert_snapshot!(sentences.join("\n"), @r#"
        input.sizes.big.requests.memory: "6Gi" is more than the 4Gi that vcluster chart 0.36.1 sets as limit; write limits.memory, too
        input.sizes.big.requests.memory: "3Gi" is more than the 2Gi that vcluster chart 0.29.3 sets as limit; write limits.memory, too
        input.sizes.big.limits.cpu: "100m" is less than the 200m that vcluster chart 0.36.1 requests; write requests.cpu, too
        input.sizes.big.limits.ephemeral-storage: "500Mi" is less than the 1Gi that vcluster chart 0.36.1 requests; write requests.ephemeral-storage, too
        input.sizes.big.requests.cpu: "2" is more than limits.cpu, "1500m"; raise the limit
        "#);
    }
}
