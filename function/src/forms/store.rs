//! Where backups go: the URL of a store, in which every vcluster has a place of its own. Pure.

/// The kinds of store there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// S3 and what looks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A folder of the vcluster's own volume.
    Folder,
}

/// A URL in which `{bucket}` stands for the vcluster's bucket and `{key}` for its key.
///
/// # Errors
/// A sentence, when it is none, or all vclusters would share one place.
pub(crate) fn store_url(text: &str) -> Result<Place, String> {
    if text.contains('@') || text.contains('?') {
        return Err("holds a user, a password or parameters; credentials belong into a Secret".to_owned());
    }
    let schemes =
        [("s3://", Place::S3), ("gs://", Place::Gcs), ("az://", Place::Azure), ("file:///data/", Place::Folder)];
    let wrong = || {
        format!(
            "{text:?} is not the URL of a store; write it as s3://{{bucket}}, gs://backups/{{key}}, az://... or file:///data/..."
        )
    };
    let (rest, place) = schemes
        .iter()
        .find_map(|(scheme, place)| text.strip_prefix(scheme).map(|rest| (rest, *place)))
        .ok_or_else(wrong)?;
    let plain = |part: &str| {
        let name = part.replace("{bucket}", "b").replace("{key}", "k");
        let fine = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        fine && !name.is_empty() && name != "." && name != ".."
    };
    if !rest.split('/').all(plain) {
        return Err(wrong());
    }
    // Whole parts: of two names that are put together, nobody could tell where one ends.
    if !rest.split('/').any(|part| part == "{bucket}" || part == "{key}") {
        return Err(format!(
            "{text:?} is one place for all vclusters; let {{bucket}} or {{key}} be a part of the path"
        ));
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vcluster_has_a_place_of_its_own() {
        for (url, place) in [
            ("s3://{bucket}", Place::S3),
            ("s3://shared/backups/{key}", Place::S3),
            ("gs://{bucket}", Place::Gcs),
            ("az://container/{key}", Place::Azure),
            ("file:///data/backups/{key}", Place::Folder),
        ] {
            assert_eq!(store_url(url), Ok(place), "{url}");
        }
        let bad = [
            "",
            "s3://",
            "s3://one",
            "ftp://{key}",
            "file:///tmp/{key}",
            "s3://b/../{key}",
            "gs://a//{key}",
            "az://a-{key}",
        ];
        for url in bad {
            assert!(store_url(url).is_err(), "{url}");
        }
        assert!(!store_url("s3://user:hunter2@{bucket}").expect_err("a password").contains("hunter2"));
    }
}
