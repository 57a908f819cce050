//! Dialling a peer: which road is taken, and what is said first.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use link::mse::Noise;
use link::{Encryption, Stream, Wire};
use swarm::Input;

use super::Driver;
use super::road::{Road, closed, run};

/// TCP has so long before uTP is tried as well.
const HEAD_START: Duration = Duration::from_secs(1);
/// A uTP dial takes at most this long: its first packet goes out three times.
const UTP_DIAL: Duration = Duration::from_secs(5);
/// Addresses remembered at which TCP led to nobody who speaks.
const MUTED: usize = 1024;

/// Dials, then runs the connection.
pub(crate) async fn dial(driver: Rc<Driver>, road: Rc<Road>, addr: SocketAddr) {
    let conn = road.conn;
    let stream = tokio::select! {
        stream = open(&driver, &road, addr) => stream,
        () = closed(&road) => return,
    };
    match stream {
        Ok(stream) => {
            driver.tell(Input::Connected(conn));
            if !run(driver.clone(), road, stream).await {
                driver.mute(addr);
            }
        }
        Err(error) => {
            tracing::debug!(%addr, %error, "dial failed");
            driver.drop_road(conn);
            driver.tell(Input::DialFailed(conn));
        }
    }
}

/// Dials; the stream is encrypted if that is wanted and can be had.
async fn open(driver: &Driver, road: &Road, addr: SocketAddr) -> io::Result<Stream> {
    let wire = connect(driver, addr).await?;
    let greeting = driver.session.borrow().greeting(road.conn);
    let (Some(offer), Some(greeting)) = (driver.encryption.offer(), greeting) else {
        return Ok(Stream::plain(wire));
    };
    let initial = greeting.encode().to_vec();
    match Stream::open(wire, greeting.info_hash, offer, initial, &noise()?).await {
        Ok(stream) => {
            road.greeted.set(true);
            Ok(stream)
        }
        Err(error) if driver.encryption == Encryption::Prefer => {
            tracing::debug!(%addr, %error, "no encrypted handshake; dialling again without");
            Ok(Stream::plain(connect(driver, addr).await?))
        }
        Err(error) => Err(error),
    }
}

/// Connects over TCP, or over uTP where TCP does not get through.
async fn connect(driver: &Driver, addr: SocketAddr) -> io::Result<Wire> {
    let tcp = async { driver.stream_to(addr).await.map(Wire::Tcp) };
    let Some(endpoint) = driver.datagrams.utp_to(addr) else {
        return tcp.await;
    };
    let utp = async {
        let dialled = tokio::time::timeout(UTP_DIAL, endpoint.dial(addr)).await;
        dialled
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map(Wire::Utp)
    };
    tokio::pin!(tcp, utp);
    if driver.muted.borrow().contains(&addr) {
        return match utp.await {
            Ok(wire) => Ok(wire),
            Err(_) => tcp.await,
        };
    }
    match tokio::time::timeout(HEAD_START, &mut tcp).await {
        Ok(Ok(wire)) => Ok(wire),
        // What TCP met is what is told: it is the road that most peers have.
        Ok(Err(error)) => utp.await.map_err(|_| error),
        Err(_) => tokio::select! {
            wire = &mut tcp => match wire {
                Ok(wire) => Ok(wire),
                Err(error) => utp.await.map_err(|_| error),
            },
            wire = &mut utp => match wire {
                Ok(wire) => Ok(wire),
                Err(_) => tcp.await,
            },
        },
    }
}

impl Driver {
    /// Who took a connection and said nothing on it may speak over uTP alone: that is tried first from now on.
    fn mute(&self, addr: SocketAddr) {
        let mut muted = self.muted.borrow_mut();
        if muted.len() >= MUTED {
            muted.pop_first();
        }
        muted.insert(addr);
    }
}

/// What makes an encrypted handshake unlike any other.
pub(super) fn noise() -> io::Result<Noise> {
    let mut random = [0; 22];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let [key @ .., high, low] = random;
    let mut pad = vec![0; usize::from(u16::from_be_bytes([high, low]) % 513)];
    getrandom::fill(&mut pad).map_err(io::Error::other)?;
    Ok(Noise { key, pad })
}
