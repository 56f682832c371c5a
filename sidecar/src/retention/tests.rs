//! Any history of a cluster under any rules: restarts, lost volumes, strangers, holes.

use proptest::prelude::*;

use super::*;
use crate::manifest::{self, Data, Head, tests::example};

/// What happens next in a history.
#[derive(Clone, Debug)]
enum Step {
    Full,
    Diff,
    Delta,
    /// A new process on the same disk; it goes on with a delta.
    Restart,
    /// A new disk, restored from the newest.
    Restored,
    /// Two steps at once by a second writer that saw the same heads.
    SecondWriter,
    /// Somebody puts a manifest of his own.
    Stranger,
    /// An order of the same name before or after this one.
    OtherOrder,
    /// The newest data object is lost.
    Hole,
}

fn key(number: u8) -> PublicKey {
    let base64 = data_encoding::BASE64.encode(&[number; 32]);
    format!("ed25519:{base64}").parse().expect("a key")
}

const STRANGER: u8 = 200;

/// Follows the steps as a writer does.
#[derive(Default)]
struct Writer {
    entries: Vec<Signed>,
    missing: BTreeSet<String>,
    generation: usize,
    sequence: u64,
    signer: u8,
    seconds: i64,
    restored_from: Option<String>,
    followed: Followed,
    full: Option<Head>,
    newest: Option<Head>,
    /// Deltas on the present full or diff.
    since: usize,
}

/// What a generation says that it follows: in fulls and its first manifest, and in the others.
#[derive(Clone, Default)]
struct Followed {
    ends: Vec<Head>,
    heads: Vec<Head>,
}

impl Writer {
    fn follows(&self) -> Followed {
        let all = Catalog::new(self.entries.clone(), vec![], "file:///x");
        let trusted = all.filter(|e| e.signer != key(STRANGER));
        let own = trusted.filter(|e| e.manifest.uid == "uid-1");
        let heads = |views: &[&Catalog]| {
            let heads: BTreeSet<Head> = views.iter().flat_map(|view| view.heads()).map(Signed::as_head).collect();
            heads.into_iter().collect()
        };
        Followed { ends: heads(&[&all, &trusted, &own]), heads: heads(&[&trusted, &own]) }
    }

    fn begin(&mut self) {
        self.followed = self.follows();
        self.generation += 1;
        self.sequence = 0;
    }

    fn put(&mut self, kind: Kind) {
        let kind = if self.full.is_none() || self.since >= 59 { Kind::Full } else { kind };
        self.sequence += 1;
        let generation = format!("g{:03}", self.generation);
        let mut manifest = example(&generation, self.sequence);
        manifest.kind = kind;
        manifest.parent = match kind {
            Kind::Full => None,
            Kind::Diff => self.full.clone(),
            Kind::Delta => self.newest.clone(),
        };
        manifest.time = Timestamp::from_second(1_700_000_000 + self.seconds).expect("a time");
        let tells_all = self.sequence == 1 || kind == Kind::Full;
        let Followed { ends, heads } = &self.followed;
        manifest.supersedes.clone_from(if tells_all { ends } else { heads });
        manifest.restored_from.clone_from(&self.restored_from);
        let stem = manifest::stem(kind, &generation, self.sequence);
        manifest.data = Data { key: format!("{stem}.x"), sha256: "00".into(), size: 1 };
        let signed =
            Signed { digest: format!("{}-{}", manifest.id(), self.signer), manifest, signer: key(self.signer) };
        self.since = if kind == Kind::Delta { self.since + 1 } else { 0 };
        if kind == Kind::Full {
            self.full = Some(signed.as_head());
        }
        self.newest = Some(signed.as_head());
        self.entries.push(signed);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Full => self.put(Kind::Full),
            Step::Diff => self.put(Kind::Diff),
            Step::Delta => self.put(Kind::Delta),
            Step::Restart => {
                self.begin();
                self.put(Kind::Delta);
            }
            Step::Restored => {
                self.restored_from = self.newest.as_ref().map(Head::id);
                self.signer += 1;
                self.begin();
                self.put(Kind::Full);
            }
            Step::SecondWriter => {
                let before = self.follows();
                self.begin();
                self.put(Kind::Full);
                self.begin();
                self.followed = before;
                self.put(Kind::Full);
            }
            Step::Stranger | Step::OtherOrder => {
                let mut manifest = example(&format!("s{:03}", self.entries.len()), 1);
                manifest.time = Timestamp::from_second(1_700_000_000 + self.seconds).expect("a time");
                let stranger = matches!(step, Step::Stranger);
                if stranger {
                    manifest.supersedes = self.follows().ends;
                } else {
                    manifest.uid = "uid-0".into();
                }
                let signer = key(if stranger { STRANGER } else { self.signer });
                self.entries.push(Signed { digest: manifest.id(), manifest, signer });
            }
            Step::Hole => {
                let newest = self.entries.last().map(|e| e.manifest.data.key.clone());
                self.missing.extend(newest);
                // The writer notices and begins anew.
                self.put(Kind::Full);
            }
        }
    }

    fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::new(self.entries.clone(), vec![], "file:///x");
        note(&mut catalog, &self.missing);
        catalog
    }
}

