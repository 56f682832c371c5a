//! The part of kubelet a story needs: volumes filled the way kubelet fills them, and a container's command line with the
//! paths of its mounts moved below a folder.
//!
//! Everything is read out of a rendered pod; nothing here knows what our containers are called or where they mount what.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::yaml::str_at;

/// A pod's root folder: what the container sees as `/data` is `<root>/data`.
pub struct Pod<'a> {
    /// Where ConfigMaps and Secrets come from.
    pub cluster: &'a Cluster,
    /// Their namespace.
    pub namespace: String,
    /// The folder that plays `/`.
    pub root: PathBuf,
    /// `spec.volumes`.
    pub volumes: Vec<Value>,
}

impl Pod<'_> {
    /// Makes or refreshes the folders of all mounts of `container`, as kubelet does at its sync. Folders of volumes
    /// that hold data of the pod itself are made once and then left alone.
    ///
    /// # Panics
    /// When a volume is missing, or a source that is not optional.
    pub fn mount(&self, container: &Value) {
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let folder = self.path(str_at(mount, "/mountPath"));
            std::fs::create_dir_all(&folder).expect("a folder can be made");
            let name = str_at(mount, "/name");
            let volume = self
                .volumes
                .iter()
                .find(|volume| volume["name"] == name)
                .unwrap_or_else(|| panic!("a container mounts volume {name:?}, which the pod does not have"));
            if let Some(files) = self.files(volume) {
                publish(&folder, &files);
            }
        }
    }

    /// The container as a command: its image is `program` (nothing: the container's own `command`, searched on the
    /// given PATH), its environment and nothing else, its arguments; absolute paths that lie in a mount, or hold one,
    /// are moved below the root.
    ///
    /// # Panics
    /// When the container has neither.
    #[must_use]
    pub fn command(&self, container: &Value, program: Option<&Path>, path: &str) -> Command {
        let environment: BTreeMap<String, String> = container["env"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|variable| {
                let name = str_at(variable, "/name").to_owned();
                assert!(variable["valueFrom"].is_null(), "variable {name} comes from elsewhere: not played here");
                // The API server leaves an empty value out.
                (name, variable["value"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        let list = |field: &str| -> Vec<String> {
            let entries = container[field].as_array().into_iter().flatten();
            entries.map(|entry| expand(entry.as_str().expect("arguments are text"), &environment)).collect()
        };
        let own = list("command");
        let mut command = match (program, own.split_first()) {
            (Some(program), _) => Command::new(program),
            (None, Some((first, rest))) => {
                let mut command = Command::new(first);
                command.args(rest);
                command
            }
            (None, None) => panic!("a container without a command needs a program in place of its image"),
        };
        command.args(list("args").iter().map(|argument| self.moved(container, argument)));
        command.env_clear().env("PATH", path);
        command.envs(environment.iter().map(|(name, value)| (name, self.moved(container, value))));
        command
    }

    /// What the container knows as `path`.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn moved(&self, container: &Value, text: &str) -> String {
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        let touches = mounts.map(|mount| Path::new(str_at(mount, "/mountPath"))).any(|mount| {
            let text = Path::new(text);
            text.is_absolute() && text != Path::new("/") && (text.starts_with(mount) || mount.starts_with(text))
        });
        if touches { self.path(text).display().to_string() } else { text.to_owned() }
    }

    /// The files of a ConfigMap or Secret volume; `None` for volumes that are the pod's own.
    fn files(&self, volume: &Value) -> Option<BTreeMap<String, Vec<u8>>> {
        let (kind, source, name) = if volume["configMap"].is_object() {
            ("configmap", &volume["configMap"], str_at(volume, "/configMap/name"))
        } else if volume["secret"].is_object() {
            ("secret", &volume["secret"], str_at(volume, "/secret/secretName"))
        } else {
            return None;
        };
        let Some(object) = self.cluster.object(kind, &self.namespace, name) else {
            let optional = source["optional"].as_bool().unwrap_or_default();
            assert!(optional, "{kind} {name} is not there, and volume {} is not optional", volume["name"]);
            return Some(BTreeMap::new());
        };
        let data: BTreeMap<String, Vec<u8>> = object["data"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), decoded(kind, value.as_str().unwrap_or_default())))
            .collect();
        let Some(items) = source["items"].as_array() else { return Some(data) };
        let wanted = items.iter().filter_map(|item| {
            let content = data.get(str_at(item, "/key"))?;
            Some((str_at(item, "/path").to_owned(), content.clone()))
        });
        Some(wanted.collect())
    }
}

fn decoded(kind: &str, value: &str) -> Vec<u8> {
    if kind == "secret" {
        BASE64.decode(value.as_bytes()).expect("a Secret holds base64")
    } else {
        value.as_bytes().to_vec()
    }
}

/// Puts files into a mounted folder like kubelet: into a folder of their own, which one rename of the link `..data`
/// makes the current one. Whoever reads sees all old files or all new ones, and the files' own inodes change.
///
/// A file that is in the way of a link, because a story's container wrote it there, stays.
fn publish(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let io = "a volume's folder can be written";
    let number = std::fs::read_dir(folder).expect(io).count();
    let version = (number..).map(|n| format!("..v{n}")).find(|name| !folder.join(name).exists()).expect(io);
    let new = folder.join(&version);
    std::fs::create_dir(&new).expect(io);
    for (name, content) in files {
        std::fs::write(new.join(name), content).expect(io);
    }
    let current = folder.join("..data");
    let old = std::fs::read_link(&current).ok();
    let next = folder.join("..data_tmp");
    symlink(&version, &next).expect(io);
    std::fs::rename(&next, &current).expect(io);
    for name in files.keys() {
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link).expect(io);
        }
    }
    for entry in std::fs::read_dir(folder).expect(io).map(|entry| entry.expect(io)) {
        let gone = !files.contains_key(entry.file_name().to_string_lossy().as_ref());
        let ours = std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with("..data"));
        if gone && ours {
            std::fs::remove_file(entry.path()).expect(io);
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old)).expect(io);
    }
}

/// Kubernetes' own expansion of arguments: `$(NAME)` of a variable that is set, `$$` for a dollar; all else stays.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference.and_then(|(name, tail)| Some((environment.get(name)?, tail))) {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after.strip_prefix('$').unwrap_or(after);
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_expanded_as_kubernetes_does_it() {
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (input, want) in [
            ("plain", "plain"),
            ("$(A)$(A)x", "11x"),
            ("$(B) $(mc --json \"$@\")", "$(B) $(mc --json \"$@\")"),
            ("$$(A) $$ $", "$(A) $ $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(input, &environment), want, "{input}");
        }
    }

    #[test]
    fn a_refresh_swaps_one_link_and_keeps_foreign_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        publish(folder.path(), &files(&[("a", "1"), ("b", "1")]));
        std::fs::write(folder.path().join("own"), "x").expect("writable");
        publish(folder.path(), &files(&[("a", "2")]));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("a").as_deref(), Some("2"));
        assert_eq!(read("b"), None);
        assert_eq!(read("own").as_deref(), Some("x"));
        assert!(folder.path().join("b").symlink_metadata().is_err(), "a link to nothing is left");
    }
}
