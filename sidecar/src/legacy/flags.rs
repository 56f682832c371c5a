//! The Go program's command line, said in ours. Its flags have one dash (or two), a value after a space or an equals sign,
//! and may stand beside ours.

use std::{collections::BTreeMap, ffi::OsString, sync::OnceLock};

use secrecy::{ExposeSecret, SecretString};

/// What was given by that program's flags and is a variable of the environment to us.
#[derive(Clone, Debug, Default)]
pub struct Given(BTreeMap<&'static str, SecretString>);

/// Kept for the whole process, as the environment is: a command line is given once.
static GIVEN: OnceLock<Given> = OnceLock::new();

impl Given {
    /// From now on these stand before the environment.
    pub fn keep(self) {
        let _ = GIVEN.set(self);
    }

    /// The flags that hold a secret, as they were written.
    #[must_use]
    pub fn secrets(&self) -> Vec<&'static str> {
        SECRETS.iter().filter(|(_, variable)| self.0.contains_key(variable)).map(|(flag, _)| *flag).collect()
    }
}

/// What a flag of that program says for a variable.
#[must_use]
pub fn given(variable: &str) -> Option<String> {
    GIVEN.get()?.0.get(variable).map(|value| value.expose_secret().to_owned())
}

const SECRETS: [(&str, &str); 3] = [("-accessKey", "ACCESS_KEY"), ("-secretKey", "SECRET_KEY"), ("-encKey", "ENC_KEY")];

/// Flags with a value, and whether it is theirs to switch something on.
const VALUED: [&str; 10] = [
    "accessKey",
    "backupFile",
    "backupInterval",
    "bucketName",
    "encKey",
    "endpoint",
    "insecure",
    "region",
    "secretKey",
    "trace",
];
const SWITCHES: [&str; 3] = ["decrypt", "list", "restore"];

/// Our words for that program's. A command line without any of its flags stays as it is.
#[must_use]
pub fn translate(arguments: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Given) {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if !arguments.iter().any(is_theirs) {
        return (arguments, Given::default());
    }
    let mut arguments = arguments.into_iter();
    let (mut said, mut rest) = (BTreeMap::new(), Vec::from_iter(arguments.next()));
    while let Some(argument) = arguments.next() {
        let Some((name, value)) = flag(&argument) else {
            rest.push(argument);
            continue;
        };
        if SWITCHES.contains(&name) {
            said.insert(name.to_owned(), value.unwrap_or("true").to_owned());
        } else if let Some(value) = value.map(str::to_owned) {
            said.insert(name.to_owned(), value);
        } else {
            match arguments.next().map(OsString::into_string) {
                Some(Ok(value)) => drop(said.insert(name.to_owned(), value)),
                Some(Err(odd)) => rest.extend([argument, odd]),
                // The parser says what is missing.
                None => rest.push(argument),
            }
        }
    }
    (in_our_words(rest, &mut said), variables(said))
}

/// Commands and flags of ours.
fn in_our_words(rest: Vec<OsString>, said: &mut BTreeMap<String, String>) -> Vec<OsString> {
    let on = |said: &mut BTreeMap<String, String>, name: &str| {
        said.remove(name)
            .is_some_and(|value| !matches!(value.as_str(), "" | "0" | "f" | "F" | "false" | "FALSE" | "False"))
    };
    let (list, restore) = (on(said, "list"), on(said, "restore") | on(said, "decrypt"));
    let mut rest = rest.into_iter();
    let mut ours = Vec::from_iter(rest.next());
    if list {
        ours.push("list".into());
    } else if restore {
        ours.push("restore".into());
        // There its file is the object, and what comes of it lies beside.
        if let Some(object) = said.remove("backupFile") {
            ours.extend([format!("--at={object}").into(), format!("--output={object}.restore").into()]);
        }
    }
    ours.extend(rest);
    for (theirs, flag) in [("endpoint", "--endpoint"), ("region", "--region"), ("backupInterval", "--interval")] {
        if let Some(value) = said.remove(theirs).filter(|value| !value.is_empty()) {
            ours.push(format!("{flag}={value}").into());
        }
    }
    if said.remove("trace").is_some_and(|value| !value.is_empty()) {
        ours.push("--debug".into());
    }
    ours
}

