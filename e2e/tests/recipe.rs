//! A restored database under a real API server, on the oldest and the newest kine that vcluster has shipped and one
//! between: clients of the life that is gone are told to list anew, and no revision is ever handed out twice.

use std::path::Path;

use e2e::{
    cluster::Cluster,
    history::{create, highest_revision, inventory, restored},
    process::{Said, run},
    tools,
};

/// One command of ours on the story's folders.
fn ours(folder: &Path, arguments: &[&str]) -> Said {
    let mut program = std::process::Command::new(tools::ours("vcluster-backup"));
    program.args(arguments).env_clear();
    program.arg("--store").arg(format!("file://{}", folder.join("store").display()));
    program.args(["--cluster", "shop", "--data-dir"]).arg(folder.join("data"));
    run(program.arg("--spool-dir").arg(folder), "")
}

fn lives_on(kine: &str) {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let identity = folder.join("identity").display().to_string();
    let recipient = ours(folder, &["keygen", "--output", &identity]).ok().trim().to_owned();
    let start = || Cluster::start_on(kine, &folder.join("api"), &folder.join("data"));

    // Backed up while it runs; what is written afterwards is lost, and somebody has seen it.
    let api = start();
    create(&api, "early", 20);
    let before = inventory(&api);
    let point = ours(folder, &["backup", "--recipient", &recipient]).ok();
    let point = point.split_whitespace().next().expect("an id").to_owned();
    create(&api, "lost-first", 30);
    let mut watched = highest_revision(&inventory(&api));
    api.stop();

    // Restored twice in a row, then once more after the restored one has lived.
    let restore = ["restore", "--force", "--at", &point, "--identity", &identity];
    for round in ["first", "second"] {
        let _ = ours(folder, &restore).ok();
        let _ = ours(folder, &restore).ok();
        let api = start();
        restored(&api, &before, &format!("lost-{round}"), watched);
        create(&api, if round == "first" { "lost-second" } else { "kept" }, 30);
        let seen = highest_revision(&inventory(&api));
        assert!(seen > watched, "{kine}: {seen} after {watched}");
        watched = seen;
        api.stop();
    }
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_restored_database_lives_on_kine_0_13() {
    lives_on("kine-0.13");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_restored_database_lives_on_kine_0_14() {
    lives_on("kine-0.14");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_restored_database_lives_on_kine_0_17() {
    lives_on("kine");
}
