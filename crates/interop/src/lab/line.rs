//! A line to a home: packets take their time, queue up, and are dropped when the queue is full.

use super::net::Net;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Largest packet, in bytes: as Ethernet carries them.
const MTU: usize = 1500;
/// How often it is seen that the line is to end.
const POLL: Duration = Duration::from_millis(50);

/// What a line is like. Down is towards the home.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Bits a second, down and up.
    rates: [f64; 2],
    /// One way, without any queue.
    delay: Duration,
    /// How long a packet may wait for those before it; with more before it, it is dropped.
    queue: Duration,
}

impl Line {
    /// A line of so many Mbit/s in each direction, 10 ms long one way, with a queue of 100 ms.
    pub fn mbits(rate: u32) -> Line {
        Line {
            rates: [f64::from(rate) * 1e6; 2],
            delay: Duration::from_millis(10),
            queue: Duration::from_millis(100),
        }
    }

    /// Less upwards, as most homes have it.
    pub fn mbits_up(self, rate: f64) -> Line {
        let [down, _] = self.rates;
        Line {
            rates: [down, rate * 1e6],
            ..self
        }
    }

    /// The time a packet takes in one direction.
    pub fn delay_ms(self, delay: u64) -> Line {
        let delay = Duration::from_millis(delay);
        Line { delay, ..self }
    }

    /// What may wait in front of the line.
    pub fn queue_ms(self, queue: u64) -> Line {
        let queue = Duration::from_millis(queue);
        Line { queue, ..self }
    }

    /// Makes an interface in each of two networks, and the line between them.
    pub(crate) fn between(self, outside: (&Net, &str), inside: (&Net, &str)) -> Running {
        let [outer, inner] =
            [outside, inside].map(|(net, name)| Arc::new(net.within(|| tun(name))));
        let over = Arc::new(AtomicBool::new(false));
        let [down, up] = self.rates;
        let mut threads = Vec::new();
        for (from, to, rate) in [(&outer, &inner, down), (&inner, &outer, up)] {
            let (sender, receiver) = mpsc::channel();
            let (from, to, over) = (from.clone(), to.clone(), over.clone());
            threads.push(thread::spawn(move || {
                self.take(rate, &from, &sender, &over)
            }));
            threads.push(thread::spawn(move || give(&receiver, &to)));
        }
        Running { over, threads }
    }

    /// Takes packets in and says when each comes out. What is under way is bounded by the queue.
    fn take(&self, rate: f64, mut from: &File, to: &Sender<(Instant, Vec<u8>)>, over: &AtomicBool) {
        let mut free_at = Instant::now();
        let mut packet = [0; MTU + 64];
        while !over.load(Ordering::Relaxed) {
            let patience = POLL.try_into().expect("a short time");
            let ready = poll(
                &mut [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)],
                Some(&patience),
            );
            if ready.is_ok_and(|n| n == 0) {
                continue;
            }
            let Ok(len) = from.read(&mut packet) else {
                continue; // The interface is down: nothing is lost that would have come through.
            };
            let now = Instant::now();
            free_at = free_at.max(now);
            if free_at - now > self.queue {
                continue;
            }
            free_at += Duration::from_secs_f64(len as f64 * 8.0 / rate);
            if to
                .send((free_at + self.delay, packet[..len].to_vec()))
                .is_err()
            {
                return;
            }
        }
    }
}

fn give(from: &Receiver<(Instant, Vec<u8>)>, mut to: &File) {
    while let Ok((when, packet)) = from.recv() {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        // As above.
        let _ = to.write(&packet);
    }
}

/// A line in use. It ends with this value.
pub(crate) struct Running {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// An interface whose packets we carry ourselves, in the network this thread is in.
fn tun(name: &str) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let file = file.unwrap_or_else(|e| {
        panic!(
            "/dev/net/tun: {e}. A line needs it: load the module `tun`, and run the tests as root"
        )
    });
    // SAFETY: all-zero bytes are a valid `ifreq`, which is a C struct of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(
        name.len() < request.ifr_name.len(),
        "{name} is too long for an interface"
    );
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is; it outlives the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) };
    assert!(made == 0, "{name}: {}", std::io::Error::last_os_error());
    file
}
