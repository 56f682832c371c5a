//! From a command line to an exit code: the commands that run once, and the way into those that stay.

use std::{collections::BTreeSet, ffi::OsString, io::Write, process::ExitCode, time::Duration};

use clap::Parser;
use serde_json::json;

use crate::{
    backup,
    catalog::{At, Catalog, Trust},
    check,
    cli::{Cli, Command, Options, RestoreArgs, RunArgs},
    config::{self, Config},
    control,
    error::Error,
    install::{self, Cancel},
    keys, legacy,
    manifest::Signed,
    overview,
    progress::Bar,
    prune,
    report::Report,
    requests::Ledger,
    restore::{self, Outcome, Purpose},
    run, serve, signal, sqlite, start,
    store::{self, Access, Store},
    verify,
};

pub(crate) const OK: u8 = 0;
/// Something could be read, something could not.
pub(crate) const PARTIAL: u8 = 3;
/// From the signal to the end of a command that runs once.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(2);
/// What is half in the store is taken out of it again, if that is soon done.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// Runs the program with this command line, the first being its own name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (arguments, given) = legacy::flags::translate(arguments);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, usage is exit code 2; clap knows.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    log_to_stderr(cli.debug);
    for flag in given.secrets() {
        tracing::warn!(
            "{flag} has a secret on the command line, which everybody on this machine can read; the environment is a better place"
        );
    }
    given.keep();
    // One crypto library for the whole program; a second call finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::Usage(format!("cannot start: {error}"))),
    };
    let outcome = runtime.block_on(async {
        let outcome = dispatch(cli).await;
        store::settle(SETTLE_WITHIN).await;
        outcome
    });
    // A copy still under way in a blocking thread must not hold up the way out.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "vcluster-backup: {}", error.chain());
    ExitCode::from(error.exit_code())
}

async fn dispatch(cli: Cli) -> Result<u8, Error> {
    let options = config::in_pod(cli.options.without_empty());
    let nameless = || RunArgs::of_environment().map_err(|error| Error::Usage(error.to_string()));
    match cli.command.map_or_else(|| nameless().map(Command::Run), Ok)? {
        Command::Run(args) => run::run(options, &args).await.map(|()| OK),
        Command::Keygen { output } => print(&keys::keygen(output.as_deref())?),
        Command::Restore(args) if args.init => start::init(&options, &args).await.map(|()| OK),
        command => {
            let (mut stop, cancel) = (signal::Stop::listen()?, Cancel::default());
            let mut work = std::pin::pin!(once(command, &options, &cancel));
            tokio::select! {
                outcome = &mut work => outcome,
                // What is past its rename still ends well; what is not cleans up.
                () = stop.wait() => {
                    cancel.ask();
                    tokio::time::timeout(CLEAN_UP_WITHIN, work).await.unwrap_or(Err(Error::Interrupted))
                }
            }
        }
    }
}

async fn once(command: Command, options: &Options, cancel: &Cancel) -> Result<u8, Error> {
    match command {
        Command::Backup { json } => back_up(options, json).await,
        Command::List { json } => list(options, json).await,
        Command::Restore(args) => restore(options, &args, cancel).await,
        Command::Verify(args) => verify::command(options, &args, cancel).await,
        Command::Prune(args) => prune::command(options, &args).await,
        Command::Check(args) => check::command(options, &args).await,
        Command::Status(args) => overview::command(options, &args).await,
        Command::Run(_) | Command::Keygen { .. } => Ok(OK),
    }
}

async fn back_up(options: &Options, json: bool) -> Result<u8, Error> {
    let place = config::place(options, &config::process_environment)?;
    // First of all: in a pod nothing but the sidecar knows the settings, and a second writer would be in its way.
    if let Some(answer) = control::ask(&place, options.store.as_deref()).await? {
        if answer.code != OK {
            return Err(Error::Sidecar { code: answer.code, message: answer.message });
        }
        return print(&describe_backup(&answer, json));
    }
    let config = Config::load(options, &config::process_environment)?;
    if config.recipients.is_none() {
        return Err(Error::NoKey);
    }
    if sqlite::find(&place.data_dir)?.is_none() {
        return Err(Error::no_database(&place.data_dir));
    }
    if config.seals_for_nobody() {
        tracing::warn!("{}", keys::UNENCRYPTED);
    }
    // The store first: a command that fails there leaves no trace on the data volume.
    let store = config.open_store(Access::Write)?;
    let trust = config.trust(options, &place.data_dir, &report_of(options, &config)).await?;
    let catalog = Catalog::load_for_writer(&store, &trust, &config.cluster).await?;
    let bar = Bar::sending("backing up");
    let signed = backup::once(&config, &catalog, &trust, &store, &place).await?;
    drop(bar);
    print(&describe_backup(&control::Answer::of_backup(&run::point(&signed), false), json))
}

