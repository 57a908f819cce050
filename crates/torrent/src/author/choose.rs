//! Which kind of torrent and which piece length suit a set of files.

use std::sync::Arc;

use super::{Plan, PlanError, Source};
use crate::layout::{BLOCK, Kind, MAX_PIECES};

/// Longest piece chosen unasked, in bytes: what a peer must fetch before it can verify and serve.
const MAX_CHOSEN: u64 = 16 * 1024 * 1024;

/// Most pieces that shrinking may lead to: at 52 bytes a piece in a hybrid, 7 MB of metadata that
/// every newcomer has to fetch first.
const MAX_SHRUNK_PIECES: u64 = 128 * 1024;

/// Padding of a hybrid that is still worth having one torrent for all clients: one byte in so many
/// (1 %). Clients that know BEP 47 never fetch it; the others do.
const PADDING_SHARE: u64 = 100;

/// Padding that is never too much, in bytes: for a small share one link that everybody can use is worth more.
const PADDING_FREE: u64 = 1 << 20;

/// What the person asked for; what they left open is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The kind of torrent.
    pub kind: Option<Kind>,
    /// The piece length in bytes.
    pub piece_length: Option<u32>,
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The torrent; where there are two, the one that every client understands.
    pub plan: Plan,
    /// The v2 torrent of the same files that should go with a v1 torrent, where a hybrid would be
    /// mostly padding.
    pub v2: Option<Plan>,
    /// Why it is not as usual, in a sentence to show; `None` if there is nothing to say.
    pub reason: Option<String>,
}

/// The piece length for so many bytes: the power of two from 10·√total up, between 16 KiB and
/// 16 MiB, so that pieces and their number grow alike (1 GiB: 2048 pieces of 512 KiB).
pub fn default_piece_length(total: u64) -> u32 {
    let wanted = (10 * total.isqrt())
        .clamp(u64::from(BLOCK), MAX_CHOSEN)
        .next_power_of_two();
    let fitting = total.div_ceil(u64::from(MAX_PIECES)).next_power_of_two();
    wanted.max(fitting).min(1 << 29) as u32
}

/// Bytes of padding a hybrid of these files needs.
fn padding(sources: &[Source], piece_length: u32) -> u64 {
    if sources.len() < 2 {
        return 0;
    }
    let piece = u64::from(piece_length);
    sources
        .iter()
        .map(|source| (piece - source.len % piece) % piece)
        .sum()
}

