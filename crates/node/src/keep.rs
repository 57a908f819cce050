//! The state folder: resume records, torrents whose metadata came from peers, known DHT nodes.
//!
//! ```text
//! state/resume/<info-hash>.resume   what is verified (docs/design/resume-record.md)
//! state/torrents/<info-hash>.torrent
//! state/dht-nodes                   our node id, then a known node a line: id and address
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use torrent::ids::InfoHashes;
use torrent::metainfo::Metainfo;

/// The state folder.
#[derive(Clone, Debug)]
pub struct Keep {
    dir: PathBuf,
}

impl Keep {
    /// Makes the folder and its parts.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> io::Result<Keep> {
        fs::create_dir_all(dir.join("resume"))?;
        fs::create_dir_all(dir.join("torrents"))?;
        Ok(Keep {
            dir: dir.to_owned(),
        })
    }

    fn name(hashes: &InfoHashes) -> String {
        let v1 = hashes.v1.map(|h| torrent::hex::encode(&h));
        v1.or_else(|| hashes.v2.map(|h| torrent::hex::encode(&h)))
            .unwrap_or_default()
    }

    /// Where the resume record of this torrent in this place belongs: the same torrent in two
    /// folders has two.
    pub fn record(&self, hashes: &InfoHashes, root: &Path) -> PathBuf {
        let place = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let mark = torrent::merkle::leaf(place.as_os_str().as_encoded_bytes());
        let name = format!(
            "{}-{}.resume",
            Keep::name(hashes),
            torrent::hex::encode(&mark[..4])
        );
        self.dir.join("resume").join(name)
    }

    /// Keeps a torrent whose metadata came from peers.
    pub fn save_torrent(&self, metainfo: &Metainfo) -> io::Result<()> {
        let hashes = metainfo.info.hashes();
        let path = self
            .dir
            .join("torrents")
            .join(format!("{}.torrent", Keep::name(&hashes)));
        write_whole(&path, &metainfo.to_bytes())
    }

    /// A torrent kept earlier, under either hash.
    pub fn load_torrent(&self, hashes: &InfoHashes) -> Option<Metainfo> {
        let v1 = InfoHashes {
            v1: hashes.v1,
            v2: None,
        };
        let v2 = InfoHashes {
            v1: None,
            v2: hashes.v2,
        };
        let names = [v1, v2]
            .into_iter()
            .filter(|h| !h.is_empty())
            .map(|h| Keep::name(&h));
        names
            .filter_map(|name| {
                fs::read(self.dir.join("torrents").join(format!("{name}.torrent"))).ok()
            })
            .filter_map(|bytes| Metainfo::parse(&bytes).ok())
            .find(|m| hashes.agrees(&m.info.hashes()))
    }

    /// The DHT nodes saved last.
    pub fn load_nodes(&self) -> String {
        fs::read_to_string(self.dir.join("dht-nodes")).unwrap_or_default()
    }

    /// Keeps DHT nodes for the next start.
    pub fn save_nodes(&self, text: &str) -> io::Result<()> {
        write_whole(&self.dir.join("dht-nodes"), text.as_bytes())
    }
}

/// Writes a file so that a crash leaves the old or the new one, never half of either.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}
