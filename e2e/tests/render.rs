//! Crossplane's own two render commands, against the running function, print what `rendered.yaml` says.
//!
//! Compared are parsed documents. What each command leaves out of, or adds to, what the other prints is written down
//! below, field by field; anything else that differs fails the story.

use std::path::Path;
use std::process::Command;

use e2e::examples::{self, Example};
use e2e::function::Function;
use e2e::process::{Said, run};
use e2e::{tools, yaml};
use serde_json::{Value, json};

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn crossplane_1_16_renders_the_examples_over_v1beta1() {
    let folder = tempfile::tempdir().expect("a folder");
    let function = Function::start(folder.path());
    for example in examples::all() {
        let mut render = Command::new(tools::tool("crank"));
        render.args(["beta", "render"]);
        files(&mut render, &example, folder.path(), &function.address, "--extra-resources");
        compare(&example, &run(&mut render, ""), as_crossplane_1_16_prints_it);
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn crossplane_cli_2_5_with_core_2_4_renders_the_examples_over_v1() {
    let folder = tempfile::tempdir().expect("a folder");
    let function = Function::start(folder.path());
    for example in examples::all() {
        let mut render = Command::new(tools::tool("crossplane-cli"));
        render.arg("render").arg("--crossplane-binary").arg(tools::tool("crossplane-core"));
        render.env("HOME", folder.path());
        files(&mut render, &example, folder.path(), &function.address, "--required-resources");
        compare(&example, &run(&mut render, ""), as_crossplane_2_4_prints_it);
    }
}

/// Adds the example's files to a render command; only the function's address is another.
fn files(render: &mut Command, example: &Example, folder: &Path, address: &str, required_flag: &str) {
    let mut functions = yaml::documents(&example.text("functions.yaml"));
    for function in &mut functions {
        let target = format!("localhost:{}", address.rsplit(':').next().expect("an address ends with its port"));
        function["metadata"]["annotations"]["render.crossplane.io/runtime-development-target"] = json!(target);
    }
    let path = folder.join("functions.yaml");
    std::fs::write(&path, yaml::text(&functions)).expect("writable");
    render.arg(example.folder.join("xr.yaml")).arg(example.folder.join("composition.yaml")).arg(path);
    if let Some(file) = example.file("observed.yaml") {
        render.arg(format!("--observed-resources={}", file.display()));
    }
    if let Some(file) = example.file("context.json") {
        render.arg(format!("--context-files=apiextensions.crossplane.io/environment={}", file.display()));
    }
    if example.file("required.yaml").is_some() {
        let file = folder.join("required.yaml");
        std::fs::write(&file, fresh(&example.text("required.yaml"))).expect("writable");
        render.arg(format!("{required_flag}={}", file.display()));
    }
}

/// The sidecar's report as if it were written now: the server looks at the clock, and what it says names no time of it.
fn fresh(required: &str) -> String {
    let lines = required.lines().map(|line| match line.split_once("observedAt: ") {
        Some((indent, _)) => format!("{indent}observedAt: {}\n", jiff::Timestamp::now()),
        None => format!("{line}\n"),
    });
    let fresh: String = lines.collect();
    assert!(fresh != required, "a report that is observed at some time");
    fresh
}

fn compare(example: &Example, said: &Said, as_printed: fn(&mut [Value])) {
    assert_eq!(said.code, 0, "{}: {}", example.name, said.all());
    let mut found = yaml::documents(&said.out);
    let mut wanted = example.rendered();
    as_printed(&mut wanted);
    for documents in [&mut found, &mut wanted] {
        documents.sort_by_key(|document| yaml::resource_name(document).unwrap_or_default().to_owned());
        // Conditions are a map in the shape of a list.
        for conditions in documents.iter_mut().filter_map(|document| document["status"]["conditions"].as_array_mut()) {
            conditions.sort_by_key(|condition| yaml::str_at(condition, "/type").to_owned());
        }
    }
    if found != wanted {
        let text = |documents: &[Value]| serde_json::to_string_pretty(documents).expect("values print");
        let (found, wanted) = (text(&found), text(&wanted));
        let differs = found.lines().zip(wanted.lines()).position(|(one, other)| one != other).unwrap_or_default();
        let near = |text: &str| text.lines().skip(differs.saturating_sub(12)).take(24).collect::<Vec<_>>().join("\n");
        panic!("{} differs\n--- printed\n{}\n--- rendered.yaml\n{}", example.name, near(&found), near(&wanted));
    }
}

/// `rendered.yaml` as 1.16 prints it.
fn as_crossplane_1_16_prints_it(documents: &mut [Value]) {
    for document in documents {
        if yaml::resource_name(document).is_some() {
            // 1. It keeps the name prefix of the XR beside the name we give.
            let xr = yaml::str_at(&document["metadata"]["labels"], "/crossplane.io~1composite").to_owned();
            document["metadata"]["generateName"] = json!(format!("{xr}-"));
        } else {
            // 2. Conditions of functions came with 1.17. What they say is in status.backup and status.vcluster as well.
            let conditions = document["status"]["conditions"].as_array_mut().expect("an XR has conditions");
            conditions.retain(|condition| condition["type"] == "Ready");
            // 3. It drops the namespace of an XR, which 1.16 does not know.
            document["metadata"].as_object_mut().expect("metadata is an object").remove("namespace");
        }
    }
}

/// `rendered.yaml` as 2.4 prints it: a real core has reconciled the XR.
fn as_crossplane_2_4_prints_it(documents: &mut [Value]) {
    let mut references: Vec<Value> = documents
        .iter()
        .filter(|document| yaml::resource_name(document).is_some())
        .map(|document| {
            json!({
                "apiVersion": document["apiVersion"], "kind": document["kind"], "name": document["metadata"]["name"],
            })
        })
        .collect();
    // In the core's own order.
    references
        .sort_by_key(|reference| ["/apiVersion", "/kind", "/name"].map(|at| yaml::str_at(reference, at)).concat());
    for xr in documents.iter_mut().filter(|document| yaml::resource_name(document).is_none()) {
        // 1. The core's record of what it composed is the one part of an XR's spec that it owns.
        xr["spec"]["crossplane"]["resourceRefs"] = json!(references);
        // 2. The core's own conditions.
        let conditions = xr["status"]["conditions"].as_array_mut().expect("an XR has conditions");
        for (kind, reason) in [("Responsive", "WatchCircuitClosed"), ("Synced", "ReconcileSuccess")] {
            let at = "2024-01-01T00:00:00Z";
            conditions.push(json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": at}));
        }
    }
}
