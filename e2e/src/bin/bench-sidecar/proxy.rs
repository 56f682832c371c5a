//! Between a client and the store: hands every byte on as it is, and counts bytes and requests. It reads no more of HTTP
//! than where a request ends.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A listening proxy; it ends with this program.
pub(crate) struct Proxy {
    /// `host:port`.
    pub(crate) address: String,
    seen: Arc<Mutex<Seen>>,
}

/// What has gone by so far.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    /// From the client, headers included.
    pub(crate) sent_bytes: u64,
    pub(crate) requests: u64,
    pub(crate) by_method: BTreeMap<String, u64>,
}

impl Seen {
    pub(crate) fn since(&self, before: &Self) -> Self {
        let by_method = self
            .by_method
            .iter()
            .map(|(method, count)| (method.clone(), count - before.by_method.get(method).copied().unwrap_or_default()));
        Self {
            sent_bytes: self.sent_bytes - before.sent_bytes,
            requests: self.requests - before.requests,
            by_method: by_method.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Proxy {
    pub(crate) fn start(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (counted, store) = (Arc::clone(&seen), store.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&store)) else { continue };
                for stream in [&client, &server] {
                    let _ = stream.set_nodelay(true);
                }
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || {
                    let mut requests = Requests::default();
                    pass(from, to, |bytes| requests.take(bytes, &counted));
                });
                std::thread::spawn(move || pass(server, client, |_| {}));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

/// Until one side has no more to say.
fn pass(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        look(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Where in a request of one connection the next byte belongs.
#[derive(Default)]
struct Requests {
    /// A head, or a line before a chunk, as far as it has come.
    partial: Vec<u8>,
    /// Bytes of a body or chunk that are still to come.
    left: u64,
    chunked: bool,
}

impl Requests {
    fn take(&mut self, mut bytes: &[u8], seen: &Mutex<Seen>) {
        let mut seen = seen.lock().expect("nobody panics with it");
        seen.sent_bytes += bytes.len() as u64;
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.partial.push(*first);
            bytes = &bytes[1..];
            if self.chunked && self.partial.ends_with(b"\r\n") {
                self.end_of_line();
            } else if !self.chunked && self.partial.ends_with(b"\r\n\r\n") {
                let method = self.end_of_head();
                seen.requests += 1;
                *seen.by_method.entry(method).or_default() += 1;
            }
        }
    }

    fn end_of_head(&mut self) -> String {
        let head = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).to_ascii_lowercase();
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        self.chunked = header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
        self.left = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        head.split(' ').next().unwrap_or_default().to_ascii_uppercase()
    }

    /// A chunk's size; of the last chunk's trailer, a line or its end.
    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        let line = String::from_utf8_lossy(&line);
        let size = line.trim().split(';').next().unwrap_or_default();
        match u64::from_str_radix(size, 16) {
            // The line break behind the chunk belongs to it.
            Ok(size @ 1..) => self.left = size + 2,
            Ok(0) => {}
            // An empty line ends the trailer, and with it the request.
            _ => self.chunked = !size.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> Seen {
        let (seen, mut requests) = (Mutex::default(), Requests::default());
        for piece in pieces {
            requests.take(piece, &seen);
        }
        seen.into_inner().expect("nobody panicked")
    }

    #[test]
    fn requests_are_counted_wherever_the_pieces_are_cut() {
        let whole = b"PUT /a HTTP/1.1\r\nContent-Length: 20\r\n\r\nGET / HTTP/1.1\r\n\r\n..\
            PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\nx-sum: 1\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: x\r\n\r\n";
        for size in [1, 2, 7, whole.len()] {
            let seen = seen(&whole.chunks(size).collect::<Vec<_>>());
            assert_eq!((seen.requests, seen.sent_bytes), (3, whole.len() as u64), "{size}: {seen:?}");
            assert_eq!((seen.by_method["PUT"], seen.by_method["GET"]), (2, 1), "{size}");
        }
    }
}
