//! Our function as Crossplane's render commands meet it: a gRPC server without TLS.

use std::path::Path;
use std::process::Command;

use crate::process::Running;
use crate::tools;

/// A running function.
pub struct Function {
    /// Held for its drop.
    _server: Running,
    /// `host:port` it listens on.
    pub address: String,
}

impl Function {
    /// Starts the server and waits until it listens.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let address = format!("127.0.0.1:{}", tools::free_port());
        let mut server = Running::start(
            "function-vcluster",
            folder,
            Command::new(tools::ours("function-vcluster")).args(["--insecure", "--address", &address]),
        );
        server.wait_until("it listens", || std::net::TcpStream::connect(&address).is_ok());
        Self { _server: server, address }
    }
}
