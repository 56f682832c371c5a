//! The RunFunction wire contract, served as `v1` and `v1beta1` alike.
//!
//! Crossplane 1.17 and later call package `v1` and fall back to `v1beta1`; 1.14 to 1.16 know only the latter. The
//! messages are the same to the byte, so one implementation answers both: [`V1Beta1`] receives a call of the older
//! service and hands it on under the newer path.

use std::task::{Context, Poll};

use http::uri::{PathAndQuery, Uri};
use tonic::server::NamedService;
use tower_service::Service;

/// The contract as a compiled `FileDescriptorSet`, package `apiextensions.fn.proto.v1`, imports included.
pub const FILE_DESCRIPTOR_SET_V1: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/run_function_v1.bin"));

/// The same contract in package `apiextensions.fn.proto.v1beta1`.
pub const FILE_DESCRIPTOR_SET_V1BETA1: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/run_function_v1beta1.bin"));

/// The service of Crossplane 1.17 and later.
pub const SERVICE_V1: &str = "apiextensions.fn.proto.v1.FunctionRunnerService";

/// The service of Crossplane 1.14 to 1.16.
pub const SERVICE_V1BETA1: &str = "apiextensions.fn.proto.v1beta1.FunctionRunnerService";

/// The path of its one method.
pub const RUN_FUNCTION_V1: &str = "/apiextensions.fn.proto.v1.FunctionRunnerService/RunFunction";
const RUN_FUNCTION_V1BETA1: &str = "/apiextensions.fn.proto.v1beta1.FunctionRunnerService/RunFunction";

/// Answers the `v1beta1` service with the `v1` service `S`.
#[derive(Clone, Debug)]
pub struct V1Beta1<S>(S);

impl<S> V1Beta1<S> {
    /// Wraps a `v1` service; limits and compression set on it hold for both.
    pub fn new(v1: S) -> Self {
        Self(v1)
    }
}

impl<S> NamedService for V1Beta1<S> {
    const NAME: &'static str = SERVICE_V1BETA1;
}

impl<S, B> Service<http::Request<B>> for V1Beta1<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        // Any other method keeps its path, and the inner service says that it does not know it.
        if request.uri().path() == RUN_FUNCTION_V1BETA1 {
            *request.uri_mut() = at_path(request.uri(), PathAndQuery::from_static(RUN_FUNCTION_V1));
        }
        self.0.call(request)
    }
}

fn at_path(uri: &Uri, path: PathAndQuery) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("a valid URI stays valid with another path")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Answers with the URI it was asked for.
    struct Echo;

    impl Service<http::Request<()>> for Echo {
        type Response = String;
        type Error = Infallible;
        type Future = std::future::Ready<Result<String, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<()>) -> Self::Future {
            std::future::ready(Ok(request.uri().to_string()))
        }
    }

    #[test]
    fn a_v1beta1_call_arrives_as_v1_with_its_authority() {
        let asked = |uri: &str| {
            let request = http::Request::builder().uri(uri).body(()).expect("valid");
            V1Beta1::new(Echo).call(request).into_inner().expect("infallible")
        };
        assert_eq!(
            asked(&format!("https://host:9443{RUN_FUNCTION_V1BETA1}")),
            format!("https://host:9443{RUN_FUNCTION_V1}")
        );
        assert_eq!(asked(RUN_FUNCTION_V1BETA1), RUN_FUNCTION_V1);
        // A method of the future is unknown under its own name, not mistaken for RunFunction.
        assert_eq!(
            asked("/apiextensions.fn.proto.v1beta1.FunctionRunnerService/Other"),
            "/apiextensions.fn.proto.v1beta1.FunctionRunnerService/Other"
        );
    }
}
