//! What the sidecar does to the host cluster beside its status: ends its own pod, so that the init container can serve a
//! restore, and brings back the Secret with the PKI that vcluster keeps there. Rights: the Role of chart s3-register.

use std::{collections::BTreeMap, path::Path, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Pod, Secret, Service},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde::Deserialize;

use crate::{backup::Cluster, error::Error, manifest::Layout, payload};

const API_PATIENCE: Duration = Duration::from_secs(10);

/// The pod this program runs in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OwnPod {
    /// Its name.
    pub name: String,
    /// Its uid: a successor of the same name is another pod.
    pub uid: String,
}

impl OwnPod {
    /// Which pod a service account's token was made for, as the token itself says; nothing if it says nothing. Nobody
    /// needs a right to read pods for that, and the API server checks the token anyway.
    #[must_use]
    pub fn of_token(token: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Claims {
            #[serde(rename = "kubernetes.io")]
            kubernetes: Bound,
        }
        #[derive(Deserialize)]
        struct Bound {
            pod: OwnPod,
        }
        let payload = BASE64URL_NOPAD.decode(token.trim().split('.').nth(1)?.as_bytes()).ok()?;
        serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.kubernetes.pod)
    }
}

/// Deletes the pod this program runs in, and no other.
///
/// # Errors
/// A sentence for people: there is no cluster, no pod, no right, no answer.
pub async fn delete_own_pod(namespace: &str) -> Result<(), Error> {
    let config = Config::infer().await.map_err(|_| refused("there is no cluster around it".into()))?;
    let pod = own_token(&config).and_then(|token| OwnPod::of_token(&token));
    let pod = pod.ok_or_else(|| refused("its service account's token does not say which pod it is".into()))?;
    let client = Client::try_from(config).map_err(|e| refused(e.to_string()))?;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match tokio::time::timeout(API_PATIENCE, pods.delete(&pod.name, &parameters)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(refused(e.to_string())),
        Err(_) => Err(refused("the API server did not answer".into())),
    }
}

/// The pod this program runs in, if it runs in one.
pub async fn own_pod() -> Option<OwnPod> {
    let config = Config::infer().await.ok()?;
    own_token(&config).and_then(|token| OwnPod::of_token(&token))
}

fn own_token(config: &Config) -> Option<String> {
    use secrecy::ExposeSecret;
    let auth = &config.auth_info;
    match (&auth.token, &auth.token_file) {
        (Some(token), _) => Some(token.expose_secret().to_owned()),
        (None, Some(file)) => std::fs::read_to_string(file).ok(),
        (None, None) => None,
    }
}

fn refused(why: String) -> Error {
    Error::OwnPod { why }
}

/// Brings back what vcluster keeps in Secrets of the host, from the files of the data directory, where it is gone. What is
/// there stays as it is. Gives the names of those it made.
///
/// # Errors
/// The files cannot be read, or the API server refuses.
pub async fn bring_back_secrets(cluster: &Cluster, data_dir: &Path, layout: Layout) -> Result<Vec<String>, Error> {
    let (name, data) = match layout {
        Layout::K8s => (format!("{}-certs", cluster.release), pki_secret(data_dir)?),
        Layout::K3s => (format!("vc-k3s-{}", cluster.release), token_secret(data_dir)?),
    };
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |source: Option<kube::Error>| Error::HostSecret {
        namespace: cluster.namespace.clone(),
        name: name.clone(),
        source: source.map(Box::new),
    };
    let work = async {
        let client = Client::try_default().await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &cluster.namespace);
        if secrets.get_metadata_opt(&name).await?.is_some() {
            return Ok(Vec::new());
        }
        // As vcluster's own: it goes with the release. k3s's token outlives it.
        let owner = match layout {
            Layout::K8s => service(&client, cluster).await?,
            Layout::K3s => None,
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(cluster.namespace.clone()),
                labels: Some(BTreeMap::from([
                    ("app".to_owned(), "vcluster".to_owned()),
                    ("vcluster-name".to_owned(), cluster.release.clone()),
                ])),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..Secret::default()
        };
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(vec![name.clone()]),
            // Somebody else was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    };
    match tokio::time::timeout(API_PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(|e| failed(Some(e))),
        Err(_) => Err(failed(None)),
    }
}

