//! One suite for every store: what the sidecar asks of a store, asked of each. The stores that are programs of their own
//! are asked the same by `e2e/tests/stores.rs`.

use std::{io::Write, net::TcpListener, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use vcluster_backup::store::{Access, Config, Fault, Patience, Store};

#[path = "common/conformance.rs"]
mod conformance;
#[path = "common/s3.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod s3;

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
async fn s3_in_this_process_conforms() {
    let folder = tempfile::tempdir().expect("tempdir");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = s3::S3::start(folder.path());
    let config = Config {
        url: format!("s3://{}/a/prefix", s3::BUCKET),
        endpoint: Some(server.endpoint.clone()),
        credentials: Some((s3::USER.to_owned(), s3::PASSWORD.to_owned().into())),
        ..Config::default()
    };
    let store = Store::open(&config, Access::Write).expect("opens without asking");
    assert!(conformance::conforms(&store).await, "it refuses what is there");

    // AWS takes into a bucket with a lock only what bears a digest in its header.
    server.refuse(&[s3::NO_PUT_WITHOUT_DIGEST]);
    let store = Store::open(&config, Access::Write).expect("opens without asking");
    assert!(conformance::conforms(&store).await, "it refuses what is there");
    server.refuse(&[s3::Refusal { unless: None, ..s3::NO_PUT_WITHOUT_DIGEST }]);
    let said = store.put_new("v1/check/x", bytes::Bytes::from_static(b"x")).await.expect_err("whatever it is given");
    assert!(said.to_string().contains("wants a digest"), "{said}");
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

/// A server behind this certificate, to whom nothing is there.
fn tls_server(chain: Vec<CertificateDer<'static>>, key: &rcgen::KeyPair) -> String {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    format!("https://{address}")
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_told_with_its_remedy() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = |is_ca: rcgen::IsCa, name: &str| {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.is_ca = is_ca;
        params.self_signed(&key).expect("signed")
    };
    let authority = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let cases = [
        (made(authority, "127.0.0.1"), true, Some("give the server one with basicConstraints CA:FALSE")),
        (made(rcgen::IsCa::ExplicitNoCa, "127.0.0.1"), false, Some("by --ca-file or store.ca")),
        (made(rcgen::IsCa::ExplicitNoCa, "store.example.org"), true, Some("name the store as the certificate does")),
        (made(rcgen::IsCa::ExplicitNoCa, "127.0.0.1"), true, None),
    ];
    for (certificate, trusted, remedy) in cases {
        let endpoint = Some(tls_server(vec![certificate.der().clone()], &key));
        let ca = trusted.then(|| certificate.pem());
        let credentials = Some(("user".to_owned(), "hunter2".to_owned().into()));
        let patience = Patience { tries: 1, ..Patience::default() };
        let config = Config { url: "s3://shop".into(), endpoint, ca, credentials, patience, ..Config::default() };
        let store = Store::open(&config, Access::Read).expect("opens without asking");
        let said = store.get_small("v1/full/g/00000001.json").await.expect_err("nothing is there").chain();
        match remedy {
            Some(remedy) => assert!(said.contains("certificate is not accepted") && said.contains(remedy), "{said}"),
            None => assert!(said.contains("there is no such object"), "{said}"),
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
