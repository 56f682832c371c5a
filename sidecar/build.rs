//! Refuses to build a backup program whose SQLite cannot hand out pages.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBSQLITE3_FLAGS");
    let flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    assert!(
        flags.contains("SQLITE_ENABLE_DBPAGE_VTAB"),
        "vcluster-backup reads the database through SQLite's table sqlite_dbpage: build with \
         LIBSQLITE3_FLAGS=-DSQLITE_ENABLE_DBPAGE_VTAB (the workspace's .cargo/config.toml sets it)"
    );
}
