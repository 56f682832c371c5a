//! Any bytes that are a request get a lawful answer: the same law as in the property tests.
#![no_main]

use function_sdk_rust::proto::v1::RunFunctionRequest;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[path = "../../tests/common/lawful.rs"]
mod lawful;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = RunFunctionRequest::decode(bytes) {
        lawful::lawful(&request, Timestamp::UNIX_EPOCH);
    }
});
