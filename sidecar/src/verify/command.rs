//! The command: what to look at, and how to say what was found.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::{Problem, Restored, Sealed, Trial, look, objects, own, read, restore};
use crate::{
    catalog::{At, Catalog},
    cli::Options,
    config::{self, Config},
    error::Error,
    install::Cancel,
    manifest::Signed,
    program::{OK, PARTIAL, print, size},
    progress::Bar,
    proof::{How, Proof},
    store::{Access, Fault},
};

/// The backup that is asked about cannot be restored.
const FAILED: u8 = 1;

/// What to prove.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The backup that is restored for a trial: latest, a time, or an id as `list` shows it.
    #[arg(long, default_value = "latest", value_name = "POINT")]
    pub at: At,
    /// Read every object and compare its digest; by default only manifests and sizes are looked at.
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read a part of the objects: 10% of them at random, or 1/7, the first of seven parts that together are all.
    #[arg(long, value_name = "SUBSET")]
    pub read_data_subset: Option<Subset>,
    /// No trial restore, though there is an identity.
    #[arg(long)]
    pub no_restore: bool,
    /// Where the trial restore goes, readable by its owner only and removed afterwards; default the spool folder. It holds
    /// the whole database in clear meanwhile.
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
    /// As JSON, on one line.
    #[arg(long)]
    pub json: bool,
}

/// A part of the objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// This share of all, at random.
    Share(f64),
    /// The n-th of t parts; each object is always in the same one.
    Part(u64, u64),
}

impl std::str::FromStr for Subset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Usage(format!("{text:?} is no part of the data: write 10% or 1/7"));
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| bad())?;
            return if percent > 0.0 && percent <= 100.0 { Ok(Self::Share(percent / 100.0)) } else { Err(bad()) };
        }
        let (part, parts) = text.split_once('/').ok_or_else(bad)?;
        let (part, parts) = (part.trim().parse().map_err(|_| bad())?, parts.trim().parse().map_err(|_| bad())?);
        if (1..=parts).contains(&part) { Ok(Self::Part(part, parts)) } else { Err(bad()) }
    }
}

type Object = (String, u64, String);

impl Subset {
    fn of(self, objects: BTreeSet<Object>) -> Result<Vec<Object>, Error> {
        let digest = |seed: &[u8], key: &str| {
            let digest = blake3::hash(&[seed, key.as_bytes()].concat());
            u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default())
        };
        match self {
            Self::Part(part, parts) => {
                Ok(objects.into_iter().filter(|(key, ..)| digest(b"", key) % parts == part - 1).collect())
            }
            Self::Share(share) => {
                let mut seed = [0; 16];
                let none = |_| Error::Usage("the system has no random numbers".into());
                SystemRandom::new().fill(&mut seed).map_err(none)?;
                let count = (objects.len() as f64 * share).ceil() as usize;
                let mut drawn: Vec<_> = objects.into_iter().collect();
                drawn.sort_by_cached_key(|(key, ..)| digest(&seed, key));
                drawn.truncate(count);
                Ok(drawn)
            }
        }
    }
}

/// What was found out.
struct Findings {
    manifests: usize,
    untrusted: usize,
    problems: Vec<Problem>,
    read: usize,
    read_bytes: u64,
    point: Option<Signed>,
    restored: Option<Restored>,
    proven: Option<How>,
}

