//! A narrow link that several connections share: what a home has between itself and everybody else.

use crate::Scenario;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes sent in one go. Connections take turns with them, as TCP's segments do.
const SEGMENT: usize = 4096;
/// How often it is seen that the link is gone.
const POLL: Duration = Duration::from_millis(20);

/// A link of so many bytes a second towards us; the other way is free. It ends with this value.
pub struct Link {
    line: Arc<Line>,
}

struct Line {
    bytes_per_second: f64,
    /// When the next segment may be sent.
    free_at: Mutex<Instant>,
    cut: AtomicBool,
}

impl Link {
    /// A link of this width.
    pub fn new(bytes_per_second: u64) -> Link {
        Link {
            line: Arc::new(Line {
                bytes_per_second: bytes_per_second as f64,
                free_at: Mutex::new(Instant::now()),
                cut: AtomicBool::new(false),
            }),
        }
    }

    /// An address in the scenario that leads over this link to a peer.
    pub fn to(&self, _inside: &Scenario, peer: SocketAddrV4) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::new(10, 77, 0, 19), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let line = Arc::clone(&self.line);
        thread::spawn(move || {
            while !line.cut.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, _)) => line.connect(near, peer),
                    Err(_) => thread::sleep(POLL),
                }
            }
        });
        SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 19), port)
    }
}

impl Line {
    /// Passes on what two ends say, until one of them hangs up.
    fn connect(self: &Arc<Line>, near: TcpStream, peer: SocketAddrV4) {
        let Ok(far) = TcpStream::connect(peer) else {
            return;
        };
        near.set_nonblocking(false).unwrap();
        let (near_out, far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let line = Arc::clone(self);
        thread::spawn(move || hang_up(line.carry(&far, &near_out), &far, &near_out));
        thread::spawn(move || {
            hang_up(
                io::copy(&mut &near, &mut &far_out).map(drop),
                &near,
                &far_out,
            )
        });
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut segment = [0; SEGMENT];
        while !self.cut.load(Ordering::Relaxed) {
            let len = from.read(&mut segment)?;
            if len == 0 {
                break;
            }
            let turn = {
                let mut free_at = self.free_at.lock().unwrap();
                let turn = (*free_at).max(Instant::now());
                *free_at = turn + Duration::from_secs_f64(len as f64 / self.bytes_per_second);
                turn
            };
            thread::sleep(turn.saturating_duration_since(Instant::now()));
            to.write_all(&segment[..len])?;
        }
        Ok(())
    }
}

/// However it ended, nothing follows.
fn hang_up(_ended: io::Result<()>, a: &TcpStream, b: &TcpStream) {
    for stream in [a, b] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.cut.store(true, Ordering::Relaxed);
    }
}
