//! Network namespaces.

use crate::scenario::{ip, run};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// A network of its own. It lasts as long as this value and whatever runs in it.
pub struct Net {
    namespace: File,
}

impl Net {
    /// A network in which there is `lo` alone.
    pub fn new() -> Net {
        let made = std::thread::spawn(|| {
            // SAFETY: descriptor tables stay shared; only the network of this thread, which ends here, changes.
            let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            entered.expect("a scenario may make namespaces");
            run("ip", &["link", "set", "lo", "up"]);
            Net::here()
        });
        made.join().unwrap()
    }

    /// The network this thread is in.
    pub fn here() -> Net {
        Net {
            namespace: File::open("/proc/thread-self/ns/net").unwrap(),
        }
    }

    /// Does something in it: programs started there and sockets opened there stay there.
    pub fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        let _back = Back(Net::here());
        self.enter();
        work()
    }

    /// This thread is in it from now on.
    fn enter(&self) {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap();
    }

    /// Lays a cable: an interface in it, and one in the network this thread is in.
    pub(crate) fn cable(&self, inner: &str, outer: &str) {
        let there = self.name();
        ip(&format!(
            "link add {outer} type veth peer name {inner} netns {there}\n"
        ));
    }

    /// What `ip` calls it.
    fn name(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.namespace.as_raw_fd()
        )
    }
}

impl Default for Net {
    fn default() -> Net {
        Net::new()
    }
}

/// Returns a thread to the network it came from, also when what it did there failed.
struct Back(Net);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.enter();
    }
}

/// Sets what the kernel calls `net.NAME` in the network this thread is in.
pub(crate) fn sysctl(name: &str, value: &str) {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
