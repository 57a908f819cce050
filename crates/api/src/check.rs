//! Ranges of values in requests. What is said here is said again in the OpenAPI document, beside
//! each field.

use std::net::SocketAddr;
use std::path::Path;

use crate::problem::{Kind, Problem};

/// Longest path, in bytes and so in characters: PATH_MAX of Linux.
pub(crate) const MAX_PATH: usize = 4096;
/// Longest name of a label, a tag or a search, in characters.
pub(crate) const MAX_LABEL: usize = 100;
/// Longest name of a transfer or file, in characters: NAME_MAX of most file systems.
pub(crate) const MAX_NAME: usize = 255;
/// Longest pasted source, in characters: a magnet link with hundreds of trackers.
pub(crate) const MAX_SOURCE: usize = 65_536;
/// Most tags on a transfer, and most windows, watched folders and arguments in the settings.
pub(crate) const MAX_LIST: usize = 64;
/// Most peers in a request.
pub(crate) const MAX_PEERS: usize = 1_000;
/// Longest URL of a web seed, in characters; that of a tracker has the same limit.
pub(crate) const MAX_URL: usize = 2_048;
/// Most numbers of transfers in a request.
pub(crate) const MAX_IDS: usize = 10_000;
/// Most globs in a request.
pub(crate) const MAX_GLOBS: usize = 200;
/// Longest glob, in characters: all of them fit into a request of a megabyte.
pub(crate) const MAX_GLOB: usize = 1_024;
/// Most priorities in a request; ranges say more with fewer.
pub(crate) const MAX_PRIORITIES: usize = 10_000;
/// Largest number of bytes or bytes a second: 2⁵³ - 1, the largest integer that JSON carries
/// exactly everywhere (RFC 8259 §6).
pub(crate) const MAX_BYTES: u64 = (1 << 53) - 1;

/// A value from outside whose parts have ranges.
pub trait Check {
    /// Looks at every part.
    ///
    /// # Errors
    /// A [`Kind::Invalid`] problem that names the part and its range;
    /// [`Kind::Conflict`] for texts that no system takes.
    fn check(&self) -> Result<(), Problem>;
}

impl<T: Check> Check for Option<T> {
    fn check(&self) -> Result<(), Problem> {
        self.as_ref().map_or(Ok(()), Check::check)
    }
}

/// `key` must be a text of `least` to `most` characters.
pub(crate) fn text(key: &str, text: &str, least: usize, most: usize) -> Result<(), Problem> {
    let count = text.chars().count();
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "{key} has {count} characters, where {least} to {most} are possible."
    )))
}

/// `key` must be a path: without NUL, absolute.
pub(crate) fn path(key: &str, path: &str) -> Result<(), Problem> {
    text(key, path, 1, MAX_PATH)?;
    if path.contains('\0') {
        return Err(nul(key));
    }
    if !Path::new(path).is_absolute() {
        return Err(Problem::invalid(format!(
            "{key} is {path}, which is not a whole path. Begin with /."
        )));
    }
    Ok(())
}

/// What no system takes, though it is a text.
pub(crate) fn nul(key: &str) -> Problem {
    let detail = format!("{key} contains a NUL character, which no file or argument can have.");
    Problem::new(Kind::Conflict, detail)
}

/// `key` must be in this range.
pub(crate) fn range<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), Problem> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "{key} is {value}, where {least} to {most} is possible."
    )))
}

/// `key` must be a list of IP:PORT.
pub(crate) fn addresses(key: &str, addresses: &[String]) -> Result<(), Problem> {
    list(key, addresses, MAX_PEERS)?;
    let wrong = |text: &&String| text.parse::<SocketAddr>().is_err();
    match addresses.iter().find(wrong) {
        None => Ok(()),
        Some(text) => {
            let detail = format!("{key} contains {text}, which is no IP:PORT.");
            Err(Problem::invalid(detail))
        }
    }
}

/// `key` must be a list of http and https URLs.
pub(crate) fn urls(key: &str, urls: &[String]) -> Result<(), Problem> {
    list(key, urls, MAX_LIST)?;
    for url in urls {
        text(key, url, 1, MAX_URL)?;
        let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
        if !rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()))
        {
            let detail = format!("{key} contains {url}, which is no URL with http:// or https://.");
            return Err(Problem::invalid(detail));
        }
    }
    Ok(())
}

/// `key` must be a list of at most so many.
pub(crate) fn list<T>(key: &str, list: &[T], most: usize) -> Result<(), Problem> {
    if list.len() <= most {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "{key} has {} entries, where {most} are possible.",
        list.len()
    )))
}
