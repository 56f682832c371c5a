//! The bucket that everybody writes to.

use std::{path::Path, process::Command};

use e2e::{
    minio::{ADMIN_PASSWORD, ADMIN_USER, Minio},
    process::run,
    tools,
};

use crate::contender::BUCKET;

/// Makes it with `mc` as the store's administrator.
pub(crate) fn make_bucket(folder: &Path, store: &Minio, scheme: &str) {
    let ask = |arguments: &[&str], input: &str| {
        let mut mc = Command::new(tools::tool("mc"));
        mc.env_clear().env("HOME", folder);
        let _ = run(mc.arg("--insecure").arg("--config-dir").arg(folder.join("mc")).args(arguments), input).ok();
    };
    let url = format!("{scheme}://{}", store.address);
    ask(&["alias", "set", "store", &url], &format!("{ADMIN_USER}\n{ADMIN_PASSWORD}\n"));
    ask(&["mb", &format!("store/{BUCKET}")], "");
}