/// The command. Exit code 0: all that was looked at is sound; 3: something is not, and the backup that was asked about can
/// be restored; 1: it cannot, or 12 with the wrong key.
///
/// # Errors
/// There are no backups, no such point, the wrong key, or the store fails.
pub(crate) async fn command(options: &Options, args: &VerifyArgs, cancel: &Cancel) -> Result<u8, Error> {
    let config = Config::for_reading(options, &config::process_environment)?;
    let place = config::place(options, &config::process_environment)?;
    let store = config.open_store(Access::Read)?;
    let listed = store.list_objects("v1").await?;
    let catalog = {
        let manifests = listed.iter().filter(|object| object.key.ends_with(".json"));
        let _bar = Bar::receiving("reading manifests", manifests.map(|object| object.size).sum(), "checking");
        let keys = listed.iter().map(|object| object.key.clone());
        Catalog::load_listed(&store, keys, Catalog::default()).await?
    };
    if catalog.entries.is_empty() && catalog.rejected.is_empty() {
        return Err(Error::NoRepository { store: store.url().to_owned() });
    }
    let report = config::report(options, Some(&config.cluster), &config::process_environment);
    let trust = config.trust(options, &place.data_dir, &report).await?;
    let own = own(&catalog, &config.cluster, &trust);
    let mine = catalog.entries.iter().filter(|e| config.cluster.owns(&e.manifest)).count();
    let mut findings = Findings {
        manifests: own.entries.len(),
        untrusted: mine - own.entries.len(),
        problems: rejected(&catalog),
        read: 0,
        read_bytes: 0,
        point: None,
        restored: None,
        proven: None,
    };
    findings.problems.extend(look(&own, &listed));
    let point = own.select(&args.at, &trust)?.clone();

    let subset = match (args.read_data, args.read_data_subset) {
        (true, _) => objects(&own).into_iter().collect(),
        (false, Some(subset)) => subset.of(objects(&own))?,
        (false, None) => Vec::new(),
    };
    findings.read_bytes = subset.iter().map(|(_, size, _)| size).sum();
    findings.read = subset.len();
    let fit = {
        let _bar = (!subset.is_empty()).then(|| Bar::receiving("reading", findings.read_bytes, "comparing"));
        let (fit, problems) = read(&store, subset, cancel).await?;
        findings.problems.extend(problems);
        fit
    };
    let chain = own.chain(&point).ok();
    let identities = config::identities(options, &config::process_environment)?;
    let read_whole = chain.as_ref().is_some_and(|chain| chain.iter().all(|link| fit.contains(&link.manifest.data.key)));
    if read_whole {
        findings.proven = Some(How::Digests);
    }
    if args.no_restore
        && let Some(passphrase) = identities.passphrase()
    {
        // A trial restore opens them by itself.
        let sealed = Sealed { own: None, passphrase: Some(passphrase.clone()) };
        let keys = chain.iter().flatten().filter_map(|link| link.manifest.identity.as_ref());
        for key in keys.collect::<BTreeSet<_>>() {
            match sealed.look_at(&store, key, &point.manifest.id()).await {
                Ok(()) => {}
                Err(error @ (Error::Damaged { .. } | Error::Store { fault: Fault::NotFound, .. })) => {
                    findings.proven = None;
                    findings.problems.push(Problem { of: point.manifest.id(), why: error.chain() });
                }
                Err(error) => return Err(error),
            }
        }
    }
    if (!identities.is_empty() || point.manifest.unencrypted) && !args.no_restore {
        let parent = args.scratch_dir.as_ref().unwrap_or(&place.spool_dir);
        let scratch = tempfile::tempdir_in(parent).map_err(Error::file("make a folder in", parent))?;
        let trial = Trial { identities: &identities, scratch: scratch.path(), cancel };
        let bytes = own.chain(&point).map_or(0, |chain| chain.iter().map(|link| link.manifest.data.size).sum());
        let _bar = Bar::receiving("restoring", bytes, "checking");
        match restore(&store, &own, &trust, &point, trial).await {
            Ok(restored) => {
                findings.proven = Some(How::Restore);
                findings.restored = Some(restored);
            }
            Err(error @ (Error::Damaged { .. } | Error::ChainBroken { .. } | Error::Database { .. })) => {
                findings.proven = None;
                findings.problems.push(Problem { of: point.manifest.id(), why: error.chain() });
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(how) = findings.proven {
        let took = findings.restored.as_ref().map(|restored| restored.took.as_secs_f64());
        let before = Proof::load(&place.data_dir);
        let proof = Proof::new(point.manifest.id(), how, took, args.at == At::Latest, before);
        proof.save(&place.data_dir)?;
    }
    findings.problems.sort_by(|a, b| (&a.of, &a.why).cmp(&(&b.of, &b.why)));
    findings.problems.dedup();
    let broken = own.chain(&point).is_err()
        || findings.problems.iter().any(|p| p.of == point.manifest.id() || p.of == point.manifest.data.key);
    findings.point = Some(point);
    print(&if args.json { as_json(&findings) } else { as_text(&findings) })?;
    Ok(match (broken, findings.problems.is_empty()) {
        (true, _) => FAILED,
        (false, false) => PARTIAL,
        (false, true) => OK,
    })
}

fn rejected(catalog: &Catalog) -> Vec<Problem> {
    let problem = |why: &String| Problem { of: "manifest".into(), why: why.clone() };
    catalog.rejected.iter().map(problem).collect()
}

fn as_text(findings: &Findings) -> String {
    let Findings { manifests, untrusted, problems, read, read_bytes, .. } = findings;
    let mut text = format!("{manifests} manifests: signatures, chains and sizes looked at\n");
    if *untrusted > 0 {
        text.push_str(&format!("{untrusted} more are not signed by a trusted key and were left out\n"));
    }
    if *read > 0 {
        text.push_str(&format!("{read} objects read, {}\n", size(*read_bytes)));
    }
    if let (Some(restored), Some(point)) = (&findings.restored, &findings.point) {
        let kine = if restored.revision.is_some() { ", kine's rules hold" } else { "" };
        text.push_str(&format!(
            "{} restored into scratch space in {:.2} s: {}, sound{kine}\n",
            point.manifest.id(),
            restored.took.as_secs_f64(),
            size(restored.size_bytes)
        ));
    }
    for Problem { of, why } in problems {
        text.push_str(&format!("PROBLEM {of}: {why}\n"));
    }
    text.push_str(match (problems.is_empty(), findings.proven) {
        (false, _) => "not all of it is sound\n",
        (true, Some(How::Restore)) => "proven by a restore\n",
        (true, Some(How::Digests)) => "proven by digests; with an identity a restore is tried, too\n",
        (true, None) => {
            "sound as far as it was looked at; --read-data compares digests, and with an identity a restore is tried\n"
        }
    });
    text
}

fn as_json(findings: &Findings) -> String {
    let problems: Vec<_> = findings.problems.iter().map(|p| json!({ "of": p.of, "why": p.why })).collect();
    let restored = findings.restored.as_ref().map(|restored| {
        json!({
            "seconds": restored.took.as_secs_f64(), "sizeBytes": restored.size_bytes, "revision": restored.revision,
        })
    });
    let row = json!({
        "point": findings.point.as_ref().map(|point| point.manifest.id()), "manifests": findings.manifests,
        "untrusted": findings.untrusted, "objectsRead": findings.read, "bytesRead": findings.read_bytes,
        "restored": restored, "proven": findings.proven, "problems": problems,
    });
    format!("{row}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_all_and_a_share_is_as_large_as_asked() {
        let objects: BTreeSet<Object> = (0..100).map(|n| (format!("v1/full/g/{n:08}.x"), n, String::new())).collect();
        let mut all: Vec<Object> =
            (1..=7).flat_map(|n| Subset::Part(n, 7).of(objects.clone()).expect("a part")).collect();
        all.sort();
        assert_eq!(all, objects.iter().cloned().collect::<Vec<_>>());
        for (text, count) in [("10%", 10), ("0.5%", 1), ("100%", 100), ("33.3%", 34)] {
            let subset: Subset = text.parse().expect("parses");
            assert_eq!(subset.of(objects.clone()).expect("drawn").len(), count, "{text}");
        }
        for text in ["", "10", "0%", "101%", "0/7", "8/7", "a/b", "1/0"] {
            assert!(text.parse::<Subset>().is_err(), "{text}");
        }
    }
}
