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
                "give ACCESS_KEY and SECRET_KEY, or s3/s3accesskey and s3/s3secretkey in the config folder, or what AWS \
                 itself reads (AWS_WEB_IDENTITY_TOKEN_FILE and the like)"
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

impl Cloud {
    /// What to look at when it says: you may not.
    fn how_to_be_let_in(self) -> &'static str {
        match self {
            Self::S3 => "check access key, secret key and the policy of their user",
            Self::Gcs => {
                "check the service account's key and its roles on the bucket: Storage Object User, or Storage Object \
                 Creator and Viewer where nothing may be removed"
            }
            Self::Azure => {
                "check the account's key, the permissions and the end of the SAS, or the identity's role on the \
                 container: Storage Blob Data Contributor"
            }
            Self::Local => "check owner and mode of the folder and whether it is mounted for writing",
        }
    }
}

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Unreachable(String),
    /// An answer from somebody whose certificate is not accepted. Holds the TLS library's words.
    Certificate(String),
    /// No credentials to ask with.
    NoCredentials(Cloud),
    /// An answer: you may not. Holds the store's error code, or the system's words.
    Refused(Cloud, String),
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region than was asked. Holds the store's error code.
    Region(String),
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    Exists,
    /// Somebody put an object there whose key cannot be read.
    BadKey,
    /// The object may not be removed yet: a lock or hold. Holds the store's error code.
    Held(String),
    /// A bucket with a lock that takes no upload without a digest in its header.
    WantsDigest,
    /// The object has been put where nobody can read it at once. Holds the store's error code.
    Archived(String),
    /// A quota is used up, or the store's disk. Holds the store's error code, or the system's words.
    Full(String),
    /// Anything else. Holds the store's error code or the system's words.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => {
                write!(f, "the store does not answer ({why}); check its endpoint and the network")
            }
            Self::Certificate(why) => {
                let remedy = match why {
                    _ if why.contains("UnknownIssuer") => {
                        "give the certificate of the authority that signed it by --ca-file or store.ca"
                    }
                    _ if why.contains("CaUsedAsEndEntity") => {
                        "it is an authority's own: give the server one with basicConstraints CA:FALSE"
                    }
                    _ => "renew it, or name the store as the certificate does",
                };
                write!(f, "the store's certificate is not accepted ({why}); {remedy}")
            }
            Self::NoCredentials(cloud) => write!(f, "there are no credentials; {}", cloud.how_to_give_credentials()),
            Self::Refused(_, code) if code == "RequestTimeTooSkewed" => {
                write!(f, "the store's clock and ours are too far apart ({code}); set the clock of this machine")
            }
            Self::Refused(Cloud::Local, why) => {
                write!(f, "the folder may not be used ({why}); {}", Cloud::Local.how_to_be_let_in())
            }
            Self::Refused(cloud, code) => {
                write!(f, "the store refuses the credentials ({code}); {}", cloud.how_to_be_let_in())
            }
            Self::NoBucket => f.write_str("the bucket does not exist; is it registered?"),
            Self::Region(code) => {
                write!(f, "the bucket is in another region ({code}); name it by --region, REGION or store.region")
            }
            Self::NotFound => f.write_str("there is no such object"),
            Self::Exists => f.write_str("it exists already"),
            Self::BadKey => {
                f.write_str("an object there has a key with illegal characters, which is none of ours; remove it")
            }
            Self::Held(code) => write!(f, "a lock or hold of the bucket keeps it ({code})"),
            Self::WantsDigest => f.write_str(
                "the bucket's lock wants a digest with each upload, and not the SHA-256 it was given; use another bucket",
            ),
            Self::Archived(code) => {
                write!(
                    f,
                    "it has been moved to an archive class ({code}); bring it back by the store's own tools first"
                )
            }
            Self::Full(code) => write!(f, "there is no room left in the store ({code}); raise its quota, or keep less"),
            Self::Other(why) => write!(f, "the store failed ({why})"),
        }
    }
}

impl Fault {
    /// Whether it says that these credentials may not do this, rather than that nobody knows whose they are: a clock,
    /// an end or a key that is wrong says nothing about rights.
    #[must_use]
    pub fn is_lack_of_rights(&self) -> bool {
        const UNKNOWN: [&str; 7] = [
            "RequestTimeTooSkewed",
            "ExpiredToken",
            "InvalidToken",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "AuthenticationFailed",
            "AuthenticationRequired",
        ];
        matches!(self, Self::Refused(_, code) if !UNKNOWN.contains(&&**code) && !code.starts_with("401"))
    }

