//! Tables: a report and the time of the look on the left, what is said of it on the right.

use vcluster_proto::status::Restore;

use super::*;

const OBSERVED: &str = "2026-11-23T07:00:00Z";
const KEY: &str = "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const MINUTE: Duration = Duration::from_secs(60);

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn backup(id: &str) -> Option<Point> {
    Some(Point { id: id.to_owned(), time: Some(time("2026-11-23T05:00:00Z")), ..Point::default() })
}

/// Reported at [`OBSERVED`].
fn report(state: State, reason: &str, message: &str) -> Status {
    Status {
        state,
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_at: Some(time(OBSERVED)),
        interval: "1m".to_owned(),
        newest: backup("g/7"),
        trusted_keys: vec![KEY.to_owned()],
        ..Status::default()
    }
}

fn healthy() -> Status {
    report(State::Healthy, "BackedUp", "backup g/7 is in the store")
}

fn line(verdict: &Verdict) -> String {
    let status = verdict.status.map_or("Unknown".to_owned(), |status| status.to_string());
    format!("{status} {}: {}", verdict.reason, verdict.message)
}

#[test]
fn what_is_said_of_the_next_backup() {
    let told = |name: &str, status: &Status, at: &str| {
        let verdict = verdict(status, MINUTE, time(at));
        format!("{name} [{}] {}", verdict.state, line(&verdict))
    };
    let soon = "2026-11-23T07:00:30Z";
    let lines = [
        told("fresh", &healthy(), soon),
        told("without a backup", &Status { newest: None, ..healthy() }, soon),
        told("nameless backup", &Status { newest: backup("a\nb"), ..healthy() }, soon),
        told("failing", &report(State::Failing, "NoBucket", "cannot write:\n bucket b is not there"), soon),
        told("failing without words", &report(State::Failing, "no word", " \n"), soon),
        told("waiting", &report(State::Waiting, "WaitingForIdentity", "give the identity"), soon),
        told("stopped", &report(State::Stopped, "BackedUp", "x"), soon),
        told("a later word", &report(State::Unknown, "Levitating", "x"), soon),
        told("begun", &Status { observed_at: None, state: State::Unknown, ..healthy() }, soon),
        told("three intervals", &healthy(), "2026-11-23T07:03:00Z"),
        told("older", &healthy(), "2026-11-23T07:03:00.001Z"),
        told("years", &healthy(), "2036-11-23T07:00:00Z"),
        told("waiting, older", &report(State::Waiting, "NoKey", "x"), "2026-11-23T07:04:00Z"),
        told("failing between two tries", &report(State::Failing, "StoreUnavailable", "x"), "2026-11-23T07:29:00Z"),
        told("failing no more", &report(State::Failing, "StoreUnavailable", "x"), "2026-11-23T07:31:00Z"),
        told("ahead a little", &healthy(), "2026-11-23T06:59:00Z"),
        told("ahead", &healthy(), "2026-11-23T06:00:00Z"),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    fresh [Healthy] true BackedUp: backups are up to date
    without a backup [Unknown] Unknown NoBackup: the sidecar is healthy; its first backup is awaited
    nameless backup [Unknown] Unknown NoBackup: the sidecar is healthy; its first backup is awaited
    failing [Failing] false NoBucket: cannot write: bucket b is not there
    failing without words [Failing] false Failing: the sidecar gives no reason; see its log
    waiting [Waiting] false WaitingForIdentity: give the identity
    stopped [Stopped] false Stopped: the sidecar was told to stop; it goes on with its pod
    a later word [Unknown] Unknown Undecided: the report says neither that backups work nor that they fail
    begun [Unknown] Unknown Undecided: the sidecar runs; its first try has not ended yet
    three intervals [Healthy] true BackedUp: backups are up to date
    older [Stale] false Stale: the last report is older than three intervals: the sidecar does not run, or cannot write it
    years [Stale] false Stale: the last report is older than three intervals: the sidecar does not run, or cannot write it
    waiting, older [Stale] false Stale: the last report is older than three intervals: the sidecar does not run, or cannot write it
    failing between two tries [Failing] false StoreUnavailable: x
    failing no more [Stale] false Stale: the last report is older than three intervals: the sidecar does not run, or cannot write it
    ahead a little [Healthy] true BackedUp: backups are up to date
    ahead [Unknown] Unknown ClockSkew: the report is dated in the future: set the clocks of both nodes
    ");
}

#[test]
fn the_longer_of_two_intervals_counts_as_long_as_the_settings_know_it() {
    let at = time("2026-11-23T08:00:00Z");
    let judged = |reported: &str, ordered: Duration, settings: Option<Duration>| {
        let mut observed = Observed::default();
        if let Some(interval) = settings {
            let backup = vcluster_proto::settings::Backup { interval, ..Default::default() };
            let settings = Settings { backup, ..Settings::default() }.to_yaml().expect("YAML");
            let object = json!({"spec": {"forProvider": {"values": {"settings": settings}}}});
            observed.resources.insert(S3.to_owned(), crate::observed::Resource { object, kubeconfig: None });
        }
        let status = Status { interval: reported.to_owned(), ..healthy() };
        verdict(&status, due(&status, ordered, &observed), at).reason
    };
    assert_eq!(judged("1m", MINUTE, Some(MINUTE)), "Stale");
    let on_its_way = judged("30m", MINUTE, Some(MINUTE * 30));
    assert_eq!(on_its_way, "BackedUp", "a shorter interval has been ordered and is on its way");
    assert_eq!(judged("1m", MINUTE * 30, Some(MINUTE)), "BackedUp", "so is a longer one");
    assert_eq!(judged("8760h", MINUTE, Some(MINUTE)), "Stale", "a long word alone hides nothing");
    assert_eq!(judged("8760h", MINUTE, None), "Stale");
    assert_eq!(judged("often", MINUTE, Some(MINUTE * 30)), "Stale");
    assert_eq!(judged("1m", Duration::MAX, None), "BackedUp");
}

#[test]
fn what_is_said_of_the_backups_that_are_there() {
    let told = |name: &str, status: &Status, trusted: &[&str], at: &str| {
        let trusted: Vec<Value> = trusted.iter().map(|key| json!(key)).collect();
        let verdict = recoverable(status, &verdict(status, MINUTE, time(at)), &trusted);
        format!("{name}: {}", line(&verdict))
    };
    let (soon, late) = ("2026-11-23T07:00:30Z", "2026-11-23T09:00:30Z");
    let lines = [
        told("fresh", &healthy(), &[KEY], soon),
        told("stale", &healthy(), &[KEY], late),
        told("nothing", &Status { newest: None, ..healthy() }, &[KEY], soon),
        told("no key", &Status { trusted_keys: Vec::new(), ..healthy() }, &[KEY], soon),
        told("no key that is one", &Status { trusted_keys: vec!["ed25519:AAAA".into()], ..healthy() }, &[KEY], soon),
        told("another key is pinned", &healthy(), &["ed25519:other"], soon),
        told("failing", &report(State::Failing, "StoreUnavailable", "no answer"), &[KEY], soon),
        told("doubt", &report(State::Waiting, "RolledBack", "the store has lost g/7"), &[KEY], soon),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    fresh: true RecoveryPoint: a backup is in the store and its signing key is pinned
    stale: true LastReported: a backup was in the store when the sidecar last reported
    nothing: false NoBackup: no backup is in the store yet
    no key: false KeyNotPinned: a backup is in the store, but its signing key is not pinned: a restore would not believe it
    no key that is one: false KeyNotPinned: a backup is in the store, but its signing key is not pinned: a restore would not believe it
    another key is pinned: false KeyNotPinned: a backup is in the store, but its signing key is not pinned: a restore would not believe it
    failing: true RecoveryPoint: a backup is in the store and its signing key is pinned
    doubt: Unknown RolledBack: the store has lost g/7
    ");
}

#[test]
fn what_is_said_of_a_restore() {
    let told = |phase: &str, message: &str| {
        let restore = Restore {
            id: "2026-11-22a".into(),
            phase: phase.into(),
            from: "g/7".into(),
            at: Some(time(OBSERVED)),
            message: message.into(),
        };
        let outcome = outcome(&restore);
        format!("{}\n  {}", line(&restored(&outcome)), Value::Object(outcome))
    };
    let lines = [
        told("Succeeded", "restored from\nbackup g/7"),
        told("Failed", "cannot open backup g/7"),
        told("Failed", ""),
        told("Thinking", "x"),
        told("", ""),
        line(&restored(&outcome(&Restore::default()))),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    true Succeeded: restored from backup g/7
      {"at":"2026-11-23T07:00:00Z","from":"g/7","id":"2026-11-22a","message":"restored from backup g/7","phase":"Succeeded"}
    false Failed: cannot open backup g/7
      {"at":"2026-11-23T07:00:00Z","from":"g/7","id":"2026-11-22a","message":"cannot open backup g/7","phase":"Failed"}
    false Failed: the restore has ended
      {"at":"2026-11-23T07:00:00Z","from":"g/7","id":"2026-11-22a","phase":"Failed"}
    Unknown Pending: x
      {"at":"2026-11-23T07:00:00Z","from":"g/7","id":"2026-11-22a","message":"x","phase":"Thinking"}
    Unknown NotRequested: no restore is asked for
      {"at":"2026-11-23T07:00:00Z","from":"g/7","id":"2026-11-22a"}
    Unknown NotRequested: no restore is asked for
    "#);
}

#[test]
fn only_what_the_report_knows_becomes_a_fact() {
    let ready = |status: &Status| verdict(status, MINUTE, time(OBSERVED));
    let told = |status: &Status| Value::Object(facts(Some(status), &ready(status), vec![json!(KEY)])).to_string();
    let mut whole = healthy();
    whole.newest.as_mut().expect("there").size_bytes = 1024;
    whole.oldest = Some(Point { id: "g/1".into(), ..Point::default() });
    let lines = [told(&whole), told(&Status { observed_at: Some(time(OBSERVED)), ..Status::default() })];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"generation":"g","message":"backup g/7 is in the store","newest":{"id":"g/7","time":"2026-11-23T05:00:00Z"},"oldest":{"id":"g/1"},"sizeBytes":1024,"state":"Healthy","trustedKeys":["ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]}
    {"message":"the report says neither that backups work nor that they fail","state":"Unknown","trustedKeys":["ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]}
    "#);
}
