//! Folders whose torrent files are added.
//!
//! A file is taken when whoever writes it closes it or moves it there, and all that lie there at the start; what was
//! added is renamed to `<name>.added`, what cannot be used to `<name>.invalid`. The folder is watched, not polled.

use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{Add, AddOptions, Kind, WatchFolder};
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use torrent::metainfo::MAX_METAINFO;

use super::Daemon;

/// Room for events read at once.
const EVENTS: usize = 4096;
/// A folder that is not there is looked for this often.
const RETRY: Duration = Duration::from_secs(60);
/// Events of one moment are taken together.
const MOMENT: Duration = Duration::from_millis(100);

/// Reads a torrent file, not more of it than a torrent file has.
///
/// # Errors
/// What the system says.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_METAINFO as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds what is put into the watched folders, for ever.
pub(super) async fn follow(daemon: Daemon) {
    let mut watched = daemon.shared.watched.subscribe();
    loop {
        let folders = watched.borrow_and_update().clone();
        tokio::select! {
            () = watch(&daemon, &folders) => {}
            changed = watched.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Watches these folders; ends only where there is nothing to watch with.
async fn watch(daemon: &Daemon, folders: &[WatchFolder]) {
    if folders.is_empty() {
        return std::future::pending().await;
    }
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let fd = inotify::init(flags)
        .map_err(io::Error::from)
        .and_then(|fd| {
            // SAFETY: an OwnedFd names one descriptor for as long as it lives, and the AsyncFd owns it.
            unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
        });
    let Ok(fd) = fd else {
        daemon
            .warn("the system gives no more watches; the watched folders are read once".to_owned());
        for folder in folders {
            look(daemon, folder).await;
        }
        return std::future::pending().await;
    };
    let mut missing: Vec<&WatchFolder> = folders.iter().collect();
    loop {
        let events = inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::MOVED_TO;
        missing.retain(|folder| inotify::add_watch(fd.get_ref(), &*folder.path, events).is_err());
        for folder in folders {
            look(daemon, folder).await;
        }
        let retry = async {
            match missing.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(RETRY).await,
            }
        };
        tokio::select! {
            () = retry => {}
            ready = fd.readable() => {
                let Ok(mut ready) = ready else { return std::future::pending().await };
                tokio::time::sleep(MOMENT).await;
                drain(fd.get_ref());
                ready.clear_ready();
            }
        }
    }
}

/// Takes the events; the folders themselves are read for what they are about.
fn drain(fd: &std::os::fd::OwnedFd) {
    let mut room = [MaybeUninit::uninit(); EVENTS];
    let mut reader = inotify::Reader::new(fd, &mut room);
    while reader.next().is_ok() {}
}

/// Adds the torrent files in a folder.
async fn look(daemon: &Daemon, folder: &WatchFolder) {
    let path = PathBuf::from(&folder.path);
    let listed = tokio::task::spawn_blocking(move || torrents_in(&path)).await;
    for path in listed.unwrap_or_default() {
        let Ok(bytes) = read(&path) else { continue };
        let add = Add {
            source: api::Source::Torrent(bytes.into()),
            options: AddOptions {
                folder: folder.folder.clone(),
                label: folder.label.clone(),
                paused: folder.paused,
                ..AddOptions::default()
            },
        };
        let ending = match daemon.clone().add_new(add).await {
            Ok(_) => ".added",
            Err(problem) if problem.kind == Kind::AlreadyPresent => ".added",
            Err(problem) => {
                let text = format!("{} was not added: {}", path.display(), problem.detail);
                daemon.notice(None, text);
                match problem.kind {
                    Kind::Invalid => ".invalid",
                    // The place or the disk may do later.
                    _ => continue,
                }
            }
        };
        let mut done = path.clone().into_os_string();
        done.push(ending);
        if let Err(error) = fs::rename(&path, &done) {
            daemon.notice(
                None,
                format!("{} cannot be renamed: {error}", path.display()),
            );
        }
    }
}

fn torrents_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("torrent"))
        })
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found
}
