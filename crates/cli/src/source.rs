//! One parser for anything pasted: a magnet link, a torrent file or its URL, a bare info-hash.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use node::{FetchError, Source};
use torrent::ids::InfoHashes;
use torrent::magnet::{self, Magnet, MagnetError};
use torrent::metainfo::{MAX_METAINFO, Metainfo};

use crate::Context;
use crate::exit::{Exit, Failure, sentence};
use crate::interrupt::Interrupt;

/// How often Ctrl-C is looked for while a server is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a pasted text is, before anything is read.
#[derive(Debug)]
pub enum Pasted {
    /// A magnet link.
    Magnet(Box<Magnet>),
    /// A file that is there.
    File(PathBuf),
    /// An http or https URL, to be fetched.
    Url(String),
    /// 40 or 64 hex digits, or 32 of base32.
    Hash(InfoHashes),
}

/// Recognises what was pasted. What is on the disk under that name comes first.
pub fn recognise(text: &str) -> Result<Pasted, Failure> {
    let text = text.trim();
    if has_scheme(text, "magnet:") {
        let refused = |error: MagnetError| {
            Failure::usage(format!(
                "{} Copy the whole link, in quotes.",
                sentence(&error.to_string())
            ))
        };
        return Ok(Pasted::Magnet(Box::new(text.parse().map_err(refused)?)));
    }
    if has_scheme(text, "http://") || has_scheme(text, "https://") {
        return Ok(Pasted::Url(text.to_owned()));
    }
    let path = Path::new(text);
    if path.is_dir() {
        return Err(Failure::usage(format!(
            "{text} is a folder, where a torrent is wanted. To share a folder: starling seed {text}"
        )));
    }
    if path.exists() {
        return Ok(Pasted::File(path.to_owned()));
    }
    if let Some(hashes) = magnet::parse_anything_hash(text) {
        return Ok(Pasted::Hash(hashes));
    }
    if text.contains("://") {
        return Err(Failure::usage(format!(
            "{text} cannot be fetched: only magnet links and http or https URLs of torrent files can."
        )));
    }
    Err(Failure::new(
        Exit::NotFound,
        format!(
            "There is no file {text}, and it is no magnet link, URL or info-hash either. Check the spelling."
        ),
    ))
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
}

/// Reads and checks a torrent file.
pub fn read_torrent(path: &Path) -> Result<Metainfo, Failure> {
    let failed = |error: std::io::Error| Failure::io(&error, "read", path);
    let file = std::fs::File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len > MAX_METAINFO as u64 {
        return Err(Failure::new(
            Exit::Verification,
            format!(
                "{} is too large to be a torrent file. Give the torrent, not what it describes.",
                path.display()
            ),
        ));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    // A pipe has no length; what is too long for a torrent is cut and then fails to parse.
    std::io::Read::read_to_end(
        &mut std::io::Read::take(file, MAX_METAINFO as u64 + 1),
        &mut bytes,
    )
    .map_err(failed)?;
    parse_torrent(&bytes, &path.display().to_string())
}

/// Fetches and checks a torrent file by its URL.
pub fn fetch_torrent(
    url: &str,
    egress: node::Egress,
    interrupt: &Interrupt,
) -> Result<Metainfo, Failure> {
    let (sender, answer) = mpsc::channel();
    let wanted = url.to_owned();
    std::thread::spawn(move || sender.send(node::fetch_torrent(&wanted, &egress)));
    let fetched = loop {
        match answer.recv_timeout(PATIENCE) {
            Ok(fetched) => break fetched,
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt.is_asked() => {
                return Err(Failure::interrupted());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(
                    Exit::Other,
                    format!("Fetching {url} broke off. Try again."),
                ));
            }
        }
    };
    let bytes = fetched.map_err(|error| {
        let exit = match &error {
            FetchError::Url(_) => Exit::Usage,
            FetchError::Resolve { .. } | FetchError::Status { .. } => Exit::NotFound,
            _ => Exit::Other,
        };
        Failure::new(
            exit,
            format!("{url} was not fetched: {}", sentence(&error.to_string())),
        )
    })?;
    parse_torrent(&bytes, url)
}

/// What is known of a source before any peer is asked.
pub fn known(
    context: &Context,
    pasted: Pasted,
    egress: impl FnOnce() -> Result<node::Egress, Failure>,
) -> Result<Source, Failure> {
    Ok(match pasted {
        Pasted::Magnet(magnet) => Source::Magnet(magnet),
        Pasted::Hash(hashes) => Source::Hash(hashes),
        Pasted::File(path) => Source::Metainfo(Box::new(read_torrent(&path)?)),
        Pasted::Url(url) => Source::Metainfo(Box::new(fetch_torrent(
            &url,
            egress()?,
            &context.interrupt,
        )?)),
    })
}

/// As a daemon is given it, which fetches URLs by its own way.
pub fn for_daemon(context: &Context, pasted: Pasted) -> Result<api::Source, Failure> {
    match pasted {
        Pasted::Url(url) => Ok(api::Source::Text(url)),
        other => Ok(to_api(&known(context, other, || {
            Ok(node::Egress::default())
        })?)),
    }
}

/// The same, as a daemon is given it.
pub fn to_api(source: &Source) -> api::Source {
    match source {
        Source::Metainfo(metainfo) => api::Source::Torrent(metainfo.to_bytes().into()),
        Source::Magnet(magnet) => api::Source::Text(magnet.to_string()),
        Source::Hash(hashes) => api::Source::Text(Magnet::of_hashes(*hashes).to_string()),
    }
}

/// Checks the bytes of a torrent file from `origin`.
pub fn parse_torrent(bytes: &[u8], origin: &str) -> Result<Metainfo, Failure> {
    Metainfo::parse(bytes).map_err(|error| {
        Failure::new(
            Exit::Verification,
            format!(
                "{origin} cannot be used: {error}. Get the torrent again, or use its magnet link."
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "c9e15763f722f23e98a29decdfae341b98d53056";

    #[test]
    fn anything_pasted_is_recognised() {
        let magnet = format!("  MAGNET:?xt=urn:btih:{V1}&dn=x \n");
        assert!(matches!(recognise(&magnet), Ok(Pasted::Magnet(_))));
        assert!(
            matches!(recognise("https://host/a.torrent"), Ok(Pasted::Url(url)) if url == "https://host/a.torrent")
        );
        assert!(matches!(recognise(V1), Ok(Pasted::Hash(hashes)) if hashes.v1.is_some()));
        assert!(
            matches!(recognise(&"ab".repeat(32)), Ok(Pasted::Hash(hashes)) if hashes.v2.is_some())
        );
        assert!(matches!(recognise("Cargo.toml"), Ok(Pasted::File(_))));
    }

    #[test]
    fn what_is_nothing_is_said_to_be_nothing() {
        let code = |text: &str| recognise(text).map(|_| ()).unwrap_err().exit;
        assert_eq!(code("no-such.torrent"), Exit::NotFound);
        assert_eq!(code(&V1[1..]), Exit::NotFound);
        assert_eq!(code("src"), Exit::Usage);
        assert_eq!(code("magnet:?xt=urn:btih:123"), Exit::Usage);
        assert_eq!(code("ftp://host/a.torrent"), Exit::Usage);
    }

    #[test]
    fn a_file_that_is_no_torrent_fails_verification() {
        let error = read_torrent(Path::new("Cargo.toml")).unwrap_err();
        assert_eq!(error.exit, Exit::Verification);
        assert!(
            error
                .message
                .starts_with("Cargo.toml cannot be used: this is not a torrent file"),
            "{error}"
        );
    }
}
