//! The service itself, over messages of our own shape; the SDK's generated one opens every object.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use jiff::Timestamp;
use tonic::{
    Request, Response, Status,
    codegen::{self, BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use vcluster_proto::run_function::{RUN_FUNCTION_V1, SERVICE_V1};

use crate::wire;

/// `FunctionRunnerService` of package v1.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// The largest request it takes.
    pub(super) max_bytes: usize,
}

impl NamedService for Runner {
    const NAME: &'static str = SERVICE_V1;
}

impl<B> Service<http::Request<B>> for Runner
where
    B: codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != RUN_FUNCTION_V1 {
            return Box::pin(ready(Ok(Status::unimplemented("").into_http())));
        }
        let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(self.max_bytes);
        Box::pin(async move { Ok(grpc.unary(Answer, request).await) })
    }
}

/// A shell around [`wire::answer`].
struct Answer;

impl UnaryService<wire::Request> for Answer {
    type Response = wire::Response;
    type Future = Ready<Result<Response<wire::Response>, Status>>;

    fn call(&mut self, request: Request<wire::Request>) -> Self::Future {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one look at the clock: from here on the time is an argument"
        )]
        let answer = wire::answer(request.into_inner(), Timestamp::now());
        tracing::debug!(results = answer.results.len(), "answered");
        ready(Ok(Response::new(answer)))
    }
}
