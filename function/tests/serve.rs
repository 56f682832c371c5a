//! One real server on a loopback port, driven as Crossplane and its CLIs drive it.
#![allow(clippy::disallowed_methods, reason = "tests read and write files")]

mod common;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    task::{Context, Poll},
};

use common::{World, names, now};
use function_sdk_rust::proto::v1::{RunFunctionRequest, function_runner_service_client::FunctionRunnerServiceClient};
use function_vcluster::serve::{Args, Server};
use futures::{StreamExt, stream};
use prost::Message;
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Code,
    body::Body,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tower_service::Service;
use vcluster_proto::run_function::{SERVICE_V1, SERVICE_V1BETA1};

/// A running server; stopped as SIGTERM would.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), function_vcluster::error::Error>>,
}

fn args() -> Args {
    Args {
        debug: false,
        address: "127.0.0.1:0".parse().expect("an address"),
        tls_certs_dir: None,
        insecure: true,
        max_recv_message_size: 64 << 20,
    }
}

impl Running {
    async fn start(args: &Args) -> Self {
        let server = Server::bind(args).await.expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let address = server.address();
        let done = tokio::spawn(server.serve(async move { _ = stopped.await }));
        Self { address, stop, done }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).expect("a URI");
        endpoint.connect().await.expect("connected")
    }

    async fn end(self) {
        self.stop.send(()).expect("still running");
        self.done.await.expect("no panic").expect("a clean end");
    }
}

/// Calls v1beta1 with the v1 client, as a Crossplane of 1.14 to 1.16 would.
#[derive(Clone)]
struct Older(Channel);

impl Service<http::Request<Body>> for Older {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let uri = request.uri().to_string().replace("proto.v1.", "proto.v1beta1.");
        *request.uri_mut() = uri.parse().expect("a URI");
        Service::call(&mut self.0, request)
    }
}

#[tokio::test]
async fn both_protocols_give_the_answer_of_the_core() {
    let server = Running::start(&args()).await;
    let channel = server.channel().await;
    let bad = World::new().with(|w| w.xr["spec"]["backup"]["interval"] = json!("often"));
    for world in [World::new(), World::ready(), bad] {
        let (request, want) = (world.request(), common::answer(&world.request(), now()));
        let v1 = FunctionRunnerServiceClient::new(channel.clone()).run_function(request.clone()).await;
        assert_eq!(v1.expect("the RPC succeeds, whatever is asked").into_inner(), want);
        let v1beta1 = FunctionRunnerServiceClient::new(Older(channel.clone())).run_function(request).await;
        assert_eq!(v1beta1.expect("the RPC succeeds, whatever is asked").into_inner(), want);
    }
    server.end().await;
}

/// A request that is `bytes` long on the wire, most of it one observed ConfigMap of somebody else.
fn request_of(bytes: usize) -> RunFunctionRequest {
    let with = |length: usize| {
        let mut world = World::new();
        let big = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"big": "x".repeat(length)}});
        world.observed.push(("big".to_owned(), big));
        world.request()
    };
    // Lengths before the text grow with it, so the second guess is exact.
    let guess = bytes - with(bytes).encoded_len().abs_diff(bytes);
    let request = with(guess);
    assert_eq!(request.encoded_len(), bytes);
    request
}

#[tokio::test]
async fn requests_may_be_larger_than_grpcs_default_and_no_larger_than_told() {
    const GRPC_DEFAULT: usize = 4 << 20;
    let server = Running::start(&args()).await;
    let channel = server.channel().await;
    for bytes in [GRPC_DEFAULT, GRPC_DEFAULT + 1, 4 * GRPC_DEFAULT] {
        let mut client = FunctionRunnerServiceClient::new(channel.clone());
        let answer = client.run_function(request_of(bytes)).await.expect("accepted").into_inner();
        assert!(answer.results.is_empty(), "{bytes}: {:?}", answer.results);
        assert_eq!(names(&answer), ["s3", "vcluster"], "{bytes}");
        assert!(answer.encoded_len() < GRPC_DEFAULT, "Crossplane takes no larger answer");
    }
    server.end().await;

    let limit = 1 << 20;
    let server = Running::start(&Args { max_recv_message_size: limit, ..args() }).await;
    for older in [false, true] {
        let channel = server.channel().await;
        let call = async |request: RunFunctionRequest| match older {
            false => FunctionRunnerServiceClient::new(channel.clone()).run_function(request).await,
            true => FunctionRunnerServiceClient::new(Older(channel.clone())).run_function(request).await,
        };
        let refused = call(request_of(limit + 1)).await.expect_err("too large");
        assert_eq!(refused.code(), Code::OutOfRange);
        // A person reads this in the conditions of the XR.
        assert!(refused.message().contains(&limit.to_string()), "{refused}");
        let answer = call(request_of(limit)).await.expect("the same connection goes on").into_inner();
        assert!(answer.results.is_empty(), "{:?}", answer.results);
    }
    server.end().await;
}

#[tokio::test]
async fn health_knows_the_server_and_both_services() {
    let server = Running::start(&args()).await;
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", SERVICE_V1, SERVICE_V1BETA1] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.expect(service);
        assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32, "{service:?}");
    }
    let unknown = client.check(HealthCheckRequest { service: "unknown".to_owned() }).await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::NotFound);
    server.end().await;
}

