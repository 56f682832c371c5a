//! The operator's page names every flag, variable, exit code, metric and reason there is, and none that is not there.

use std::{collections::BTreeSet, time::Duration};

use clap::CommandFactory;
use vcluster_backup::{
    cli::Cli,
    metrics::{Metrics, Outcome},
};

const PAGE: &str = include_str!("../../docs/operator.md");

/// Everything between single backquotes.
fn quoted() -> BTreeSet<&'static str> {
    PAGE.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// Words that begin with `prefix` and go on with these characters.
fn words(prefix: &str, of: impl Fn(char) -> bool) -> BTreeSet<&'static str> {
    let found = PAGE.match_indices(prefix).map(|(at, _)| {
        let rest = &PAGE[at..];
        let end = rest[prefix.len()..].find(|c| !of(c)).map_or(rest.len(), |end| end + prefix.len());
        &rest[..end]
    });
    found.collect()
}

#[test]
fn every_shared_flag_and_its_variable_is_on_the_page_and_no_other() {
    let command = Cli::command();
    let mut all = BTreeSet::new();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        for argument in command.get_arguments() {
            all.extend(argument.get_long().map(|long| format!("--{long}")));
        }
    }
    let run = command.find_subcommand("run").expect("a command");
    let quoted = quoted();
    for argument in command.get_arguments().chain(run.get_arguments()) {
        let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
        assert!(quoted.contains(&*format!("--{long}")), "--{long} is not on the page");
        if let Some(variable) = argument.get_env() {
            let variable = variable.to_str().expect("text");
            assert!(quoted.contains(variable), "{variable} is not on the page");
        }
    }
    let named = words("--", |c| c.is_ascii_lowercase() || c == '-');
    // Of kubectl and mc.
    let foreign = ["--namespace", "--container", "--output", "--help", "--recursive", "--force", "--action", "--"];
    for flag in named.iter().filter(|flag| !foreign.contains(flag) && flag.len() > 3 && !flag.starts_with("---")) {
        assert!(all.contains(*flag), "{flag} is on the page and no flag");
    }
}

#[test]
fn every_metric_is_on_the_page_and_the_alerts_use_no_other() {
    let metrics = Metrics::default();
    metrics.attempt(Outcome::Failed("NoKey"), Duration::ZERO, None);
    metrics.attempt(Outcome::BackedUp("full"), Duration::ZERO, Some(Duration::ZERO));
    let text = metrics.text();
    let mut known = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        known.insert(if kind == "counter" { format!("{name}_total") } else { name.to_owned() });
        if kind == "histogram" {
            known.insert(format!("{name}_bucket"));
        }
    }
    let named = words("vcluster_backup_", |c| c.is_ascii_lowercase() || c == '_');
    for name in &named {
        assert!(known.contains(*name), "{name} is on the page and no metric");
    }
    for name in known.iter().filter(|name| !name.ends_with("_bucket")) {
        assert!(named.contains(&**name), "{name} is not on the page");
    }
}

#[test]
fn every_reason_is_on_the_page() {
    let quoted = quoted();
    let sources = [
        include_str!("../src/error.rs"),
        include_str!("../src/init.rs"),
        include_str!("../src/start.rs"),
        include_str!("../src/run/account.rs"),
    ];
    let is_reason = |word: &str| {
        word.len() > 4
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_ascii_alphabetic())
    };
    let mut found = 0;
    for source in sources {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for word in code.split('"').skip(1).step_by(2).filter(|word| is_reason(word)) {
            assert!(quoted.contains(word), "{word} is not on the page");
            found += 1;
        }
    }
    assert!(found > 30, "only {found} reasons were found in the code");
}

#[test]
fn every_exit_code_is_on_the_page() {
    let source = include_str!("../src/error.rs");
    let table =
        source.split("pub fn exit_code").nth(1).and_then(|rest| rest.split("\n    }\n").next()).expect("a table");
    let codes = table.lines().filter_map(|line| line.rsplit("=> ").next()?.trim_end_matches(',').parse::<u8>().ok());
    let codes: BTreeSet<u8> = codes.chain([0, 3]).collect();
    assert!(codes.contains(&130), "{codes:?}");
    for code in codes {
        assert!(PAGE.contains(&format!("\n| {code} | ")), "{code} is not on the page");
    }
}

#[test]
fn the_lifecycle_rules_let_nothing_outlive_what_it_builds_on() {
    let block = PAGE.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let rules: serde_json::Value = serde_json::from_str(block).expect("JSON");
    let days = |kind: &str| {
        let rules = rules["Rules"].as_array().expect("rules");
        let rule = rules.iter().find(|rule| rule["Filter"]["Prefix"] == format!("v1/{kind}/")).expect("a rule");
        rule["Expiration"]["Days"].as_u64().expect("a number")
    };
    assert!(days("delta") < days("diff") && days("diff") < days("full"));
}
