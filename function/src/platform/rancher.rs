//! The Rancher server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Charts;
use crate::{error::Refusal, forms, read};

/// The Secret of the platform namespace that is read when nothing is said, and the only one the upstream chart knows.
const TOKEN_SECRET: &str = "apitoken";

/// The Rancher server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rancher {
    /// Whether there is one, and who registers.
    pub mode: RancherMode,
    /// ``http(s)://host[:port]``.
    pub url: Option<String>,
    /// The Secret of the platform namespace with the token; unset: `apitoken`.
    pub token_secret: Option<String>,
    /// PEM certificates that are trusted in place of the image's own.
    pub ca: Option<String>,
    /// The HTTP proxy on the way to the server, of the registration and of Rancher's agents, `http(s)://host[:port]`.
    pub proxy: Option<String>,
    /// Whether its certificate is left unchecked.
    pub insecure: bool,
}

/// Who registers vclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RancherMode {
    /// Nobody.
    #[default]
    None,
    /// Chart rancher-cluster.
    Chart,
    /// The vcluster-rancher-operator in Rancher's own cluster, which looks for Services of vclusters.
    Operator,
}

impl RancherMode {
    /// As the input spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Chart => "chart",
            Self::Operator => "operator",
        }
    }
}

impl Rancher {
    pub(super) fn check(&self, charts: &Charts) -> Result<(), Refusal> {
        read::check("input.rancher.url", self.url.as_deref(), forms::http_url)?;
        read::check("input.rancher.proxy", self.proxy.as_deref(), forms::http_url)?;
        read::check("input.rancher.ca", self.ca.as_deref(), forms::certificates)?;
        read::check("input.rancher.tokenSecret", self.token_secret.as_deref(), forms::secret_name)?;
        if self.mode != RancherMode::Chart {
            return Ok(());
        }
        if self.url.is_none() {
            return Err(Refusal::field("input.rancher.url", "missing; rancher.mode chart needs the server's URL"));
        }
        let Some(chart) = &charts.rancher_cluster else {
            return Err(Refusal::field("input.charts.rancherCluster", "missing; rancher.mode chart installs it"));
        };
        if forms::is_upstream_rancher(&chart.version) { self.check_upstream() } else { Ok(()) }
    }

    /// What would be passed over without a word.
    fn check_upstream(&self) -> Result<(), Refusal> {
        if self.token_secret.as_deref().is_some_and(|secret| secret != TOKEN_SECRET) {
            let problem = format!(
                "the upstream chart rancher-cluster reads Secret {TOKEN_SECRET:?} alone; give it that name, or take the \
                 chart of this project"
            );
            return Err(Refusal::field("input.rancher.tokenSecret", problem));
        }
        match self.ca {
            None => Ok(()),
            Some(_) => Err(Refusal::field(
                "input.rancher.ca",
                "the upstream chart rancher-cluster trusts no further certificate; take the chart of this project",
            )),
        }
    }
}
