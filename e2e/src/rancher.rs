//! A Rancher that is not one: it answers the few calls that chart rancher-cluster makes, and remembers what was asked of
//! it. The real one brings a cluster of its own and cannot be run here; paths and bodies are those that the upstream chart
//! uses against it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use data_encoding::BASE64;
use serde_json::{Value, json};

/// The one token that is accepted.
pub const TOKEN: &str = "token-abcde:s3cretw0rds";
/// What opens the agent's connection.
pub const AGENT_TOKEN: &str = "agents3cret";

/// What Rancher knows.
#[derive(Default)]
pub struct State {
    /// Clusters of `fleet-default` by name, as they were sent.
    pub clusters: BTreeMap<String, Value>,
    /// Owners, as they were sent.
    pub bindings: Vec<Value>,
    /// Every call, as `GET /path`; with the whole URL where this was called as a proxy.
    pub calls: Vec<String>,
    /// For how many looks a removed cluster lingers, as while Rancher's finalizers work.
    pub lingers: u32,
    /// Whether it answers 503 to everything.
    pub away: bool,
}

/// A running one; it ends with the story.
pub struct Rancher {
    /// `http://host:port`.
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Rancher {
    /// Starts it on loopback.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(Mutex::new(State::default()));
        let (ours, address) = (Arc::clone(&state), url.clone());
        let _ = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that goes away in the middle has seen no answer, and neither have we.
                let _ = answer(&stream, &ours, &address);
            }
        });
        Self { url, state }
    }

    /// What it knows by now.
    ///
    /// # Panics
    /// When it has failed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("it has not failed")
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>, url: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut known) = (0, false);
    let login = format!("Basic {}", BASE64.encode(TOKEN.as_bytes()));
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or_default(),
            "authorization" => known = value == login,
            _ => (),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut state = state.lock().expect("it has not failed");
    state.calls.push(format!("{method} {path}"));
    // A proxy is asked for whole URLs; this one plays every host behind it.
    let path = path.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(path);
    let (status, text) = match known || path.starts_with("/v3/import/") {
        _ if state.away => (503, String::new()),
        true => state.serve(method, path, &body, url),
        false => (401, json!({"type": "error"}).to_string()),
    };
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

impl State {
    fn serve(&mut self, method: &str, path: &str, body: &Value, url: &str) -> (u16, String) {
        const CLUSTERS: &str = "/v1/provisioning.cattle.io.clusters";
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        let missing = || (404, json!({"type": "error", "code": "NotFound"}).to_string());
        let name = place.strip_prefix(CLUSTERS).and_then(|rest| rest.strip_prefix("/fleet-default/"));
        let import = format!("/v3/import/{AGENT_TOKEN}_c-m-00000001.yaml");
        match (method, place, name) {
            ("GET", _, Some(name)) => {
                let leaves =
                    self.clusters.get(name).is_some_and(|cluster| !cluster["metadata"]["deletionTimestamp"].is_null());
                if leaves && self.lingers == 0 {
                    let _ = self.clusters.remove(name);
                }
                self.lingers = self.lingers.saturating_sub(u32::from(leaves));
                self.clusters.get(name).map_or_else(missing, |cluster| (200, cluster.to_string()))
            }
            ("DELETE", _, Some(name)) => match self.clusters.get_mut(name) {
                Some(cluster) => {
                    cluster["metadata"]["deletionTimestamp"] = json!("2026-11-25T00:00:00Z");
                    (200, cluster.to_string())
                }
                None => missing(),
            },
            ("POST", CLUSTERS, _) => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let mut cluster = body.clone();
                cluster["status"] = json!({"clusterName": "c-m-00000001"});
                match self.clusters.insert(name, cluster) {
                    None => (201, body.to_string()),
                    Some(_) => (409, json!({"type": "error", "code": "AlreadyExists"}).to_string()),
                }
            }
            ("GET", "/v3/clusterregistrationtokens", _) if query == "clusterId=c-m-00000001" => {
                (200, json!({"data": [{"manifestUrl": format!("{url}{import}")}]}).to_string())
            }
            ("GET", place, _) if place == import => (200, manifest()),
            ("GET", "/v3/clusterroletemplatebindings", _) => (200, json!({"data": self.bindings}).to_string()),
            ("POST", "/v3/clusterroletemplatebindings", _) => {
                self.bindings.push(body.clone());
                (201, body.to_string())
            }
            _ => missing(),
        }
    }
}

/// The part of it that needs no pods.
fn manifest() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: cattle-system\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  \
         name: cattle-credentials-ab12\n  namespace: cattle-system\nstringData:\n  token: {AGENT_TOKEN}\n"
    )
}