async fn service(client: &Client, cluster: &Cluster) -> kube::Result<Option<OwnerReference>> {
    let services: Api<Service> = Api::namespaced(client.clone(), &cluster.namespace);
    let Some(service) = services.get_metadata_opt(&cluster.release).await? else { return Ok(None) };
    Ok(service.metadata.uid.map(|uid| OwnerReference {
        api_version: "v1".into(),
        kind: "Service".into(),
        name: cluster.release.clone(),
        uid,
        ..OwnerReference::default()
    }))
}

/// Every file below `pki/` under its path, with `-` for the folder: `etcd/ca.crt` is `etcd-ca.crt`. Without the keys that
/// all others come from it would be a trap: vcluster takes what is there for whole.
fn pki_secret(data_dir: &Path) -> Result<BTreeMap<String, ByteString>, Error> {
    let files = payload::read_pki(data_dir, Layout::K8s)?;
    let data: BTreeMap<_, _> = files
        .into_iter()
        .filter_map(|file| {
            let below = file.path.strip_prefix("pki").ok()?.to_str()?.replace('/', "-");
            Some((below, ByteString(file.bytes)))
        })
        .collect();
    let whole = NEEDED.iter().all(|name| data.contains_key(*name));
    Ok(if whole { data } else { BTreeMap::new() })
}

fn token_secret(data_dir: &Path) -> Result<BTreeMap<String, ByteString>, Error> {
    let files = payload::read_pki(data_dir, Layout::K3s)?;
    let token = files.into_iter().find(|file| file.path == Path::new("server/token"));
    // As it stands: vcluster itself takes the whole file when it finds no Secret, and k3s understands both of its forms.
    let given = token.map(|file| file.bytes.trim_ascii_end().to_vec());
    Ok(given
        .filter(|token| !token.is_empty())
        .map(|token| ("token".to_owned(), ByteString(token)))
        .into_iter()
        .collect())
}

/// What vcluster makes everything else from, and what it refuses to start without.
const NEEDED: [&str; 10] = [
    "ca.crt",
    "ca.key",
    "sa.key",
    "sa.pub",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "apiserver.crt",
    "apiserver.key",
    "admin.conf",
    "controller-manager.conf",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes()))
    }

    #[test]
    fn a_token_says_which_pod_it_was_made_for() {
        let bound = token(r#"{"kubernetes.io":{"namespace":"n","pod":{"name":"shop-0","uid":"u-1"}}}"#);
        let pod = OwnPod { name: "shop-0".into(), uid: "u-1".into() };
        assert_eq!(OwnPod::of_token(&format!("{bound}\n")), Some(pod));
        for other in [token(r#"{"kubernetes.io":{"namespace":"n"}}"#), "x".into(), "a.!!.c".into(), String::new()] {
            assert_eq!(OwnPod::of_token(&other), None, "{other}");
        }
    }

    #[test]
    fn a_pki_is_brought_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("pki/etcd")).expect("made");
        let write = |name: &str| std::fs::write(dir.path().join("pki").join(name), name).expect("written");
        NEEDED[1..].iter().chain(&["etcd/ca.crt"]).for_each(|name| write(name));
        assert!(pki_secret(dir.path()).expect("readable").is_empty());
        write(NEEDED[0]);
        let data = pki_secret(dir.path()).expect("readable");
        assert_eq!(data.len(), NEEDED.len() + 1);
        assert_eq!(data["etcd-ca.crt"].0, b"etcd/ca.crt");
    }

    #[test]
    fn of_the_token_file_the_text_counts() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("server")).expect("made");
        std::fs::write(dir.path().join("server/token"), "K10abc::server:secret\n").expect("written");
        assert_eq!(token_secret(dir.path()).expect("readable")["token"].0, b"K10abc::server:secret");
    }
}
