//! The host of a vcluster: chosen by its owner within the platform's limits, and then the same for good.

use crate::common::{FAMILIES, World, composite, pod, values};
use serde_json::{Value, json};

/// The world of a platform whose tenants have their own corner of a domain.
fn world() -> World {
    World::new()
        .with(|w| w.input["limits"]["hostSuffixes"] = json!([".{owner}.k8s.example.org", ".shared.example.org"]))
}

fn asking(world: &World, host: &str) -> World {
    world.clone().with(|w| w.xr["spec"]["access"] = json!({ "host": host }))
}

fn vcluster(world: &World) -> Value {
    world.desired("vcluster").expect("desired")
}

fn server(world: &World) -> String {
    pod(&vcluster(world)).server.to_owned()
}

#[test]
fn a_host_is_ingress_certificate_and_kubeconfig_in_every_family() {
    for (chart, distro) in FAMILIES {
        let host = "shop.team-a.k8s.example.org";
        let plain =
            World::of(chart, distro).with(|w| w.input["limits"]["hostSuffixes"] = json!([".{owner}.k8s.example.org"]));
        let world = asking(&plain, host);
        let release = vcluster(&world);
        let given = values(&release);
        let legacy = chart.starts_with("0.19.");
        let ingress = if legacy { &given["ingress"] } else { &given["controlPlane"]["ingress"] };
        assert_eq!(ingress, &json!({"enabled": true, "host": host}), "{chart}");
        if !legacy {
            assert_eq!(given["controlPlane"]["proxy"]["extraSANs"], json!([host]), "{chart}");
        } // the old charts take the ingress' host into the certificate by themselves
        assert_eq!(pod(&release).server, format!("https://{host}:443"), "{chart}");
        assert_eq!(composite(&world.answer())["status"]["vcluster"]["endpoint"], format!("https://{host}:443"));
        // Without one, nothing leads in from outside, and the server is the Service.
        let before = vcluster(&plain);
        assert!(!values(&before).to_string().contains("ngress"), "{chart}: {before}");
        assert_eq!(pod(&before).server, "https://shop-x7k2p-3baw4pir.tenant-shop-x7k2p-3baw4pir:443", "{chart}");

        // What runs is read back: a platform that closes its domain moves nothing.
        let moved = world.lived().with(|w| {
            w.input["limits"]["hostSuffixes"] = json!([]);
            w.input["defaults"]["access"] = json!({"host": "{key}.other.example.org"});
        });
        assert_eq!(vcluster(&moved), release, "{chart}");
    }
}

#[test]
fn only_a_host_of_ones_own_is_given() {
    let world = world();
    for host in ["shop.team-a.k8s.example.org", "a.b.team-a.k8s.example.org", "shop.shared.example.org"] {
        assert_eq!(server(&asking(&world, host)), format!("https://{host}:443"));
    }
    let refused = [
        "shop.team-b.k8s.example.org", // somebody else's
        "team-a.k8s.example.org",      // nothing before the suffix
        "shopteam-a.k8s.example.org",  // not at the end of a label
        "shop.xteam-a.k8s.example.org",
        "shop.team-a.k8s.example.org.evil.com",
        "shop.team-a.k8s.example.com",
    ];
    let sentences: Vec<String> = refused.into_iter().map(|host| asking(&world, host).refusal()).collect();
    for (host, sentence) in refused.iter().zip(&sentences) {
        let want = "is not a host of yours; let it end with .team-a.k8s.example.org or .shared.example.org";
        assert_eq!(sentence, &format!("spec.access.host: {host:?} {want}"));
    }
    // Tricks of spelling are no hosts at all.
    for host in [
        "shop.team-a.k8s.example.org.",
        "SHOP.team-a.k8s.example.org",
        "*.team-a.k8s.example.org",
        "shop..team-a.k8s.example.org",
        ".team-a.k8s.example.org",
        "shop.team-a.k8s.example.org:443",
        "shop.team-a.k8s.example.org/x",
        "x y.team-a.k8s.example.org",
        "evil.com#.team-a.k8s.example.org",
        "shöp.team-a.k8s.example.org",
        "-.team-a.k8s.example.org",
        "",
    ] {
        let sentence = asking(&world, host).refusal();
        assert!(sentence.starts_with("spec.access.host: ") && sentence.contains("is not a host name"), "{sentence}");
    }
    let long = format!("{}.team-a.k8s.example.org", "a".repeat(64));
    assert!(asking(&world, &long).refusal().contains("is not a host name"));
    let none = asking(&World::new(), "shop.team-a.k8s.example.org");
    assert_eq!(
        none.refusal(),
        "spec.access.host: \"shop.team-a.k8s.example.org\", but this platform lets nobody choose a host; remove the field"
    );
}

