use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sluice_servers::{Direction, Proxy};

/// A server that sends everything back, and says goodbye at the end of its input.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
                let _ = stream.write_all(b"goodbye");
            });
        }
    });
    port
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends and answers what comes back; `None` at the end of the stream.
fn say(stream: &mut TcpStream, what: &str) -> Option<String> {
    let _ = stream.write_all(what.as_bytes());
    let mut buffer = vec![0; what.len()];
    stream.read_exact(&mut buffer).ok()?;
    Some(String::from_utf8(buffer).unwrap())
}

#[test]
fn it_passes_cuts_refuses_and_comes_back() {
    let proxy = Proxy::to(echo());
    let mut stream = client(&proxy);
    assert_eq!(say(&mut stream, "hello").as_deref(), Some("hello"));
    proxy.cut();
    assert_eq!(say(&mut stream, "hello"), None);
    assert_eq!(say(&mut client(&proxy), "again").as_deref(), Some("again"));
    proxy.refuse(true);
    assert_eq!(say(&mut client(&proxy), "hello"), None);
    proxy.refuse(false);
    assert_eq!(say(&mut client(&proxy), "again").as_deref(), Some("again"));
    assert_eq!(proxy.connections(), 3);
}

#[test]
fn it_cuts_in_the_middle() {
    let proxy = Proxy::to(echo());
    let mut stream = client(&proxy);
    say(&mut stream, "hello");
    proxy.cut_after(Direction::Down, 3);
    stream.write_all(b"hello").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"hel");
}

#[test]
fn it_delays_and_stalls() {
    let proxy = Proxy::to(echo());
    let mut stream = client(&proxy);
    proxy.delay(Duration::from_millis(60));
    let started = Instant::now();
    say(&mut stream, "hello");
    assert!(started.elapsed() >= Duration::from_millis(120), "{:?}", started.elapsed());
    proxy.delay(Duration::ZERO);
    proxy.stall(true);
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(say(&mut stream, "hello"), None);
    proxy.stall(false);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut late = [0; 5];
    stream.read_exact(&mut late).unwrap();
    assert_eq!(&late, b"hello");
}

#[test]
fn it_closes_one_direction() {
    let proxy = Proxy::to(echo());
    let mut stream = client(&proxy);
    say(&mut stream, "hello");
    proxy.half_close(Direction::Up);
    // The server has seen the end and says so; we could still be told more.
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "goodbye");
}
