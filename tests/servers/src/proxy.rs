//! A way to a server that can be as bad as a network gets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::place::Port;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Listens on a port of its own and passes everything on to a server, as well as it is told to.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    weather: Mutex<Weather>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Weather {
    ended: bool,
    /// New connections are closed at once.
    refuses: bool,
    /// Nothing passes, connections stay.
    stalled: bool,
    /// Each piece that passes waits so long first.
    delay: Duration,
    /// Once so many bytes have gone this way, on all connections together, everything is cut.
    cut_after: Option<(Direction, u64)>,
    open: Vec<[TcpStream; 2]>,
    connections: u64,
    passed: [u64; 2],
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub fn to(server: u16) -> Proxy {
        let port = Port::free();
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind(("127.0.0.1", port.number())).expect("the port is free");
        let ours = shared.clone();
        std::thread::spawn(move || accept(&listener, server, &ours));
        Proxy { port, shared }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where clients connect: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Cuts every connection that is open, in both directions. New ones come through.
    pub fn cut(&self) {
        self.shared.lock().cut();
        self.shared.changed.notify_all();
    }

    /// Cuts every connection and closes new ones at once, until told otherwise.
    pub fn refuse(&self, refuses: bool) {
        let mut weather = self.shared.lock();
        weather.refuses = refuses;
        if refuses {
            weather.cut();
        }
        drop(weather);
        self.shared.changed.notify_all();
    }

    /// Lets nothing through, with connections left open: what a dead peer or a firewall that forgets looks like.
    pub fn stall(&self, stalled: bool) {
        self.shared.lock().stalled = stalled;
        self.shared.changed.notify_all();
    }

    /// Each piece that passes waits so long first.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Closes one direction of every open connection: its receiver sees the end of the stream, the other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        for [client, server] in &self.shared.lock().open {
            // It may be closed already.
            let _ = match direction {
                Direction::Up => server.shutdown(Shutdown::Write),
                Direction::Down => client.shutdown(Shutdown::Write),
            };
        }
    }

    /// Cuts everything, once, after so many further bytes have gone this way: in the middle of whatever they are.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        let mut weather = self.shared.lock();
        weather.cut_after = Some((direction, weather.passed[direction as usize] + bytes));
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    /// Bytes passed so far this way.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.lock().passed[direction as usize]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut weather = self.shared.lock();
        weather.ended = true;
        weather.cut();
        drop(weather);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port()));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("nobody panics with it")
    }
}

impl Weather {
    fn cut(&mut self) {
        for stream in self.open.drain(..).flatten() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, server: u16, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let mut weather = shared.lock();
        if weather.ended {
            return;
        }
        if weather.refuses {
            continue;
        }
        // A server that is away looks the same as one that closes at once.
        let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server))) else { continue };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a setting");
        }
        let second = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        weather.open.push([second(&client), second(&server)]);
        weather.connections += 1;
        for (from, to, direction) in
            [(second(&client), second(&server), Direction::Up), (server, client, Direction::Down)]
        {
            let shared = shared.clone();
            std::thread::spawn(move || pump(from, to, direction, &shared));
        }
    }
}

/// Passes one direction on until it ends.
fn pump(mut from: TcpStream, mut to: TcpStream, direction: Direction, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passing = shared.pass(direction, read as u64);
        let written = to.write_all(&buffer[..passing.bytes as usize]);
        if passing.then_cut {
            shared.lock().cut();
        }
        if passing.then_cut || written.is_err() {
            break;
        }
    }
    // It may be closed already.
    let _ = to.shutdown(Shutdown::Write);
}

/// What may pass of a piece.
struct Passing {
    bytes: u64,
    then_cut: bool,
}

impl Shared {
    /// Waits until bytes may pass, and says how many do before everything is cut.
    fn pass(&self, direction: Direction, bytes: u64) -> Passing {
        let delay = self.lock().delay;
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let stalled = |weather: &mut Weather| weather.stalled && !weather.ended;
        let mut weather = self.changed.wait_while(self.lock(), stalled).expect("nobody panics with it");
        let passed = &mut weather.passed[direction as usize];
        let before = *passed;
        *passed += bytes;
        match weather.cut_after {
            Some((cut, at)) if cut == direction && before + bytes >= at => {
                weather.cut_after = None;
                Passing { bytes: at.saturating_sub(before).min(bytes), then_cut: true }
            }
            _ => Passing { bytes, then_cut: false },
        }
    }
}
