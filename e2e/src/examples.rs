//! The folders under `examples/`.

use std::path::PathBuf;

use serde_json::Value;

use crate::{tools, yaml};

/// One example.
pub struct Example {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
}

impl Example {
    /// The one called `name`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        all().into_iter().find(|example| example.name == name).unwrap_or_else(|| panic!("no example {name}"))
    }

    /// A folder that shows what others have written, so that nothing is rendered from it.
    #[must_use]
    pub fn beside(name: &str) -> Self {
        Self { name: name.to_owned(), folder: tools::repository().join("examples").join(name) }
    }

    /// A file of it, if it has it.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        path.exists().then_some(path)
    }

    /// The text of a file.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    }

    /// What is rendered, as checked in.
    #[must_use]
    pub fn rendered(&self) -> Vec<Value> {
        yaml::documents(&self.text("rendered.yaml"))
    }
}

/// Every folder that holds a `rendered.yaml`, in order of name.
///
/// # Panics
/// When there are none: a story about examples must not pass on nothing.
#[must_use]
pub fn all() -> Vec<Example> {
    let top = tools::repository().join("examples");
    let entries = std::fs::read_dir(&top).unwrap_or_else(|error| panic!("cannot read {}: {error}", top.display()));
    let mut examples: Vec<Example> = entries
        .map(|entry| entry.expect("a folder can be listed"))
        .filter(|entry| entry.path().join("rendered.yaml").exists())
        .map(|entry| Example { name: entry.file_name().to_string_lossy().into_owned(), folder: entry.path() })
        .collect();
    examples.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!examples.is_empty(), "no example with a rendered.yaml under {}", top.display());
    examples
}