fn describe_backup(answer: &control::Answer, json: bool) -> String {
    if json {
        let row = json!({
            "id": answer.id, "kind": answer.kind, "sizeBytes": answer.size_bytes, "revision": answer.revision,
            "unchanged": answer.unchanged,
        });
        return format!("{row}\n");
    }
    let since = if answer.unchanged { ", nothing has changed since" } else { "" };
    format!("{} {} revision {}{since}\n", answer.id, size(answer.size_bytes), answer.revision)
}

async fn list(options: &Options, json: bool) -> Result<u8, Error> {
    let config = Config::for_reading(options, &config::process_environment)?;
    let place = config::place(options, &config::process_environment)?;
    let store = config.open_store(Access::Read)?;
    let mut catalog = Catalog::load(&store).await?;
    let copies = legacy::copies(&store).await?;
    if catalog.entries.is_empty() && catalog.rejected.is_empty() && copies.is_empty() {
        return Err(Error::NoRepository { store: store.url().to_owned() });
    }
    catalog.entries.sort_by_key(|e| (e.manifest.time, e.manifest.id()));
    let trust = config.trust(options, &place.data_dir, &report_of(options, &config)).await?;
    let mut text = String::new();
    if !json && catalog.entries.len() + copies.len() > 0 {
        text.push_str(&format!(
            "{:<43} {:<20} {:<5} {:>10} {:>10}  {}\n",
            "ID", "TIME", "KIND", "SIZE", "REVISION", "SIGNED BY"
        ));
    }
    for copy in &copies {
        text.push_str(&if json { copy.row_as_json() } else { copy.row() });
    }
    for signed in &catalog.entries {
        text.push_str(&if json { row_as_json(signed, &trust) } else { row(signed, &trust) });
    }
    print(&text)?;
    for why in &catalog.rejected {
        let _ = writeln!(std::io::stderr(), "vcluster-backup: {why}");
    }
    Ok(if catalog.rejected.is_empty() { OK } else { PARTIAL })
}

fn row(signed: &Signed, trust: &Trust) -> String {
    let m = &signed.manifest;
    let signer = if trust.covers(&signed.signer) {
        "a trusted key".to_owned()
    } else {
        format!("{}, not trusted", signed.signer)
    };
    let open = if m.unencrypted { ", NOT ENCRYPTED" } else { "" };
    let time = m.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    format!(
        "{:<43} {time:<20} {:<5} {:>10} {:>10}  {signer}{open}\n",
        m.id(),
        m.kind.as_str(),
        size(m.data.size),
        m.revision
    )
}

fn row_as_json(signed: &Signed, trust: &Trust) -> String {
    let m = &signed.manifest;
    let row = json!({
        "id": m.id(), "time": m.time, "kind": m.kind, "sizeBytes": m.data.size, "revision": m.revision,
        "cluster": m.cluster, "uid": m.uid, "signer": signed.signer, "trusted": trust.covers(&signed.signer),
        "encrypted": !m.unencrypted,
    });
    format!("{row}\n")
}

