//! The clients that tests and benchmarks run against.
//!
//! On Debian, as root, whatever is missing is installed. Anywhere else the task ends with the
//! list of what to install, because a run without those clients would prove less than it says.

use crate::shell::{command, installed, root, run as execute, succeeds};
use crate::unpacked;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Where the Python environment lives, below the root.
const VENV: &str = "target/interop/venv";

/// What it has from PyPI: the libtorrent that speaks v1, v2 and hybrid, and what tries the API against its description.
const PYTHON: [&str; 2] = ["libtorrent==2.1.1", "schemathesis==4.32.5"];

/// A Debian package and how to see that it is there.
struct Package {
    name: &'static str,
    present: fn() -> bool,
}

const INTEROP: &[Package] = &[
    Package {
        name: "apt",
        present: || installed("apt-get") && installed("dpkg"),
    },
    Package {
        name: "chromium",
        present: || installed("chromium"),
    },
    Package {
        name: "curl",
        present: || installed("curl"),
    },
    Package {
        name: "dante-server",
        present: || installed("danted"),
    },
    Package {
        name: "debian-archive-keyring",
        present: || Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
    },
    Package {
        name: "ffmpeg",
        present: || installed("ffmpeg") && installed("ffprobe"),
    },
    Package {
        name: "faketime",
        present: || installed("faketime"),
    },
    Package {
        name: "iproute2",
        present: || installed("ip"),
    },
    Package {
        name: "microsocks",
        present: || installed("microsocks"),
    },
    Package {
        name: "miniupnpd-nftables",
        present: || Path::new("/usr/sbin/miniupnpd").exists(),
    },
    Package {
        name: "mount",
        present: || installed("mount"),
    },
    Package {
        name: "nftables",
        present: || installed("nft"),
    },
    Package {
        name: "nginx-light",
        present: || Path::new("/usr/sbin/nginx").exists(),
    },
    Package {
        name: "openssl",
        present: || installed("openssl"),
    },
    Package {
        name: "python3-venv",
        present: || {
            succeeds(&mut command(
                "/usr/bin/python3",
                &["-c", "import ensurepip"],
            ))
        },
    },
    Package {
        name: "systemd",
        present: || installed("systemd-analyze") && installed("systemd-socket-activate"),
    },
    Package {
        name: "tinyproxy",
        present: || installed("tinyproxy"),
    },
];

const BENCH: &[Package] = &[
    Package {
        name: "deluged",
        present: || installed("deluged"),
    },
    Package {
        name: "mktorrent",
        present: || installed("mktorrent"),
    },
    Package {
        name: "openssl",
        present: || installed("openssl"),
    },
    Package {
        name: "python3-libtorrent",
        present: || {
            succeeds(&mut command(
                "/usr/bin/python3",
                &["-c", "import libtorrent"],
            ))
        },
    },
    Package {
        name: "rtorrent",
        present: || installed("rtorrent"),
    },
    Package {
        name: "wrk",
        present: || installed("wrk"),
    },
];

pub fn run(args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => interop(),
        ["--bench"] => bench(),
        _ => bail!("usage: cargo xtask setup [--bench]"),
    }
}

/// All that the interop tests need.
pub fn interop() -> Result<()> {
    packages(INTEROP)?;
    venv()?;
    unpacked::provide()
}

/// All that the benchmarks need: the same and a few more contestants.
pub fn bench() -> Result<()> {
    interop()?;
    packages(BENCH)
}

fn packages(wanted: &[Package]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|p| !(p.present)())
        .map(|p| p.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() || !installed("apt-get") {
        bail!(
            "these are missing; install them (Debian names) and run this again:\n\n    apt-get install {list}\n"
        );
    }
    eprintln!("installing {list}");
    execute(&mut command("apt-get", &["update", "-q"]))?;
    let mut install = command(
        "apt-get",
        &["install", "-y", "-q", "--no-install-recommends"],
    );
    execute(
        install
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    match wanted.iter().find(|p| !(p.present)()) {
        Some(p) => bail!(
            "{} was installed, yet what it should bring is not there",
            p.name
        ),
        None => Ok(()),
    }
}

fn venv() -> Result<()> {
    let python = root().join(VENV).join("bin/python");
    let python = python.to_string_lossy();
    let check = "import libtorrent, schemathesis, sys; from importlib.metadata import version; \
         assert all(version(w.split('==')[0]) == w.split('==')[1] for w in sys.argv[1:])";
    let mut ask = vec!["-c", check];
    ask.extend(PYTHON);
    let usable = || succeeds(&mut command(&python, &ask));
    if usable() {
        return Ok(());
    }
    execute(&mut command(
        "/usr/bin/python3",
        &["-m", "venv", "--clear", VENV],
    ))?;
    let mut install = vec!["-m", "pip", "install", "-q", "--disable-pip-version-check"];
    install.extend(PYTHON);
    execute(&mut command(&python, &install))?;
    if !usable() {
        bail!("{VENV} does not have {PYTHON:?}; delete the folder and try again");
    }
    Ok(())
}

/// Puts whatever a command needs to make network namespaces before it: nothing for root,
/// a user namespace for anyone else.
pub fn with_namespaces(inner: Command) -> Result<Command> {
    if is_root() {
        return Ok(inner);
    }
    if !succeeds(&mut command(
        "unshare",
        &["--user", "--map-root-user", "--net", "true"],
    )) {
        bail!(
            "tests with other clients need network namespaces: run as root, or allow unprivileged user namespaces"
        );
    }
    let mut outer = command("unshare", &["--user", "--map-root-user"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    Ok(outer)
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
    })
}
