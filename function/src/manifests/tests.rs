use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{composition::PLATFORM, *};
use crate::platform::Platform;

fn args(line: &str) -> Args {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }
    <Cli as clap::Parser>::try_parse_from(std::iter::once("manifests").chain(line.split_whitespace())).expect(line).args
}

fn documents(line: &str) -> Vec<Value> {
    let text = print(&args(line)).expect(line);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Every path of a value that a schema speaks of; `<name>` stands for the names of a map.
fn described(path: &str, schema: &Value, into: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        into.insert(path.clone());
        described(&path, field, into);
    }
    if schema["additionalProperties"]["properties"].is_object() {
        described(&format!("{path}.<name>"), &schema["additionalProperties"], into);
    }
}

fn written(path: &str, value: &Value, maps: &[&str], into: &mut BTreeSet<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let name = if maps.contains(&path) { "<name>" } else { name };
        let path = format!("{path}.{name}");
        into.insert(path.clone());
        written(&path, field, maps, into);
    }
}

#[test]
fn the_platform_of_the_composition_is_one_the_function_takes() {
    for tenancy in ["claims", "namespaced"] {
        let composition = documents(&format!("{tenancy} --only composition")).remove(0);
        Platform::parse(composition.pointer("/spec/pipeline/0/input")).expect("usable as it is printed");
    }
}

/// A line that begins with `#` and a name is an optional field: with all of them the example says every field there is.
#[test]
fn the_platform_of_the_composition_shows_every_field() {
    let field = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic()) || rest.starts_with("  ");
    let everything: String = PLATFORM
        .lines()
        .map(|line| match line.split_once('#') {
            Some((indent, rest)) if indent.trim().is_empty() && field(rest) => format!("{indent}{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let value: Value = serde_saphyr::from_str(&everything).expect("YAML with every comment taken away");
    crate::read::typed::<Platform>("input", &value).expect("each field has its type");
    let (mut shown, mut known) = (BTreeSet::new(), BTreeSet::new());
    written("", &value, &[".sizes", ".kubernetesVersions"], &mut shown);
    described("", &packages::input()["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut known);
    known.remove(".metadata");
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "platform.yaml does not show {missing:?}");
}

#[test]
fn schemas_are_structural() {
    fn look(path: &str, schema: &Value) {
        let keywords = schema.as_object().unwrap_or_else(|| panic!("{path}: {schema}"));
        for forbidden in ["$ref", "anyOf", "oneOf", "allOf", "nullable", "title", "$schema", "const"] {
            assert!(!keywords.contains_key(forbidden), "{path} has {forbidden}");
        }
        assert!(schema["type"].is_string() || schema[schema::FREE] == true, "{path} has no type");
        assert!(schema["additionalProperties"] != false, "{path} forbids what Crossplane adds");
        assert!(
            path == "root"
                || path.ends_with("metadata")
                || path.ends_with("name")
                || schema["description"].is_string()
                || path.contains('*'),
            "{path} is not explained"
        );
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            look(&format!("{path}.{name}"), field);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                look(&format!("{path}.*"), &schema[inner]);
            }
        }
    }
    look("root", &definition::schema());
    look("root", &schema::of::<Platform>());
}

#[test]
fn the_definition_leaves_defaults_to_the_platform_and_values_to_the_tenant() {
    let schema = definition::schema();
    let spec = &schema["properties"]["spec"];
    assert!(!spec.to_string().contains("\"default\":"), "{spec}");
    assert_eq!(spec["properties"]["values"][schema::FREE], true);
    assert_eq!(spec["properties"]["deletionPolicy"]["enum"], json!(["Retain", "Delete"]));
    assert_eq!(spec["properties"]["restore"]["required"], json!(["id"]));
    assert_eq!(spec["properties"]["backup"]["properties"]["interval"]["type"], "string");
    for part in ["vcluster", "backup", "restore"] {
        assert_eq!(schema["properties"]["status"]["properties"][part][schema::FREE], true, "status.{part}");
    }
}

#[test]
fn every_name_follows_the_group_and_the_kinds() {
    let all = documents("claims --group caas.telekom.de --kind XKube --claim-kind Kube");
    let kinds: Vec<&str> = all.iter().filter_map(|document| document["kind"].as_str()).collect();
    let roles = ["ClusterRole"; 3];
    assert_eq!(kinds, [&["CompositeResourceDefinition", "Composition", "Function"], &roles[..]].concat());
    assert_eq!(all[0]["metadata"]["name"], "xkubes.caas.telekom.de");
    assert_eq!(all[0]["spec"]["claimNames"]["plural"], "kubes");
    assert_eq!(all[0]["spec"]["defaultCompositionRef"]["name"], all[1]["metadata"]["name"]);
    let of = &all[1]["spec"]["compositeTypeRef"];
    assert_eq!((&of["apiVersion"], &of["kind"]), (&json!("caas.telekom.de/v1alpha1"), &json!("XKube")));
    assert_eq!(
        all[4]["rules"],
        json!([{
            "apiGroups": ["caas.telekom.de"],
            "resources": ["kubes"],
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        }])
    );
    let namespaced = documents("namespaced --group caas.telekom.de --kind Kube");
    assert_eq!(namespaced[0]["apiVersion"], "apiextensions.crossplane.io/v2");
    assert_eq!(namespaced[0]["spec"]["scope"], "Namespaced");
    for claims_only in ["claimNames", "connectionSecretKeys"] {
        assert!(namespaced[0]["spec"].get(claims_only).is_none(), "{claims_only}");
    }
    assert!(namespaced[1]["spec"].get("writeConnectionSecretsToNamespace").is_none());
}

/// Whoever may write Releases may use any ProviderConfig, and so do what provider-helm may.
#[test]
fn tenants_get_no_rights_on_releases() {
    for tenancy in ["claims", "namespaced"] {
        for role in documents(&format!("{tenancy} --only rbac")) {
            let labels = role["metadata"]["labels"].as_object().expect("labels");
            let tenants = labels.keys().any(|label| label.starts_with("rbac.authorization.k8s.io/"));
            assert_eq!(role["rules"].to_string().contains("releases"), !tenants, "{role}");
        }
    }
}

#[test]
fn names_that_kubernetes_would_refuse_are_refused_here() {
    let error = |line: &str| print(&args(line)).expect_err("refused").chain();
    let sentences = [
        error("claims --group caas"),
        error("claims --group Caas.example.org"),
        error("claims --kind xCluster"),
        error("claims --kind VCluster"),
        error("namespaced --composition a_b"),
        error("namespaced --registry https://registry.example.org"),
    ];
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    cannot use --group: "caas" has no dot; write it as caas.example.org
    cannot use --group: "Caas.example.org" is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends
    cannot use --kind: "xCluster" is not a kind; write letters and digits, a capital first, as VCluster
    cannot use --claim-kind: "VCluster" is the XR's kind as well; give them two names
    cannot use --composition: "a_b" is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends
    cannot use --registry: "https://registry.example.org" is not a registry; write it as registry.example.org/mirror
    "#);
}