async fn restore(options: &Options, args: &RestoreArgs, cancel: &Cancel) -> Result<u8, Error> {
    let config = Config::for_reading(options, &config::process_environment)?;
    let place = config::place(options, &config::process_environment)?;
    let report = report_of(options, &config);
    if let Some(path) = install::roll_forward(&place.data_dir)? {
        tracing::warn!("a restore that was cut short has been brought to its end: {} is in place", path.display());
    }
    if let Some(id) = &args.request_id
        && let Some(outcome) = Ledger::load(&place.data_dir)?.outcome(id)
    {
        return print(&format!("request {id} was served at {}; nothing to do\n", outcome.at));
    }
    if args.output.is_none()
        && let Some((path, _)) = sqlite::find(&place.data_dir)?
    {
        if args.if_db_not_exists {
            return print(&format!("{} exists; nothing to do\n", path.display()));
        }
        if !args.force && !args.dry_run {
            return Err(Error::Exists {
                path,
                remedy: "add --force to replace it (it is kept beside), or --output FILE",
            });
        }
    }
    if let At::Id(name) = &args.at
        && legacy::is_name(name)
    {
        return legacy::restore(options, args, &config, &place, name).await;
    }
    let (store, catalog) = match open_catalog(&config).await {
        Err(Error::NoRepository { .. }) if args.if_replica_exists => {
            return print("there are no backups; nothing to do\n");
        }
        other => other?,
    };
    let trust = config.trust(options, &place.data_dir, &report).await?;
    let pin = start::known(&report, &config).await?.and_then(|status| status.newest);
    let chosen = choose(&catalog, args, &trust, &config)?;
    if args.at == At::Latest {
        start::check_pin(&catalog, pin.as_ref(), store.url())?;
    }
    let chain = catalog.chain(&chosen)?;
    if args.dry_run {
        return print(&describe("would restore", &chosen));
    }
    let identities = config::identities(options, &config::process_environment)?;
    let bytes = chain.iter().map(|link| link.manifest.data.size).sum();
    let bar = Bar::receiving("restoring", bytes, "checking");
    let fetched = restore::fetch(&store, &chain, &identities, &place.spool_dir, cancel.clone()).await?;
    let purpose = Purpose {
        seen: catalog.highest_revision(&trust).max(pin.map_or(0, |p| p.revision)),
        request: args.request_id.clone(),
        clone: false,
        served: serve::served(&catalog, &trust, &config.cluster),
    };
    let output = args.output.clone();
    let data_dir = place.data_dir.clone();
    let outcome = crate::blocking(move || match output {
        Some(path) => fetched.into_file(&path),
        None => fetched.into_data_dir(&data_dir, &purpose),
    })
    .await?;
    drop(bar);
    if let Some(id) = &args.request_id {
        Ledger::record(&place.data_dir, id, &serve::succeeded(&outcome))?;
    }
    print(&if args.json { outcome_as_json(&outcome, &chosen) } else { describe_outcome(&outcome, &chosen) })
}

async fn open_catalog(config: &Config) -> Result<(Store, Catalog), Error> {
    let store = config.open_store(Access::Read)?;
    let catalog = Catalog::load(&store).await?;
    if catalog.entries.is_empty() {
        return Err(Error::NoRepository { store: store.url().to_owned() });
    }
    Ok((store, catalog))
}

/// An id may be anybody's; `latest` and a time mean this cluster's own. A file of its own endangers nobody: there a
/// signer nobody trusts is shown, not judged.
fn choose(catalog: &Catalog, args: &RestoreArgs, trust: &Trust, config: &Config) -> Result<Signed, Error> {
    let own = match args.at {
        At::Id(_) => catalog.clone(),
        At::Latest | At::Time(_) => catalog.filter(|e| config.cluster.owns(&e.manifest)),
    };
    let chosen = match own.select(&args.at, trust) {
        Err(Error::Untrusted { .. }) if args.output.is_some() => own.select(&args.at, &Trust::Any)?,
        Err(Error::NoRepository { store }) => {
            let others: BTreeSet<_> = catalog.entries.iter().map(|e| e.manifest.cluster.as_str()).collect();
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            let window = format!("it holds backups of other lives or clusters ({others}); name one by --at ID");
            return Err(Error::NoSuchPoint { at: "of this cluster".into(), store, window });
        }
        other => other?,
    };
    Ok(chosen.clone())
}

fn report_of(options: &Options, config: &Config) -> Report {
    config::report(options, Some(&config.cluster), &config::process_environment)
}

fn describe(verb: &str, signed: &Signed) -> String {
    let m = &signed.manifest;
    format!("{verb} {} of {}, {}, signed by {}\n", m.id(), m.time, size(m.data.size), signed.signer)
}

fn describe_outcome(outcome: &Outcome, signed: &Signed) -> String {
    let revision = outcome
        .revision
        .map(|r| format!("it begins at revision {r}; clients of before will list anew\n"))
        .unwrap_or_default();
    format!(
        "{}{} is in place, {}, sound\n{revision}",
        describe("restored", signed),
        outcome.path.display(),
        size(outcome.size_bytes)
    )
}

fn outcome_as_json(outcome: &Outcome, signed: &Signed) -> String {
    let row = json!({
        "id": outcome.point, "path": outcome.path, "sizeBytes": outcome.size_bytes, "revision": outcome.revision,
        "pkiFiles": outcome.pki_files, "remarks": outcome.remarks, "time": signed.manifest.time, "signer": signed.signer,
    });
    format!("{row}\n")
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A reader that has gone away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<u8, Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::file("write to", "standard output".as_ref())(e))
        }
        _ => Ok(OK),
    }
}

fn log_to_stderr(debug: bool) {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(if debug { "warn,vcluster_backup=debug" } else { "warn,vcluster_backup=info" })
    });
    // A log that cannot be written is no reason to end.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second subscriber in one process (tests) is no reason to stop.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