fn note(catalog: &mut Catalog, missing: &BTreeSet<String>) {
    let listed = catalog.entries.iter().map(|e| e.manifest.data.key.clone()).filter(|key| !missing.contains(key));
    let listed = listed.collect();
    catalog.note_missing(&listed);
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let step = prop_oneof![
        12 => Just(Step::Delta),
        3 => Just(Step::Diff),
        2 => Just(Step::Full),
        3 => Just(Step::Restart),
        1 => Just(Step::Restored),
        1 => Just(Step::SecondWriter),
        1 => Just(Step::Stranger),
        1 => Just(Step::OtherOrder),
        1 => Just(Step::Hole),
    ];
    // Minutes and days, and now and then a clock that is put back.
    let gap = prop_oneof![6 => 30_i64..4_000, 3 => 40_000_i64..400_000, 1 => -5_000_i64..0];
    proptest::collection::vec((step, gap), 1..60)
}

fn rules() -> impl Strategy<Value = Retention> {
    let count = || proptest::option::of(0_u32..6);
    (count(), count(), count(), count(), count(), count(), proptest::option::of(0_u64..500_000)).prop_map(
        |(keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, within)| Retention {
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
            keep_within: within.map(std::time::Duration::from_secs),
        },
    )
}

fn history(steps: &[(Step, i64)]) -> Writer {
    let mut writer = Writer::default();
    writer.begin();
    for (step, gap) in steps {
        writer.seconds += gap;
        writer.step(step);
    }
    writer
}

fn trusted() -> Trust {
    Trust::Keys((0..STRANGER).map(key).collect())
}

fn cluster() -> Cluster {
    Cluster {
        key: "team-a-abcdefgh".into(),
        release: "team-a-abcdefgh".into(),
        uid: "uid-1".into(),
        namespace: String::new(),
    }
}

fn planned(catalog: &Catalog, rules: &Retention) -> Plan {
    planned_at(catalog, rules, Timestamp::MAX, Timestamp::MAX)
}

/// By these clocks of ours and of the store.
fn planned_at(catalog: &Catalog, rules: &Retention, now: Timestamp, stored: Timestamp) -> Plan {
    let (cluster, trust, released, listed) = (cluster(), trusted(), BTreeSet::new(), listed(catalog, stored));
    let view =
        View { catalog, listed: &listed, now, cluster: &cluster, trust: &trust, proven: &[], released: &released };
    plan(&view, rules)
}

fn listed(catalog: &Catalog, modified: Timestamp) -> Vec<Listed> {
    let data = catalog.entries.iter().map(|e| &e.manifest.data).filter(|data| !catalog.lacks(&data.key));
    data.map(|data| Listed { key: data.key.clone(), size: data.size, modified }).collect()
}

fn kept(plan: &Plan) -> BTreeSet<String> {
    plan.verdicts.iter().filter(|v| v.keeps()).map(|v| v.signed.digest.clone()).collect()
}

/// The catalog after the plan.
fn after(writer: &Writer, plan: &Plan) -> Catalog {
    let kept = kept(plan);
    let mut catalog = writer.catalog().filter(|e| kept.contains(&e.digest));
    note(&mut catalog, &writer.missing);
    catalog
}

