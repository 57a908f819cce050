//! The list of addresses that a person wants nothing to do with: read from its file, and again when that changes.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use discovery::blocklist::{BlockList, Builder, LINE_MAX};
use flate2::read::MultiGzDecoder;

use super::Driver;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Largest list, in bytes and unpacked: half a million ranges have 40 MB.
const FILE_MAX: u64 = 512 << 20;

/// What is blocked.
#[derive(Default)]
pub(crate) struct Blocking {
    list: RefCell<BlockList>,
    /// What is wrong with the file as it is now.
    trouble: RefCell<Option<String>>,
    hits: Cell<u64>,
}

impl Blocking {
    /// Whether an address is to be left alone; if so, that counts as an attempt.
    pub fn blocks(&self, ip: IpAddr) -> bool {
        let blocked = self.list.borrow().contains(ip);
        if blocked {
            self.hits.set(self.hits.get() + 1);
        }
        blocked
    }

    /// For people.
    pub fn shown(&self) -> Option<api::Blocking> {
        let ranges = self.list.borrow().ranges() as u64;
        let trouble = self.trouble.borrow().clone();
        (ranges > 0 || trouble.is_some()).then(|| api::Blocking {
            ranges,
            attempts: self.hits.get(),
            trouble,
        })
    }
}

/// How a file looked when it was last read.
type Look = Option<(SystemTime, u64)>;

fn look(path: &Path) -> Look {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

/// Reads the list, packed by gzip or not.
///
/// # Errors
/// In words, with the line.
fn read(path: &Path) -> Result<BlockList, String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("the block list {shown} cannot be read: {error}");
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let packed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let text: Box<dyn Read> = match packed {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut text = BufReader::new(text.take(FILE_MAX));
    let mut builder = Builder::default();
    let mut line = Vec::with_capacity(LINE_MAX);
    for number in 1u64.. {
        line.clear();
        let mut part = text.by_ref().take(LINE_MAX as u64 + 2);
        if part.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            line.pop();
        }
        builder
            .line(&line)
            .map_err(|error| format!("{shown}:{number}: {error}"))?;
    }
    match text.into_inner().limit() {
        0 => Err(format!(
            "the block list {shown} has more than {} MiB",
            FILE_MAX >> 20
        )),
        _ => Ok(builder.finish()),
    }
}

/// Follows the file, for ever. The last list that could be read holds.
pub(crate) async fn run(driver: Rc<Driver>, path: PathBuf) {
    let mut last: Option<Look> = None;
    loop {
        let (file, before) = (path.clone(), last);
        let looked = tokio::task::spawn_blocking(move || {
            let now = look(&file);
            (before != Some(now)).then(|| (now, read(&file)))
        });
        if let Ok(Some((now, list))) = looked.await {
            last = Some(now);
            driver.take_block_list(list);
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Driver {
    fn take_block_list(&self, list: Result<BlockList, String>) {
        let trouble = match list {
            Ok(list) => {
                tracing::info!(ranges = list.ranges(), "the block list is in effect");
                self.blocking.list.replace(list);
                None
            }
            Err(why) => {
                tracing::warn!("{why}; what was blocked before stays blocked");
                Some(format!("{why}; what was blocked before stays blocked"))
            }
        };
        self.blocking.trouble.replace(trouble);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_list_is_read_packed_or_not_and_a_mistake_has_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let text = "# x\r\nowner:192.0.2.0-192.0.2.9\r\n198.51.100.0/24";
        std::fs::write(&path, text).unwrap();
        let plain = read(&path).unwrap();
        assert_eq!(plain.ranges(), 2);
        assert!(plain.contains([198, 51, 100, 255].into()));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        std::fs::write(&path, packed.finish().unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), plain);
        std::fs::write(&path, "192.0.2.1\n\nno address\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(
            error.ends_with("list:3: it is no address, network or range"),
            "{error}"
        );
        std::fs::write(&path, [b'1'; 5000]).unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .contains("list:1: the line has more")
        );
        assert!(
            read(&folder.path().join("none"))
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
