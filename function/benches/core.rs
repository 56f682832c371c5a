//! What one request costs without a network: `cargo bench --package function-vcluster`.
//!
//! Three Releases, as in `examples/`: for an order nobody has seen yet, and in the steady state, with everything observed,
//! a status and the sidecar's report. The server around it is measured by `e2e/bench/function`.
#![allow(clippy::disallowed_methods, reason = "the shared part of the tests reads the examples")]

use std::hint::black_box;

use common::{World, now};
use criterion::Criterion;
use function_vcluster::wire::{self, Request};
use prost::Message;

#[path = "../tests/common/mod.rs"]
mod common;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, world) in [("a new order", World::new()), ("the steady state", World::healthy())] {
        let bytes = world.request().encode_to_vec();
        let request = Request::decode(bytes.as_slice()).expect("a request");
        assert!(wire::answer(request.clone(), now()).results.is_empty(), "{name}: a refusal would be quick");
        criterion.bench_function(&format!("{name}: answer"), |bencher| {
            bencher.iter(|| wire::answer(black_box(&request).clone(), now()));
        });
        criterion.bench_function(&format!("{name}: from bytes to bytes"), |bencher| {
            bencher.iter(|| {
                let request = Request::decode(black_box(bytes.as_slice())).expect("a request");
                wire::answer(request, now()).encode_to_vec()
            });
        });
    }
    criterion.final_summary();
}
