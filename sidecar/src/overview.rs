//! `status`: what there is to go back to, in a few lines. Nothing is opened and nothing is proven here; `verify` does
//! that, and its last result is shown.

use std::collections::BTreeMap;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vcluster_proto::status::Status;

use crate::{
    backup::Cluster,
    catalog::{Catalog, Trust},
    cli::Options,
    config::{self, Config},
    error::Error,
    manifest::{Manifest, Signed},
    program::{OK, PARTIAL, print, size},
    proof::{How, Proof},
    store::Access,
};

/// How to show it.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// As JSON, on one line.
    #[arg(long)]
    pub json: bool,
}

/// The command: 0 when the newest backup can be restored, 3 when something there cannot be read or restored.
///
/// # Errors
/// There are no backups, or the store fails.
pub(crate) async fn command(options: &Options, args: &StatusArgs) -> Result<u8, Error> {
    let config = Config::for_reading(options, &config::process_environment)?;
    let place = config::place(options, &config::process_environment)?;
    let store = config.open_store(Access::Read)?;
    let catalog = Catalog::load(&store).await?;
    let report = config::report(options, Some(&config.cluster), &config::process_environment);
    let trust = config.trust(options, &place.data_dir, &report).await?;
    // A document of another order tells nothing about this one.
    let told = report.read().await?.filter(|status| status.uid == config.cluster.uid);
    let overview = Overview::of(&catalog, &config.cluster, &trust, store.url());
    if overview.count == 0 && catalog.rejected.is_empty() {
        return Err(Error::NoRepository { store: store.url().to_owned() });
    }
    let proof = Proof::load(&place.data_dir);
    let now = Timestamp::now();
    print(&match args.json {
        true => format!("{}\n", overview.as_json(proof.as_ref(), told.as_ref(), now)),
        false => overview.as_text(proof.as_ref(), told.as_ref(), now),
    })?;
    for why in &catalog.rejected {
        tracing::warn!("{why}");
    }
    Ok(if overview.restorable && catalog.rejected.is_empty() { OK } else { PARTIAL })
}

/// What a store holds of a cluster. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    store: String,
    /// Trusted backups of this cluster.
    pub count: usize,
    /// How many of each kind.
    kinds: BTreeMap<&'static str, usize>,
    /// Bytes of their data objects.
    bytes: u64,
    /// The oldest that can be restored.
    oldest: Option<Manifest>,
    /// The heads: the newest, or the newest of each writer.
    newest: Vec<Manifest>,
    /// The newest can be restored, as far as a listing tells.
    pub restorable: bool,
    /// Backups here that are another cluster's, or of an earlier order of the same name.
    foreign: usize,
    /// Backups signed by nobody we trust.
    untrusted: usize,
    rejected: usize,
}

impl Overview {
    /// Counts.
    #[must_use]
    pub fn of(catalog: &Catalog, cluster: &Cluster, trust: &Trust, store: &str) -> Self {
        let owns = |e: &Signed| cluster.owns(&e.manifest);
        let own = catalog.filter(|e| owns(e) && trust.covers(&e.signer));
        let heads = own.heads();
        let mut kinds = BTreeMap::new();
        for entry in &own.entries {
            *kinds.entry(entry.manifest.kind.as_str()).or_default() += 1;
        }
        let mut by_time: Vec<&Signed> = own.entries.iter().collect();
        by_time.sort_by_key(|e| (e.manifest.time, e.manifest.id()));
        Self {
            store: store.to_owned(),
            count: own.entries.len(),
            kinds,
            bytes: own.entries.iter().map(|e| e.manifest.data.size).sum(),
            oldest: by_time.into_iter().find(|e| own.complete(e)).map(|e| e.manifest.clone()),
            restorable: heads.len() == 1 && heads.iter().all(|head| own.complete(head)),
            newest: heads.into_iter().map(|head| head.manifest.clone()).collect(),
            foreign: catalog.entries.iter().filter(|e| !owns(e)).count(),
            untrusted: catalog.entries.iter().filter(|e| owns(e) && !trust.covers(&e.signer)).count(),
            rejected: catalog.rejected.len(),
        }
    }

    fn as_text(&self, proof: Option<&Proof>, told: Option<&Status>, now: Timestamp) -> String {
        let mut lines = vec![("store", self.store.clone())];
        let kinds = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
        lines.push((
            "backups",
            match self.count {
                0 => "none of this cluster by a trusted key".to_owned(),
                count => format!("{count} ({kinds}), {}", size(self.bytes)),
            },
        ));
        lines.extend(self.oldest.as_ref().map(|oldest| ("oldest", line(oldest, now))));
        match &self.newest[..] {
            [] => {}
            [newest] => {
                lines.push(("newest", line(newest, now)));
                lines.push(("generation", newest.generation.clone()));
            }
            several => {
                lines.extend(several.iter().map(|newest| ("newest of", line(newest, now))));
                lines.push((
                    "two writers",
                    "`latest` means none of them: stop one, and name the backup you want".into(),
                ));
            }
        }
        lines.push((
            "last proven",
            match (proof, told.and_then(|status| status.last_verified)) {
                (Some(proof), _) => proven(proof, now),
                (None, Some(at)) => ago(at, now),
                (None, None) => "never; `run` does it daily, `vcluster-backup verify` at once".to_owned(),
            },
        ));
        if let Some(status) = told {
            lines.push(("sidecar", format!("{}: {}", status.reason, status.message)));
        }
        for (name, count, what) in [
            ("foreign", self.foreign, "of another cluster or an earlier order of the same name"),
            ("untrusted", self.untrusted, "not signed by a trusted key"),
            ("unreadable", self.rejected, "with a manifest that cannot be read"),
        ] {
            if count > 0 {
                lines.push((name, format!("{count} {what}")));
            }
        }
        if !self.restorable && self.newest.len() == 1 {
            lines.push(("DAMAGED", "the newest backup cannot be restored: an object it needs is not there".into()));
        }
        lines.into_iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
    }