/// The same questions for both versions of the reflection API, which differ in their package alone.
macro_rules! reflection_lists_and_describes {
    ($channel:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($channel);
        let questions = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol(SERVICE_V1.to_owned()),
            MessageRequest::FileContainingSymbol(SERVICE_V1BETA1.to_owned()),
            MessageRequest::FileContainingSymbol("apiextensions.fn.proto.v1beta1.RunFunctionRequest".to_owned()),
        ];
        let requests =
            questions.map(|question| ServerReflectionRequest { host: String::new(), message_request: Some(question) });
        let answers = client.server_reflection_info(stream::iter(requests)).await.expect("answered").into_inner();
        let answers: Vec<_> = answers.map(|answer| answer.expect("no error").message_response).collect().await;
        let Some(MessageResponse::ListServicesResponse(services)) = &answers[0] else { panic!("{answers:?}") };
        let services: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
        for service in [SERVICE_V1, SERVICE_V1BETA1, "grpc.health.v1.Health"] {
            assert!(services.contains(&service), "{service} in {services:?}");
        }
        for answer in &answers[1..] {
            let Some(MessageResponse::FileDescriptorResponse(file)) = answer else { panic!("{answer:?}") };
            assert!(!file.file_descriptor_proto.is_empty());
        }
    }};
}

#[tokio::test]
async fn reflection_describes_both_services_in_both_its_versions() {
    let server = Running::start(&args()).await;
    let channel = server.channel().await;
    reflection_lists_and_describes!(channel.clone(), v1);
    reflection_lists_and_describes!(channel, v1alpha);
    server.end().await;
}

/// A throw-away CA and what it signs.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate for `localhost` and its key, as PEM.
    fn sign(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn with_certificates_only_who_bears_one_of_the_ca_is_served() {
    let dir = std::env::temp_dir().join(format!("function-vcluster-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let (ca, strangers) = (Authority::new(), Authority::new());
    let (certificate, key) = ca.sign();
    for (name, content) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca.certificate.pem())] {
        std::fs::write(dir.join(name), content).expect("written");
    }
    let server = Running::start(&Args { insecure: false, tls_certs_dir: Some(dir.clone()), ..args() }).await;
    let call = async |identity: Option<(String, String)>| {
        let mut tls =
            ClientTlsConfig::new().domain_name("localhost").ca_certificate(Certificate::from_pem(ca.certificate.pem()));
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Channel::from_shared(format!("https://{}", server.address)).expect("a URI");
        let channel = endpoint.tls_config(tls).expect("a configuration").connect().await.map_err(|e| e.to_string())?;
        let mut client = FunctionRunnerServiceClient::new(channel);
        client.run_function(RunFunctionRequest::default()).await.map_err(|e| e.to_string())
    };
    assert!(call(Some(ca.sign())).await.is_ok(), "Crossplane");
    assert!(call(None).await.is_err(), "nobody");
    assert!(call(Some(strangers.sign())).await.is_err(), "a stranger");
    let plain = Channel::from_shared(format!("http://{}", server.address)).expect("a URI").connect().await;
    if let Ok(channel) = plain {
        let answer = FunctionRunnerServiceClient::new(channel).run_function(RunFunctionRequest::default()).await;
        assert!(answer.is_err(), "without TLS");
    }
    server.end().await;
    std::fs::remove_file(dir.join("tls.key")).expect("removed");
    let missing = Server::bind(&Args { insecure: false, tls_certs_dir: Some(dir.clone()), ..args() }).await;
    let sentence = missing.err().expect("refused").chain();
    assert!(sentence.contains("tls.key: No such file"), "{sentence}");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[tokio::test]
async fn what_keeps_it_from_serving_is_a_sentence() {
    let error = Server::bind(&Args { insecure: false, ..args() }).await.err().expect("refused");
    assert_eq!(
        error.chain(),
        "cannot serve without credentials: give --tls-certs-dir (tls.crt, tls.key, ca.crt), or --insecure"
    );
    let server = Running::start(&args()).await;
    let error = Server::bind(&Args { address: server.address, ..args() }).await.err().expect("taken");
    assert!(error.chain().starts_with(&format!("cannot listen on {}: ", server.address)), "{}", error.chain());
    server.end().await;
}

#[test]
fn the_program_serves_by_default_and_ends_on_sigterm() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_function-vcluster"));
    program.args(["--insecure", "--address", "127.0.0.1:0"]).env_remove("TLS_SERVER_CERTS_DIR").env("DEBUG", "1");
    program.stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("RUST_LOG").env("NO_COLOR", "1");
    let mut child = program.spawn().expect("started");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = log.by_ref().map(|line| line.expect("readable")).find(|line| line.contains("serving"));
    assert!(line.expect("a line once it listens").contains("127.0.0.1:"));
    let killed = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    let last = log.map(|line| line.expect("readable")).last().expect("a last word");
    assert!(last.contains("stopping"), "{last}");
    assert!(child.wait().expect("ended").success());

    let refused = Command::new(env!("CARGO_BIN_EXE_function-vcluster"))
        .env_remove("TLS_SERVER_CERTS_DIR")
        .args(["--address", "127.0.0.1:0"])
        .output()
        .expect("runs");
    assert_eq!(refused.status.code(), Some(1), "neither certificates nor --insecure");
}
