//! One suite for every store: what the sidecar asks of a store, asked of each. The stores that are programs of their own
//! are asked the same by `e2e/tests/stores.rs`.

use std::{io::Write, net::TcpListener, sync::Arc, time::Duration};

use vcluster_backup::store::{Access, Config, Fault, Patience, Store};

#[path = "common/conformance.rs"]
mod conformance;

#[tokio::test]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().expect("tempdir");
    let url = format!("file://{}/store", folder.path().display());
    let config = Config { url, ..Config::default() };
    let store = Store::open(&config, Access::Write).expect("opens");
    let conditional = conformance::conforms(&store).await;
    assert!(conditional, "a folder refuses what is there");
    // Nothing of an upload that was given up, nor of anything else, is left.
    let mut left = Vec::new();
    walk(&folder.path().join("store"), &mut left);
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for path in std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("entry").path()) {
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

#[tokio::test]
async fn memory_conforms() {
    let store = Store::over(Arc::new(object_store::memory::InMemory::new()), "memory:///");
    assert!(conformance::conforms(&store).await);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_no_repository_to_read() {
    let folder = tempfile::tempdir().expect("tempdir");
    let config = Config { url: format!("file://{}/absent", folder.path().display()), ..Config::default() };
    let error = Store::open(&config, Access::Read).expect_err("a mount may be missing");
    assert_eq!(error.exit_code(), 10);
}

/// How a server treats whoever asks.
#[derive(Clone, Copy, Debug)]
enum Manners {
    /// Takes the request and never answers.
    Silent,
    /// Begins an answer and never ends it.
    Trailing,
    /// Closes at once.
    Curt,
}

/// A server with bad manners; it lives as long as the test's process.
fn server(manners: Manners) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            match manners {
                Manners::Silent => held.push(stream),
                Manners::Trailing => {
                    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\netag: \"x\"\r\n\
                                 last-modified: Wed, 25 Nov 2026 18:00:00 GMT\r\n\r\nbegun";
                    let _ = stream.write_all(begun.as_bytes());
                    held.push(stream);
                }
                Manners::Curt => drop(stream),
            }
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_with_a_sentence() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for manners in [Manners::Silent, Manners::Trailing, Manners::Curt] {
        let patience = Patience {
            connect: Duration::from_millis(500),
            read: Duration::from_millis(200),
            tries: 2,
            try_for: Duration::from_secs(2),
        };
        let endpoint = Some(server(manners));
        let credentials = Some(("user".to_owned(), "hunter2".to_owned().into()));
        let config = Config { url: "s3://shop".into(), endpoint, credentials, patience, ..Config::default() };
        let store = Store::open(&config, Access::Write).expect("opens without asking");
        for asked in ["get", "list", "put"] {
            let outcome = match asked {
                "get" => store.get_small("v1/full/g/00000001.json").await.map(drop),
                "list" => store.list("v1").await.map(drop),
                _ => store.put_new("v1/check/x", bytes::Bytes::from_static(b"x")).await,
            };
            match outcome {
                // A beginning of an answer is an answer to a put, which reads no body.
                Ok(()) => assert!(matches!((asked, manners), ("put", Manners::Trailing)), "{asked} of {manners:?}"),
                Err(error) => {
                    let said = error.chain();
                    assert!(said.contains("the store does not answer"), "{asked} of {manners:?}: {said}");
                    assert!(!said.contains("hunter2"), "{said}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_machine_without_an_identity_is_told_to_give_credentials() {
    // Nobody listens where the metadata server would be; the token is asked for there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let patience = Patience { read: Duration::from_millis(200), tries: 1, ..Patience::default() };
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let mut config = Config { url: "az://shop".into(), patience, ..Config::default() };
    config.cloud.add("AZURE_STORAGE_ACCOUNT_NAME", "store".to_owned().into());
    config.cloud.add("AZURE_MSI_ENDPOINT", format!("http://127.0.0.1:{port}/").into());
    let store = Store::open(&config, Access::Read).expect("opens without asking");
    let error = store.list("v1").await.expect_err("nobody there");
    assert!(
        matches!(&error, vcluster_backup::Error::Store { fault: Fault::NoCredentials(_), .. }),
        "{}",
        error.chain()
    );
}
