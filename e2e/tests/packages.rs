//! What lies in `package/` becomes Crossplane packages by Crossplane's own builders, old and new, and nothing is lost in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::process::{Said, run};
use e2e::{tools, yaml};
use serde_json::Value;

/// The builder of Crossplane 1.16, which knows nothing of namespaced XRs, and that of 2.x.
const BUILDERS: [&str; 2] = ["crank", "crossplane-cli"];

fn build(builder: &str, root: &Path, folder: &Path) -> (Said, PathBuf) {
    let file = folder.join(format!("{builder}.xpkg"));
    let mut command = Command::new(tools::tool(builder));
    // Its own folder: examples of the current one would join the package.
    command.current_dir(folder).env("HOME", folder).args(["xpkg", "build"]);
    command.arg(format!("--package-root={}", root.display())).arg(format!("--package-file={}", file.display()));
    (run(&mut command, ""), file)
}

/// The documents of a package: an image with one layer that holds one text.
fn documents_of(package: &Path, folder: &Path) -> Vec<Value> {
    let image = folder.join("image");
    let _ = std::fs::remove_dir_all(&image);
    std::fs::create_dir_all(&image).expect("a folder can be made");
    let unpack = |file: &Path| run(Command::new("tar").arg("-xf").arg(file).arg("-C").arg(&image), "").ok();
    let _ = unpack(package);
    let manifest = std::fs::read_to_string(image.join("manifest.json")).expect("an image has a manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    for layer in manifest[0]["Layers"].as_array().expect("layers") {
        let _ = unpack(&image.join(layer.as_str().expect("a file")));
    }
    yaml::documents(&std::fs::read_to_string(image.join("package.yaml")).expect("a package has its text"))
}

/// All documents of a folder, as they were written.
fn documents_in(root: &Path) -> Vec<Value> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(root).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            documents.extend(documents_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            documents.extend(yaml::documents(&std::fs::read_to_string(&path).expect("readable")));
        }
    }
    documents
}

/// Whether everything that was written is in what was packed; builders add empty fields.
fn holds(packed: &Value, written: &Value) -> bool {
    match (packed, written) {
        (Value::Object(packed), Value::Object(written)) => {
            written.iter().all(|(name, value)| packed.get(name).is_some_and(|packed| holds(packed, value)))
        }
        (Value::Array(packed), Value::Array(written)) => {
            packed.len() == written.len() && packed.iter().zip(written).all(|(packed, written)| holds(packed, written))
        }
        (packed, written) => packed == written,
    }
}

fn is_packed_whole(name: &str, builders: &[&str], kinds: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = tools::repository().join("package").join(name);
    let written = documents_in(&root);
    for builder in builders {
        let (said, file) = build(builder, &root, folder.path());
        assert_eq!(said.code, 0, "{name}, {builder}: {}", said.all());
        let packed = documents_of(&file, folder.path());
        let mut found: Vec<&str> = packed.iter().map(|document| yaml::str_at(document, "/kind")).collect();
        found.sort_unstable();
        assert_eq!(found, kinds, "{name}, {builder}");
        for document in &written {
            let whole = packed.iter().any(|packed| holds(packed, document));
            assert!(whole, "{name}, {builder}: {} lost something: {packed:#?}", document["kind"]);
        }
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_function_becomes_a_package_with_the_schema_of_its_input() {
    is_packed_whole("function", &BUILDERS, &["CustomResourceDefinition", "Function"]);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_configuration_for_claims_becomes_a_package() {
    let kinds = ["CompositeResourceDefinition", "Composition", "Configuration"];
    is_packed_whole("configuration-claims", &BUILDERS, &kinds);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_configuration_for_namespaces_becomes_a_package() {
    let kinds = ["CompositeResourceDefinition", "Composition", "Configuration"];
    is_packed_whole("configuration-namespaced", &BUILDERS[1..], &kinds);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_builders_do_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("package");
    std::fs::create_dir(&root).expect("a folder can be made");
    let claims = tools::repository().join("package/configuration-claims");
    for file in ["crossplane.yaml", "composition.yaml"] {
        std::fs::copy(claims.join(file), root.join(file)).expect("copied");
    }
    std::fs::write(root.join("rights.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")
        .expect("writable");
    for builder in BUILDERS {
        let (said, _) = build(builder, &root, folder.path());
        assert!(said.code != 0, "{builder}: a ConfigMap is no part of a Configuration: {said:?}");
    }
}
