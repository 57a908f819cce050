//! Content for whoever reads it, and the names under which it is found: a host for each transfer, so that one
//! transfer's pages are strangers to another's, and hard to guess, so that they are strangers to every other page too.

use std::ops::Range;

use api::{Chunks, Content, ContentFile, ContentListing, Cut, Kind, Problem, TransferId};
use sha2::{Digest, Sha256};
use swarm::TorrentId;

use super::Daemon;

/// Bytes that a host stands for: the transfer's number, and 64 bits that nobody can guess.
const HOST: usize = 12;

impl Daemon {
    /// The host label of a transfer's content.
    pub(super) fn content_key(&self, id: u32) -> String {
        key(&self.shared.content_secret, id)
    }

    /// The transfer that a host label names.
    fn content_transfer(&self, host: &str) -> Result<u32, Problem> {
        let named = number(host).filter(|&id| is_same(&self.content_key(id), host));
        named
            .filter(|id| self.book().get(*id).is_some())
            .ok_or_else(nothing)
    }
}

impl Content for Daemon {
    async fn listing(&self, host: String, most: usize) -> Result<ContentListing, Problem> {
        let id = self.content_transfer(&host)?;
        let name = self.book().get(id).map(|entry| entry.record.name.clone());
        let cut = Cut {
            offset: 0,
            limit: u32::try_from(most).unwrap_or(u32::MAX),
        };
        let files = self
            .shared
            .node
            .call(move |driver| driver.files(TorrentId(id), cut));
        let files = files.await.map_err(|_| Problem::stopping())?;
        Ok(ContentListing {
            name: name.ok_or_else(nothing)?,
            total: files.total as usize,
            files: files
                .items
                .into_iter()
                .map(|file| (file.path, file.size))
                .collect(),
        })
    }

    async fn find(&self, host: String, path: String) -> Result<ContentFile, Problem> {
        let id = self.content_transfer(&host)?;
        let added = self.book().get(id).map(|entry| entry.record.added);
        let found = self.shared.node.call(move |driver| {
            let found = driver.file_at(TorrentId(id), &path);
            found.map(|found| (found, path))
        });
        let (found, path) = found
            .await
            .map_err(|_| Problem::stopping())?
            .ok_or_else(nothing)?;
        Ok(ContentFile {
            transfer: TransferId(id),
            index: found.index as u32,
            path,
            size: found.size,
            tag: found.tag,
            since: added.unwrap_or_default().max(0) as u64,
        })
    }

    async fn read(&self, file: &ContentFile, range: Range<u64>) -> Result<Chunks, Problem> {
        let (id, index) = (TorrentId(file.transfer.0), file.index as usize);
        let chunks = self
            .shared
            .node
            .call(move |driver| driver.read(id, index, range));
        chunks.await.map_err(|_| Problem::stopping())?
    }
}

fn nothing() -> Problem {
    Problem::new(
        Kind::NotFound,
        "There is nothing here. The daemon shows the address of each file beside it.",
    )
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Base32 (RFC 4648 §6) in lower case, without padding, of the transfer's number and of a hash that only we can make.
fn key(secret: &[u8; 32], id: u32) -> String {
    let digest = Sha256::new()
        .chain_update(b"starling content host")
        .chain_update(secret)
        .chain_update(id.to_be_bytes())
        .finalize();
    let bytes = id.to_be_bytes().into_iter().chain(digest).take(HOST);
    let word = bytes.fold(0_u128, |word, byte| word << 8 | u128::from(byte));
    // The first character takes the highest five bits.
    let word = word << (128 - 8 * HOST);
    (0..(8 * HOST).div_ceil(5))
        .map(|place| char::from(ALPHABET[(word << (5 * place) >> 123) as usize]))
        .collect()
}

/// The number that a host label claims to be of.
fn number(host: &str) -> Option<u32> {
    let value = |byte| ALPHABET.iter().position(|&letter| letter == byte);
    // Seven characters are 35 bits.
    let mut word = 0_u64;
    for byte in host.bytes().take(7) {
        word = word << 5 | value(byte)? as u64;
    }
    (host.len() == (8 * HOST).div_ceil(5)).then_some((word >> 3) as u32)
}

/// Compares in the same time whatever it finds.
fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |differ, (a, b)| differ | (a ^ b))
            == 0
}

/// The URL of a file; `base` is the content listener's, such as `http://127.0.0.1:7118`.
pub(super) fn url(base: &str, host: &str, path: &str) -> Option<String> {
    let port = base.rsplit(':').next()?.trim_end_matches('/');
    let mut url = format!("http://{host}.localhost:{port}");
    for part in path.split('/') {
        url.push('/');
        for &byte in part.as_bytes() {
            // Unreserved characters stay as they are (RFC 3986 §2.3).
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(byte));
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_label_that_says_whose_it_is_and_differs_by_secret() {
        for id in [0, 1, 2, 77, 1 << 31, u32::MAX] {
            let host = key(&[1; 32], id);
            assert_eq!(host.len(), 20);
            assert!(host.bytes().all(|b| ALPHABET.contains(&b)), "{host}");
            assert_eq!(number(&host), Some(id));
            let other = key(&[2; 32], id);
            assert!(is_same(&host, &host) && !is_same(&host, &other));
            let same = host
                .bytes()
                .zip(other.bytes())
                .filter(|(a, b)| a == b)
                .count();
            assert!(same < 13, "{host} {other}: all but the number differs");
        }
    }

    #[test]
    fn what_is_no_host_has_no_number() {
        let host = key(&[1; 32], 5);
        for wrong in [
            "",
            "a",
            &host[1..],
            &format!("{host}a"),
            &host.replace('a', "1"),
            &host.to_uppercase(),
        ] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn urls_carry_any_name() {
        let url = url("http://127.0.0.1:7118", "abc", "disc 2/50% über.flac").unwrap();
        assert_eq!(
            url,
            "http://abc.localhost:7118/disc%202/50%25%20%C3%BCber.flac"
        );
    }
}
