//! Kubernetes Events beside the vcluster's pod: one when backups begin to fail, one when they work again, none between.
//! They are for whoever looks at the pod; the status document holds the same for programs.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};

use crate::{backup::Cluster, error::Error, host, report};

/// A vcluster needs this long to make its database: no news.
const STARTING: Duration = Duration::from_secs(120);
/// What the API takes.
const NOTE_CHARACTERS: usize = 1000;
const CONTROLLER: &str = "vcluster.fn.crossplane.io/backup";

/// Something that is worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// `Warning`, or `Normal`.
    pub warning: bool,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub note: String,
}

/// Tells news from what was told before. Pure: the time is an argument.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    told: bool,
}

impl Watch {
    /// A watch that begins now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { begun: now, told: false }
    }

    /// What an earlier start of this program has told: the status document remembers.
    pub fn resume(&mut self, failing: bool) {
        self.told |= failing;
    }

    /// What is news about this attempt; `well` is what there is to say of a success.
    pub fn judge(&mut self, now: Instant, outcome: Result<&str, &Error>) -> Option<News> {
        match outcome {
            Err(Error::NoDatabase { .. }) if now.duration_since(self.begun) < STARTING => None,
            Err(_) if self.told => None,
            Err(error) => {
                self.told = true;
                Some(News { warning: true, reason: error.reason().into(), note: error.chain() })
            }
            Ok(well) if self.told => {
                self.told = false;
                Some(News { warning: false, reason: "BackedUp".into(), note: format!("backups work again: {well}") })
            }
            Ok(_) => None,
        }
    }
}

/// Writes an Event about the pod this program runs in, else about the status ConfigMap.
///
/// # Errors
/// There is no cluster, or the API server refuses or does not answer: news are not kept for later.
pub async fn write(cluster: &Cluster, news: &News) -> Result<(), Error> {
    let refused = |source: Option<kube::Error>| Error::Event {
        namespace: cluster.namespace.clone(),
        source: source.map(Box::new),
    };
    let work = async {
        let client = report::client().await?;
        let event = event(cluster, host::own_pod().await, news, Timestamp::now());
        let events: Api<Event> = Api::namespaced(client.clone(), &cluster.namespace);
        events.create(&PostParams::default(), &event).await.map(drop)
    };
    match tokio::time::timeout(report::API_PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(|error| refused(Some(error))),
        Err(_) => Err(refused(None)),
    }
}

fn event(cluster: &Cluster, pod: Option<host::OwnPod>, news: &News, now: Timestamp) -> Event {
    let about = |kind: &str, name: String, uid: Option<String>| ObjectReference {
        api_version: Some("v1".into()),
        kind: Some(kind.into()),
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        uid,
        ..ObjectReference::default()
    };
    let (regarding, instance) = match pod {
        Some(pod) => (about("Pod", pod.name.clone(), Some(pod.uid)), pod.name),
        None => (about("ConfigMap", format!("{}-backup-status", cluster.key), None), cluster.key.clone()),
    };
    Event {
        action: Some("Backup".into()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-backup-", cluster.key)),
            namespace: Some(cluster.namespace.clone()),
            ..ObjectMeta::default()
        },
        note: Some(news.note.chars().take(NOTE_CHARACTERS).collect()),
        reason: Some(news.reason.clone()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(instance),
        type_: Some(if news.warning { "Warning" } else { "Normal" }.into()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_failure_and_the_recovery_are_news() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        assert_eq!(watch.judge(start, Ok("g/1")), None);
        let told = watch.judge(start, Err(&Error::NoKey)).expect("the first failure");
        assert!(told.warning && told.reason == "NoKey" && told.note.contains("recipient"), "{told:?}");
        assert_eq!(watch.judge(start, Err(&Error::NoKey)), None, "never repeated");
        assert_eq!(watch.judge(start, Err(&Error::TooLate)), None, "nor for another reason");
        let told = watch.judge(start, Ok("g/2 is there")).expect("the recovery");
        assert!(!told.warning && told.note.contains("g/2"), "{told:?}");
        assert_eq!(watch.judge(start, Ok("g/3")), None);
    }

    #[test]
    fn a_restart_does_not_repeat_what_was_told_and_a_start_is_no_trouble() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.resume(true);
        assert_eq!(watch.judge(start, Err(&Error::NoKey)), None);
        assert!(watch.judge(start, Ok("g/1")).is_some());
        let starting = Error::no_database("/data".as_ref());
        assert_eq!(watch.judge(start, Err(&starting)), None);
        assert!(watch.judge(start + STARTING, Err(&starting)).is_some(), "it lasts");
    }

    #[test]
    fn an_event_is_about_the_pod_and_short_enough() {
        let cluster =
            Cluster { key: "shop".into(), release: "shop".into(), uid: "u".into(), namespace: "tenant".into() };
        let news = News { warning: true, reason: "NoKey".into(), note: "x".repeat(5000) };
        let pod = host::OwnPod { name: "shop-0".into(), uid: "u-1".into() };
        let told = event(&cluster, Some(pod), &news, Timestamp::UNIX_EPOCH);
        let regarding = told.regarding.expect("a reference");
        assert_eq!((regarding.kind.as_deref(), regarding.uid.as_deref()), (Some("Pod"), Some("u-1")));
        assert_eq!(told.note.map(|note| note.len()), Some(NOTE_CHARACTERS));
        let told = event(&cluster, None, &news, Timestamp::UNIX_EPOCH);
        assert_eq!(told.regarding.and_then(|r| r.name).as_deref(), Some("shop-backup-status"));
    }
}
