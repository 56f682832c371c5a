//! The pages for people say what the program says: every field they name is there, every sentence they explain is one.
#![allow(clippy::disallowed_methods, reason = "tests read files")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const PAGES: [&str; 2] = ["platform.md", "tenant.md"];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between single backticks, outside of blocks.
fn quoted(page: &str) -> Vec<&str> {
    let outside = page.split("\n```").step_by(2);
    outside.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// Every field of a reference page, under `root` where its headings do not name one.
fn fields(name: &str, root: &str) -> BTreeSet<String> {
    let (mut fields, mut parent) = (BTreeSet::new(), root.to_owned());
    for line in page(name).lines() {
        let name = |line: &str| line.split('`').nth(1).map(|name| name.replace(".<name>", ""));
        match name(line) {
            Some(heading) if line.starts_with('#') => {
                parent = if root.is_empty() { heading } else { format!("{root}.{heading}") };
                fields.insert(parent.clone());
            }
            Some(field) if line.starts_with("| `") => _ = fields.insert(format!("{parent}.{field}")),
            _ => (),
        }
    }
    assert!(fields.len() > 20, "{name}: {fields:?}");
    fields
}

#[test]
fn every_field_the_pages_name_is_in_the_reference() {
    let mut known = fields("xr-reference.md", "");
    known.extend(fields("platform-reference.md", "input"));
    // Crossplane's own.
    known.extend(["spec.crossplane", "spec.writeConnectionSecretToRef"].map(str::to_owned));
    for name in PAGES {
        let page = page(name);
        let named: Vec<&str> = quoted(&page)
            .into_iter()
            .map(|text| text.split([':', ' ']).next().unwrap_or_default())
            .filter(|text| ["spec.", "status.", "input."].iter().any(|root| text.starts_with(root)))
            .filter(|text| !text.ends_with("..."))
            .collect();
        assert!(named.len() > 10, "{name}: {named:?}");
        for field in named {
            assert!(known.contains(field), "{name} names {field}, which no reference has");
        }
    }
}

/// All our source, texts of several lines joined as the compiler joins them.
fn source(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            source(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = fs::read_to_string(&path).expect("readable");
            let mut parts = file.split("\\\n");
            text.extend(parts.next());
            text.extend(parts.map(str::trim_start));
        }
    }
}

#[test]
fn every_sentence_the_pages_explain_is_said_by_the_programs() {
    let mut said = String::new();
    for folder in ["function/src", "sidecar/src", "proto/src"] {
        source(&repository().join(folder), &mut said);
    }
    let page = page("platform.md");
    let tables = page.split("## When it refuses").nth(1).expect("the chapter");
    let explained: Vec<&str> =
        tables.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('`').nth(1)).collect();
    assert!(explained.len() > 20, "{explained:?}");
    for sentence in explained {
        assert!(said.contains(sentence), "nobody says {sentence:?}");
    }
}