    /// What the library's error means when this kind of store gives it.
    pub(super) fn of(cloud: Cloud, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let text = error.to_string();
        let code =
            text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code.to_owned());
        let status = status_of(&text);
        match (error, code.as_deref()) {
            (_, Some("NoSuchBucket" | "ContainerNotFound")) => Self::NoBucket,
            (
                _,
                Some(
                    code
                    @ ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException"),
                ),
            ) => Self::Region(code.to_owned()),
            (_, None) if text.contains("redirect without LOCATION") => Self::Region("redirected".to_owned()),
            (_, Some(code)) if is_hold(code, &text) => Self::Held(code.to_owned()),
            (_, Some("InvalidRequest" | "MissingContentMD5"))
                if text.contains("Content-MD5") || text.contains("x-amz-checksum") =>
            {
                Self::WantsDigest
            }
            (_, Some(code @ ("InvalidObjectState" | "BlobArchived"))) => Self::Archived(code.to_owned()),
            (_, Some(code)) if code.contains("QuotaExceeded") || code.contains("StorageFull") => {
                Self::Full(code.to_owned())
            }
            (E::NotFound { .. }, _) => Self::NotFound,
            (E::AlreadyExists { .. } | E::Precondition { .. }, _) => Self::Exists,
            (E::PermissionDenied { .. } | E::Unauthenticated { .. }, code) => {
                Self::Refused(cloud, code.unwrap_or("AccessDenied").to_owned())
            }
            // The library tells only some of its requests' refusals from other failures: of a listing it does not.
            (_, code) if status.starts_with("401") || status.starts_with("403") => {
                Self::Refused(cloud, code.unwrap_or(&status).to_owned())
            }
            (_, Some(code @ ("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken"))) => {
                Self::Refused(cloud, code.to_owned())
            }
            (_, Some(code)) => Self::Other(code.to_owned()),
            (_, None) => {
                let why = innermost(error);
                match error {
                    _ if text.contains("illegal character") => Self::BadKey,
                    _ if status.starts_with("507") => Self::Full(status),
                    _ if !status.is_empty() => Self::Other(status),
                    E::Generic { store: "LocalFileSystem", .. } => Self::of_system(error, why),
                    _ => match why.strip_prefix("invalid peer certificate: ") {
                        Some(why) => Self::Certificate(why.to_owned()),
                        None => Self::Unreachable(why),
                    },
                }
            }
        }
    }

    /// What the system said of a folder.
    fn of_system(error: &object_store::Error, why: String) -> Self {
        use std::{error::Error as _, io::ErrorKind as Kind};
        let mut cause = error.source();
        let mut kind = Kind::Other;
        while let Some(deeper) = cause {
            kind = deeper.downcast_ref::<std::io::Error>().map_or(kind, std::io::Error::kind);
            cause = deeper.source();
        }
        match kind {
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Self::Refused(Cloud::Local, why),
            Kind::StorageFull | Kind::QuotaExceeded => Self::Full(why),
            _ => Self::Other(why),
        }
    }
}

