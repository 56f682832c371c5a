//! `function-vcluster check-platform`: looks at a Platform before Crossplane does. What the function would refuse fails the
//! command; what it serves, though it is unwise, is said with the reason.
//!
//! The function itself is silent about the latter: it would say so in every reconcile of every tenant.

use std::path::PathBuf;

use serde_json::Value;
use vcluster_proto::{API_VERSION, settings::Bootstrap};

use crate::{
    error::Error,
    forms,
    observed::OURS,
    offline::{self, unusable},
    platform::{
        self, Platform, Register, Upgrade,
        environment::{self, ENVIRONMENT},
    },
    render::family::Distro,
    xr::DeletionPolicy,
};

/// The kind of the input of function-patch-and-transform.
const PATCHES: &str = "Resources";

/// What `check-platform` reads.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A Composition with steps of ours, or a Platform alone
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Context of the pipeline, as KEY=FILE: of EnvironmentConfigs the Platform may take a part
    #[arg(long, value_name = "KEY=FILE", value_parser = offline::key_and_file)]
    pub context_files: Vec<(String, PathBuf)>,
}

/// Reads the files and says what is unwise, a line each; nothing unwise is said, too.
///
/// # Errors
/// A file that cannot be read, one without a Platform, or a Platform that the function would refuse.
pub fn run(args: &Args) -> Result<String, Error> {
    let environment = args.context_files.iter().find(|(key, _)| key == ENVIRONMENT);
    let environment = environment.map(|(_, path)| offline::read(path)).transpose()?;
    advice(&offline::read(&args.file)?, environment.as_deref())
}

/// The same of texts.
///
/// # Errors
/// Those of [`run`], but for the files.
pub fn advice(text: &str, environment: Option<&str>) -> Result<String, Error> {
    let environment = environment.map(|text| offline::one_document("the environment", text)).transpose()?;
    let steps = steps(offline::documents("the Platform", text)?)?;
    let mut lines = String::new();
    for (step, input) in &steps {
        let refused = |refusal: crate::error::Refusal| match step {
            Some(step) => Error::Fatal { step: step.clone(), message: refusal.to_string() },
            None => unusable("the Platform", refusal.to_string()),
        };
        let input = environment::under(input.clone(), environment.as_ref()).map_err(refused)?;
        let platform = Platform::parse(Some(&input)).map_err(refused)?;
        for (path, why) in unwise(&platform) {
            let place = step.as_ref().filter(|_| steps.len() > 1);
            let place = place.map(|step| format!("step {step:?}, ")).unwrap_or_default();
            lines.push_str(&format!("{place}input.{path}: {why}\n"));
        }
    }
    Ok(if lines.is_empty() { "nothing unwise\n".to_owned() } else { lines })
}

/// Every Platform among the documents, with the step it is the input of.
fn steps(documents: Vec<Value>) -> Result<Vec<(Option<String>, Value)>, Error> {
    let mut found = Vec::new();
    for document in documents {
        if is_platform(&document) {
            found.push((None, document));
            continue;
        }
        let pipeline = document.pointer("/spec/pipeline").and_then(Value::as_array).cloned().unwrap_or_default();
        let ours = pipeline.iter().position(|step| is_platform(&step["input"]));
        if let Some(ours) = ours {
            check_mode(&document)?;
            check_earlier(&pipeline[..ours], &pipeline[ours]["input"])?;
        }
        found.extend(pipeline.into_iter().filter(|step| is_platform(&step["input"])).map(|step| {
            let name = step["step"].as_str().unwrap_or_default().to_owned();
            (Some(name), step["input"].clone())
        }));
    }
    if found.is_empty() {
        let problem = format!("there is none: no document and no input of a step has kind Platform, {API_VERSION}");
        return Err(unusable("the Platform", problem));
    }
    Ok(found)
}

fn is_platform(document: &Value) -> bool {
    document["kind"] == platform::KIND && document["apiVersion"] == API_VERSION
}

fn check_mode(composition: &Value) -> Result<(), Error> {
    match composition["spec"]["mode"].as_str() {
        Some("Pipeline") => Ok(()),
        _ => Err(unusable(
            "the Composition",
            "spec.mode is not Pipeline; Crossplane before 2.0 would not call the function",
        )),
    }
}

