//! The command: rules from flags or settings, verdicts for people or programs.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use vcluster_proto::settings::Retention;

use super::{Released, Removed, carry_out, keys, no_right, orphans, say_earlier_lives};
use crate::{
    catalog::Catalog,
    cli::Options,
    config::{self, Config},
    error::Error,
    program::{OK, PARTIAL, print, size},
    proof::Proof,
    retention::{self, Plan, Verdict, View},
    store::{Access, Listed},
};

/// Which backups are kept; flags replace the retention of the settings. A backup stays when any rule keeps it, and with
/// it everything it builds on.
#[derive(Clone, Debug, Default, Args)]
pub struct PruneArgs {
    /// Keep the newest N.
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the newest N hours (of UTC) that have one.
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// The same for days.
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// The same for weeks, which begin on Monday.
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// The same for months.
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// The same for years.
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep all that are at most this much older than the newest, as 48h.
    #[arg(long, value_name = "AGE", value_parser = vcluster_proto::interval::parse)]
    pub keep_within: Option<Duration>,
    /// Let the rules apply to earlier lives of this vcluster, too: backups that the present database does not come from,
    /// since its volume was lost while backups were off. Remembered on the data volume.
    #[arg(long)]
    pub earlier_lives: bool,
    /// Show what would go, remove nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print each verdict as JSON, one a line, then a line of sums.
    #[arg(long)]
    pub json: bool,
}

impl PruneArgs {
    /// The rules of the flags, else those of the settings.
    fn rules(&self, settings: Option<Retention>) -> Result<Retention, Error> {
        let flags = Retention {
            keep_last: self.keep_last,
            keep_hourly: self.keep_hourly,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
            keep_within: self.keep_within,
        };
        let given = if flags == Retention::default() { settings } else { Some(flags) };
        given.ok_or_else(|| {
            Error::Usage(
                "there are no rules: give --keep-last and the like, or backup.retention in settings.yaml".into(),
            )
        })
    }
}

/// The command.
///
/// # Errors
/// There are no rules or no backups, or the store fails.
pub(crate) async fn command(options: &Options, args: &PruneArgs) -> Result<u8, Error> {
    let config = Config::for_reading(options, &config::process_environment)?;
    let place = config::place(options, &config::process_environment)?;
    let rules = args.rules(config.retention)?;
    let store = config.open_store(Access::Read)?;
    let mut listed = store.list_objects("v1").await?;
    let catalog = Catalog::load_listed(&store, keys(&listed), Catalog::default()).await?;
    if catalog.entries.is_empty() && catalog.rejected.is_empty() {
        return Err(Error::NoRepository { store: store.url().to_owned() });
    }
    let report = config::report(options, Some(&config.cluster), &config::process_environment);
    let trust = config.trust(options, &place.data_dir, &report).await?;
    let proven = Proof::load(&place.data_dir).map_or_else(Vec::new, |proof| proof.points());
    let mut released = Released::load(&place.data_dir)?;
    let planned = |released: &Released| {
        retention::plan(
            &View {
                catalog: &catalog,
                listed: &listed,
                now: Timestamp::now(),
                cluster: &config.cluster,
                trust: &trust,
                proven: &proven,
                released: &released.0,
            },
            &rules,
        )
    };
    let mut plan = planned(&released);
    if args.earlier_lives {
        released.0.extend(plan.earlier_lives().into_keys());
        plan = planned(&released);
        if !args.dry_run {
            released.save(&place.data_dir)?;
        }
    }
    listed.extend(store.left_behind().await?);
    let orphans = orphans(&listed, &plan, None, Timestamp::now());
    print(&plan.verdicts.iter().map(|v| if args.json { row_as_json(v) } else { row(v) }).collect::<String>())?;
    for why in catalog.rejected.iter().cloned().chain(say_earlier_lives(&plan)) {
        tracing::warn!("{why}");
    }
    let removed =
        if args.dry_run { would_remove(&plan, &orphans) } else { carry_out(&store, &plan, &orphans, None).await? };
    print(&if args.json { sums_as_json(&removed, args.dry_run) } else { sums(&removed, args.dry_run) })?;
    if let Some(refused) = &removed.refused {
        tracing::warn!("{}", no_right(refused));
    }
    Ok(if removed.refused.is_some() || removed.held > 0 { PARTIAL } else { OK })
}

fn would_remove(plan: &Plan, orphans: &[Listed]) -> Removed {
    let going = plan.going();
    let data: u64 = going.iter().map(|verdict| verdict.signed.manifest.data.size).sum();
    let bytes = data + orphans.iter().map(|orphan| orphan.size).sum::<u64>();
    Removed { backups: going.len(), orphans: orphans.len(), bytes, ..Removed::default() }
}

fn row(verdict: &Verdict) -> String {
    let m = &verdict.signed.manifest;
    let time = m.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let word = if verdict.keeps() { "keep" } else { "remove" };
    let reasons = verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let row =
        format!("{word:<6} {:<43} {time:<20} {:<5} {:>10}  {reasons}", m.id(), m.kind.as_str(), size(m.data.size));
    format!("{}\n", row.trim_end())
}

fn row_as_json(verdict: &Verdict) -> String {
    let m = &verdict.signed.manifest;
    let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    let row = json!({
        "id": m.id(), "time": m.time, "kind": m.kind, "sizeBytes": m.data.size, "keep": verdict.keeps(),
        "reasons": reasons,
    });
    format!("{row}\n")
}

fn sums(removed: &Removed, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let held =
        if removed.held > 0 { format!("; {} are held by the bucket's lock", removed.held) } else { String::new() };
    let Removed { backups, orphans, bytes, .. } = removed;
    format!("{verb} {backups} backups and {orphans} objects without a manifest, {}{held}\n", size(*bytes))
}

fn sums_as_json(removed: &Removed, dry_run: bool) -> String {
    let row = json!({
        "dryRun": dry_run, "removed": removed.backups, "orphans": removed.orphans, "freedBytes": removed.bytes,
        "held": removed.held, "refused": removed.refused,
    });
    format!("{row}\n")
}