/// A store without conditional writes says so in one of these ways; uniqueness of names does not depend on it.
pub(super) fn cannot_create_only(cloud: Cloud, error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let answered = |fault| matches!(fault, Fault::Other(why) if why == "NotImplemented" || why.starts_with("501"));
    matches!(error, E::NotImplemented { .. } | E::NotSupported { .. }) || answered(Fault::of(cloud, error))
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

/// `503 Service Unavailable` out of a longer text, without the body that follows; nothing if there was no answer.
fn status_of(text: &str) -> String {
    let rest = text.split_once("non-2xx status code: ").map_or("", |(_, rest)| rest);
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

    fn answered(cloud: Cloud, body: &str) -> Fault {
        Fault::of(cloud, &object_store::Error::Generic { store: "a store", source: body.to_owned().into() })
    }

    #[test]
    fn what_a_store_answers_is_told_by_its_code_alone() {
        let body = |code: &str, message: &str| {
            format!("<Error><Code>{code}</Code><Message>{message}</Message><Key>AKIAEXAMPLE</Key></Error>")
        };
        let refused = |cloud, code: &str| Fault::Refused(cloud, code.into());
        let after = |status: &str, body: &str| format!("Server returned non-2xx status code: {status}: {body}");
        let (s3, gcs, azure) = (Cloud::S3, Cloud::Gcs, Cloud::Azure);
        let cases = [
            (s3, body("SignatureDoesNotMatch", "x"), refused(s3, "SignatureDoesNotMatch")),
            (s3, body("NoSuchBucket", "x"), Fault::NoBucket),
            (azure, body("ContainerNotFound", "x"), Fault::NoBucket),
            (
                s3,
                body("InvalidRequest", "Object is WORM protected and cannot be overwritten"),
                Fault::Held("InvalidRequest".into()),
            ),
            (
                s3,
                body(
                    "InvalidRequest",
                    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests",
                ),
                Fault::WantsDigest,
            ),
            (s3, body("InvalidRequest", "something else"), Fault::Other("InvalidRequest".into())),
            (azure, body("BlobImmutableDueToPolicy", "x"), Fault::Held("BlobImmutableDueToPolicy".into())),
            (
                gcs,
                after("403 Forbidden", &body("RetentionPolicyNotMet", "x")),
                Fault::Held("RetentionPolicyNotMet".into()),
            ),
            (
                s3,
                after("403 Forbidden", &body("InvalidObjectState", "x")),
                Fault::Archived("InvalidObjectState".into()),
            ),
            (azure, after("409 Conflict", &body("BlobArchived", "x")), Fault::Archived("BlobArchived".into())),
            (
                s3,
                after("400 Bad Request", &body("XMinioAdminBucketQuotaExceeded", "x")),
                Fault::Full("XMinioAdminBucketQuotaExceeded".into()),
            ),
            // Of a listing the library says no more than this.
            (
                gcs,
                after("401 Unauthorized", &body("AuthenticationRequired", "x")),
                refused(gcs, "AuthenticationRequired"),
            ),
            (azure, after("403 Forbidden", &body("AuthorizationFailure", "x")), refused(azure, "AuthorizationFailure")),
            (azure, after("403 Forbidden", "AKIAEXAMPLE"), refused(azure, "403 Forbidden")),
            (s3, after("502 Bad Gateway", "AKIAEXAMPLE"), Fault::Other("502 Bad Gateway".into())),
            (
                s3,
                after("400 Bad Request", &body("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong")),
                Fault::Region("AuthorizationHeaderMalformed".into()),
            ),
            (
                s3,
                "Received redirect without LOCATION, this normally indicates an incorrectly configured region".into(),
                Fault::Region("redirected".into()),
            ),
            (s3, body("SlowDown", "x"), Fault::Other("SlowDown".into())),
            (s3, after("507 Insufficient Storage", "full"), Fault::Full("507 Insufficient Storage".into())),
        ];
        for (cloud, body, fault) in cases {
            assert_eq!(answered(cloud, &body), fault, "{body}");
            assert!(!answered(cloud, &body).to_string().contains("AKIA"));
        }
    }

    #[test]
    fn a_wrong_clock_is_no_lack_of_rights() {
        let lacks = |code: &str| Fault::Refused(Cloud::S3, code.into()).is_lack_of_rights();
        assert!(lacks("AccessDenied") && lacks("403 Forbidden"));
        for code in ["RequestTimeTooSkewed", "ExpiredToken", "401 Unauthorized"] {
            assert!(!lacks(code), "{code}");
        }
        assert!(!Fault::NoBucket.is_lack_of_rights());
    }

    #[test]
    fn a_refusal_names_what_the_cloud_itself_calls_it() {
        let said = |cloud, code: &str| Fault::Refused(cloud, code.into()).to_string();
        insta::assert_snapshot!(said(Cloud::S3, "AccessDenied"), @"the store refuses the credentials (AccessDenied); check access key, secret key and the policy of their user");
        insta::assert_snapshot!(said(Cloud::Gcs, "AccessDenied"), @"the store refuses the credentials (AccessDenied); check the service account's key and its roles on the bucket: Storage Object User, or Storage Object Creator and Viewer where nothing may be removed");
        insta::assert_snapshot!(said(Cloud::Azure, "AuthenticationFailed"), @"the store refuses the credentials (AuthenticationFailed); check the account's key, the permissions and the end of the SAS, or the identity's role on the container: Storage Blob Data Contributor");
        insta::assert_snapshot!(said(Cloud::Local, "Permission denied (os error 13)"), @"the folder may not be used (Permission denied (os error 13)); check owner and mode of the folder and whether it is mounted for writing");
        insta::assert_snapshot!(said(Cloud::S3, "RequestTimeTooSkewed"), @"the store's clock and ours are too far apart (RequestTimeTooSkewed); set the clock of this machine");
    }

    #[test]
    fn of_a_folder_the_systems_words_tell_a_refusal_from_a_failure() {
        let said = |kind: std::io::ErrorKind| {
            let source = Box::new(std::io::Error::from(kind));
            Fault::of(Cloud::Local, &object_store::Error::Generic { store: "LocalFileSystem", source })
        };
        use std::io::ErrorKind as Kind;
        for kind in [Kind::PermissionDenied, Kind::ReadOnlyFilesystem] {
            assert!(matches!(said(kind), Fault::Refused(Cloud::Local, _)), "{kind}");
        }
        assert!(matches!(said(Kind::StorageFull), Fault::Full(_)));
        assert!(matches!(said(Kind::InvalidData), Fault::Other(_)));
    }
}