fn heads(catalog: &Catalog) -> BTreeSet<String> {
    catalog.heads().into_iter().map(|head| head.digest.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_plan_carried_out_twice_removes_nothing_more(steps in steps(), rules in rules()) {
        let writer = history(&steps);
        let plan = planned(&writer.catalog(), &rules);
        let after = after(&writer, &plan);
        prop_assert_eq!(kept(&planned(&after, &rules)), kept(&plan));
    }

    #[test]
    fn wider_rules_keep_at_least_as_much(steps in steps(), rules in rules(), more in rules()) {
        let wider = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        let within = match (rules.keep_within, more.keep_within) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        let wide = Retention {
            keep_last: wider(rules.keep_last, more.keep_last),
            keep_hourly: wider(rules.keep_hourly, more.keep_hourly),
            keep_daily: wider(rules.keep_daily, more.keep_daily),
            keep_weekly: wider(rules.keep_weekly, more.keep_weekly),
            keep_monthly: wider(rules.keep_monthly, more.keep_monthly),
            keep_yearly: wider(rules.keep_yearly, more.keep_yearly),
            keep_within: within,
        };
        // No rules at all keep everything, so they are the widest.
        prop_assume!(!rules::are_none(&rules));
        let catalog = history(&steps).catalog();
        prop_assert!(kept(&planned(&catalog, &rules)).is_subset(&kept(&planned(&catalog, &wide))));
    }

    #[test]
    fn what_is_kept_can_be_restored_and_the_newest_is_kept(steps in steps(), rules in rules()) {
        let writer = history(&steps);
        let before = writer.catalog();
        let after = after(&writer, &planned(&before, &rules));
        for entry in &after.entries {
            prop_assert_eq!(after.complete(entry), before.complete(entry), "{}", entry.manifest.id());
        }
        let own = |e: &Signed| trusted().covers(&e.signer) && cluster().owns(&e.manifest);
        let whole = |catalog: &Catalog| catalog.entries.iter().any(|e| own(e) && catalog.complete(e));
        prop_assert_eq!(whole(&after), whole(&before));
    }

    #[test]
    fn nobody_looks_like_a_second_writer_afterwards(steps in steps(), rules in rules()) {
        let writer = history(&steps);
        let before = writer.catalog();
        let after = after(&writer, &planned(&before, &rules));
        prop_assert_eq!(heads(&after), heads(&before));
        let trust = trusted();
        let trusted = |catalog: &Catalog| heads(&catalog.filter(|e| trust.covers(&e.signer)));
        prop_assert_eq!(trusted(&after), trusted(&before));
        let own = |catalog: &Catalog| heads(&catalog.filter(|e| trust.covers(&e.signer) && cluster().owns(&e.manifest)));
        prop_assert_eq!(own(&after), own(&before));
    }

    #[test]
    fn strangers_and_other_orders_are_left_alone(steps in steps(), rules in rules()) {
        let catalog = history(&steps).catalog();
        for verdict in planned(&catalog, &rules).verdicts {
            let own = verdict.signed.signer != key(STRANGER) && verdict.signed.manifest.uid == "uid-1";
            prop_assert!(own || verdict.keeps(), "{}", verdict.signed.manifest.id());
        }
    }

    #[test]
    fn what_builds_on_another_goes_before_it(steps in steps()) {
        let catalog = history(&steps).catalog();
        let plan = planned(&catalog, &Retention { keep_last: Some(1), ..Retention::default() });
        let going: Vec<&str> = plan.going().iter().map(|v| &*v.signed.digest).collect();
        for (at, verdict) in plan.going().iter().enumerate() {
            if let Some(parent) = &verdict.signed.manifest.parent {
                prop_assert!(!going[..at].contains(&&*parent.digest));
            }
        }
    }
}

fn ids(plan: &Plan) -> Vec<(String, String)> {
    let reasons = |v: &Verdict| v.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    plan.verdicts.iter().map(|v| (v.signed.manifest.id(), reasons(v))).collect()
}

/// Every ten minutes for three hours: a full, then deltas.
fn three_hours() -> Writer {
    history(&vec![(Step::Delta, 600); 18])
}

#[test]
fn a_verdict_gives_its_reasons() {
    let rules = Retention { keep_last: Some(1), keep_hourly: Some(2), ..Retention::default() };
    let plan = planned(&three_hours().catalog(), &rules);
    let shown = ids(&plan);
    assert_eq!(shown[0], ("g001/00000018".into(), "last, hourly, newest, newest that is whole".into()));
    assert_eq!(shown[1].1, "g001/00000018 builds on it");
    assert!(shown.iter().any(|(_, why)| why == "hourly"), "{shown:?}");
    assert!(plan.going().is_empty(), "all of them are one chain");
}

#[test]
fn a_new_full_lets_the_old_chain_go() {
    let mut writer = three_hours();
    writer.step(&Step::Full);
    let plan = planned(&writer.catalog(), &Retention { keep_last: Some(1), ..Retention::default() });
    assert_eq!((kept(&plan).len(), plan.going().len()), (1, 18));
    assert_eq!(plan.going()[0].signed.manifest.sequence, 18, "the end of the chain goes first");
}

#[test]
fn what_was_proven_last_stays_with_what_it_needs() {
    let mut writer = three_hours();
    writer.step(&Step::Full);
    let (cluster, trust, released, catalog) = (cluster(), trusted(), BTreeSet::new(), writer.catalog());
    let listed = listed(&catalog, Timestamp::MAX);
    let view = View {
        catalog: &catalog,
        listed: &listed,
        now: Timestamp::MAX,
        cluster: &cluster,
        trust: &trust,
        proven: &["g001/00000003".to_owned()],
        released: &released,
    };
    let plan = plan(&view, &Retention { keep_last: Some(1), ..Retention::default() });
    assert_eq!(kept(&plan).len(), 4, "three of the old chain, and the newest");
}

#[test]
fn a_life_that_does_not_come_from_the_old_one_does_not_push_it_out() {
    // The volume is lost while backups are off; vcluster starts empty, and backups are switched on again.
    let mut writer = three_hours();
    writer.signer += 1;
    writer.begin();
    for _ in 0..5 {
        writer.seconds += 600;
        writer.step(&Step::Full);
    }
    let rules = Retention { keep_last: Some(2), ..Retention::default() };
    let plan_now = planned(&writer.catalog(), &rules);
    assert_eq!(plan_now.earlier_lives(), BTreeMap::from([(key(0), 18)]));
    assert_eq!(plan_now.going().len(), 3, "its own are under the rules");

    // A person gives the word.
    let (cluster, trust, released, catalog) = (cluster(), trusted(), BTreeSet::from([key(0)]), writer.catalog());
    let listed = listed(&catalog, Timestamp::MAX);
    let view = View {
        catalog: &catalog,
        listed: &listed,
        now: Timestamp::MAX,
        cluster: &cluster,
        trust: &trust,
        proven: &[],
        released: &released,
    };
    let plan = plan(&view, &rules);
    assert!(plan.earlier_lives().is_empty());
    assert_eq!(plan.verdicts.iter().filter(|v| v.keeps()).count(), 2);

    // The same after a restore of the newest: that life goes on.
    let mut restored = three_hours();
    restored.step(&Step::Restored);
    restored.step(&Step::Full);
    assert!(planned(&restored.catalog(), &rules).earlier_lives().is_empty());
}

#[test]
fn one_that_cannot_be_restored_takes_nobodys_place() {
    let mut writer = three_hours();
    writer.seconds += 600;
    writer.step(&Step::Full);
    let whole = writer.entries.last().expect("there").digest.clone();
    writer.step(&Step::Delta);
    writer.missing.insert(writer.entries.last().expect("there").manifest.data.key.clone());
    let plan = planned(&writer.catalog(), &Retention { keep_last: Some(1), ..Retention::default() });
    assert!(kept(&plan).contains(&whole));
    assert!(plan.verdicts[0].reasons == [Reason::Newest], "{:?}", plan.verdicts[0].reasons);
}

#[test]
fn nothing_is_kept_for_rules_that_say_so_but_the_newest() {
    let plan = planned(&three_hours().catalog(), &Retention { keep_last: Some(0), ..Retention::default() });
    assert_eq!(kept(&plan).len(), 18, "the newest is a delta and needs all of them");
    let none = planned(&three_hours().catalog(), &Retention::default());
    assert!(none.verdicts.iter().all(|v| v.reasons.contains(&Reason::NoRules)));
}

#[test]
fn one_that_was_cut_short_takes_nobodys_place() {
    let mut writer = three_hours();
    writer.seconds += 600;
    writer.step(&Step::Full);
    let whole = writer.entries.last().expect("there").digest.clone();
    writer.seconds += 600;
    writer.step(&Step::Delta);
    let (cluster, trust, released, catalog) = (cluster(), trusted(), BTreeSet::new(), writer.catalog());
    let mut listed = listed(&catalog, Timestamp::MAX);
    listed.last_mut().expect("there").size = 0;
    let view = View {
        catalog: &catalog,
        listed: &listed,
        now: Timestamp::MAX,
        cluster: &cluster,
        trust: &trust,
        proven: &[],
        released: &released,
    };
    let plan = plan(&view, &Retention { keep_last: Some(1), ..Retention::default() });
    assert_eq!(plan.verdicts[0].reasons, [Reason::Newest]);
    let why = |v: &&Verdict| v.signed.digest == whole;
    let whole = plan.verdicts.iter().find(why).expect("there");
    assert!(whole.reasons.contains(&Reason::Rule(Rule::Last)), "{:?}", whole.reasons);
}

const YEARS: i64 = 4 * 365 * 86_400;

fn at(writer: &Writer) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + writer.seconds).expect("a time")
}

