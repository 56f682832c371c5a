//! An example is a test is the documentation: every folder of `examples/` renders to its `rendered.yaml`.
//! `EXPECTORATE=overwrite cargo test -p function-vcluster --test examples` writes them anew.
#![allow(clippy::disallowed_methods, reason = "tests read and write files")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{NOW, example, examples, now, yaml};
use function_vcluster::{offline, platform::environment::ENVIRONMENT};
use vcluster_proto::status::Status;

fn text(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
}

#[test]
fn every_example_renders_to_its_golden_file() {
    for folder in examples() {
        let need = |name: &str| text(&folder, name).unwrap_or_else(|| panic!("{} has no {name}", folder.display()));
        let observed = text(&folder, "observed.yaml");
        let required = text(&folder, "required.yaml");
        let context = text(&folder, "context.json").map(|text| (ENVIRONMENT.to_owned(), text));
        let texts = offline::Texts {
            xr: &need("xr.yaml"),
            composition: &need("composition.yaml"),
            observed: observed.as_deref(),
            required: required.as_deref(),
            context: context.into_iter().collect(),
        };
        let documents = texts.render(now());
        let yaml = documents.and_then(|documents| offline::to_yaml(&documents)).expect("rendered");
        expectorate::assert_contents(folder.join("rendered.yaml"), &yaml);
        need("README.md");
        need("functions.yaml");
        for (name, text) in [("observed.yaml", observed), ("required.yaml", required)] {
            // Cores of Crossplane take a comment before a first mark for a document of its own.
            let first = text.as_deref().unwrap_or_default().lines().find(|line| !line.starts_with('#'));
            assert_ne!(first, Some("---"), "{}: {name} begins with its first object", folder.display());
        }
    }
}

#[test]
fn the_command_prints_what_the_library_renders() {
    let folder = example("claim-v1-healthy");
    let run = |time: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_function-vcluster"))
            .arg("render")
            .args([folder.join("xr.yaml"), folder.join("composition.yaml")])
            .arg("--observed-resources")
            .arg(folder.join("observed.yaml"))
            .arg("--required-resources")
            .arg(folder.join("required.yaml"))
            .args(time)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let golden = text(&folder, "rendered.yaml").expect("golden");
    assert_eq!(run(&["--now", NOW]), golden);
    let stale = run(&["--now", "2027-01-01T00:00:00Z"]);
    assert!(stale.contains("reason: Stale") && !golden.contains("reason: Stale"), "{stale}");
    assert_eq!(stale.split("\n---\n").skip(1).collect::<Vec<_>>(), golden.split("\n---\n").skip(1).collect::<Vec<_>>());
    // Without a time, by the clock.
    assert!(run(&[]).contains("type: BackupReady"));
}

#[test]
fn the_command_takes_the_context_as_crossplanes_own_does() {
    let folder = example("environment-config");
    let run = |context: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_function-vcluster"));
        command.arg("render").args([folder.join("xr.yaml"), folder.join("composition.yaml")]);
        command.arg(format!("--context-files={context}"));
        command.output().expect("runs")
    };
    let output = run(&format!("{ENVIRONMENT}={}", folder.join("context.json").display()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), text(&folder, "rendered.yaml").expect("golden"));
    let other = run(&format!("other={}", folder.join("context.json").display()));
    let stderr = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(stderr.contains("is missing") && other.status.code() == Some(1), "no other key is looked at: {stderr}");
    assert_eq!(run("no file").status.code(), Some(2));
}

/// `kubectl get releases --output=yaml`, of a cluster with more than this XR.
#[test]
fn what_kubectl_lists_is_observed() {
    let folder = example("adopt-step-1");
    let read = |name: &str| text(&folder, name).expect("there");
    let mut items: Vec<serde_json::Value> = serde_saphyr::from_multiple(&read("observed.yaml")).expect("YAML");
    let mut other = items[0].clone();
    other["metadata"]["labels"]["crossplane.io/composite"] = "another".into();
    other["spec"]["forProvider"]["namespace"] = "elsewhere".into();
    items.push(other);
    let list = |items: &[serde_json::Value]| serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    let render = |items: &[serde_json::Value]| {
        let list = list(items).to_string();
        offline::render_files_at(&read("xr.yaml"), &read("composition.yaml"), Some(&list), None, now())
    };
    let documents = render(&items).expect("rendered");
    assert_eq!(offline::to_yaml(&documents).expect("YAML"), read("rendered.yaml"));
    items.push(items[0].clone());
    let twice = render(&items).expect_err("which of them?").chain();
    assert_eq!(
        twice,
        "cannot use the observed resources: two objects bear the name \"rancher\" in annotation \
         crossplane.io/composition-resource-name"
    );
}

#[test]
fn a_refusal_is_a_sentence_and_exit_code_1() {
    let folder = example("claim-v1");
    let xr = text(&folder, "xr.yaml").expect("there").replace("interval: 1m", "interval: often");
    let bad = std::env::temp_dir().join(format!("function-vcluster-{}.yaml", std::process::id()));
    fs::write(&bad, xr).expect("written");
    let run = |args: &[&Path]| {
        let output = Command::new(env!("CARGO_BIN_EXE_function-vcluster")).arg("render").args(args).output();
        let output = output.expect("runs");
        assert!(output.stdout.is_empty(), "nothing half done is printed");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, stderr) = run(&[&bad, &folder.join("composition.yaml")]);
    fs::remove_file(&bad).expect("removed");
    assert_eq!(code, Some(1));
    assert_eq!(
        stderr,
        "function-vcluster: pipeline step \"vcluster\" returned a fatal result: spec.backup.interval: \"often\" is not \
         a duration; write it as 30s, 1m or 1h30m\n"
    );
    let (code, stderr) = run(&[Path::new("/does/not/exist"), &folder.join("composition.yaml")]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "function-vcluster: cannot read /does/not/exist: No such file or directory (os error 2)\n");
    assert_eq!(run(&[]).0, Some(2), "usage");
}

