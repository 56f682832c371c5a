//! Google Cloud Storage for a story: fake-gcs-server, and a front of ours for what it lacks.
//!
//! The sidecar's library speaks the XML API. Of that the emulator knows reading, listing and removing, but no upload: all
//! but signed URLs get a 400 from it, uploads in parts are unknown to it, and it asks nobody for credentials. So the front
//! makes an upload one of the JSON API, gathers parts, and lets in only who bears a token that the service account's key
//! has signed. Everything else goes through as it is.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::process::{Running, run};
use crate::tools;

/// Who may ask.
const ACCOUNT: &str = "backup@project.iam.gserviceaccount.com";

/// A running store.
pub struct Gcs {
    /// Held for its drop.
    _server: Running,
    /// `host:port` of the front.
    pub address: String,
    /// The service account's key as Google gives it: a JSON text.
    pub key: String,
}

impl Gcs {
    /// Starts the emulator with one empty bucket, and the front.
    ///
    /// # Panics
    /// When something of it cannot be started.
    #[must_use]
    pub fn start(folder: &Path, bucket: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let port = tools::free_port();
        let emulator = format!("127.0.0.1:{port}");
        let mut command = Command::new(tools::tool("fake-gcs-server"));
        command.args(["-log-level", "warn", "-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()]);
        // Under this name the first part of the path is the bucket.
        command.args(["-public-host", &address, "-filesystem-root"]).arg(folder.join("gcs"));
        let mut server = Running::start("fake-gcs-server", folder, &mut command);
        server.wait_until("it listens", || TcpStream::connect(&emulator).is_ok());

        let pem = service_key();
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64.decode(der.as_bytes()).expect("PEM");
        let public_key = RsaKeyPair::from_pkcs8(&der).expect("an RSA key").public_key().as_ref().to_vec();
        let front = Arc::new(Front { emulator, address: address.clone(), public_key, uploads: Mutex::default() });
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let line = "POST /storage/v1/b?project=shop".to_owned();
        let made = front.ask(&Request { line, headers, body: json!({"name": bucket}).to_string().into() });
        assert_eq!(made.status, 200, "no bucket: {}", String::from_utf8_lossy(&made.body));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let front = Arc::clone(&front);
                std::thread::spawn(move || front.serve(stream));
            }
        });
        Self { _server: server, address, key: account_key(&pem) }
    }
}

/// The key of a service account that has this private key.
fn account_key(pem: &str) -> String {
    json!({"type": "service_account", "client_email": ACCOUNT, "private_key_id": "1", "private_key": pem}).to_string()
}

/// The key of the same account that Google no longer takes.
///
/// # Panics
/// When openssl cannot make one.
#[must_use]
pub fn withdrawn_key() -> String {
    account_key(&service_key())
}

