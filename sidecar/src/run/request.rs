//! What the loop does about a restore that somebody asks for: says how it stands, and restarts the pod once it can be
//! served.

use std::time::Duration;

use super::Daemon;
use crate::{
    host,
    serve::{self, Asked, Next},
};

/// A look at what is asked to be restored must not hold up backups.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

impl Daemon {
    /// Looks at the request in the settings. If it can be served the init container of the next pod does that; without
    /// the right to end this one a person has to. A pod has some seconds after its deletion: enough to say so.
    pub(super) async fn look_at_request(&mut self) {
        let (Some(config), Some(report)) = (&self.config, &self.report) else { return };
        serve::forget_withdrawn(&mut self.status, config);
        let asked = Asked { options: &self.options, place: &self.place, report, config };
        let told = match tokio::time::timeout(LOOK_WITHIN, serve::look(&asked)).await {
            Err(_) | Ok(Next::Nothing) => return,
            Ok(Next::Say(told)) => told,
            Ok(Next::Restart(mut told)) => {
                if let Err(error) = host::delete_own_pod(&config.cluster.namespace).await {
                    told.message = error.chain();
                }
                told
            }
        };
        if self.status.restore.as_ref() != Some(&told) {
            tracing::info!(request = %told.id, phase = %told.phase, "{}", told.message);
            self.status.restore = Some(told);
        }
    }
}
