//! Whatever is asked, the answer is lawful: no panic, the tag and foreign desired state kept, nothing observed dropped.

mod common;
#[path = "common/lawful.rs"]
mod lawful;

use common::{World, bytes, config_map, names, rpc};
use function_sdk_rust::{
    proto::v1::RunFunctionRequest,
    resource::{json_to_struct, struct_to_json},
};
use function_vcluster::wire::{self, RawStruct};
use pbjson_types::Struct;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Map, Value, json};
use vcluster_proto::status::{self, Status};

/// Any JSON, of the depth that manifests have.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Words that mean something here, so that more than the first check is reached.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "spec",
        "status",
        "metadata",
        "labels",
        "name",
        "uid",
        "backup",
        "interval",
        "1m",
        "recipients",
        "storage",
        "size",
        "className",
        "5Gi",
        "small",
        "rancher",
        "enabled",
        "deletionPolicy",
        "Delete",
        "bootstrap",
        "Latest",
        "id",
        "charts",
        "vcluster",
        "store",
        "endpoint",
        "http://x",
        "trustedKeys",
        "newest",
        "restore",
        "phase",
        "observedAt",
        "status.yaml",
        "data",
        "readyWhen",
        "chartVersion",
        "0.36.1",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

/// A path into a document and what is put there.
fn edit(document: &mut Value, path: &[usize], value: Value) {
    let Some((step, rest)) = path.split_first() else { return *document = value };
    match document {
        Value::Object(map) if !map.is_empty() => {
            let at = step % map.len();
            if let Some(inner) = map.values_mut().nth(at) {
                edit(inner, rest, value);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = step % list.len();
            edit(&mut list[at], rest, value);
        }
        leaf => *leaf = value,
    }
}

fn lawful(world: &World) {
    let answer = lawful::lawful(&world.request(), world.now);
    assert_eq!(bytes(&world.answer()), bytes(&answer), "the same request, the same bytes");
    if answer.results.is_empty() {
        let off = world.xr["spec"]["rancher"]["enabled"] == json!(false);
        let registered = world.observed.iter().any(|(name, _)| name == "rancher");
        assert!(off || !registered || names(&answer).contains(&"rancher".to_owned()), "the registration was dropped");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_xr_and_any_input(xr in any_json(), input in any_json()) {
        lawful(&World::new().with(|w| w.xr = xr.clone()));
        lawful(&World::new().with(|w| w.input = input.clone()));
        let spec = World::new().with(|w| w.xr["spec"] = xr);
        lawful(&spec);
    }

    #[test]
    fn any_report(objects in prop::collection::vec(any_json(), 0..4), document in any_json(), text in "\\PC{0,200}") {
        lawful(&World::healthy().with(|w| w.reports = Some(objects)));
        lawful(&World::healthy().with(|w| w.reports = Some(vec![config_map(&text)])));
        let header = json!({"apiVersion": "vcluster.fn.crossplane.io/v1alpha1", "kind": "BackupStatus"});
        let mut document = if document.is_object() { document } else { json!({}) };
        document.as_object_mut().expect("an object").extend(header.as_object().expect("an object").clone());
        document["uid"] = World::new().xr["metadata"]["uid"].clone();
        // JSON is YAML.
        lawful(&World::healthy().with(|w| w.reports = Some(vec![config_map(&document.to_string())])));
    }

    #[test]
    fn one_edit_of_a_report(path in prop::collection::vec(any::<usize>(), 0..8), value in any_json()) {
        let mut document: Value = serde_saphyr::from_str(&common::report().to_yaml().expect("YAML")).expect("YAML");
        edit(&mut document, &path, value);
        lawful(&World::healthy().with(|w| w.reports = Some(vec![config_map(&document.to_string())])));
    }

    /// An identity is taken from a restore by its outcome, and by nothing else that a report may say.
    #[test]
    fn an_open_request_keeps_its_identity_over_any_edit_of_a_report(
        path in prop::collection::vec(any::<usize>(), 0..8),
        value in any_json(),
        phase in prop_oneof!["Pending", "Succeeded", "Failed", "[a-zA-Z]{0,9}"],
        id in prop_oneof![Just("a".to_owned()), word()],
    ) {
        let mut world = World::healthy().with(|w| {
            w.input["encryption"]["identitySecret"] = json!("{key}-identity");
            w.input["charts"]["backupKeys"] =
                json!({"name": "backup-keys", "repository": "https://charts.example.org", "version": "0.1.0"});
            w.xr["spec"]["restore"] = json!({"id": "a"});
        });
        world.settle();
        let restore = Some(status::Restore { id, phase, ..Default::default() });
        let mut document: Value =
            serde_saphyr::from_str(&Status { restore, ..common::report() }.to_yaml().expect("YAML")).expect("YAML");
        edit(&mut document, &path, value);
        let text = document.to_string();
        let ended = Status::from_yaml(&text).is_ok_and(|status| {
            let ours = status.uid == common::report().uid;
            ours && status.restore.is_some_and(|r| r.id == "a" && ["Succeeded", "Failed"].contains(&r.phase.as_str()))
        });
        world.reports = Some(vec![config_map(&text)]);
        lawful(&world);
        prop_assert_eq!(world.desired("keys").is_some(), !ended);
    }

    #[test]
    fn one_edit_anywhere(
        which in 0..5usize,
        path in prop::collection::vec(any::<usize>(), 0..8),
        value in any_json(),
    ) {
        let world = World::ready().with(|w| match which {
            0 => edit(&mut w.xr, &path, value),
            1 => edit(&mut w.input, &path, value),
            at => edit(&mut w.observed[at - 2].1, &path, value),
        });
        lawful(&world);
    }

    /// The SDK's generated type is the measure: it opens what ours has written, and ours what it has written.
    #[test]
    fn any_object_is_read_and_written_as_the_sdk_does(object in any_json()) {
        let object = Map::from_iter([("any".to_owned(), object)]);
        let theirs = json_to_struct(&object);
        let ours = RawStruct::from(&object);
        prop_assert_eq!(&Struct::decode(ours.encode_to_vec().as_slice()).expect("a Struct"), &theirs);
        let raw = RawStruct::decode(theirs.encode_to_vec().as_slice()).expect("a Struct");
        prop_assert_eq!(Value::Object(raw.open().expect("well formed")), struct_to_json(&theirs));
        let any = raw.field("any").expect("well formed");
        prop_assert_eq!(any, struct_to_json(&theirs).get("any").cloned());
    }

    /// Foreign fields keep their bytes, also those that JSON cannot hold.
    #[test]
    fn a_status_is_extended_beside_whatever_is_there(
        there in prop::option::of(any_json()),
        ours in prop::collection::btree_map(word(), any_json(), 0..4),
    ) {
        let ours: Map<String, Value> = ours.into_iter().collect();
        let mut before = Map::from_iter([("foreign".to_owned(), json!("before"))]);
        before.extend(there.map(|there| ("status".to_owned(), there)));
        let mut before = json_to_struct(&before);
        before.fields.insert("nan".to_owned(), f64::NAN.into());
        let mut raw = RawStruct::decode(before.encode_to_vec().as_slice()).expect("a Struct");
        raw.extend_field("status", &ours).expect("well formed");
        let after = Struct::decode(raw.encode_to_vec().as_slice()).expect("a Struct");
        let number = |value: &pbjson_types::Value| format!("{value:?}");
        prop_assert_eq!(number(&after.fields["nan"]), number(&before.fields["nan"]));
        let mut want = struct_to_json(&before);
        if !want["status"].is_object() {
            want["status"] = json!({});
        }
        let Value::Object(ours) = struct_to_json(&json_to_struct(&ours)) else { unreachable!("an object") };
        want["status"].as_object_mut().expect("an object").extend(ours);
        prop_assert_eq!(struct_to_json(&after), want);
    }

    #[test]
    fn any_bytes(noise in prop::collection::vec(any::<u8>(), 0..300), at in any::<usize>(), keep in any::<usize>()) {
        // Noise seldom is a request; one that was cut and written over often still is.
        let mut wire = World::healthy().request().encode_to_vec();
        let (at, keep) = (at % wire.len(), keep % wire.len());
        for (byte, noise) in wire[at..].iter_mut().zip(noise.iter().take(4)) {
            *byte ^= noise;
        }
        for bytes in [&noise[..], &wire[..], &wire[..keep]] {
            if let Ok(request) = wire::Request::decode(bytes) {
                // Objects inside may be no objects; whatever they are, there is an answer.
                let tag = request.meta.as_ref().map(|meta| meta.tag.clone()).unwrap_or_default();
                let answer = wire::answer(request, common::now());
                prop_assert_eq!(answer.meta.expect("meta").tag, tag);
            }
            if let Ok(request) = RunFunctionRequest::decode(bytes) {
                lawful::lawful(&request, common::now());
            }
        }
    }

    #[test]
    fn any_length_of_a_name_gives_names_that_fit(length in 1..=253usize, id in prop::option::of(1..=63usize)) {
        let world = World::new().with(|w| {
            w.xr["metadata"]["name"] = json!("n".repeat(length));
            if let Some(id) = id {
                w.xr["spec"]["id"] = json!("9".repeat(id));
            }
            w.input["hostNamespacePrefix"] = json!("p".repeat(23));
            w.input["store"]["bucketPrefix"] = json!("b".repeat(23));
        });
        let s3 = world.desired("s3").expect("desired");
        let values = common::values(&s3);
        let release = s3["metadata"]["annotations"]["crossplane.io/external-name"].as_str().expect("a name");
        for (name, most) in [
            (release, 53),
            (values["clustername"].as_str().expect("a key"), 40),
            (values["bucket"].as_str().expect("a bucket"), 63),
            (s3["spec"]["forProvider"]["namespace"].as_str().expect("a namespace"), 63),
            (s3["metadata"]["name"].as_str().expect("a name"), 63),
        ] {
            prop_assert!(name.len() <= most, "{name} is longer than {most}");
        }
    }

    #[test]
    fn any_name_gives_names_that_kubernetes_takes(name in "\\PC{1,80}", owner in "\\PC{0,40}") {
        let world = World::new().with(|w| {
            w.xr["metadata"]["name"] = json!(name);
            w.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!(owner);
        });
        let vcluster = world.desired("vcluster").expect("desired");
        let label = |text: &str| {
            text.len() <= 63 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let namespace = vcluster["spec"]["forProvider"]["namespace"].as_str().expect("text");
        prop_assert!(label(namespace) && label(vcluster["metadata"]["name"].as_str().expect("text")));
    }
}

#[test]
fn a_map_of_everything_is_refused_not_ignored() {
    let mut spec = Map::new();
    for field in ["kubernetesVersion", "access", "values", "restore", "distro", "anything"] {
        spec.insert(field.to_owned(), json!({"a": 1}));
        let one = World::new().with(|w| w.xr["spec"] = json!({ field: {"a": 1} }));
        assert!(one.refusal().starts_with(&format!("spec.{field}")), "{}", one.refusal());
    }
    assert!(World::new().with(|w| w.xr["spec"] = Value::Object(spec)).refusal().starts_with("spec."));
}
