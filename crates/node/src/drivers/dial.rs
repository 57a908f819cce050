//! Dialling a peer: which road is taken, and what is said first.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use link::mse::Noise;
use link::{Encryption, Stream, Wire};
use swarm::{Approach, Carrier, Cover, Failure, Input};

use super::Driver;
use super::road::{Road, closed, run};

/// TCP has so long before uTP is tried as well.
const HEAD_START: Duration = Duration::from_secs(1);
/// A uTP dial takes at most this long: its first packet goes out three times.
const UTP_DIAL: Duration = Duration::from_secs(5);

/// Dials, then runs the connection.
pub(crate) async fn dial(driver: Rc<Driver>, road: Rc<Road>, addr: SocketAddr, how: Approach) {
    let conn = road.conn;
    if driver.blocking.blocks(addr.ip()) {
        driver.drop_road(conn);
        return driver.tell(Input::DialFailed(conn, Failure::Here));
    }
    // In a box of its own: a task stays as long as its connection.
    let opening = Box::pin(open(&driver, &road, addr, how));
    let stream = tokio::select! {
        stream = opening => stream,
        () = closed(&road) => return,
    };
    match stream {
        Ok(stream) => {
            tracing::debug!(conn = conn.0, %addr, ?how, "reached");
            driver.tell(Input::Connected(conn, kind(&stream)));
            run(driver.clone(), road, stream).await;
        }
        Err((failure, error)) => {
            tracing::debug!(%addr, %failure, %error, "dial failed");
            driver.drop_road(conn);
            driver.tell(Input::DialFailed(conn, failure));
        }
    }
}

/// Dials; the stream is encrypted if that is wanted and can be had.
async fn open(
    driver: &Driver,
    road: &Road,
    addr: SocketAddr,
    how: Approach,
) -> Result<Stream, (Failure, io::Error)> {
    let failed = |error| (failure(&error), error);
    let wire = connect(driver, addr, how).await.map_err(failed)?;
    let greeting = driver.session.borrow().greeting(road.conn);
    let (Some(offer), Some(greeting)) = (driver.encryption.offer(), greeting) else {
        return Ok(Stream::plain(wire));
    };
    let initial = greeting.encode().to_vec();
    let noise = noise().map_err(failed)?;
    match Stream::open(wire, greeting.info_hash, offer, initial, &noise).await {
        Ok(stream) => {
            road.greeted.set(true);
            Ok(stream)
        }
        Err(error) if driver.encryption == Encryption::Prefer => {
            tracing::debug!(%addr, %error, "no encrypted handshake; dialling again without");
            let wire = connect(driver, addr, how).await.map_err(failed)?;
            Ok(Stream::plain(wire))
        }
        Err(error) => Err((Failure::NoEncryption, error)),
    }
}

/// Connects over TCP, or over uTP where TCP does not get through; or as it is to be done.
async fn connect(driver: &Driver, addr: SocketAddr, how: Approach) -> io::Result<Wire> {
    let tcp = async { driver.stream_to(addr).await.map(Wire::Tcp) };
    let endpoint = driver.datagrams.utp_to(addr);
    let Some(endpoint) = endpoint else {
        return match how {
            Approach::Punch => Err(io::ErrorKind::AddrNotAvailable.into()),
            Approach::Usual | Approach::UtpFirst => tcp.await,
        };
    };
    let utp = async {
        driver.writes_to(addr);
        let dialled = tokio::time::timeout(UTP_DIAL, endpoint.dial(addr)).await;
        dialled
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map(Wire::Utp)
    };
    tokio::pin!(tcp, utp);
    match how {
        Approach::Punch => {
            driver.writes_to(addr);
            return endpoint.punch(addr).await.map(Wire::Utp);
        }
        Approach::UtpFirst => {
            return match utp.await {
                Ok(wire) => Ok(wire),
                Err(_) => tcp.await,
            };
        }
        Approach::Usual => {}
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

/// Why a dial failed, as far as people and the engine care.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Failure::Unreachable,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => Failure::Closed,
        _ => Failure::Here,
    }
}

/// What a stream is made of, as far as it is known.
pub(super) fn kind(stream: &Stream) -> swarm::Road {
    swarm::Road {
        carrier: carrier(stream.wire()),
        cover: match stream.cover() {
            link::Cover::Plain => Cover::Plain,
            link::Cover::Handshake => Cover::Handshake,
            link::Cover::Rc4 => Cover::Rc4,
        },
        punched: false,
    }
}

/// What carries a stream.
pub(super) fn carrier(wire: &Wire) -> Carrier {
    match wire {
        Wire::Tcp(_) => Carrier::Tcp,
        Wire::Utp(_) => Carrier::Utp,
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