/// A full every hour for half a day.
fn half_a_day() -> Writer {
    history(&vec![(Step::Full, 3600); 12])
}

/// Rules under which half a day stays whole.
fn within_a_week() -> Retention {
    Retention { keep_within: Some(std::time::Duration::from_secs(7 * 86_400)), ..Retention::default() }
}

#[test]
fn a_clock_that_is_ahead_costs_nothing_while_any_other_is_right() {
    let mut writer = half_a_day();
    writer.seconds += 60;
    let right = at(&writer);
    writer.seconds += YEARS;
    writer.step(&Step::Full);
    let (catalog, wrong) = (writer.catalog(), at(&writer));
    for (what, now, stored) in [("ours is mended", right, wrong), ("the store's was right", wrong, right)] {
        let plan = planned_at(&catalog, &within_a_week(), now, stored);
        assert!(plan.going().is_empty(), "{what}");
        assert!(plan.verdicts[0].reasons.contains(&Reason::Ahead), "{what}");
        let last = Retention { keep_last: Some(2), ..Retention::default() };
        let plan = planned_at(&catalog, &last, now, stored);
        assert_eq!(kept(&plan).len(), 3, "{what}: it takes nobody's place");
    }
}

#[test]
fn an_hour_of_wrong_minutes_pushes_nobody_out_once_it_is_over() {
    let mut writer = half_a_day();
    writer.seconds += YEARS;
    for _ in 0..60 {
        writer.seconds += 60;
        writer.step(&Step::Full);
    }
    writer.seconds -= YEARS;
    writer.step(&Step::Full);
    let rules = Retention { keep_last: Some(10), keep_daily: Some(7), ..within_a_week() };
    let catalog = writer.catalog();
    assert!(planned(&catalog, &rules).going().is_empty(), "the newest by the chain tells the time");
    // When their time has come the rules have them again.
    writer.seconds += YEARS + 30 * 86_400;
    writer.step(&Step::Full);
    let plan = planned(&writer.catalog(), &Retention { keep_last: Some(10), ..Retention::default() });
    assert_eq!(kept(&plan).len(), 10);
}

#[test]
fn a_clock_that_is_behind_costs_nothing_either() {
    let mut writer = half_a_day();
    writer.seconds -= YEARS;
    writer.step(&Step::Full);
    let rules = Retention { keep_last: Some(1), ..Retention::default() };
    assert!(planned(&writer.catalog(), &rules).going().is_empty(), "nothing can be judged while it is the newest");
}
