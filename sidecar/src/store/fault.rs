//! Why a store did not do what was asked, in our words: what a store answers repeats access keys and URLs with
//! signatures, so nothing of it is quoted but its error code.

use std::fmt;

/// Whose API a store speaks; says where its credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// S3 and its look-alikes.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A folder, or memory in tests.
    Local,
}

impl Cloud {
    fn how_to_give_credentials(self) -> &'static str {
        match self {
            Self::S3 | Self::Local => {
                "give ACCESS_KEY and SECRET_KEY, or s3/s3accesskey and s3/s3secretkey in the config folder"
            }
            Self::Gcs => {
                "give GOOGLE_SERVICE_ACCOUNT_KEY (the JSON text) or GOOGLE_APPLICATION_CREDENTIALS (a file), or \
                 s3/GOOGLE_SERVICE_ACCOUNT_KEY in the config folder, or run where the metadata server knows who this is"
            }
            Self::Azure => {
                "give AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY, or AZURE_CLIENT_ID and AZURE_TENANT_ID with \
                 AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE, in the environment or as files of s3/ in the config \
                 folder, or run where the metadata server knows who this is"
            }
        }
    }
}

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Unreachable(String),
    /// No credentials to ask with.
    NoCredentials(Cloud),
    /// An answer: you may not. Holds the store's error code.
    Refused(String),
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    Exists,
    /// Somebody put an object there whose key cannot be read.
    BadKey,
    /// The object may not be removed yet: a lock or hold. Holds the store's error code.
    Held(String),
    /// Anything else. Holds the store's error code or the system's words.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => {
                write!(f, "the store does not answer ({why}); check its endpoint and the network")
            }
            Self::NoCredentials(cloud) => write!(f, "there are no credentials; {}", cloud.how_to_give_credentials()),
            Self::Refused(code) => {
                write!(f, "the store refuses the credentials ({code}); check access key, secret key and policy")
            }
            Self::NoBucket => f.write_str("the bucket does not exist; is it registered?"),
            Self::NotFound => f.write_str("there is no such object"),
            Self::Exists => f.write_str("it exists already"),
            Self::BadKey => {
                f.write_str("an object there has a key with illegal characters, which is none of ours; remove it")
            }
            Self::Held(code) => write!(f, "a lock or hold of the bucket keeps it ({code})"),
            Self::Other(why) => write!(f, "the store failed ({why})"),
        }
    }
}

impl Fault {
    /// What the library's error means.
    pub(super) fn of(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let text = error.to_string();
        let code =
            text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code.to_owned());
        match (error, code.as_deref()) {
            (_, Some("NoSuchBucket" | "ContainerNotFound")) => Self::NoBucket,
            (_, Some(code)) if is_hold(code, &text) => Self::Held(code.to_owned()),
            (E::NotFound { .. }, _) => Self::NotFound,
            (E::AlreadyExists { .. } | E::Precondition { .. }, _) => Self::Exists,
            (E::PermissionDenied { .. } | E::Unauthenticated { .. }, code) => {
                Self::Refused(code.unwrap_or("AccessDenied").to_owned())
            }
            (_, Some(code @ ("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken"))) => {
                Self::Refused(code.to_owned())
            }
            (_, Some(code)) => Self::Other(code.to_owned()),
            (_, None) => {
                let why = innermost(error);
                match error {
                    _ if text.contains("illegal character") => Self::BadKey,
                    _ if text.contains("non-2xx status code") => Self::Other(status_of(&text)),
                    E::Generic { store: "LocalFileSystem", .. } => Self::Other(why),
                    _ => Self::Unreachable(why),
                }
            }
        }
    }
}

/// A store without conditional writes says so in one of these ways; uniqueness of names does not depend on it.
pub(super) fn cannot_create_only(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let answered = |fault| matches!(fault, Fault::Other(why) if why == "NotImplemented" || why.starts_with("501"));
    matches!(error, E::NotImplemented { .. } | E::NotSupported { .. }) || answered(Fault::of(error))
}

/// Locks, holds and retention policies, each in its store's word. MinIO has none of its own and says it in a sentence.
fn is_hold(code: &str, text: &str) -> bool {
    const CODES: [&str; 5] = [
        "ObjectLocked",
        "RetentionPolicyNotMet",
        "ObjectUnderActiveHold",
        "BlobImmutableDueToPolicy",
        "BlobImmutableDueToLegalHold",
    ];
    CODES.contains(&code) || (code == "InvalidRequest" && text.contains("WORM"))
}

/// `503 Service Unavailable` out of a longer text, without the body that follows.
fn status_of(text: &str) -> String {
    let rest = text.split_once("status code: ").map_or("", |(_, rest)| rest);
    rest.split_once(':').map_or(rest, |(status, _)| status).trim().to_owned()
}

/// The cause at the bottom: the system's words, free of URLs and bodies.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().lines().next().unwrap_or("unknown").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &str) -> Fault {
        Fault::of(&object_store::Error::Generic { store: "S3", source: body.to_owned().into() })
    }

    #[test]
    fn what_a_store_answers_is_told_by_its_code_alone() {
        let body = |code: &str, message: &str| {
            format!("<Error><Code>{code}</Code><Message>{message}</Message><Key>AKIAEXAMPLE</Key></Error>")
        };
        let cases = [
            (body("SignatureDoesNotMatch", "x"), Fault::Refused("SignatureDoesNotMatch".into())),
            (body("NoSuchBucket", "x"), Fault::NoBucket),
            (body("ContainerNotFound", "x"), Fault::NoBucket),
            (
                body("InvalidRequest", "Object is WORM protected and cannot be overwritten"),
                Fault::Held("InvalidRequest".into()),
            ),
            (body("InvalidRequest", "something else"), Fault::Other("InvalidRequest".into())),
            (body("BlobImmutableDueToPolicy", "x"), Fault::Held("BlobImmutableDueToPolicy".into())),
            (body("SlowDown", "x"), Fault::Other("SlowDown".into())),
        ];
        for (body, fault) in cases {
            assert_eq!(answered(&body), fault, "{body}");
            assert!(!answered(&body).to_string().contains("AKIA"));
        }
    }
}