    fn as_json(&self, proof: Option<&Proof>, told: Option<&Status>, now: Timestamp) -> Value {
        let point = |m: &Manifest| {
            json!({
                "id": m.id(), "time": m.time, "kind": m.kind, "sizeBytes": m.data.size, "revision": m.revision,
                "ageSeconds": now.duration_since(m.time).as_secs(),
            })
        };
        let single = if let [newest] = &self.newest[..] { Some(newest) } else { None };
        json!({
            "store": self.store, "backups": self.count, "kinds": self.kinds, "bytes": self.bytes,
            "oldest": self.oldest.as_ref().map(point), "newest": single.map(point),
            "heads": self.newest.iter().map(Manifest::id).collect::<Vec<_>>(),
            "generation": single.map(|newest| &newest.generation), "restorable": self.restorable,
            "lastProven": proof.map(|p| json!(p)).or_else(|| told?.last_verified.map(|at| json!({ "at": at }))),
            "sidecar": told.map(|s| json!({ "reason": s.reason, "message": s.message, "observedAt": s.observed_at })),
            "foreign": self.foreign, "untrusted": self.untrusted, "unreadable": self.rejected,
        })
    }
}

fn line(manifest: &Manifest, now: Timestamp) -> String {
    format!("{}, {} ({})", manifest.id(), ago(manifest.time, now), manifest.kind.as_str())
}

fn proven(proof: &Proof, now: Timestamp) -> String {
    let how = match (proof.how, proof.recovery_seconds) {
        (How::Restore, Some(seconds)) => format!("by a restore that took {seconds:.1} s"),
        (How::Restore, None) => "by a restore".to_owned(),
        (How::Digests, None) => "by the digests of its objects".to_owned(),
        (How::Digests, Some(seconds)) => {
            format!("by the digests of its objects; the last trial restore took {seconds:.1} s")
        }
    };
    format!("{}, {} {how}", proof.point, ago(proof.at, now))
}

/// `2026-11-22T08:00:00Z, 3 h ago`.
fn ago(time: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(time).max(SignedDuration::ZERO).as_secs();
    let rounded = match age {
        0..120 => format!("{age} s"),
        120..7_200 => format!("{} min", age / 60),
        7_200..172_800 => format!("{} h", age / 3_600),
        _ => format!("{} days", age / 86_400),
    };
    format!("{}, {rounded} ago", time.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::manifest::{
        self, Kind,
        tests::{example, signer},
    };

    #[test]
    fn a_store_is_told_in_a_few_lines() {
        let (_dir, signer) = signer();
        let mut entries: Vec<Signed> = Vec::new();
        for sequence in 1..=3 {
            let mut manifest = example("g", sequence);
            manifest.kind = if sequence == 1 { Kind::Full } else { Kind::Delta };
            manifest.parent = entries.last().map(Signed::as_head);
            manifest.data.size = 2_000_000;
            let bytes = manifest.sign(&signer).expect("signed");
            entries.push(manifest::verify(&bytes, &manifest.key()).expect("verifies"));
        }
        let mut other = example("h", 1);
        other.uid = "uid-0".into();
        entries.push(manifest::verify(&other.sign(&signer).expect("signed"), &other.key()).expect("verifies"));
        let catalog = Catalog::new(entries, vec!["bent".into()], "s3://shop");
        let cluster = Cluster { uid: "uid-1".into(), ..Cluster::default() };
        let trust = Trust::Keys(BTreeSet::from([signer.public()]));
        let overview = Overview::of(&catalog, &cluster, &trust, "s3://shop");
        let now = Timestamp::from_second(1_700_010_000).expect("a time");
        let proof = Proof {
            point: "g/00000002".into(),
            at: now,
            how: How::Restore,
            recovery_seconds: Some(0.42),
            restored: None,
            newest_at: None,
        };
        insta::assert_snapshot!(overview.as_text(Some(&proof), None, now), @r"
        store        s3://shop
        backups      3 (2 delta, 1 full), 5.7 MiB
        oldest       g/00000001, 2023-11-14T22:13:21Z, 2 h ago (full)
        newest       g/00000003, 2023-11-14T22:13:23Z, 2 h ago (delta)
        generation   g
        last proven  g/00000002, 2023-11-15T01:00:00Z, 0 s ago by a restore that took 0.4 s
        foreign      1 of another cluster or an earlier order of the same name
        unreadable   1 with a manifest that cannot be read
        ");
        let json = overview.as_json(None, None, now);
        assert_eq!(json["newest"]["ageSeconds"], 9_997);
        assert_eq!((&json["kinds"]["delta"], &json["lastProven"]), (&json!(2), &Value::Null));
    }

    #[test]
    fn an_age_is_rounded_for_people() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let cases = [(0, "0 s"), (119, "119 s"), (600, "10 min"), (10_000, "2 h"), (500_000, "5 days"), (-5, "0 s")];
        for (seconds, words) in cases {
            let time = Timestamp::from_second(1_700_000_000 - seconds).expect("a time");
            assert!(ago(time, now).ends_with(&format!(", {words} ago")), "{seconds}");
        }
    }
}