/// Plans a torrent of these files: a hybrid, unless the person wants another kind or it would be
/// more than 1 % padding, and more than a MiB of it. Then the pieces shrink; and where that is not enough, a v1 and a v2
/// torrent take its place. What was asked for is done even where it is not wise, and said.
///
/// `name` is the name of the folder; `None` for a single file, of which there must then be one.
pub fn choose(name: Option<&str>, sources: &[Source], wanted: Wanted) -> Result<Choice, PlanError> {
    if name.is_none() && sources.len() != 1 {
        return Err(PlanError::BadPath(String::new()));
    }
    let shared: Arc<[Source]> = sources.into();
    let plan = |kind, piece_length| Plan::new(kind, name, piece_length, shared.clone());
    let total = sources
        .iter()
        .fold(0u64, |total, source| total.saturating_add(source.len));
    let usual = default_piece_length(total);
    let piece_length = wanted.piece_length.unwrap_or(usual);
    let cost = |piece_length| {
        let cost = padding(sources, piece_length);
        (cost > (total / PADDING_SHARE).max(PADDING_FREE)).then_some(cost)
    };
    let said = |plan, reason| {
        Ok(Choice {
            plan,
            v2: None,
            reason,
        })
    };

    match (wanted.kind, cost(piece_length)) {
        (Some(kind @ (Kind::V1 | Kind::V2)), _) => said(plan(kind, piece_length)?, None),
        (_, None) => said(plan(Kind::Hybrid, piece_length)?, None),
        (_, Some(cost)) if wanted.piece_length.is_some() => {
            let reason = format!(
                "A piece size of {} adds {} of padding to {} of files; clients that do not know \
                 padding will fetch it. A smaller piece size needs less.",
                size(u64::from(piece_length)),
                size(cost),
                size(total),
            );
            said(plan(Kind::Hybrid, piece_length)?, Some(reason))
        }
        (kind, Some(before)) => {
            let mut shrunk = piece_length;
            while shrunk > BLOCK
                && total.div_ceil(u64::from(shrunk)) < MAX_SHRUNK_PIECES
                && cost(shrunk).is_some()
            {
                shrunk /= 2;
            }
            match (cost(shrunk), kind) {
                (None, _) => {
                    let reason = format!(
                        "The piece size is {} instead of {}: with many small files the usual one \
                         would add {} of padding.",
                        size(u64::from(shrunk)),
                        size(u64::from(usual)),
                        size(before),
                    );
                    said(plan(Kind::Hybrid, shrunk)?, Some(reason))
                }
                (Some(cost), Some(_)) => {
                    let reason = format!(
                        "As a hybrid these files need {} of padding for {} of content; clients that \
                         do not know padding will fetch it.",
                        size(cost),
                        size(total),
                    );
                    said(plan(Kind::Hybrid, shrunk)?, Some(reason))
                }
                (Some(cost), None) => {
                    let reason = format!(
                        "The files are so small that one torrent for all clients would need {} of \
                         padding for {} of content, so there is one of version 1 and one of version 2.",
                        size(cost),
                        size(total),
                    );
                    let v1 = plan(Kind::V1, usual)?;
                    Ok(Choice {
                        plan: v1,
                        v2: Some(plan(Kind::V2, usual)?),
                        reason: Some(reason),
                    })
                }
            }
        }
    }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let Some(power) = (1..=units.len() as u32)
        .rev()
        .find(|power| bytes >= 1 << (10 * power))
    else {
        return format!("{bytes} bytes");
    };
    let tenths = bytes / (1 << (10 * (power - 1))) * 10 / 1024;
    let unit = units[power as usize - 1];
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize, len: u64) -> Vec<Source> {
        (0..count)
            .map(|i| Source {
                path: format!("{i}"),
                len,
                ..Source::default()
            })
            .collect()
    }

    fn chosen(sources: &[Source], wanted: Wanted) -> (Kind, u32, bool, Option<String>) {
        let choice = choose(Some("folder"), sources, wanted).unwrap();
        let layout = choice.plan.layout();
        (
            layout.kind(),
            layout.piece_length(),
            choice.v2.is_some(),
            choice.reason,
        )
    }

    #[test]
    fn pieces_grow_with_the_square_root_of_the_total() {
        // The steps of libtorrent's table.
        for (total, expected) in [
            (1, 16),
            (2_684_354, 16),
            (2_700_000, 32),
            (1 << 30, 512),
            (40 << 30, 2048),
        ] {
            assert_eq!(default_piece_length(total), expected * 1024, "{total}");
        }
        assert_eq!(default_piece_length(u64::MAX / 2), 1 << 29);
        assert_eq!(default_piece_length(200 << 40), 32 << 20);
    }

    #[test]
    fn a_few_large_files_become_a_plain_hybrid() {
        assert_eq!(
            chosen(&files(3, 1 << 30), Wanted::default()),
            (Kind::Hybrid, 1 << 20, false, None)
        );
    }

    #[test]
    fn files_of_whole_blocks_shrink_the_pieces_until_there_is_no_padding() {
        let (kind, piece_length, apart, reason) =
            chosen(&files(10_000, 16 * 1024), Wanted::default());
        assert_eq!(
            (kind, piece_length, apart),
            (Kind::Hybrid, 16 * 1024, false)
        );
        assert!(
            reason
                .unwrap()
                .starts_with("The piece size is 16 KiB instead of 128 KiB")
        );
    }

    #[test]
    fn very_small_files_make_two_torrents() {
        let (kind, piece_length, apart, reason) = chosen(&files(10_000, 1000), Wanted::default());
        assert_eq!((kind, piece_length, apart), (Kind::V1, 32 * 1024, true));
        assert!(
            reason
                .unwrap()
                .contains("one of version 1 and one of version 2")
        );
    }

    #[test]
    fn a_small_share_stays_one_link_whatever_the_padding() {
        let (kind, _, apart, reason) = chosen(&files(10, 1000), Wanted::default());
        assert_eq!((kind, apart, reason), (Kind::Hybrid, false, None));
    }

    #[test]
    fn what_was_asked_for_is_done_and_its_price_said() {
        let hybrid = Wanted {
            kind: Some(Kind::Hybrid),
            piece_length: None,
        };
        let (kind, _, apart, reason) = chosen(&files(1000, 1000), hybrid);
        assert_eq!((kind, apart), (Kind::Hybrid, false));
        assert!(reason.unwrap().contains("padding"));
        let large = Wanted {
            kind: None,
            piece_length: Some(1 << 20),
        };
        let (kind, piece_length, _, reason) = chosen(&files(100, 1000), large);
        assert_eq!((kind, piece_length), (Kind::Hybrid, 1 << 20));
        assert!(reason.unwrap().contains("99.9 MiB of padding"));
        let v2 = Wanted {
            kind: Some(Kind::V2),
            piece_length: None,
        };
        assert_eq!(
            chosen(&files(100, 1000), v2),
            (Kind::V2, 16 * 1024, false, None)
        );
    }

    #[test]
    fn one_file_needs_no_padding() {
        let one = &files(1, 1000)[0];
        let choice = choose(None, std::slice::from_ref(one), Wanted::default()).unwrap();
        assert!(choice.plan.is_single_file() && choice.reason.is_none());
        assert!(choose(None, &files(2, 1000), Wanted::default()).is_err());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(16 * 1024), "16 KiB");
        assert_eq!(size(1536 * 1024), "1.5 MiB");
        assert_eq!(size(3 << 40), "3 TiB");
    }
}
