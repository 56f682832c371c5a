//! A hand-written Composition, played: a function that always desires the same Releases. To Crossplane it is a function
//! like any other, so what it owns of them, and how they are called, is as real as with a template.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use function_sdk_rust::proto::v1::{
    Ready, RunFunctionRequest, RunFunctionResponse,
    function_runner_service_server::{FunctionRunnerService, FunctionRunnerServiceServer},
};
use function_sdk_rust::{request, resource, response};
use serde_json::{Value, json};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming};

use crate::yaml;

/// Serves on loopback until the story ends, over mTLS with the certificates in `certificates`. Of the Releases, which are
/// given as a cluster shows them, it desires what a Composition writes: no name, and nothing that others have added.
///
/// # Panics
/// When it cannot begin.
#[must_use]
pub fn serve(certificates: &Path, releases: Vec<Value>) -> SocketAddr {
    let read = |name: &str| std::fs::read(certificates.join(name)).expect("a certificate");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("tls.crt"), read("tls.key")))
        .client_ca_root(Certificate::from_pem(read("ca.crt")));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    // Err: it is installed already. There is a second one in this process, and rustls would not choose.
    _ = rustls::crypto::ring::default_provider().install_default();
    let (told, address) = std::sync::mpsc::channel();
    // Ends with the process, as Crossplane may call as long as it runs.
    let _ = std::thread::spawn(move || {
        runtime.block_on(async {
            let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
            told.send(incoming.local_addr().expect("bound")).expect("awaited");
            let service = FunctionRunnerServiceServer::new(ByHand { releases });
            let mut server = Server::builder().tls_config(tls).expect("usable certificates");
            server.add_service(service).serve_with_incoming(incoming).await.expect("served");
        });
    });
    address.recv().expect("it listens")
}

struct ByHand {
    releases: Vec<Value>,
}

#[tonic::async_trait]
impl FunctionRunnerService for ByHand {
    async fn run_function(
        &self,
        called: tonic::Request<RunFunctionRequest>,
    ) -> Result<tonic::Response<RunFunctionResponse>, tonic::Status> {
        let asked = called.into_inner();
        let mut answer = response::to(&asked, Duration::from_secs(10));
        for release in &self.releases {
            let name = yaml::resource_name(release).expect("a composed resource");
            let ready = resource::get_condition(request::observed_composed(&asked, name), "Ready").status == "True";
            let desired = response::desired_composed(&mut answer, name);
            resource::update(desired, &written(release)).expect("an object");
            resource::set_ready(desired, if ready { Ready::True } else { Ready::False });
        }
        Ok(tonic::Response::new(answer))
    }
}

/// What a Composition writes of it.
fn written(release: &Value) -> Value {
    json!({
        "apiVersion": release["apiVersion"],
        "kind": release["kind"],
        "metadata": {
            "annotations": { "crossplane.io/external-name": yaml::helm_name(release) },
            "labels": { "example.org/team": release["metadata"]["labels"]["example.org/team"] },
        },
        "spec": { "forProvider": release["spec"]["forProvider"] },
    })
}
