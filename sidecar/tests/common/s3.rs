//! An S3 server in the test's own process, which refuses what a test tells it to. A thread of its own serves it, so that
//! our program can ask it from another process.

use std::{
    convert::Infallible,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{Body, auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;

pub const BUCKET: &str = "shop";
pub const USER: &str = "user";
pub const PASSWORD: &str = "hunter2-hunter2";

/// A running server.
pub struct S3 {
    pub endpoint: String,
    bucket: PathBuf,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    log: Arc<Mutex<Vec<String>>>,
    delay: Arc<Mutex<Duration>>,
}

/// What is not allowed.
#[derive(Clone, Copy)]
pub struct Refusal {
    pub method: &'static str,
    /// 0: there is never an answer.
    pub status: u16,
    pub code: &'static str,
    pub message: &'static str,
    /// A request that bears this header is allowed.
    pub unless: Option<&'static str>,
}

/// A user who may not remove anything.
pub const NO_DELETE: Refusal =
    Refusal { method: "DELETE", status: 403, code: "AccessDenied", message: "Access Denied.", unless: None };
/// A bucket whose quota is used up, as MinIO says it.
pub const NO_ROOM: Refusal = Refusal {
    method: "PUT",
    status: 400,
    code: "XMinioAdminBucketQuotaExceeded",
    message: "Bucket quota exceeded",
    unless: None,
};
/// A network that loses what is sent.
pub const NO_ANSWER_TO_PUT: Refusal = Refusal { method: "PUT", status: 0, code: "", message: "", unless: None };
/// A bucket of AWS whose lock has a default retention.
pub const NO_PUT_WITHOUT_DIGEST: Refusal = Refusal {
    method: "PUT",
    status: 400,
    code: "InvalidRequest",
    message: "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
    unless: Some("x-amz-checksum-sha256"),
};

impl S3 {
    /// Serves one empty bucket, kept below `folder`.
    pub fn start(folder: &Path) -> Self {
        let bucket = folder.join("s3").join(BUCKET);
        std::fs::create_dir_all(&bucket).expect("writable");
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.join("s3")).expect("a folder"));
        service.set_auth(SimpleAuth::from_single(USER, PASSWORD));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        listener.set_nonblocking(true).expect("a socket");
        let refusals = Arc::<Mutex<Vec<Refusal>>>::default();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let delay = Arc::<Mutex<Duration>>::default();
        let (refused, logged, delayed) = (Arc::clone(&refusals), Arc::clone(&log), Arc::clone(&delay));
        let served = async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let (service, refused, logged) = (service.clone(), Arc::clone(&refused), Arc::clone(&logged));
                let delayed = Arc::clone(&delayed);
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (service, refusal) = (service.clone(), refusal_of(&refused, &request));
                    let (logged, line) = (Arc::clone(&logged), format!("{} {}", request.method(), request.uri()));
                    let delay = *delayed.lock().expect("no thread panics with it");
                    let delay = if request.method() == hyper::Method::GET { delay } else { Duration::ZERO };
                    async move {
                        tokio::time::sleep(delay).await;
                        let answer = match refusal {
                            Some(refusal) if refusal.status == 0 => std::future::pending().await,
                            Some(refusal) => refusal.answer(),
                            None => hyper::service::Service::call(&service, request).await.expect("an answer"),
                        };
                        logged
                            .lock()
                            .expect("no thread panics with it")
                            .push(format!("{} {line}", answer.status().as_u16()));
                        Ok::<_, Infallible>(answer)
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        };
        std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(served);
        });
        Self { endpoint, bucket, refusals, log, delay }
    }

    /// Where the objects are files.
    pub fn bucket(&self) -> &Path {
        &self.bucket
    }

    /// From now on every answer to a GET takes so long.
    pub fn delay(&self, delay: Duration) {
        *self.delay.lock().expect("no thread panics with it") = delay;
    }

    /// What has been answered: status, method, target.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no thread panics with it").clone()
    }

    /// The files of the objects below this prefix.
    pub fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.bucket.join(prefix), &mut found);
        found
    }

    /// From now on this is refused, and nothing else.
    pub fn refuse(&self, refusals: &[Refusal]) {
        *self.refusals.lock().expect("no thread panics with it") = refusals.to_vec();
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("entry").path()) {
        // The server keeps notes beside the objects, in files with a dot.
        let is_note = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            walk(&path, found);
        } else if !is_note {
            found.push(path);
        }
    }
}

fn refusal_of(refusals: &Mutex<Vec<Refusal>>, request: &Request<Incoming>) -> Option<Refusal> {
    let refusals = refusals.lock().expect("no thread panics with it");
    let allowed = |refusal: &Refusal| refusal.unless.is_some_and(|header| request.headers().contains_key(header));
    refusals.iter().find(|r| r.method == request.method().as_str() && !allowed(r)).copied()
}

impl Refusal {
    fn answer(self) -> Response<Body> {
        let body = format!("<Error><Code>{}</Code><Message>{}</Message></Error>", self.code, self.message);
        Response::builder().status(self.status).body(Body::from(body)).expect("an answer")
    }
}
