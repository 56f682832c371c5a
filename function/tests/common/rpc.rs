//! The function as Crossplane sees it: bytes in, bytes out. The SDK's generated types write the one and read the other, so
//! that whatever we put in their place is held against them by every test.
#![allow(unreachable_pub, reason = "each user has its own part of it")]

use function_sdk_rust::proto::v1::{RunFunctionRequest, RunFunctionResponse};
use function_vcluster::wire;
use jiff::Timestamp;
use prost::Message;

/// Answers a request.
pub fn answer(request: &RunFunctionRequest, now: Timestamp) -> RunFunctionResponse {
    let request = wire::Request::decode(request.encode_to_vec().as_slice()).expect("a request of the SDK");
    RunFunctionResponse::decode(wire::answer(request, now).encode_to_vec().as_slice()).expect("an answer for the SDK")
}