#[test]
fn an_owner_is_one_label_and_never_more() {
    for owner in ["", "team-a.k8s", "*", "a/b", "{owner}", "Team", ".", "team-b.k8s.example.org."] {
        let mut world = asking(&world(), "shop.team-b.k8s.example.org");
        world.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!(owner);
        assert!(world.refusal().starts_with("spec.access.host: "), "{owner}");
        world.input["limits"]["hostSuffixes"] = json!([".{owner}.k8s.example.org"]);
        let sentence = "spec.access.host: \"shop.team-b.k8s.example.org\", but every host of this platform bears its \
                        owner, and this XR has none; remove the field";
        assert_eq!(world.refusal(), sentence, "{owner}");
    }
}

#[test]
fn a_namespaced_xr_is_its_namespaces() {
    let world = world().namespaced();
    let namespace = world.xr["metadata"]["namespace"].as_str().expect("a namespace").to_owned();
    let host = format!("shop.{namespace}.k8s.example.org");
    assert_eq!(server(&asking(&world, &host)), format!("https://{host}:443"));
    let labelled = world.with(|w| w.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!("other"));
    assert!(asking(&labelled, "shop.other.k8s.example.org").refusal().starts_with("spec.access.host: "));
}

#[test]
fn a_default_host_is_for_new_vclusters_and_filled_in() {
    let template = |w: &mut World| w.input["defaults"]["access"] = json!({"host": "{key}.{owner}.k8s.example.org"});
    let new = World::new().with(template);
    assert_eq!(server(&new), "https://shop-x7k2p-3baw4pir.team-a.k8s.example.org:443");
    let ready = World::ready();
    assert_eq!(vcluster(&ready.clone().with(template)), vcluster(&ready), "what runs has none and goes on without");

    // The owner's word, and his word taken back.
    let limits = |w: &mut World| w.input["limits"]["hostSuffixes"] = json!([".{owner}.k8s.example.org"]);
    let mut chosen = asking(&new.with(limits), "shop.team-a.k8s.example.org").lived();
    assert_eq!(server(&chosen), "https://shop.team-a.k8s.example.org:443");
    chosen.xr["spec"].as_object_mut().expect("spec").remove("access");
    assert_eq!(server(&chosen), "https://shop-x7k2p-3baw4pir.team-a.k8s.example.org:443");
    let mut without = chosen.clone().with(|w| _ = w.input["defaults"].as_object_mut().expect("there").remove("access"));
    without.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.2.0");
    assert!(server(&without).starts_with("https://shop-x7k2p-3baw4pir.tenant-"));
    let image = &pod(&vcluster(&without)).sidecar["image"].clone();
    assert_eq!(
        image, "registry.example.org/vcluster-backup:0.2.0",
        "the restart is the owner's: all that waits goes along"
    );

    let mut nobody = World::new().with(template);
    nobody.xr["metadata"]["labels"] = json!({});
    assert_eq!(
        nobody.refusal(),
        "input.defaults.access.host: \"{key}.{owner}.k8s.example.org\" is no host name for owner \"\"; write it without \
         {owner}, or shorter"
    );
}
