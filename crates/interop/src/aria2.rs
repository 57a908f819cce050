//! aria2, a command that fetches one torrent and says nothing of it: a hook leaves a mark.

use crate::content::Forgive;
use crate::peer::{Peer, Role, Signs};
use crate::scenario::repository;
use crate::{Child, Seat};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// It does not say when it listens; this is ample.
const START: Duration = Duration::from_secs(1);

struct Marks {
    complete: PathBuf,
    started: Instant,
}

impl Signs for Marks {
    fn seeding(&mut self, _: &mut Child) -> bool {
        self.started.elapsed() > START
    }

    fn complete(&mut self, _: &mut Child) -> bool {
        self.complete.exists()
    }

    fn forgive(&self) -> Forgive {
        Forgive {
            pad_files: true,
            ..Forgive::default()
        }
    }
}

pub(crate) fn start(seat: Seat, role: Role, encrypted: bool) -> Peer {
    let (addr, home) = (seat.addr, seat.home.clone());
    let (hook, complete) = (home.join("hook"), home.join("complete"));
    fs::write(&hook, format!("#!/bin/sh\n: > '{}'\n", complete.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = role.folder(&home);
    let mut command = Command::new(repository().join("target/interop/aria2c"));
    command.args([
        "--no-conf",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--disable-ipv6",
    ]);
    command.args([
        "--console-log-level=notice",
        "--show-console-readout=false",
        "--summary-interval=0",
    ]);
    command.args([
        "--file-allocation=none",
        "--allow-overwrite=true",
        "--follow-torrent=mem",
        "--bt-tracker-interval=5",
    ]);
    command.args([
        "--interface",
        &addr.ip().to_string(),
        "--listen-port",
        &addr.port().to_string(),
    ]);
    command
        .arg("--dir")
        .arg(&folder)
        .arg("--on-bt-download-complete")
        .arg(&hook)
        .env("HOME", &home);
    if encrypted {
        command.args(["--bt-require-crypto=true", "--bt-min-crypto-level=arc4"]);
    }
    match &role {
        Role::Seed(_) => command.args([
            "--bt-seed-unverified=true",
            "--check-integrity=false",
            "--seed-ratio=0.0",
        ]),
        Role::Get { stay: true, .. } => command.arg("--seed-ratio=0.0"),
        Role::Get { stay: false, .. } => command.arg("--seed-time=0"),
    };
    command.arg(role.source().as_arg());
    let child = seat.start(&format!("aria2 {addr}"), command, &home);
    let peer = Peer {
        addr,
        folder,
        child,
        signs: Box::new(Marks {
            complete,
            started: Instant::now(),
        }),
    };
    if matches!(role, Role::Seed(_)) {
        peer.serving()
    } else {
        peer
    }
}