/// What an earlier step makes under a name of ours, the function refuses in every reconcile.
fn check_earlier(earlier: &[Value], input: &Value) -> Result<(), Error> {
    let adopted = input["adopt"].as_object().into_iter().flatten();
    let adopted = adopted.filter(|(part, _)| ["s3", "vcluster", "rancher"].contains(&part.as_str()));
    let adopted: Vec<&str> = adopted.filter_map(|(_, name)| name.as_str()).collect();
    for step in earlier.iter().filter(|step| step["input"]["kind"] == PATCHES) {
        let resources = step["input"]["resources"].as_array().into_iter().flatten();
        let taken = |name: &&str| OURS.contains(name) || adopted.contains(name);
        if let Some(name) = resources.filter_map(|resource| resource["name"].as_str()).find(taken) {
            let step = step["step"].as_str().unwrap_or_default();
            let problem = format!(
                "step {step:?} makes resource {name:?} before ours, which it would refuse; take it out there: what exists \
                 goes on by adopt"
            );
            return Err(unusable("the Composition", problem));
        }
    }
    Ok(())
}

/// What is served, and why it should not be ordered; by the field it is about.
fn unwise(platform: &Platform) -> Vec<(&'static str, &'static str)> {
    let Platform { charts, images, store, encryption, rancher, limits, defaults, .. } = platform;
    let shared = |secret: &Option<String>| secret.as_ref().is_some_and(|secret| !secret.contains("{key}"));
    let sealed = !encryption.recipients.is_empty() || encryption.passphrase_secret.is_some();
    let http = |url: &Option<String>| url.as_ref().is_some_and(|url| url.starts_with("http://"));
    let upstream = charts.rancher_cluster.as_ref().is_some_and(|chart| forms::is_upstream_rancher(&chart.version));
    let kept = defaults.backup.retention.is_some();
    let loose = |image: &str| {
        let name = image.rsplit('/').next().unwrap_or(image);
        !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
    };
    let findings = [
        (
            shared(&encryption.identity_secret),
            "encryption.identitySecret",
            "one identity opens the backups of all vclusters, and it lies beside each one that is restored, where its \
             tenant can read it; write {key} into the name, and make one for each",
        ),
        (
            encryption.auto_restore && shared(&encryption.identity_secret),
            "encryption.autoRestore",
            "a lost disk brings the identity of all vclusters beside one of them without anybody being asked",
        ),
        (
            encryption.passphrase_secret.is_some(),
            "encryption.passphraseSecret",
            "the passphrase that opens the backups of all vclusters lies beside each of them for good, where its tenant can \
             read it; recipients need nothing there",
        ),
        (
            !sealed,
            "encryption.recipients",
            "none, so each claim must bring its own, and what is sealed for a tenant alone is lost with his identity; add \
             one of the platform's",
        ),
        (
            shared(&store.credentials_secret),
            "store.credentialsSecret",
            "with the same credentials each vcluster can overwrite the backups of all others; write {key} into the name, \
             and make some for each",
        ),
        (
            store.allow_delete,
            "store.allowDelete",
            "whoever steals the credentials of a vcluster can destroy its backups; leave their expiry to the bucket's \
             lifecycle rules, or keep versions of objects",
        ),
        (
            kept && !store.allow_delete && store.register == Register::Minio,
            "defaults.backup.retention",
            "nothing is removed by it without store.allowDelete; give the buckets lifecycle rules instead",
        ),
        (
            http(&store.endpoint),
            "store.endpoint",
            "without TLS whoever sits on the way sees which backups there are, and can hold them back; use https://",
        ),
        (upstream, "charts.rancherCluster.version", "the upstream chart registers k3s up to 0.32 alone; use our own"),
        (
            rancher.insecure,
            "rancher.insecure",
            "whoever answers for the server gets its token; name its CA in rancher.ca",
        ),
        (http(&rancher.url), "rancher.url", "the token travels in clear; use https://"),
        (
            charts.vcluster.upgrade == Upgrade::Always,
            "charts.vcluster.upgrade",
            "each edit of the Platform that reaches values restarts all API servers at once; OnEdit waits for their owners",
        ),
        (
            loose(&images.sidecar) || images.registration.as_deref().is_some_and(loose),
            "images",
            "an image without a version, or latest, is another one after each restart; write the version, or a digest",
        ),
        (
            defaults.deletion_policy == Some(DeletionPolicy::Delete),
            "defaults.deletionPolicy",
            "a claim that is deleted by mistake takes its backups with it; let the owner write Delete himself",
        ),
        (
            defaults.bootstrap == Some(Bootstrap::Empty),
            "defaults.bootstrap",
            "a vcluster that is ordered again after a loss starts empty beside the backups of its earlier life; leave it \
             out, and it asks",
        ),
        (
            defaults.distro == Some(Distro::K3s),
            "defaults.distro",
            "k3s ends with chart 0.32: each vcluster that begins on it has the step to k8s before it",
        ),
        (limits.max_storage.is_none(), "limits.maxStorage", "a tenant may order a volume of any size"),
    ];
    findings.into_iter().filter_map(|(found, path, why)| found.then_some((path, why))).collect()
}
