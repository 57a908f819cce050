//! Disks that say no for a while: transfers stand still, say so once, and go on by themselves.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::process::Command;

use node::ProblemKind;

use super::*;

/// Longer than the first look at the disk takes to come, and shorter than it takes to the third.
const A_LOOK_OR_TWO: Duration = Duration::from_secs(7);

impl Peer {
    /// The next event about a disk; others are passed over.
    fn disk_event(&self, within: Duration) -> Option<Event> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).ok()?;
            if let Event::Paused(..) | Event::Resumed(_) | Event::Failed(..) = event {
                return Some(event);
            }
        }
    }

    /// It stands still, for this reason.
    fn paused(&self, kind: ProblemKind, words: &str) {
        match self.disk_event(Duration::from_secs(20)) {
            Some(Event::Paused(_, p)) if p.kind == kind && p.message.contains(words) => {}
            other => panic!("{other:?}"),
        }
    }

    fn resumed(&self) {
        let event = self.disk_event(Duration::from_secs(20));
        assert!(matches!(event, Some(Event::Resumed(_))), "{event:?}");
    }

    fn says_nothing(&self) {
        let event = self.disk_event(A_LOOK_OR_TWO);
        assert!(event.is_none(), "{event:?}");
    }

    fn get(&self, metainfo: &Metainfo, to: &Path, from: &Peer) {
        let opts = Options {
            place: Place::Into(to.to_owned()),
            ..options(vec![from.addr()])
        };
        let source = Source::Metainfo(Box::new(metainfo.clone()));
        self.node.add(source, opts).unwrap();
    }
}

/// A file system of 24 MiB of its own, for as long as it is held.
struct Mount(PathBuf);

impl Mount {
    /// `None` where the system does not let us.
    fn new(at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size=24m,{options}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then(|| Mount(at.to_owned()))
    }

    fn make_writable(&self) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", "remount,rw"]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_seed_whose_folder_is_gone_goes_on_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), LENS, Kind::Hybrid);
    let (seed, leech) = (Peer::start(), Peer::start());
    seed.seed(&metainfo, &root);
    let away = dir.path().join("away");
    fs::rename(&root, &away).unwrap();
    let to = dir.path().join("to");
    leech.get(&metainfo, &to, &seed);
    seed.paused(ProblemKind::NotFound, "is not there");
    seed.says_nothing();
    fs::rename(&away, &root).unwrap();
    seed.resumed();
    leech.finished(Duration::from_secs(30));
    assert_same(&root, &to.join("album"));
}

#[test]
fn a_file_that_was_written_over_is_served_again_when_the_old_one_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (root, metainfo) = content(dir.path(), LENS, Kind::V1);
    let (seed, leech) = (Peer::start(), Peer::start());
    let opts = Options {
        place: Place::At(root.clone()),
        read_only: true,
        ..options(Vec::new())
    };
    let source = Source::Metainfo(Box::new(metainfo.clone()));
    seed.node.add(source, opts).unwrap();
    seed.finished(Duration::from_secs(20));

    let file = File::options()
        .read(true)
        .write(true)
        .open(root.join("0.bin"))
        .unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 77).unwrap();
    file.write_all_at(&[!byte[0]], 77).unwrap();
    let other_time = modified + Duration::from_secs(5);
    file.set_times(FileTimes::new().set_modified(other_time))
        .unwrap();
    let to = dir.path().join("to");
    leech.get(&metainfo, &to, &seed);
    seed.paused(ProblemKind::Damaged, "has changed");
    seed.says_nothing();
    // Another reason is told.
    fs::rename(root.join("0.bin"), dir.path().join("aside")).unwrap();
    seed.paused(ProblemKind::NotFound, "is not there");
    file.write_all_at(&byte, 77).unwrap();
    file.set_times(FileTimes::new().set_modified(modified))
        .unwrap();
    fs::rename(dir.path().join("aside"), root.join("0.bin")).unwrap();
    seed.resumed();
    leech.finished(Duration::from_secs(40));
    assert_same(&root, &to.join("album"));
}

#[test]
fn a_download_to_a_read_only_file_system_goes_on_when_it_can_be_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let Some(mount) = Mount::new(&to, "ro") else {
        return;
    };
    let (root, metainfo) = content(dir.path(), LENS, Kind::V1);
    let (seed, leech) = (Peer::start(), Peer::start());
    seed.seed(&metainfo, &root);
    leech.get(&metainfo, &to, &seed);
    leech.paused(ProblemKind::Permission, "is read-only");
    leech.says_nothing();
    mount.make_writable();
    leech.resumed();
    leech.finished(Duration::from_secs(30));
    assert_same(&root, &to.join("album"));
}

#[test]
fn a_download_to_a_full_disk_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let Some(_mount) = Mount::new(&to, "rw") else {
        return;
    };
    let (root, metainfo) = content(dir.path(), LENS, Kind::V1);
    let (seed, leech) = (Peer::start(), Peer::start());
    leech.get(&metainfo, &to, &seed);
    // There was room when it began.
    let filler = to.join("filler");
    fs::write(&filler, vec![1; 23 << 20]).unwrap();
    seed.seed(&metainfo, &root);
    leech.paused(ProblemKind::NoSpace, "is full");
    leech.says_nothing();
    fs::remove_file(filler).unwrap();
    leech.resumed();
    leech.finished(Duration::from_secs(30));
    assert_same(&root, &to.join("album"));
}
