//! What is printed is what is packaged and what is read: `package/`, `docs/` and the examples hold copies.
//! `EXPECTORATE=overwrite cargo test -p function-vcluster --test manifests` writes them anew.
#![allow(clippy::disallowed_methods, reason = "tests read and write files")]

mod common;

use std::{path::PathBuf, process::Command};

use common::{examples, yaml};
use serde_json::Value;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("function/ lies in the repository").to_path_buf()
}

/// Through the program, as people call it.
fn printed(arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_function-vcluster"))
        .arg("manifests")
        .args(arguments.split_whitespace())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_packages_hold_what_is_printed() {
    for (file, arguments) in [
        ("function/crossplane.yaml", "--only function-package"),
        ("function/input/vcluster.fn.crossplane.io_platforms.yaml", "--only input"),
        ("configuration-claims/crossplane.yaml", "claims --only configuration"),
        ("configuration-claims/definition.yaml", "claims --only definition"),
        ("configuration-claims/composition.yaml", "claims --only composition"),
        ("configuration-namespaced/crossplane.yaml", "namespaced --only configuration"),
        ("configuration-namespaced/definition.yaml", "namespaced --only definition"),
        ("configuration-namespaced/composition.yaml", "namespaced --only composition"),
    ] {
        let file = repository().join("package").join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("can be made");
        expectorate::assert_contents(file, &printed(arguments));
    }
}

#[test]
fn the_pages_hold_what_is_printed() {
    for page in ["platform-reference", "xr-reference"] {
        let file = repository().join(format!("docs/{page}.md"));
        expectorate::assert_contents(file, &printed(&format!("--only {page}")));
    }
}

#[test]
fn the_examples_definitions_are_printed() {
    for folder in examples() {
        let file = folder.join("definition.yaml");
        if file.exists() {
            let composition = yaml(&folder.join("composition.yaml"));
            let of = &composition["spec"]["compositeTypeRef"];
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let (kind, api_version) = (text(&of["kind"]), text(&of["apiVersion"]));
            let group = api_version.split('/').next().expect("a group");
            let tenancy = if folder.join("claim.yaml").exists() { "claims" } else { "namespaced" };
            let name = text(&composition["metadata"]["name"]);
            let arguments = format!("{tenancy} --only definition --group {group} --kind {kind} --composition {name}");
            expectorate::assert_contents(file, &printed(&arguments));
        }
    }
}

/// Every field an example uses has its place in the schema: Crossplane's API server would refuse or drop another.
#[test]
fn the_definition_knows_every_field_of_every_example() {
    let schema = yaml(&repository().join("package/configuration-claims/definition.yaml"))
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties")
        .expect("a schema")
        .clone();
    for folder in examples() {
        let rendered = std::fs::read_to_string(folder.join("rendered.yaml")).expect("readable");
        let status = serde_saphyr::from_multiple::<Value>(&rendered).expect("YAML").remove(0)["status"].take();
        for (part, value) in [("spec", &yaml(&folder.join("xr.yaml"))["spec"]), ("status", &status)] {
            known(&format!("{}: {part}", folder.display()), value, &schema[part]);
        }
    }
}

/// Crossplane's own fields beside ours.
const CROSSPLANES: [&str; 6] =
    ["claimRef", "compositionRef", "conditions", "crossplane", "resourceRefs", "writeConnectionSecretToRef"];

fn known(path: &str, value: &Value, schema: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let Some(fields) = schema["properties"].as_object() else { continue };
        if !CROSSPLANES.contains(&name.as_str()) {
            let field = fields.get(name).unwrap_or_else(|| panic!("{path}.{name} is not declared"));
            known(&format!("{path}.{name}"), value, field);
        }
    }
}
