//! A store that knows no conditional writes: names are unique by construction, so it is as good as any other.

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use common::Pod;

/// Answers like a small S3: keeps what is put, refuses `If-None-Match` with 501, lists nothing.
fn serve(mut stream: TcpStream, keys: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let (mut length, mut conditional) = (0, false);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            conditional |= header.starts_with("if-none-match:");
        }
        std::io::copy(&mut Read::by_ref(&mut reader).take(length), &mut std::io::sink()).ok()?;
        let (method, rest) = request.split_once(' ')?;
        let path = rest.split([' ', '?']).next()?.to_owned();
        let answer = match (method, conditional) {
            ("PUT", true) => "HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n".to_owned(),
            ("PUT", false) => {
                keys.lock().expect("keys").push(path);
                "HTTP/1.1 200 OK\r\netag: \"x\"\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
            _ => {
                let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{empty}", empty.len())
            }
        };
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

#[test]
fn a_store_without_conditional_writes_takes_backups_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || serve(stream, &seen));
        }
    });
    let pod = Pod::new();
    pod.database().write(3);
    pod.write_settings(|settings| {
        settings.store.url = "s3://shop".into();
        settings.store.endpoint = Some(format!("http://{address}"));
    });
    let output = pod.run_with(&["backup"], &[("ACCESS_KEY", "user"), ("SECRET_KEY", "password")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let keys = keys.lock().expect("keys");
    let stored = |ending: &str| keys.iter().filter(|key| key.ends_with(ending)).count();
    assert_eq!((stored(".tar.zst.age"), stored(".json")), (1, 1), "{keys:?}");
}