fn variables(mut said: BTreeMap<String, String>) -> Given {
    let mut given = Given::default();
    for (theirs, variable) in [
        ("accessKey", "ACCESS_KEY"),
        ("secretKey", "SECRET_KEY"),
        ("encKey", "ENC_KEY"),
        ("bucketName", "BUCKET_NAME"),
        ("backupFile", "BACKUP_FILE"),
    ] {
        if let Some(value) = said.remove(theirs).filter(|value| !value.is_empty()) {
            given.0.insert(variable, value.into());
        }
    }
    // Any text meant plain http, even 0.
    if said.remove("insecure").is_some_and(|value| !value.is_empty()) {
        given.0.insert("INSECURE", "1".to_owned().into());
    }
    given
}

/// With one dash and a name that none of ours has.
fn is_theirs(argument: &OsString) -> bool {
    let one_dash = argument.to_str().is_some_and(|text| !text.starts_with("--"));
    one_dash && flag(argument).is_some()
}

/// Name and value of one of its flags.
fn flag(argument: &OsString) -> Option<(&'static str, Option<&str>)> {
    let text = argument.to_str()?.strip_prefix('-')?;
    let text = text.strip_prefix('-').unwrap_or(text);
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let known = VALUED.iter().chain(&SWITCHES).find(|known| **known == name)?;
    Some((known, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> (String, BTreeMap<&'static str, String>) {
        let (ours, given) = translate(line.split(' ').map(OsString::from));
        let ours: Vec<String> = ours.into_iter().map(|word| word.into_string().expect("text")).collect();
        (ours.join(" "), given.0.into_iter().map(|(name, value)| (name, value.expose_secret().to_owned())).collect())
    }

    #[test]
    fn each_line_of_its_readme_keeps_its_meaning() {
        let store = "-accessKey vc1 -bucketName vc1 -endpoint minio.example.com -secretKey xxx";
        let keys = BTreeMap::from([("ACCESS_KEY", "vc1"), ("BUCKET_NAME", "vc1"), ("SECRET_KEY", "xxx")]);
        let keys: BTreeMap<_, _> = keys.into_iter().map(|(name, value)| (name, value.to_owned())).collect();

        let (ours, given) = translated(&format!("p {store} -encKey 12345 -backupInterval 1"));
        assert_eq!(ours, "p --endpoint=minio.example.com --interval=1");
        let mut all = keys.clone();
        all.insert("ENC_KEY", "12345".into());
        assert_eq!(given, all);

        assert_eq!(
            translated(&format!("p {store} -list")),
            ("p list --endpoint=minio.example.com".into(), keys.clone())
        );

        let (ours, given) =
            translated(&format!("p {store} -backupFile backup_20240304143345.db.enc -encKey 12345 -restore"));
        let object = "backup_20240304143345.db.enc";
        assert_eq!(ours, format!("p restore --at={object} --output={object}.restore --endpoint=minio.example.com"));
        assert_eq!(given, all);
    }

    #[test]
    fn gos_ways_of_writing_a_flag_are_all_read() {
        assert_eq!(translated("p -trace=1 --region=eu -insecure 0").0, "p --region=eu --debug");
        assert_eq!(translated("p -insecure 0").1["INSECURE"], "1");
        assert_eq!(translated("p -list=false -backupFile /data/state.db").0, "p");
        assert_eq!(
            translated("p -decrypt -backupFile x --config-dir d").0,
            "p restore --at=x --output=x.restore --config-dir d"
        );
        assert_eq!(translated("p -endpoint").0, "p -endpoint", "the parser says what is missing");
    }

    #[test]
    fn ours_stay_as_they_are() {
        for line in
            ["p", "p restore -o x --at latest", "p list --endpoint=http://x --region eu", "p prune -n --keep-last 3"]
        {
            assert_eq!(translated(line), (line.to_owned(), BTreeMap::new()));
        }
    }

    #[test]
    fn secrets_are_named_by_their_flags_and_not_shown() {
        let (_, given) = translate(["p", "-secretKey", "hunter2", "-bucketName", "b"].map(OsString::from));
        assert_eq!(given.secrets(), ["-secretKey"]);
        assert!(!format!("{given:?}").contains("hunter2"));
    }
}
