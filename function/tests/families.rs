//! Every family of the vcluster chart: the same order under other keys, and the one step between two distros.

mod common;

use common::{FAMILIES, World, line, pod, values};
use serde_json::{Value, json};

fn vcluster(world: &World) -> Value {
    world.desired("vcluster").expect("desired")
}

fn version(world: &World) -> Value {
    vcluster(world)["spec"]["forProvider"]["chart"]["version"].clone()
}

/// A platform that has gone on: whatever it can change under a running vcluster is changed.
fn go_on(world: &mut World) {
    world.input["charts"]["vcluster"]["version"] = json!("0.36.1");
    world.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.2.0");
    world.input["sizes"]["small"] = json!({"requests": {"cpu": "2"}, "storage": "9Gi"});
    let backup = json!({"enabled": false, "interval": "1m"});
    world.input["defaults"] = json!({
        "distro": "k8s", "size": "large", "deletionPolicy": "Delete", "backup": backup,
        "storage": {"size": "7Gi", "className": "fast"},
    });
}

#[test]
fn a_default_never_takes_a_vcluster_to_a_chart_without_its_distro() {
    for (chart, distro) in FAMILIES.into_iter().filter(|(_, distro)| *distro == "k3s") {
        let world = World::of(chart, distro).lived().with(|w| {
            go_on(w);
            w.input["charts"]["vcluster"]["upgrade"] = json!("Always");
            w.xr["spec"]["deletionPolicy"] = json!("Delete");
        });
        assert_eq!(version(&world), chart, "it stays, without complaint");
        let moves = world.with(|w| w.input["charts"]["vcluster"]["version"] = json!("0.32.3"));
        assert_eq!(version(&moves), "0.32.3", "to one that has it, it goes");
        assert!(vcluster(&moves).to_string().contains("\"k3s\":{\"enabled\":true}"), "{chart}");
    }
}

#[test]
fn what_runs_is_read_back_in_every_family() {
    for (chart, distro) in FAMILIES {
        for policy in ["Retain", "Delete"] {
            let world = World::of(chart, distro).with(|w| {
                w.input["defaults"]["deletionPolicy"] = json!(policy);
                w.input["defaults"]["storage"] = json!({"size": "6Gi", "className": "slow"});
                w.input["sizes"]["small"].as_object_mut().expect("a preset").remove("storage");
            });
            let world = world.lived();
            let before = vcluster(&world);
            let mut moved = world.clone().with(go_on);
            assert_eq!(vcluster(&moved), before, "{chart} {distro}: no default moves under a running vcluster");
            moved.xr["spec"].as_object_mut().expect("spec").remove("distro");
            assert_eq!(vcluster(&moved), before, "{chart} {distro}: nor does the distro when nobody says it");

            let storage = |field: &str, value: &str| {
                let world = world.clone().with(|w| w.xr["spec"]["storage"] = json!({ field: value }));
                world.refusal()
            };
            assert!(storage("size", "7Gi").starts_with("spec.storage.size: \"7Gi\" differs from \"6Gi\""));
            assert!(storage("className", "fast").starts_with("spec.storage.className: \"fast\" differs from \"slow\""));
        }
    }
}

#[test]
fn the_owner_takes_a_vcluster_through_every_family() {
    // What a StatefulSet cannot change is the same all the way: volume, class, and the order of its pods.
    let mut world = World::of("0.19.10", "k3s").with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete")).lived();
    assert_eq!(values(&vcluster(&world))["autoDeletePersistentVolumeClaims"], true);
    let mut go = |chart: &str, distro: &str| {
        world.xr["spec"]["chartVersion"] = json!(chart);
        world.xr["spec"]["distro"] = json!(distro);
        world.settle();
        let release = vcluster(&world);
        assert_eq!(release["spec"]["forProvider"]["chart"]["version"], chart);
        let stateful_set = &values(&release)["controlPlane"]["statefulSet"];
        assert_eq!(stateful_set["scheduling"], json!({"podManagementPolicy": "OrderedReady"}), "{chart}");
        let claim = &stateful_set["persistence"]["volumeClaim"];
        assert_eq!((&claim["size"], &claim["retentionPolicy"]), (&json!("5Gi"), &json!("Delete")), "{chart}");
        assert_eq!(values(&release)["controlPlane"]["distro"], json!({ distro: {"enabled": true} }), "{chart}");
        assert!(values(&release).get("syncer").is_none(), "{chart}: a later schema refuses the old keys");
    };
    go("0.20.6", "k3s");
    go("0.29.3", "k3s");
    go("0.32.3", "k3s");
    go("0.32.3", "k8s");
    go("0.36.1", "k8s");
    // A vcluster that began with a later chart was made with the chart's own word.
    assert!(!vcluster(&World::of("0.20.6", "k3s").lived()).to_string().contains("podManagementPolicy"));
}

