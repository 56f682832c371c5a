//! Our pieces among the values of others: found, taken out, put in. Everything else stays as it is. Pure.

use serde_json::{Map, Value};

use crate::{
    read,
    render::family::{RESTORE, SIDECAR, VOLUMES, is_ours},
};

/// Lists that ours join, in every family, and the names of ours in them.
const LISTS: [(&str, &[&str]); 4] = [
    ("/controlPlane/statefulSet/sidecarContainers", &[SIDECAR]),
    ("/controlPlane/statefulSet/initContainers", &[RESTORE]),
    ("/controlPlane/statefulSet/persistence/addVolumes", &VOLUMES),
    ("/volumes", &VOLUMES),
];
/// The same for plugins, whose ids are their names.
const MAPS: [(&str, &[&str]); 2] = [("/plugin", &[SIDECAR, RESTORE]), ("/plugins", &[RESTORE])];
/// What holds containers among them.
const CONTAINERS: [&str; 2] = [LISTS[0].0, LISTS[1].0];

/// Containers that bear our names and are not ours: two of one name would be refused by Kubernetes.
pub(crate) fn foreign_containers(values: &Value) -> Vec<&str> {
    let listed = CONTAINERS.iter().flat_map(|pointer| list(values, pointer)).filter_map(|c| Some((name(c)?, c)));
    let plugins = MAPS.iter().flat_map(|(pointer, _)| map(values, pointer)).map(|(id, c)| (id.as_str(), c));
    let of_our_name = |(name, container): &(&str, &Value)| [SIDECAR, RESTORE].contains(name) && !is_ours(container);
    listed.chain(plugins).filter(of_our_name).map(|(name, _)| name).collect()
}

/// Takes out what is ours, and the container that ours replaces. What becomes empty by that goes, too; what was empty
/// before stays.
pub(crate) fn take_out(values: &mut Value, replaced: Option<&str>) {
    for (pointer, ours) in LISTS {
        let is_container = CONTAINERS.contains(&pointer);
        let goes = |item: &Value| match name(item) {
            Some(name) if is_container => replaced == Some(name) || (ours.contains(&name) && is_ours(item)),
            name => name.is_some_and(|name| ours.contains(&name)),
        };
        if let Some(Value::Array(list)) = values.pointer_mut(pointer) {
            let before = list.len();
            list.retain(|item| !goes(item));
            remove_if(list.is_empty() && before > 0, values, pointer);
        }
    }
    for (pointer, ours) in MAPS {
        if let Some(Value::Object(plugins)) = values.pointer_mut(pointer) {
            let before = plugins.len();
            plugins.retain(|id, plugin| {
                replaced != Some(id.as_str()) && !(ours.contains(&id.as_str()) && is_ours(plugin))
            });
            remove_if(plugins.is_empty() && before > 0, values, pointer);
        }
    }
}

/// Puts items before those that are there.
pub(crate) fn put_before(values: &mut Value, pointer: &str, items: Vec<Value>) {
    let there = match values.pointer_mut(pointer) {
        Some(Value::Array(list)) => std::mem::take(list),
        _ => Vec::new(),
    };
    crate::render::family::put(values, pointer, items.into_iter().chain(there).collect());
}

/// Removes a value, and nothing around it.
pub(crate) fn remove(values: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(parent)) = values.pointer_mut(parent) {
        parent.remove(name);
    }
}

fn remove_if(condition: bool, values: &mut Value, pointer: &str) {
    if condition {
        remove(values, pointer);
    }
}

fn name(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

fn list<'a>(values: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    read::at(values, pointer).and_then(Value::as_array).into_iter().flatten()
}

fn map<'a>(values: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    read::at(values, pointer).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours(name: &str, command: &str) -> Value {
        json!({"name": name, "args": [command, "--config-dir", "/etc/vcluster-backup"]})
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest_as_it_was() {
        let bare = json!({
            "sync": {"toHost": {"ingresses": {"enabled": true}}},
            "controlPlane": {"statefulSet": {
                "sidecarContainers": [{"name": "proxy"}],
                "persistence": {"addVolumes": []},
            }},
            "plugin": {"mine": {"image": "x"}},
        });
        let mut values = bare.clone();
        put_before(&mut values, LISTS[0].0, vec![ours(SIDECAR, "run")]);
        put_before(&mut values, LISTS[1].0, vec![ours(RESTORE, "restore")]);
        put_before(&mut values, "/controlPlane/statefulSet/persistence/addVolumes", vec![json!({"name": VOLUMES[0]})]);
        assert_eq!(values["controlPlane"]["statefulSet"]["sidecarContainers"][0]["name"], SIDECAR, "ours is the first");
        assert_eq!(values["controlPlane"]["statefulSet"]["sidecarContainers"][1]["name"], "proxy");
        assert!(foreign_containers(&values).is_empty());
        take_out(&mut values, None);
        // An empty list says the same to the chart as none.
        let mut bare = bare;
        remove(&mut bare, "/controlPlane/statefulSet/persistence/addVolumes");
        assert_eq!(values, bare);
        let before = values.clone();
        take_out(&mut values, None);
        assert_eq!(values, before, "where nothing is ours nothing goes");
    }

    #[test]
    fn the_container_that_ours_replaces_goes_wherever_it_is() {
        let named = json!({"name": "old"});
        let mut values = json!({
            "controlPlane": {"statefulSet": {"sidecarContainers": [named, {"name": "proxy"}], "initContainers": [named]}},
            "plugin": {"old": {}}, "plugins": {"old": {}, "mine": {}},
            "volumes": [named],
        });
        take_out(&mut values, Some("old"));
        let left = json!({
            "controlPlane": {"statefulSet": {"sidecarContainers": [{"name": "proxy"}]}},
            "plugins": {"mine": {}},
            "volumes": [named],
        });
        assert_eq!(values, left, "a volume is no container");
    }

    #[test]
    fn a_stranger_of_our_name_is_seen() {
        let stranger = json!({"name": SIDECAR, "args": ["run"]});
        for values in [
            json!({"controlPlane": {"statefulSet": {"sidecarContainers": [{"name": "proxy"}, stranger]}}}),
            json!({"controlPlane": {"statefulSet": {"initContainers": [stranger]}}}),
            json!({"plugin": {SIDECAR: {"image": "x"}}}),
        ] {
            assert_eq!(foreign_containers(&values), [SIDECAR], "{values}");
        }
        assert!(foreign_containers(&json!({"plugin": {SIDECAR: ours(SIDECAR, "run")}})).is_empty());
    }
}
