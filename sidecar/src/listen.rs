//! The endpoints: `/metrics`, `/healthz`, `/readyz`. They tell and take nothing, and whatever is wrong with them never
//! ends the program: a port that is taken is said once and tried again.

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{
    error::Error,
    health::Health,
    metrics::{self, Metrics},
};

/// Where the port is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Nobody needs more at once, and each costs a descriptor.
const CONNECTIONS: usize = 16;
const HEADER_WITHIN: Duration = Duration::from_secs(5);
const CONNECTION_FOR: Duration = Duration::from_secs(60);

/// Where the endpoints are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Nowhere.
    Off,
    /// One after the other, until one is free: without a host both families are meant.
    At(Vec<SocketAddr>),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Usage(format!("cannot listen on {text:?}: write :9090, 127.0.0.1:9090, [::1]:9090 or off"));
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(port) = text.strip_prefix(':') {
            let port: u16 = port.parse().map_err(|_| bad())?;
            // Dual-stack first; a node without IPv6 has only the second.
            return Ok(Self::At(vec![([0_u16; 8], port).into(), ([0_u8; 4], port).into()]));
        }
        text.parse().map(|address| Self::At(vec![address])).map_err(|_| bad())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(addresses) => {
                f.write_str(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
            }
        }
    }
}

/// What the endpoints show.
#[derive(Debug)]
pub struct Shown {
    /// At `/metrics`.
    pub metrics: Metrics,
    /// At `/healthz` and `/readyz`.
    pub health: Health,
}

/// Serves until the task is dropped.
pub async fn serve(address: Address, shown: Arc<Shown>) {
    let Address::At(addresses) = address else { return };
    let listener = bind(&addresses).await;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shown = Arc::clone(&shown);
                tokio::spawn(async move {
                    // A visitor that stays for ever would keep others out.
                    let _ = tokio::time::timeout(CONNECTION_FOR, talk(stream, shown)).await;
                    drop(place);
                });
            }
            // No descriptors left, mostly.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn bind(addresses: &[SocketAddr]) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(addresses).await {
            Ok(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, "metrics at /metrics");
                }
                return listener;
            }
            Err(error) if !said => {
                let address = Address::At(addresses.to_vec());
                tracing::warn!(
                    "no metrics for now, backups go on: cannot listen on {address}: {error}; --metrics-address moves it"
                );
                said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn talk(stream: TcpStream, shown: Arc<Shown>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = respond(request.method(), request.uri().path(), &shown);
        async move { Ok::<_, Infallible>(answer) }
    });
    // Visitors that break off are theirs to wonder about.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

fn respond(method: &Method, path: &str, shown: &Shown) -> Response<Full<Bytes>> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let verdict = |verdict: Result<(), String>| match verdict {
        Ok(()) => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
    };
    let now = Instant::now();
    let (status, media_type, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics::MEDIA_TYPE, shown.metrics.text()),
        (&Method::GET | &Method::HEAD, "/healthz") => verdict(shown.health.live(now)),
        (&Method::GET | &Method::HEAD, "/readyz") => verdict(shown.health.ready(now)),
        (_, "/metrics" | "/healthz" | "/readyz") => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, PLAIN, "/metrics, /healthz and /readyz are here\n".to_owned()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_an_address_or_off() {
        assert_eq!("off".parse::<Address>().expect("a word"), Address::Off);
        assert_eq!(":9090".parse::<Address>().expect("a port").to_string(), "[::]:9090 or 0.0.0.0:9090");
        assert_eq!("127.0.0.1:0".parse::<Address>().expect("an address").to_string(), "127.0.0.1:0");
        for text in ["", "9090", ":x", "localhost:9090", ":70000"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
