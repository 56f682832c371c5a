//! Any bytes that are a request get a lawful answer: the same law as in the property tests.
#![no_main]

use function_sdk_rust::proto::v1::RunFunctionRequest;
use function_vcluster::wire;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[path = "../../tests/common/lawful.rs"]
mod lawful;
#[path = "../../tests/common/rpc.rs"]
mod rpc;

fuzz_target!(|bytes: &[u8]| {
    // What is no object is found out late by us and early by the SDK: each gets its answer.
    if let Ok(request) = wire::Request::decode(bytes) {
        wire::answer(request, Timestamp::UNIX_EPOCH);
    }
    if let Ok(request) = RunFunctionRequest::decode(bytes) {
        lawful::lawful(&request, Timestamp::UNIX_EPOCH);
    }
});