#[test]
fn the_step_from_k3s_to_k8s_moves_nothing_else() {
    for chart in ["0.26.5", "0.29.3", "0.30.0", "0.32.3"] {
        let world = World::of(chart, "k3s").lived();
        let mut expected = vcluster(&world);
        expected["spec"]["forProvider"]["values"]["controlPlane"]["distro"] = json!({"k8s": {"enabled": true}});
        let step = world.with(go_on).with(|w| w.xr["spec"]["distro"] = json!("k8s"));
        assert_eq!(vcluster(&step), expected, "{chart}: not even what the platform has gone on to");
        let always = step.clone().with(|w| w.input["charts"]["vcluster"]["upgrade"] = json!("Always"));
        assert_eq!(vcluster(&always), expected, "{chart}: nor what may move at any time");
        let sized = step.clone().with(|w| w.xr["spec"]["size"] = json!("large"));
        let release = vcluster(&sized);
        assert_eq!(
            release["metadata"]["annotations"]["vcluster.fn.crossplane.io/size"], "large",
            "but the owner's word"
        );
        assert_eq!(pod(&release).sidecar["image"], pod(&expected).sidecar["image"]);

        // Once it is there, it rests; later the version may follow.
        let mut after = step;
        after.settle();
        assert_eq!(vcluster(&after), expected);
        let unsaid = after.clone().with(|w| _ = w.xr["spec"].as_object_mut().expect("spec").remove("distro"));
        assert_eq!(vcluster(&unsaid), expected, "{chart}: it does not go back when the word is taken back");
        assert_eq!(version(&after.with(|w| w.xr["spec"]["chartVersion"] = json!("0.36.1"))), "0.36.1");
    }
}

#[test]
fn a_distro_that_cannot_be_is_refused_in_words_that_name_the_way() {
    let lived = |chart: &str, distro: &str| World::of(chart, distro).lived();
    let spec = |world: World, field: &str, value: &str| world.with(|w| w.xr["spec"][field] = json!(value));
    let worlds = [
        World::of("0.19.10", "k8s"),
        World::of("0.19.10", "k3s").with(|w| w.input["defaults"]["distro"] = json!("k8s")),
        World::of("0.36.1", "k0s"),
        spec(lived("0.32.3", "k8s"), "distro", "k3s"),
        spec(lived("0.36.1", "k8s"), "distro", "k3s"),
        spec(lived("0.32.3", "k8s"), "chartVersion", "0.19.10"),
        spec(lived("0.19.10", "k3s"), "distro", "k8s"),
        spec(lived("0.20.6", "k3s"), "distro", "k8s"),
        spec(spec(lived("0.20.6", "k3s"), "distro", "k8s"), "chartVersion", "0.32.3"),
        spec(spec(lived("0.32.3", "k3s"), "distro", "k8s"), "chartVersion", "0.36.1"),
    ];
    let sentences: Vec<String> = worlds.iter().map(World::refusal).collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    spec.distro: "k8s" is not in vcluster chart 0.19.10, which has k3s only; write k3s, or take a chart from 0.20
    input.defaults.distro: "k8s" is not in vcluster chart 0.19.10, which has k3s only; write k3s, or take a chart from 0.20
    spec.distro: "k0s" is not one of its values; write k8s or k3s
    spec.distro: "k3s" differs from "k8s", with which "vcluster" was made; put it back, a vcluster goes from k3s to k8s and never back
    spec.distro: "k3s" differs from "k8s", with which "vcluster" was made; put it back, a vcluster goes from k3s to k8s and never back
    spec.chartVersion: "0.19.10" has k3s only, and this vcluster runs k8s with chart 0.32.3; put it back, a vcluster goes from k3s to k8s and never back
    spec.distro: "k8s" differs from "k3s", which runs here with chart 0.19.10: the step between them is taken on charts 0.25 to 0.32; put it back, and set spec.chartVersion to one of those first
    spec.distro: "k8s" differs from "k3s", which runs here with chart 0.20.6: the step between them is taken on charts 0.25 to 0.32; put it back, and set spec.chartVersion to one of those first
    spec.distro: "k8s" differs from "k3s", which runs here with chart 0.20.6: the step between them is taken on charts 0.25 to 0.32; put it back, and set spec.chartVersion to one of those first
    spec.chartVersion: "0.36.1" beside spec.distro: k8s, but the step from k3s to k8s moves nothing else; write 0.32.3 until this vcluster runs k8s
    "#);
}

