//! `run_function.proto` is ours in its words only: names, numbers, labels and types must be Crossplane's. The SDK ships
//! the descriptor of the original; everything that goes over the wire is compared with it, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    DescriptorPool,
    prost::Message,
    prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet},
};
use vcluster_proto::run_function::{FILE_DESCRIPTOR_SET_V1, FILE_DESCRIPTOR_SET_V1BETA1, SERVICE_V1, SERVICE_V1BETA1};

const V1: &str = "apiextensions.fn.proto.v1";
const V1BETA1: &str = "apiextensions.fn.proto.v1beta1";

#[test]
fn our_messages_are_crossplanes_field_by_field() {
    let ours = facts(FILE_DESCRIPTOR_SET_V1, V1);
    let theirs = facts(function_sdk_rust::proto::FILE_DESCRIPTOR_SET, V1);
    assert!(theirs.len() > 80, "the SDK's descriptor was read: {} facts", theirs.len());
    assert_same(&ours, &theirs);
}

#[test]
fn v1beta1_differs_from_v1_in_its_package_alone() {
    let v1beta1: BTreeMap<_, _> = facts(FILE_DESCRIPTOR_SET_V1BETA1, V1BETA1)
        .into_iter()
        .map(|(name, fact)| (name.replace(V1BETA1, V1), fact.replace(V1BETA1, V1)))
        .collect();
    assert_same(&v1beta1, &facts(FILE_DESCRIPTOR_SET_V1, V1));
}

#[test]
fn both_sets_resolve_and_name_their_service() {
    for (set, service) in [(FILE_DESCRIPTOR_SET_V1, SERVICE_V1), (FILE_DESCRIPTOR_SET_V1BETA1, SERVICE_V1BETA1)] {
        let pool = DescriptorPool::decode(set).expect("a complete set: every import and every type resolves");
        let services: Vec<_> = pool.services().map(|s| s.full_name().to_owned()).collect();
        assert_eq!(services, [service]);
    }
    // Served side by side by reflection, which tells files apart by name.
    let mut pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET_V1).expect("valid");
    pool.decode_file_descriptor_set(FILE_DESCRIPTOR_SET_V1BETA1).expect("the two sets do not clash");
}

/// Everything that goes over the wire, as one line per field, enum value and method.
fn facts(set: &[u8], package: &str) -> BTreeMap<String, String> {
    let set = FileDescriptorSet::decode(set).expect("a FileDescriptorSet");
    let mut facts = BTreeMap::new();
    for file in set.file.iter().filter(|file| file.package() == package) {
        file_facts(file, &mut facts);
    }
    assert!(!facts.is_empty(), "package {package} is in the set");
    facts
}

fn file_facts(file: &FileDescriptorProto, facts: &mut BTreeMap<String, String>) {
    assert_eq!(file.syntax(), "proto3");
    let package = file.package();
    file.message_type.iter().for_each(|m| message_facts(package, m, facts));
    file.enum_type.iter().for_each(|e| enum_facts(package, e, facts));
    for service in &file.service {
        for method in &service.method {
            let fact = format!(
                "{} -> {}, streaming {} {}",
                method.input_type(),
                method.output_type(),
                method.client_streaming(),
                method.server_streaming()
            );
            facts.insert(format!("{package}.{}/{}", service.name(), method.name()), fact);
        }
    }
    let imports: BTreeSet<_> = file.dependency.iter().map(String::as_str).collect();
    facts.insert("imports".to_owned(), format!("{imports:?}"));
}

fn message_facts(parent: &str, message: &DescriptorProto, facts: &mut BTreeMap<String, String>) {
    let name = format!("{parent}.{}", message.name());
    let map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
    facts.insert(name.clone(), format!("message, map entry {map_entry}, {} fields", message.field.len()));
    for field in &message.field {
        let oneof = field.oneof_index.map(|index| message.oneof_decl[index as usize].name());
        let fact = format!(
            "number {}, {:?}, {:?} {}, oneof {oneof:?}, optional {}, json {:?}, packed {:?}, deprecated {}",
            field.number(),
            field.label(),
            field.r#type(),
            field.type_name(),
            field.proto3_optional(),
            field.json_name(),
            field.options.as_ref().and_then(|options| options.packed),
            field.options.as_ref().is_some_and(|options| options.deprecated()),
        );
        facts.insert(format!("{name}.{}", field.name()), fact);
    }
    message.nested_type.iter().for_each(|nested| message_facts(&name, nested, facts));
    message.enum_type.iter().for_each(|nested| enum_facts(&name, nested, facts));
}

fn enum_facts(parent: &str, r#enum: &EnumDescriptorProto, facts: &mut BTreeMap<String, String>) {
    let name = format!("{parent}.{}", r#enum.name());
    facts.insert(name.clone(), format!("enum, {} values", r#enum.value.len()));
    for value in &r#enum.value {
        facts.insert(format!("{name}.{}", value.name()), format!("= {}", value.number()));
    }
}

fn assert_same(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) {
    let missing: Vec<_> = theirs.keys().filter(|name| !ours.contains_key(*name)).collect();
    let invented: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    let different: Vec<_> = ours
        .iter()
        .filter_map(|(name, fact)| theirs.get(name).filter(|t| *t != fact).map(|t| (name, fact, t)))
        .collect();
    assert!(missing.is_empty(), "missing on our side: {missing:#?}");
    assert!(invented.is_empty(), "only on our side: {invented:#?}");
    assert!(different.is_empty(), "(name, ours, theirs): {different:#?}");
}
