//! What the one who started us is told of how we are: sd_notify(3), a datagram to `$NOTIFY_SOCKET`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Who wants to know, if anybody does.
pub struct Notify {
    to: Option<OsString>,
}

impl Notify {
    /// As the environment says.
    pub fn from_env() -> Notify {
        Notify {
            to: crate::paths::set("NOTIFY_SOCKET"),
        }
    }

    /// It serves; `status` says in words how.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It reads its configuration again; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        // Told apart from a start by the time, on the clock of systemd.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Stopping");
    }

    fn tell(&self, text: &str) {
        if let Some(to) = &self.to
            && let Err(error) = send(to, text)
        {
            tracing::warn!(%error, "NOTIFY_SOCKET could not be told");
        }
    }
}

/// A name that begins with `@` is in the abstract namespace (unix(7)).
fn send(to: &OsStr, text: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match to.as_encoded_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(text.as_bytes(), &address)?;
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::ErrorKind::Unsupported.into()),
        None => {
            socket.send_to_addr(text.as_bytes(), &SocketAddr::from_pathname(to)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn it_is_told_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notify = Notify {
            to: Some(path.into()),
        };
        notify.ready("well");
        assert_eq!(hears(&socket), "READY=1\nSTATUS=well");
        notify.reloading();
        assert!(hears(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));

        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("starling-test-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            let notify = Notify {
                to: Some(format!("@{name}").into()),
            };
            notify.stopping();
            assert!(hears(&socket).starts_with("STOPPING=1"));
        }
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        Notify { to: None }.ready("well");
        Notify {
            to: Some("/no/such/socket".into()),
        }
        .ready("well");
    }
}
