//! What the loop does about a restore that somebody asks for: says how it stands, and restarts the pod once it can be
//! served.

use std::time::Duration;

use vcluster_proto::status::PENDING;

use super::Daemon;
use crate::{
    host,
    serve::{self, Asked, Known, Next},
};

/// After what was in the way at the last start: a pod that is restarted for it at every tick would never serve anybody.
const NOT_AGAIN_BEFORE: Duration = Duration::from_secs(3600);
/// A look at what is asked to be restored must not hold up backups; the next goes on where this one was given up.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

impl Daemon {
    /// Looks at the request in the settings. If it can be served the init container of the next pod does that; without
    /// the right to end this one a person has to. A pod has some seconds after its deletion: enough to say so.
    pub(super) async fn look_at_request(&mut self) {
        let (Some(config), Some(report)) = (&self.config, &self.report) else { return };
        let Some(request) = &config.restore else {
            self.looked_through = Known::default();
            return serve::forget_withdrawn(&mut self.status, config);
        };
        serve::forget_withdrawn(&mut self.status, config);
        let told = self.status.restore.as_ref();
        if told.is_some_and(|told| told.id == request.id && told.message.ends_with(serve::NEXT_TRY)) {
            self.just_tried = Some(request.id.clone());
        }
        let asked = Asked { options: &self.options, place: &self.place, report, config };
        let told = match tokio::time::timeout(LOOK_WITHIN, serve::look(&asked, &mut self.looked_through)).await {
            Ok(Next::Nothing) => return,
            Err(_) => serve::pending(&request.id, unfinished(&self.looked_through)),
            Ok(Next::Say(told)) => told,
            Ok(Next::Restart(told)) if self.was_just_tried(&told.id) => return,
            Ok(Next::Restart(mut told)) => {
                if let Err(error) = host::delete_own_pod(&config.cluster.namespace).await {
                    told.message = error.chain();
                }
                told
            }
        };
        if told.phase != PENDING {
            self.looked_through = Known::default();
        }
        if self.status.restore.as_ref() != Some(&told) {
            tracing::info!(request = %told.id, phase = %told.phase, "{}", told.message);
            self.status.restore = Some(told);
        }
    }

    /// Whether the init container of this pod could not serve it, for a reason that a restart does not mend.
    fn was_just_tried(&self, id: &str) -> bool {
        self.just_tried.as_deref() == Some(id) && self.proving.started.elapsed() < NOT_AGAIN_BEFORE
    }
}

/// What is said of a look that was given up.
fn unfinished(known: &Known) -> String {
    let (seconds, count) = (LOOK_WITHIN.as_secs(), known.count());
    format!(
        "the store takes longer than {seconds} s; {count} manifests are read so far, the next look goes on from there"
    )
}
