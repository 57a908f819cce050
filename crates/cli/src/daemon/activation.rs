//! Sockets that were opened before us: systemd's socket activation, sd_listen_fds(3).
//!
//! A socket is known by its name (`FileDescriptorName=` of its unit): `api`, `content`, `unix`. Sockets of one unit
//! share a name; then a unix socket is the API's, and of the others the first is for the API and the second for
//! content.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::exit::{Exit, Failure};

/// The first socket that is passed, `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// Most sockets that are taken; more is a mistake in a unit.
const MAX: usize = 16;

/// Sockets that were passed to us.
#[derive(Debug, Default)]
pub struct Passed {
    /// For the API, by TCP.
    pub api: Vec<TcpListener>,
    /// For content.
    pub content: Vec<TcpListener>,
    /// For the API, by unix socket.
    pub unix: Vec<UnixListener>,
}

/// Takes the sockets that the environment names. To be called once, before other threads open anything.
pub fn take() -> Result<Passed, Failure> {
    let read = |name: &str| std::env::var(name).unwrap_or_default();
    let ours = read("LISTEN_PID").parse() == Ok(std::process::id());
    let count = read("LISTEN_FDS").parse::<usize>().unwrap_or(0);
    if !ours || count == 0 {
        return Ok(Passed::default());
    }
    if count > MAX {
        return Err(Failure::usage(format!(
            "LISTEN_FDS passes {count} sockets, where at most {MAX} are of use."
        )));
    }
    let sockets = (FIRST..).take(count).map(|fd| {
        // SAFETY: LISTEN_PID is us, so sd_listen_fds(3) gives us these descriptors, which nothing else owns: this is
        // called once, and the runtime has closed or opened nothing below FIRST + count.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let names = read("LISTEN_FDNAMES");
    sort(sockets, names.split(':')).map_err(|error| {
        Failure::new(
            Exit::Other,
            format!("A socket that was passed cannot be used: {error}."),
        )
    })
}

/// Tells sockets apart by name and kind.
fn sort<'a>(
    sockets: impl Iterator<Item = OwnedFd>,
    mut names: impl Iterator<Item = &'a str>,
) -> io::Result<Passed> {
    let mut passed = Passed::default();
    for socket in sockets {
        let name = names.next().unwrap_or("");
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let family = sockopt::socket_domain(&socket)?;
        let listens = sockopt::socket_type(socket.as_fd())? == SocketType::STREAM
            && sockopt::socket_acceptconn(&socket)?;
        if !listens {
            let text = format!("“{name}” is no socket that listens");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if family == AddressFamily::UNIX {
            passed.unix.push(socket.into());
            continue;
        }
        let content = match name {
            "api" => false,
            "content" => true,
            _ => !passed.api.is_empty(),
        };
        let list = if content {
            &mut passed.content
        } else {
            &mut passed.api
        };
        list.push(socket.into());
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn sockets_are_told_apart_by_name_or_else_by_order() {
        let dir = tempfile::tempdir().unwrap();
        let unix = |name: &str| OwnedFd::from(UnixListener::bind(dir.path().join(name)).unwrap());
        let named = sort(
            [tcp(), unix("a"), tcp()].into_iter(),
            "content:unix:api".split(':'),
        )
        .unwrap();
        assert_eq!(
            (named.api.len(), named.content.len(), named.unix.len()),
            (1, 1, 1)
        );
        let first = tcp();
        let address = TcpListener::from(first.try_clone().unwrap())
            .local_addr()
            .unwrap();
        let same = "starling.socket:starling.socket:starling.socket";
        let ordered = sort([unix("b"), first, tcp()].into_iter(), same.split(':')).unwrap();
        assert_eq!(ordered.api[0].local_addr().unwrap(), address);
        assert_eq!((ordered.content.len(), ordered.unix.len()), (1, 1));
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = sort([datagram.into()].into_iter(), "api".split(':'));
        assert!(refused.unwrap_err().to_string().contains("“api”"));
    }
}
