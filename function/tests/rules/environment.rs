//! One key of the pipeline's environment is a part of the Platform, under the input; nothing else of it counts.

use crate::common::{World, bytes, now};
use function_sdk_rust::{proto::v1::Severity, resource::json_to_struct};
use serde_json::{Value, json};

const ENVIRONMENT: &str = "apiextensions.crossplane.io/environment";

fn answered(input: &Value, context: &Value) -> (String, Option<String>) {
    let mut request = World::new().with(|w| w.input = input.clone()).request();
    request.context = context.as_object().map(json_to_struct);
    let mut answer = crate::common::answer(&request, now());
    assert_eq!(answer.context.take(), request.context, "it is handed on as it came");
    let fatal = answer.results.iter().find(|result| result.severity == Severity::Fatal as i32);
    let fatal = fatal.map(|result| result.message.clone());
    (bytes(&answer), fatal)
}

fn answer(input: &Value, part: &Value) -> (String, Option<String>) {
    answered(input, &json!({ ENVIRONMENT: { "vclusterPlatform": part, "size": "large" }, "other": { "id": "x" } }))
}

#[test]
fn what_the_input_leaves_out_the_environment_says() {
    let whole = World::new().input;
    let (want, fatal) = answer(&whole, &json!(null));
    assert_eq!(fatal, None);
    let mut input = whole.clone();
    let store = input.as_object_mut().expect("a map").remove("store").expect("a store");
    input["sizes"].as_object_mut().expect("sizes").remove("small");
    let part = json!({ "store": store, "sizes": { "small": whole["sizes"]["small"] } });
    assert_eq!(answer(&input, &part), (want.clone(), None), "maps join");
    assert!(
        answer(&input, &json!(null)).1.expect("refused").contains("store"),
        "without it, the Platform is not whole"
    );

    // What both say, the input says; lists are taken as a whole.
    let other = json!({
        "id": "other", "namespace": "other", "kind": "Other", "apiVersion": "v1", "metadata": {"name": "x"},
        "store": {"endpoint": "http://other:9000"}, "encryption": {"recipients": []}, "defaults": {"size": "large"},
    });
    assert_eq!(answer(&whole, &other), (want.clone(), None));

    // Nothing else of it, nor of the context.
    for context in [
        json!({ ENVIRONMENT: part }),
        json!({ "vclusterPlatform": part }),
        json!({ "apiextensions.crossplane.io": { "environment": { "vclusterPlatform": part } } }),
        json!({ ENVIRONMENT: "text" }),
        json!({ ENVIRONMENT: null }),
    ] {
        assert_eq!(answered(&whole, &context), (want.clone(), None), "{context}");
        assert!(answered(&input, &context).1.is_some(), "{context}");
    }
}

#[test]
fn a_part_that_cannot_be_used_is_refused() {
    let whole = World::new().input;
    for part in [json!("text"), json!([]), json!(1)] {
        let fatal = answer(&whole, &part).1.expect("refused");
        assert_eq!(fatal, "environment.vclusterPlatform: not a map; write the fields of the Platform below it");
    }
    let fatal = answer(&whole, &json!({"colour": "blue"})).1.expect("refused");
    assert!(fatal.starts_with("input.colour: there is no field"), "{fatal}");
    let none = answered(&Value::Null, &json!({ ENVIRONMENT: { "vclusterPlatform": whole } })).1.expect("refused");
    assert!(none.starts_with("input: missing;"), "the step itself says that it is ours: {none}");
}
