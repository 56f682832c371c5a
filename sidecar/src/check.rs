//! `check`: tries everything a store is needed for, on a name of its own, and says in plain words what will not work and
//! what follows from that.

use bytes::Bytes;
use clap::Args;
use data_encoding::BASE32_NOPAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::Options,
    config::{self, Config},
    error::Error,
    keys::{Recipients, UNENCRYPTED},
    program::{OK, PARTIAL, print},
    sqlite,
    store::{Access, Fault, Store},
};

const FAILED: u8 = 1;
/// Signatures of most stores allow a quarter of an hour.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// How to look.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// As JSON, one finding a line.
    #[arg(long)]
    pub json: bool,
}

/// How a finding turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Backups work, something around them does not.
    Warning,
    /// Backups or restores will not work.
    Failed,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, in a word.
    pub name: &'static str,
    /// How it turned out.
    pub verdict: Verdict,
    /// What was found, and what follows.
    pub message: String,
}

/// The command.
///
/// # Errors
/// The settings cannot be used, or there is no store to ask.
pub(crate) async fn command(options: &Options, args: &CheckArgs) -> Result<u8, Error> {
    let config = Config::load(options, &config::process_environment)?;
    let place = config::place(options, &config::process_environment)?;
    let store = config.open_store(Access::Write)?;
    let mut findings = surroundings(&config, sqlite::find(&place.data_dir)?.is_some());
    findings.extend(probe(&store, &name()?).await);
    let text = findings.iter().map(|finding| if args.json { row_as_json(finding) } else { row(finding) });
    print(&text.collect::<String>())?;
    let worst = findings.iter().map(|finding| finding.verdict);
    Ok(if worst.clone().any(|v| v == Verdict::Failed) {
        FAILED
    } else if worst.clone().any(|v| v == Verdict::Warning) {
        PARTIAL
    } else {
        OK
    })
}

/// What the settings alone tell.
fn surroundings(config: &Config, database: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match &config.recipients {
        Some(Recipients::Nobody) => Finding::warning("key", UNENCRYPTED),
        Some(_) => Finding::ok("key", "there is a key to seal backups with"),
        None => Finding::failed("key", &Error::NoKey.to_string()),
    });
    if !database {
        let message = "there is no database in the data directory: nothing can be backed up from here";
        findings.push(Finding::warning("database", message));
    }
    let in_clear = config.store.as_ref().and_then(|s| s.endpoint.as_ref()).is_some_and(|e| e.starts_with("http://"));
    if in_clear {
        let message = "the endpoint is plain http: backups are sealed all the same, but names and times can be seen";
        findings.push(Finding::warning("transport", message));
    }
    findings
}

/// Tries everything, in the order in which one needs the other.
pub async fn probe(store: &Store, name: &str) -> Vec<Finding> {
    let (first, second) = (Bytes::from_static(b"vcluster-backup check"), Bytes::from_static(b"another"));
    let mut findings = Vec::new();
    if let Err(error) = store.put_new(name, first.clone()).await {
        let follows = "nothing can be backed up";
        findings.push(Finding::failed("put", &format!("{}: {follows}", error.chain())));
        // What follows could only be guessed at; a listing still tells whether restores can work.
        findings.push(listing(store, None).await.0);
        return findings;
    }
    findings.push(Finding::ok("put", "objects can be put"));
    findings.push(match store.get_small(name).await {
        Ok(bytes) if bytes == first => Finding::ok("get", "objects can be read back"),
        Ok(_) => Finding::failed("get", "an object reads back as other bytes: no restore would be possible"),
        Err(error) => Finding::failed("get", &format!("{}: no restore would be possible", error.chain())),
    });
    let (finding, modified) = listing(store, Some(name)).await;
    findings.push(finding);
    findings.extend(modified.and_then(clocks));
    findings.push(match store.put_new(name, second).await {
        Err(Error::Store { fault: Fault::Exists, .. }) => {
            Finding::ok("conditional put", "the store refuses to create what is there")
        }
        Ok(()) => Finding::warning(
            "conditional put",
            "the store lets an object be created twice: backups work, since their names are unique, but a second writer \
             is noticed by the next listing and not at once",
        ),
        Err(error) => Finding::warning("conditional put", &error.chain()),
    });
    findings.push(removal(store, name).await);
    findings
}

async fn listing(store: &Store, name: Option<&str>) -> (Finding, Option<Timestamp>) {
    let follows = "no backup can be found, so `run` cannot start and nothing can be restored";
    let listed = match store.list_objects("v1").await {
        Ok(listed) => listed,
        Err(error) => return (Finding::failed("list", &format!("{}: {follows}", error.chain())), None),
    };
    let Some(name) = name else { return (Finding::ok("list", "objects can be listed"), None) };
    match listed.into_iter().find(|object| object.key == name) {
        Some(object) => (Finding::ok("list", "objects can be listed"), Some(object.modified)),
        None => (Finding::failed("list", &format!("a listing does not show what was just put: {follows}")), None),
    }
}

fn clocks(modified: Timestamp) -> Option<Finding> {
    let apart = Timestamp::now().duration_since(modified).abs();
    (apart > CLOCKS_APART).then(|| {
        let message = format!("the store's clock and ours are {} s apart: requests may be refused", apart.as_secs());
        Finding::warning("clock", &message)
    })
}

async fn removal(store: &Store, name: &str) -> Finding {
    let follows = "retention has no effect, so let lifecycle rules of the bucket expire what is old";
    match store.delete(name).await {
        Err(error @ Error::Store { fault: Fault::Held(_), .. }) => {
            let follows = "retention removes what is old only when that is over";
            Finding::warning("delete", &format!("{}: {follows}; {name} is left behind", error.chain()))
        }
        Err(error) => Finding::warning("delete", &format!("{}: {follows}; {name} is left behind", error.chain())),
        Ok(()) => match store.get_small(name).await {
            Err(Error::Store { fault: Fault::NotFound, .. }) => Finding::ok("delete", "objects can be removed"),
            _ => Finding::warning("delete", &format!("a removed object is still there: {follows}")),
        },
    }
}

/// Below the prefix that policies for backups allow, where no reader looks; `prune` removes what is left there.
fn name() -> Result<String, Error> {
    let mut random = [0; 10];
    SystemRandom::new().fill(&mut random).map_err(|_| Error::Usage("the system has no random numbers".into()))?;
    Ok(format!("v1/check/{}", BASE32_NOPAD.encode(&random).to_ascii_lowercase()))
}

impl Finding {
    fn new(name: &'static str, verdict: Verdict, message: &str) -> Self {
        Self { name, verdict, message: message.to_owned() }
    }

    fn ok(name: &'static str, message: &str) -> Self {
        Self::new(name, Verdict::Ok, message)
    }

    fn warning(name: &'static str, message: &str) -> Self {
        Self::new(name, Verdict::Warning, message)
    }

    fn failed(name: &'static str, message: &str) -> Self {
        Self::new(name, Verdict::Failed, message)
    }
}

fn row(finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    };
    format!("{word:<8} {:<16} {}\n", finding.name, finding.message)
}

fn row_as_json(finding: &Finding) -> String {
    format!("{}\n", json!(finding))
}
