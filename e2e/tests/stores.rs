//! The sidecar's stores that are programs of their own: each is asked what `sidecar/tests/stores.rs` asks of a folder, and
//! then the sidecar lives on it for a while.

use std::io::{BufRead as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use e2e::gcs::{self, Gcs};
use e2e::minio::{ADMIN_PASSWORD, ADMIN_USER, Minio};
use e2e::process::{Running, run};
use e2e::tools;
use jiff::Timestamp;
use serde_json::json;
use vcluster_backup::store::{Access, Config, Store};

#[path = "../../sidecar/tests/common/conformance.rs"]
mod conformance;

const BUCKET: &str = "shop";

/// `mc` as the store's administrator.
fn mc(folder: &Path, store: &Minio, scheme: &str, arguments: &[&str]) {
    let config = folder.join("mc");
    let ask = |arguments: &[&str], input: &str| {
        let mut mc = Command::new(tools::tool("mc"));
        run(mc.arg("--insecure").arg("--config-dir").arg(&config).args(arguments), input).ok()
    };
    let url = format!("{scheme}://{}", store.address);
    let _ = ask(&["alias", "set", "store", &url], &format!("{ADMIN_USER}\n{ADMIN_PASSWORD}\n"));
    let _ = ask(arguments, "");
}

/// Asks the whole suite of an empty store.
fn conforms(config: &Config) -> bool {
    asked(async { conformance::conforms(&Store::open(config, Access::Write).expect("opens without asking")).await })
}

fn asked<T>(questions: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    // One crypto library for the process; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(questions)
}

/// What a store says that does not take these credentials.
fn refusal(config: &Config) -> String {
    asked(async {
        let store = Store::open(config, Access::Read).expect("opens without asking");
        store.list("v1").await.expect_err("refused").chain()
    })
}

/// Backs up, lists, proves, prunes and restores, as the pod does: keys are files of the config folder.
fn lives_on(folder: &Path, settings: &serde_json::Value, keys: &[(&str, &str)]) {
    for name in ["config/settings", "config/s3", "config/key", "data", "spool"] {
        std::fs::create_dir_all(folder.join(name)).expect("writable");
    }
    let program = tools::ours("vcluster-backup");
    let identity = folder.join("identity");
    let recipient = run(Command::new(&program).args(["keygen", "-o"]).arg(&identity), "").ok();
    let document = json!({
        "apiVersion": "vcluster.fn.crossplane.io/v1alpha1", "kind": "BackupSettings",
        "cluster": {"key": "shop"}, "backup": {"recipients": [recipient.trim()]}, "store": settings,
    });
    std::fs::write(folder.join("config/settings/settings.yaml"), document.to_string()).expect("writable");
    for (name, value) in keys {
        std::fs::write(folder.join("config/s3").join(name), value).expect("writable");
    }
    let sidecar = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).env_clear();
        for (flag, name) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
            command.arg(flag).arg(folder.join(name));
        }
        let said = run(&mut command, "");
        for (_, secret) in keys {
            assert!(!said.all().contains(secret), "{said:?}");
        }
        // `check` warns of plain http by its exit code.
        assert!(said.code == 0 || (arguments == ["check"] && said.code == 3), "{said:?}");
        said.out
    };
    let database = rusqlite::Connection::open(folder.join("data/state.db")).expect("SQLite");
    database.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (n)").expect("written");
    for _ in 0..3 {
        // Enough to go in parts.
        database.execute_batch("INSERT INTO t VALUES (randomblob(9000000))").expect("written");
        let _ = sidecar(&["backup"]);
    }
    let checked = sidecar(&["check"]);
    assert!(!checked.contains("FAILED") && checked.contains("ok       delete"), "{checked}");
    let identity = identity.display().to_string();
    assert!(sidecar(&["verify", "--read-data", "--identity", &identity]).contains("proven by a restore"));
    let pruned = sidecar(&["prune", "--keep-last", "1", "--json"]);
    let sums: serde_json::Value = serde_json::from_str(pruned.lines().last().expect("sums")).expect("JSON");
    assert_eq!((&sums["refused"], &sums["held"]), (&json!(null), &json!(0)), "{pruned}");
    let copy = folder.join("copy.db");
    let _ = sidecar(&["restore", "--identity", &identity, "--output", &copy.display().to_string()]);
    let copy = rusqlite::Connection::open(copy).expect("SQLite");
    let rows: i64 = copy.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).expect("restored");
    assert_eq!(rows, 3);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn minio_over_tls_with_a_certificate_of_its_own_and_no_region() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let (store, ca) = Minio::start_signed(folder);
    mc(folder, &store, "https", &["mb", &format!("store/{BUCKET}")]);
    let endpoint = format!("https://{}", store.address);
    let config = Config {
        url: format!("s3://{BUCKET}/a/prefix"),
        endpoint: Some(endpoint.clone()),
        ca: Some(ca.clone()),
        credentials: Some((ADMIN_USER.to_owned(), ADMIN_PASSWORD.to_owned().into())),
        ..Config::default()
    };
    assert!(conforms(&config), "MinIO refuses what is there");
    let settings = json!({"url": format!("s3://{BUCKET}/another"), "endpoint": endpoint, "ca": ca});
    lives_on(folder, &settings, &[("s3accesskey", ADMIN_USER), ("s3secretkey", ADMIN_PASSWORD)]);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn azurite() {
    /// Every emulator of Azure has this account.
    const ACCOUNT: &str = "devstoreaccount1";
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let program = tools::folder().join("azurite-blob");
    if !program.exists() {
        eprintln!("SKIPPED: azurite-blob is not there; e2e/tools/build installs it where npm is");
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let port = tools::free_port();
    let address = format!("127.0.0.1:{port}");
    let mut server = Running::start(
        "azurite",
        folder,
        Command::new(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"])
            .arg(folder)
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]),
    );
    server.wait_until("it listens", || TcpStream::connect(&address).is_ok());
    make_container(&address, ACCOUNT, KEY);
    let endpoint = format!("http://{address}/{ACCOUNT}");
    let config = Config {
        url: format!("az://{BUCKET}/a/prefix"),
        endpoint: Some(endpoint.clone()),
        credentials: Some((ACCOUNT.to_owned(), KEY.to_owned().into())),
        ..Config::default()
    };
    assert!(conforms(&config), "Azure refuses what is there");
    let settings = json!({"url": format!("az://{BUCKET}/another"), "endpoint": endpoint});
    lives_on(folder, &settings, &[("AZURE_STORAGE_ACCOUNT_KEY", KEY)]);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn google_cloud_storage() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let store = Gcs::start(folder, BUCKET);
    let endpoint = format!("http://{}", store.address);
    let with = |key: &str| {
        let url = format!("gs://{BUCKET}/a/prefix");
        let mut config = Config { url, endpoint: Some(endpoint.clone()), ..Config::default() };
        config.cloud.add("GOOGLE_SERVICE_ACCOUNT_KEY", key.to_owned().into());
        config
    };
    assert!(conforms(&with(&store.key)), "Google refuses what is there");
    let said = refusal(&with(&gcs::withdrawn_key()));
    assert!(said.contains("the store refuses the credentials"), "{said}");
    let settings = json!({"url": format!("gs://{BUCKET}/another"), "endpoint": endpoint});
    lives_on(folder, &settings, &[("GOOGLE_SERVICE_ACCOUNT_KEY", &store.key)]);
}

/// A container is made by a signed request, which the sidecar never sends.
fn make_container(address: &str, account: &str, key: &str) {
    let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = "2021-12-02";
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{account}/{account}/{BUCKET}\nrestype:container"
    );
    let key = data_encoding::BASE64.decode(key.as_bytes()).expect("base64");
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), signed.as_bytes());
    let authorization = format!("SharedKey {account}:{}", data_encoding::BASE64.encode(tag.as_ref()));
    let headers = [("x-ms-date", &*date), ("x-ms-version", version), ("authorization", &*authorization)];
    request(address, &format!("PUT /{account}/{BUCKET}?restype=container"), &headers, "");
}

/// One request, which must succeed.
fn request(address: &str, line: &str, headers: &[(&str, &str)], body: &str) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    // The first line tells; some servers keep the connection open whatever they are asked.
    let mut answer = String::new();
    let _ = std::io::BufReader::new(stream).read_line(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}