#[test]
fn a_mirror_stands_before_every_image_once() {
    const MIRROR: &str = "mirror.example.org/hub";
    for (chart, distro) in FAMILIES {
        let plain = World::of(chart, distro).lived();
        let before = vcluster(&plain);
        let mirror = |w: &mut World| {
            w.input["images"]["registry"] = json!(MIRROR);
            w.input["images"]["sidecar"] = json!(format!("{MIRROR}/vcluster-backup:0.1.0"));
        };
        assert_eq!(vcluster(&plain.clone().with(mirror)), before, "{chart}: it does not move under a running vcluster");

        let new = World::of(chart, distro).with(mirror);
        let release = vcluster(&new);
        let (line, values) = (line(&release), values(&release));
        let whole = format!("{MIRROR}/vcluster-backup:0.1.0");
        let (at, prefix, image) = match line {
            ..20 => ("/defaultImageRegistry", format!("{MIRROR}/"), "vcluster-backup:0.1.0".to_owned()),
            20..30 => {
                ("/controlPlane/advanced/defaultImageRegistry", MIRROR.to_owned(), "vcluster-backup:0.1.0".to_owned())
            }
            30.. => ("/controlPlane/advanced/defaultImageRegistry", MIRROR.to_owned(), whole), // copied as it is
        };
        assert_eq!(pod(&release).sidecar["image"], json!(image), "{chart}: what the chart makes whole");
        assert_eq!(values.pointer(at), Some(&json!(prefix)), "{chart}");

        // It is read back whole.
        let lived = new.lived();
        assert_eq!(vcluster(&lived.clone().with(go_on)), release, "{chart}");
        let elsewhere = |w: &mut World| {
            w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.1.0");
            w.xr["spec"]["size"] = json!("large"); // an edit that restarts
        };
        let moved = vcluster(&lived.with(elsewhere));
        let new = World::of(chart, distro).with(mirror).with(elsewhere);
        if line < 30 {
            assert_eq!(pod(&moved).sidecar["image"], pod(&release).sidecar["image"], "{chart}: what cannot move stays");
            let sentence = format!(
                "input.images.sidecar: \"registry.example.org/vcluster-backup:0.1.0\" is not in \"{MIRROR}\", which \
                 vcluster charts below 0.30 put before this image, too, and {chart} is wanted; mirror it there"
            );
            assert_eq!(new.refusal(), sentence);
            let off = new.with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
            assert!(off.answer().results.is_empty(), "{chart}: without a sidecar its image is nobody's business");
        } else {
            assert_eq!(pod(&moved).sidecar["image"], "registry.example.org/vcluster-backup:0.1.0", "{chart}");
        }
    }
    // From a family that puts the mirror before the image to one that does not.
    let old = World::of("0.29.3", "k8s").with(|w| {
        w.input["images"] = json!({"registry": MIRROR, "sidecar": format!("{MIRROR}/vcluster-backup:0.1.0")});
    });
    let newer = vcluster(&old.lived().with(|w| w.xr["spec"]["chartVersion"] = json!("0.30.0")));
    assert_eq!(pod(&newer).sidecar["image"], json!(format!("{MIRROR}/vcluster-backup:0.1.0")));
}

#[test]
fn what_nobody_says_is_k8s_wherever_the_chart_has_it() {
    for (chart, _) in FAMILIES {
        let world = World::of(chart, "").with(|w| _ = w.xr["spec"].as_object_mut().expect("spec").remove("distro"));
        let release = vcluster(&world);
        assert_eq!(release, vcluster(&World::of(chart, if line(&release) < 20 { "k3s" } else { "k8s" })), "{chart}");
        if line(&release) < 33 {
            let k3s = world.with(|w| w.input["defaults"]["distro"] = json!("k3s"));
            assert_eq!(vcluster(&k3s), vcluster(&World::of(chart, "k3s")), "{chart}");
            // A default is for the charts that have it, also when the owner takes another than the platform's.
            let newer = k3s.with(|w| w.xr["spec"]["chartVersion"] = json!("0.36.1"));
            assert_eq!(values(&vcluster(&newer))["controlPlane"]["distro"], json!({"k8s": {"enabled": true}}));
        }
    }
}
