//! `check-platform`: what the function refuses fails the command, what is unwise is said with the reason.
#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod common;

use std::{fs, path::PathBuf, process::Command};

use common::{World, example, examples};
use function_vcluster::check::advice;
use serde_json::{Value, json};

fn of(change: impl FnOnce(&mut Value)) -> Result<String, String> {
    let mut input = World::new().input;
    change(&mut input);
    advice(&input.to_string(), None).map_err(|error| error.chain())
}

#[test]
fn what_is_unwise_is_said_with_the_reason() {
    type Change = fn(&mut Value);
    let wise: Change = |i| i["store"]["endpoint"] = json!("https://minio.minio:9000");
    assert_eq!(of(wise), Ok("nothing unwise\n".to_owned()));
    let backup_keys = json!({"name": "backup-keys", "repository": "https://charts.example.org", "version": "0.1.0"});
    let changes: [(&str, Change); 16] = [
        ("encryption.identitySecret", |i| i["encryption"]["identitySecret"] = json!("identity")),
        ("encryption.autoRestore", |i| {
            i["encryption"]["identitySecret"] = json!("identity");
            i["encryption"]["autoRestore"] = json!(true);
        }),
        ("encryption.passphraseSecret", |i| i["encryption"] = json!({"passphraseSecret": "passphrase"})),
        ("encryption.recipients", |i| i["encryption"] = json!({})),
        ("store.credentialsSecret", |i| {
            i["store"] =
                json!({"register": "none", "url": "s3://b/{key}", "region": "eu-west-1", "credentialsSecret": "store"});
        }),
        ("store.allowDelete", |i| i["store"]["allowDelete"] = json!(true)),
        ("defaults.backup.retention", |i| i["defaults"]["backup"]["retention"] = json!({"keepLast": 3})),
        ("store.endpoint", |i| i["store"]["endpoint"] = json!("http://minio.minio:9000")),
        ("charts.rancherCluster.version", |i| i["charts"]["rancherCluster"]["version"] = json!("0.1.4")),
        ("rancher.insecure", |i| i["rancher"]["insecure"] = json!(true)),
        ("rancher.url", |i| i["rancher"]["url"] = json!("http://rancher.example.org")),
        ("charts.vcluster.upgrade", |i| i["charts"]["vcluster"]["upgrade"] = json!("Always")),
        ("images", |i| i["images"]["sidecar"] = json!("registry.example.org:5000/vcluster-backup")),
        ("defaults.deletionPolicy", |i| i["defaults"]["deletionPolicy"] = json!("Delete")),
        ("defaults.bootstrap", |i| i["defaults"]["bootstrap"] = json!("Empty")),
        ("limits.maxStorage", |i| _ = i["limits"].as_object_mut().expect("limits").remove("maxStorage")),
    ];
    for (path, change) in changes {
        let said = of(|input| {
            wise(input);
            input["charts"]["backupKeys"] = backup_keys.clone();
            change(input);
        });
        let said = said.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(said.lines().any(|line| line.starts_with(&format!("input.{path}: "))), "{path}: {said}");
        assert!(said.lines().count() <= 2, "{path}, and at most what hangs together with it: {said}");
    }
    let apart = of(|input| {
        wise(input);
        input["charts"]["backupKeys"] = backup_keys.clone();
        input["encryption"]["identitySecret"] = json!("{key}-identity");
        input["images"]["sidecar"] = json!(format!("registry.example.org/vcluster-backup@sha256:{}", "a".repeat(64)));
    });
    assert_eq!(apart, Ok("nothing unwise\n".to_owned()), "one identity for each, and an image that cannot change");
}

#[test]
fn what_the_function_refuses_fails() {
    assert_eq!(
        of(|i| i["namespace"] = json!("Platform")),
        Err("cannot use the Platform: input.namespace: \"Platform\" is not a DNS label; write at most 63 of a-z, 0-9 and -, \
             a letter or digit at both ends"
            .to_owned())
    );
    assert_eq!(
        of(|i| i["charts"]["s3Register"]["version"] = json!("0.0.2")).map_err(|error| error.contains("0.0.2")),
        Err(true)
    );
    let none = advice("kind: ConfigMap", None).expect_err("nothing to check").chain();
    assert!(none.contains("kind Platform"), "{none}");
    let composition = fs::read_to_string(example("adopt-step-1/composition.yaml")).expect("readable");
    let resources = composition.replace("mode: Pipeline", "mode: Resources");
    assert!(advice(&resources, None).expect_err("never called").chain().contains("spec.mode is not Pipeline"));
    // The step that made them is still there: each reconcile would be refused.
    let by_hand = "  pipeline:\n    - step: releases\n      functionRef: {name: function-patch-and-transform}\n      input: \
                   {apiVersion: pt.fn.crossplane.io/v1beta1, kind: Resources, resources: [{name: s3}]}\n";
    let both = advice(&composition.replace("  pipeline:\n", by_hand), None).expect_err("taken").chain();
    assert!(both.contains("step \"releases\" makes resource \"s3\""), "{both}");
}

#[test]
fn a_part_of_the_platform_may_come_from_the_environment() {
    let mut input = World::new().input;
    let store = input.as_object_mut().expect("an object").remove("store").expect("a store");
    assert!(advice(&input.to_string(), None).is_err(), "the store is missing");
    let environment = json!({"vclusterPlatform": {"store": store}}).to_string();
    let said = advice(&input.to_string(), Some(&environment)).expect("whole");
    assert!(said.starts_with("input.store.endpoint: without TLS"), "{said}");
}

#[test]
fn the_command_says_it_and_its_exit_code_is_that_of_a_refusal() {
    let run = |file: PathBuf| {
        let output = Command::new(env!("CARGO_BIN_EXE_function-vcluster")).arg("check-platform").arg(file).output();
        let output = output.expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr.len())
    };
    for folder in examples() {
        let composition = folder.join("composition.yaml");
        let environment = fs::read_to_string(folder.join("context.yaml")).is_ok();
        let (code, said, _) = run(composition.clone());
        if !environment && !fs::read_to_string(&composition).expect("readable").contains("function-environment-configs")
        {
            assert_eq!(code, Some(0), "{}", folder.display());
            assert!(said.lines().all(|line| line.starts_with("input.") || line == "nothing unwise"), "{said}");
        }
    }
    let (code, said, complaint) = run(example("claim-v1/xr.yaml"));
    assert_eq!((code, said.as_str()), (Some(1), ""), "no Platform in it");
    assert!(complaint > 0);
}
