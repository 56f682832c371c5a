//! The Kubernetes version: a word of the platform's table, the image behind it, and never a way back.

use crate::common::{FAMILIES, World, values};
use serde_json::{Value, json};

fn offering(world: World) -> World {
    world.with(|w| {
        w.input["kubernetesVersions"] = json!({
            "1.31": {"k8s": "v1.31.9", "k3s": "v1.31.9-k3s1"},
            "1.32": {"k8s": "v1.32.6", "k3s": "v1.32.6-k3s1"},
            "1.33": {"k8s": "v1.33.4"},
        });
    })
}

fn asking(world: &World, version: &str) -> World {
    world.clone().with(|w| w.xr["spec"]["kubernetesVersion"] = json!(version))
}

fn vcluster(world: &World) -> Value {
    world.desired("vcluster").expect("desired")
}

/// Where each chart reads it, written down here anew.
fn image(world: &World) -> Option<String> {
    let release = vcluster(world);
    let version = release["spec"]["forProvider"]["chart"]["version"].as_str().expect("a version").to_owned();
    let line: u64 = version.split('.').nth(1).expect("a line").parse().expect("a number");
    let values = values(&release);
    let control_plane = &values["controlPlane"]["distro"];
    let at = match (line, control_plane["k3s"]["enabled"].as_bool().unwrap_or_default()) {
        (..20, _) => &values["vcluster"]["image"],
        (_, true) => &control_plane["k3s"]["image"]["tag"],
        (20..25, false) => &control_plane["k8s"]["version"],
        (_, false) => &control_plane["k8s"]["image"]["tag"],
    };
    at.as_str().map(str::to_owned)
}

#[test]
fn every_family_takes_the_version_under_its_own_key() {
    for (chart, distro) in FAMILIES {
        let plain = offering(World::of(chart, distro));
        assert_eq!(image(&plain), None, "{chart}: unsaid, it is the chart's own");
        let world = asking(&plain, "1.32").lived();
        let want = match (chart, distro) {
            ("0.19.10", _) => "rancher/k3s:v1.32.6-k3s1",
            (_, "k3s") => "v1.32.6-k3s1",
            _ => "v1.32.6",
        };
        assert_eq!(image(&world).as_deref(), Some(want), "{chart} {distro}");

        // Another image behind the same word waits for a restart that comes anyway.
        let before = vcluster(&world);
        let patched = world.clone().with(|w| {
            w.input["kubernetesVersions"]["1.32"] = json!({"k8s": "v1.32.7", "k3s": "v1.32.7-k3s1"});
            w.input["defaults"]["kubernetesVersion"] = json!("1.32");
        });
        assert_eq!(vcluster(&patched), before, "{chart} {distro}");
        let restarted = patched.clone().with(|w| w.xr["spec"]["size"] = json!("large"));
        assert_eq!(image(&restarted), Some(want.replace("1.32.6", "1.32.7")), "{chart} {distro}");
        // One that is gone from the table goes on.
        let gone = patched.with(|w| {
            w.input["kubernetesVersions"] = json!({"1.31": {"k8s": "v1.31.9"}});
            w.input["defaults"].as_object_mut().expect("there").remove("kubernetesVersion");
        });
        assert_eq!(vcluster(&gone), before, "{chart} {distro}");
    }
}

#[test]
fn what_is_not_offered_is_refused_with_what_is() {
    let world = offering(World::new());
    assert_eq!(
        asking(&world, "1.30").refusal(),
        "spec.kubernetesVersion: \"1.30\" is not a version this platform offers for k8s; use one of 1.31, 1.32, 1.33"
    );
    assert_eq!(
        asking(&offering(World::of("0.32.3", "k3s")), "1.33").refusal(),
        "spec.kubernetesVersion: \"1.33\" is not a version this platform offers for k3s; use one of 1.31, 1.32"
    );
    assert_eq!(
        asking(&World::new(), "1.33").refusal(),
        "spec.kubernetesVersion: \"1.33\", but this platform offers no Kubernetes version for k8s; remove the field"
    );
    assert!(asking(&world, "v1.33").refusal().contains("is not a Kubernetes version"));
}

#[test]
fn a_version_goes_forward_by_its_owner_and_never_back() {
    let world = asking(&offering(World::new()), "1.32").lived();
    let next = asking(&world, "1.33");
    assert_eq!(image(&next).as_deref(), Some("v1.33.4"));
    assert_eq!(
        asking(&world, "1.31").refusal(),
        "spec.kubernetesVersion: \"1.31\" differs from \"1.32\", with which \"vcluster\" was made; put it back, an older API \
         server may not read what a newer one has written"
    );
    // Taken back, a default may follow, but only forward; none leaves it as it is.
    let default = |version: Option<&str>| {
        let mut world = world.clone();
        world.xr["spec"].as_object_mut().expect("spec").remove("kubernetesVersion");
        if let Some(version) = version {
            world.input["defaults"]["kubernetesVersion"] = json!(version);
        }
        image(&world)
    };
    assert_eq!(default(None).as_deref(), Some("v1.32.6"));
    assert_eq!(default(Some("1.31")).as_deref(), Some("v1.32.6"));
    assert_eq!(default(Some("1.33")).as_deref(), Some("v1.33.4"));
}

#[test]
fn a_default_version_is_for_new_vclusters_with_a_distro_that_has_it() {
    let set = |w: &mut World| w.input["defaults"]["kubernetesVersion"] = json!("1.33");
    assert_eq!(image(&offering(World::new()).with(set)).as_deref(), Some("v1.33.4"));
    assert_eq!(image(&offering(World::of("0.32.3", "k3s")).with(set)), None);
    let running = offering(World::ready());
    assert_eq!(vcluster(&running.clone().with(set)), vcluster(&running));
}

#[test]
fn the_step_to_k8s_takes_the_same_version_of_the_other_distro() {
    let k3s = asking(&offering(World::of("0.32.3", "k3s")), "1.32").lived();
    let step = k3s.clone().with(|w| {
        w.xr["spec"]["distro"] = json!("k8s");
        w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.2.0");
    });
    assert_eq!(image(&step).as_deref(), Some("v1.32.6"));
    assert!(!vcluster(&step).to_string().contains(":0.2.0"), "and nothing else");
    let missing = step.with(|w| w.input["kubernetesVersions"]["1.32"] = json!({"k3s": "v1.32.6-k3s1"}));
    assert_eq!(
        missing.refusal(),
        "spec.kubernetesVersion: \"1.32\" is not a version this platform offers for k8s; use one of 1.31, 1.33"
    );
}