fn service_key() -> String {
    run(Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-quiet"]), "").ok()
}

/// What stands before the emulator.
struct Front {
    emulator: String,
    address: String,
    public_key: Vec<u8>,
    uploads: Mutex<Uploads>,
}

#[derive(Default)]
struct Uploads {
    begun: usize,
    /// Parts by number, by upload.
    open: HashMap<String, BTreeMap<u32, Vec<u8>>>,
}

impl Front {
    /// One request a connection: nothing is kept.
    fn serve(&self, mut stream: TcpStream) {
        let Ok(shared) = stream.try_clone() else { return };
        let Some(request) = Request::read(&mut BufReader::new(shared)) else { return };
        let answer = self.answer(&request);
        // Who has gone away needs none.
        let _ = stream.write_all(&answer.into_bytes());
    }

    fn answer(&self, request: &Request) -> Answer {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.knows(token)) {
            return Answer::error(401, "AuthenticationRequired");
        }
        let (method, target) = request.line.split_once(' ').unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(name, value)| (name == wanted).then_some(value))
        };
        match (method, parameter("uploadId")) {
            ("PUT", None) => self.put(path, &request.body, request.header("x-goog-if-generation-match")),
            ("POST", None) if parameter("uploads").is_some() => {
                let mut uploads = self.uploads();
                uploads.begun += 1;
                let id = format!("upload-{}", uploads.begun);
                uploads.open.insert(id.clone(), BTreeMap::new());
                Answer::xml("InitiateMultipartUploadResult", &format!("<UploadId>{id}</UploadId>"))
            }
            ("PUT", Some(id)) => {
                let number = parameter("partNumber").and_then(|number| number.parse().ok());
                match (self.uploads().open.get_mut(id), number) {
                    (Some(parts), Some(number)) => {
                        parts.insert(number, request.body.clone());
                        Answer::new(200).with("etag", &format!("\"{number}\""))
                    }
                    _ => Answer::error(404, "NoSuchUpload"),
                }
            }
            ("POST" | "DELETE", Some(id)) => {
                let parts = self.uploads().open.remove(id);
                match (method, parts) {
                    (_, None) => Answer::error(404, "NoSuchUpload"),
                    ("DELETE", Some(_)) => Answer::new(204),
                    (_, Some(parts)) => self.complete(path, parts),
                }
            }
            _ => self.ask(request),
        }
    }

    fn complete(&self, path: &str, parts: BTreeMap<u32, Vec<u8>>) -> Answer {
        let put = self.put(path, &parts.into_values().flatten().collect::<Vec<u8>>(), None);
        match (put.status, put.header("etag")) {
            (200, Some(tag)) => Answer::xml("CompleteMultipartUploadResult", &format!("<ETag>{tag}</ETag>")),
            _ => put,
        }
    }

    /// An upload of the JSON API, of the kind that heeds conditions.
    fn put(&self, path: &str, body: &[u8], generation: Option<&str>) -> Answer {
        let Some((bucket, name)) = path.trim_start_matches('/').split_once('/') else {
            return Answer::error(400, "InvalidURI");
        };
        let condition = generation.map(|generation| format!("&ifGenerationMatch={generation}")).unwrap_or_default();
        let line = format!("POST /upload/storage/v1/b/{bucket}/o?uploadType=multipart&name={name}{condition}");
        let headers = vec![("content-type".to_owned(), "multipart/related; boundary=part".to_owned())];
        let mut parts = b"--part\r\ncontent-type: application/json\r\n\r\n{}\r\n--part\r\n\r\n".to_vec();
        parts.extend_from_slice(body);
        parts.extend_from_slice(b"\r\n--part--\r\n");
        let answer = self.ask(&Request { line, headers, body: parts });
        match answer.status {
            200 => {
                let object: Value = serde_json::from_slice(&answer.body).expect("the emulator answers in JSON");
                let text = |name: &str| object[name].as_str().unwrap_or_default().trim_matches('"').to_owned();
                let tag = format!("\"{}\"", text("etag"));
                Answer::new(200).with("etag", &tag).with("x-goog-generation", &text("generation"))
            }
            404 => Answer::error(404, "NoSuchBucket"),
            412 => Answer::error(412, "PreconditionFailed"),
            other => Answer::error(other, "InternalError"),
        }
    }

    /// Whether the service account has signed it, for this hour.
    fn knows(&self, token: &str) -> bool {
        let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap_or_default();
        let (signed, tag) = token.rsplit_once('.').unwrap_or_default();
        let (_, claims) = signed.split_once('.').unwrap_or_default();
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap_or_default();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key);
        let now = jiff::Timestamp::now().as_second();
        key.verify(signed.as_bytes(), &decoded(tag)).is_ok()
            && claims["iss"] == ACCOUNT
            && claims["exp"].as_i64().is_some_and(|until| until > now)
    }

    /// Asks the emulator. Of HTTP 1.0, so that an answer ends with its connection.
    fn ask(&self, request: &Request) -> Answer {
        let mut stream = TcpStream::connect(&self.emulator).expect("the emulator listens");
        let mut head = format!("{} HTTP/1.0\r\nhost: {}\r\n", request.line, self.address);
        for (name, value) in &request.headers {
            if !matches!(&**name, "host" | "connection" | "content-length" | "authorization") {
                head += &format!("{name}: {value}\r\n");
            }
        }
        head += &format!("content-length: {}\r\n\r\n", request.body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&request.body)).expect("sent");
        let mut reader = BufReader::new(stream);
        let (line, headers) = head_of(&mut reader).expect("the emulator answers");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut body = Vec::new();
        reader.read_to_end(&mut body).expect("an answer ends");
        Answer { status, headers, body }
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Request {
    /// Method and target.
    line: String,
    headers: Headers,
    body: Vec<u8>,
}

/// Names in lower case.
type Headers = Vec<(String, String)>;

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let (line, headers) = head_of(reader)?;
        let line = line.strip_suffix(" HTTP/1.1")?.to_owned();
        let mut request = Self { line, headers, body: Vec::new() };
        let length = request.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        reader.take(length).read_to_end(&mut request.body).ok()?;
        Some(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

struct Answer {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn xml(element: &str, content: &str) -> Self {
        Self { body: format!("<{element}>{content}</{element}>").into(), ..Self::new(200) }
    }

    fn error(status: u16, code: &str) -> Self {
        Self { status, ..Self::xml("Error", &format!("<Code>{code}</Code>")) }
    }

    fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    fn into_bytes(mut self) -> Vec<u8> {
        // To HEAD the emulator says a length and sends nothing.
        if self.header("content-length").is_none() {
            self.headers.push(("content-length".to_owned(), self.body.len().to_string()));
        }
        self.headers.retain(|(name, _)| name != "connection");
        self.headers.push(("connection".to_owned(), "close".to_owned()));
        let mut bytes = format!("HTTP/1.1 {} -\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.append(&mut self.body);
        bytes
    }
}

/// The first line and the headers of a request or an answer.
fn head_of(reader: &mut impl BufRead) -> Option<(String, Headers)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let first = lines.next()?;
    let headers = lines.filter_map(|line| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some((first, headers.collect()))
}

fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find_map(|(n, value)| (n == name).then_some(&**value))
}