#[test]
fn documents_that_cannot_be_used_are_named() {
    let folder = example("claim-v1");
    let (xr, composition) = (text(&folder, "xr.yaml").expect("xr"), text(&folder, "composition.yaml").expect("there"));
    let error = |xr: &str, composition: &str, observed: Option<&str>| {
        offline::render_files(xr, composition, observed, None).expect_err("unusable").chain()
    };
    let sentences = [
        error("", &composition, None),
        error(&xr, &composition.replace("kind: Platform", "kind: Input"), None),
        error(&xr, &composition.replace("kind: XVCluster", "kind: XOther"), None),
        error(&xr, &composition.replace("mode: Pipeline", "mode: Resources"), None),
        error(&xr, &composition, Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lost}")),
    ];
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    cannot use the XR: 0 documents where one is wanted
    cannot use the Composition: no step of spec.pipeline has an input of kind Platform, apiVersion vcluster.fn.crossplane.io/v1alpha1
    cannot use the Composition: spec.compositeTypeRef.kind is "XOther", the XR says "XVCluster"
    cannot use the Composition: spec.mode is not Pipeline
    cannot use the observed resources: object "lost" bears no annotation crossplane.io/composition-resource-name
    "#);
}

#[test]
fn the_ready_example_is_the_first_one_a_minute_later() {
    // The same Composition and claim, observed Releases as they were desired: else the story would not hold together.
    let (first, later) = (example("claim-v1"), example("claim-v1-ready"));
    assert_eq!(yaml(&first.join("composition.yaml")), yaml(&later.join("composition.yaml")));
    let mut xr = yaml(&later.join("xr.yaml"));
    xr["spec"].as_object_mut().expect("a spec").remove("resourceRefs");
    assert_eq!(xr, yaml(&first.join("xr.yaml")));
    let documents = |path: &Path| -> Vec<serde_json::Value> {
        serde_saphyr::from_multiple(&fs::read_to_string(path).expect("readable")).expect("YAML")
    };
    let (before, after) = (documents(&first.join("rendered.yaml")), documents(&later.join("rendered.yaml")));
    for mut observed in documents(&later.join("observed.yaml")) {
        observed.as_object_mut().expect("an object").remove("status");
        observed["metadata"].as_object_mut().expect("metadata").remove("uid");
        assert!(before.contains(&observed), "observed as it was rendered");
        assert!(after.contains(&observed), "and desired again, unchanged");
    }
}

#[test]
fn the_healthy_example_rests() {
    let folder = example("claim-v1-healthy");
    assert_eq!(yaml(&folder.join("composition.yaml")), yaml(&example("claim-v1-ready").join("composition.yaml")));
    let documents = |name: &str| -> Vec<serde_json::Value> {
        serde_saphyr::from_multiple(&text(&folder, name).expect("readable")).expect("YAML")
    };
    let (observed, rendered) = (documents("observed.yaml"), documents("rendered.yaml"));
    assert_eq!((observed.len(), rendered.len()), (3, 4));
    for mut observed in observed {
        observed.as_object_mut().expect("an object").remove("status");
        observed["metadata"].as_object_mut().expect("metadata").remove("uid");
        assert!(rendered.contains(&observed), "desired as it is there");
    }
    // And it is what the tests call healthy.
    let required = yaml(&folder.join("required.yaml"));
    let status = Status::from_yaml(required["data"]["status.yaml"].as_str().expect("text")).expect("readable");
    let ours = common::report();
    assert_eq!(
        (&status.uid, &status.trusted_keys, status.observed_at),
        (&ours.uid, &ours.trusted_keys, ours.observed_at)
    );
    assert_eq!(status.newest.map(|point| point.id), ours.newest.map(|point| point.id));
}

/// Crossplane writes an XR's status by server-side apply: a field its schema does not know stops every reconcile.
#[test]
fn whatever_goes_into_the_status_is_declared_in_the_xrd() {
    let definition = yaml(&example("claim-v1").join("definition.yaml"));
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let declared = definition.pointer(schema).and_then(serde_json::Value::as_object).expect("a status schema");
    let mut restored = common::World::healthy();
    let mut status = common::report();
    let phase = vcluster_proto::status::Restore { phase: "Succeeded".into(), ..Default::default() };
    status.restore = Some(phase);
    restored.report(&status);
    let answer = restored.answer();
    let xr = answer.desired.and_then(|desired| desired.composite).and_then(|xr| xr.resource).expect("an XR");
    let status = function_sdk_rust::resource::struct_to_json(&xr)["status"].clone();
    assert!(status["restore"].is_object(), "{status}");
    for field in status.as_object().expect("a status").keys() {
        let schema = declared.get(field).unwrap_or_else(|| panic!("status.{field} is not declared"));
        assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "status.{field}");
    }
}
