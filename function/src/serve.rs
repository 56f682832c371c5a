//! The gRPC server: both protocols with one implementation, health, reflection, mTLS.
//!
//! The SDK's own server speaks v1 only and takes no further services; its flags are kept, except the one for metrics,
//! which follow with the metrics themselves.

mod runner;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tonic::transport::{
    Certificate, Identity, Server as GrpcServer, ServerTlsConfig,
    server::{Router, TcpIncoming},
};
use tonic_health::ServingStatus;
use vcluster_proto::run_function::{
    FILE_DESCRIPTOR_SET_V1, FILE_DESCRIPTOR_SET_V1BETA1, SERVICE_V1, SERVICE_V1BETA1, V1Beta1,
};

use self::runner::Runner;
use crate::error::Error;

/// Requests hold every observed object, and observed CRs of a large platform pass gRPC's 4 MiB.
const MAX_RECV_BYTES: usize = 64 << 20;

/// The flags every Crossplane function has.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Emit debug logs
    #[arg(short, long, env = "DEBUG", value_parser = clap::builder::FalseyValueParser::new())]
    pub debug: bool,
    /// Address at which to listen for gRPC connections
    #[arg(long, default_value = "0.0.0.0:9443")]
    pub address: SocketAddr,
    /// Folder with tls.crt, tls.key and ca.crt: serve mTLS
    #[arg(long, env = "TLS_SERVER_CERTS_DIR", value_name = "DIR")]
    pub tls_certs_dir: Option<PathBuf>,
    /// Serve without mTLS; --tls-certs-dir is ignored then
    #[arg(long)]
    pub insecure: bool,
    /// Largest gRPC message to accept, in bytes
    #[arg(long, default_value_t = MAX_RECV_BYTES, value_name = "BYTES")]
    pub max_recv_message_size: usize,
}

/// A server that has its port and serves when told to.
pub struct Server {
    router: Router,
    incoming: TcpIncoming,
    address: SocketAddr,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// No or unusable certificates, or a port that is taken.
    pub async fn bind(args: &Args) -> Result<Self, Error> {
        let Args { debug: _, address, tls_certs_dir, insecure, max_recv_message_size } = args;
        install_crypto_provider();
        let mut builder = GrpcServer::builder();
        if !insecure {
            builder = builder.tls_config(tls(tls_certs_dir.as_deref().ok_or(Error::NoCredentials)?)?)?;
        }
        let router = routes(&mut builder, *max_recv_message_size).await?;
        let listen = |source| Error::Listen { address: *address, source };
        let incoming = TcpIncoming::bind(*address).map_err(listen)?.with_nodelay(Some(true));
        let address = incoming.local_addr().map_err(listen)?;
        tracing::info!(%address, insecure, "serving");
        Ok(Self { router, incoming, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is over, then answers what it has begun.
    ///
    /// # Errors
    /// The server failed.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        Ok(self.router.serve_with_incoming_shutdown(self.incoming, stop).await?)
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from serving.
pub async fn run(args: &Args) -> Result<(), Error> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Error::Signal)?;
    let server = Server::bind(args).await?;
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
    };
    server.serve(stop).await
}

async fn routes(builder: &mut GrpcServer, max_bytes: usize) -> Result<Router, Error> {
    let v1 = Runner { max_bytes };
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in ["", SERVICE_V1, SERVICE_V1BETA1] {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET_V1)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET_V1BETA1)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(builder
        .add_service(V1Beta1::new(v1.clone()))
        .add_service(v1)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// The SDK brings a second provider into the process, and rustls ends the process rather than choose between two.
fn install_crypto_provider() {
    // Err: it is installed already.
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// Crossplane proves who it is with a certificate of `ca.crt`; nobody else is served.
#[expect(clippy::disallowed_methods, reason = "certificates are files, read before anything is served")]
fn tls(dir: &Path) -> Result<ServerTlsConfig, Error> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|source| Error::ReadFile { path, source })
    };
    Ok(ServerTlsConfig::new()
        .identity(Identity::from_pem(read("tls.crt")?, read("tls.key")?))
        .client_ca_root(Certificate::from_pem(read("ca.crt")?))
        .client_auth_optional(false))
}
