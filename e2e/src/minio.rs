//! A MinIO server with its data in a folder of the story.

use std::path::Path;
use std::process::Command;

use crate::process::{Running, run};
use crate::tools;

/// A running store.
pub struct Minio {
    /// Held for its drop.
    _server: Running,
    /// `host:port` of its S3 interface.
    pub address: String,
}

/// The administrator: all that could upset a shell, a URL, a YAML or a JSON writer, as a person's password may.
pub const ADMIN_USER: &str = "adm in@store";
/// See [`ADMIN_USER`].
pub const ADMIN_PASSWORD: &str = r#"p@ss/w:o%r d "q\ $x'é"#;

impl Minio {
    /// Starts a server and waits until it answers.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &folder.join("no-certificates"))
    }

    /// The same over TLS, with a certificate nobody knows; also returns that certificate.
    ///
    /// # Panics
    /// When openssl cannot make one.
    #[must_use]
    pub fn start_tls(folder: &Path) -> (Self, String) {
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates).expect("a folder can be made");
        let public = certificates.join("public.crt");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store"]);
        openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]).arg(certificates.join("private.key"));
        let made = run(openssl.arg("-out").arg(&public), "");
        assert_eq!(made.code, 0, "cannot make a certificate with openssl: {}", made.err);
        (Self::start_with(folder, &certificates), std::fs::read_to_string(public).expect("readable"))
    }

    /// The same with a certificate that an authority of its own has signed; also returns that authority's.
    ///
    /// # Panics
    /// When the files cannot be written.
    #[must_use]
    pub fn start_signed(folder: &Path) -> (Self, String) {
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).expect("signed").pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &issuer).expect("signed").pem();
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates).expect("a folder can be made");
        for (name, content) in [("public.crt", certificate), ("private.key", key.serialize_pem())] {
            std::fs::write(certificates.join(name), content).expect("writable");
        }
        (Self::start_with(folder, &certificates), ca_certificate)
    }

    fn start_with(folder: &Path, certificates: &Path) -> Self {
        let (port, console) = (tools::free_port(), tools::free_port());
        let address = format!("127.0.0.1:{port}");
        let data = folder.join("minio");
        std::fs::create_dir_all(&data).expect("a folder can be made");
        let mut server = Running::start(
            "minio",
            folder,
            Command::new(tools::tool("minio"))
                .args(["server", "--quiet", "--address", &address, "--console-address"])
                .arg(format!("127.0.0.1:{console}"))
                .arg("--certs-dir")
                .arg(certificates)
                .arg(&data)
                // Nothing else: its many environment variables must not come from the outside.
                .env_clear()
                .env("HOME", folder)
                .env("MINIO_ROOT_USER", ADMIN_USER)
                .env("MINIO_ROOT_PASSWORD", ADMIN_PASSWORD)
                .env("MINIO_UPDATE", "off"),
        );
        server.wait_until("it listens", || std::net::TcpStream::connect(&address).is_ok());
        Self { _server: server, address }
    }
}
