//! Our function as Crossplane meets it: a gRPC server, without TLS for the render commands and with it for the core.

use std::path::Path;
use std::process::Command;

use crate::process::Running;
use crate::tools;

/// A running function.
pub struct Function {
    server: Running,
    /// `host:port` it listens on.
    pub address: String,
}

impl Function {
    /// Starts the server and waits until it listens.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &["--insecure"])
    }

    /// The same over mTLS, with the certificates in `certificates`; it tells of every answer.
    #[must_use]
    pub fn start_with_tls(folder: &Path, certificates: &Path) -> Self {
        Self::start_with(folder, &["--debug", "--tls-certs-dir", &certificates.display().to_string()])
    }

    fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", tools::free_port());
        let mut server = Running::start(
            "function-vcluster",
            folder,
            Command::new(tools::ours("function-vcluster")).args(["--address", &address]).args(arguments),
        );
        server.wait_until("it listens", || std::net::TcpStream::connect(&address).is_ok());
        Self { server, address }
    }

    /// How often it has answered, when it was started to tell.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.server.log().matches("answered").count()
    }
}
