//! Layouts of all kinds, against a list of every byte.

use super::*;
use proptest::prelude::*;

const K16: u32 = 16 * 1024;

fn real(len: u64) -> FileLen {
    FileLen { len, pad: false }
}

fn pad(len: u64) -> FileLen {
    FileLen { len, pad: true }
}

#[test]
fn v1_files_share_pieces() {
    let layout = Layout::new(Kind::V1, 10, [real(7), real(0), real(5), real(13)]).unwrap();
    assert_eq!(
        (layout.pieces(), layout.size(), layout.payload()),
        (3, 25, 25)
    );
    assert_eq!([0, 1, 2, 3].map(|p| layout.piece_len(p)), [10, 10, 5, 0]);
    let spans: Vec<_> = layout.spans(0, 5, 100).collect();
    assert_eq!(
        spans,
        [
            Span {
                file: 0,
                offset: 5,
                len: 2,
                pad: false
            },
            Span {
                file: 2,
                offset: 0,
                len: 3,
                pad: false
            }
        ]
    );
    assert_eq!(layout.file_pieces(2), 0..2);
    assert_eq!(layout.file_pieces(1), 0..0);
    assert_eq!(layout.file_of_piece(0), None);
}

#[test]
fn v2_files_each_start_a_piece_and_end_one() {
    let k = u64::from(K16);
    let layout = Layout::new(Kind::V2, K16, [real(5), real(0), real(2 * k + 1), real(k)]).unwrap();
    assert_eq!(layout.pieces(), 5);
    assert_eq!(layout.payload(), 3 * k + 6);
    assert_eq!(layout.size(), 5 * k);
    assert_eq!(
        [0, 1, 2, 3, 4].map(|p| layout.piece_len(p)),
        [5, K16, K16, 1, K16]
    );
    assert_eq!(
        [0, 1, 2, 3, 4].map(|p| layout.file_of_piece(p).unwrap()),
        [0, 2, 2, 2, 3]
    );
    assert_eq!(
        [0, 1, 2, 3, 4].map(|p| layout.piece_in_file(p).unwrap()),
        [0, 0, 1, 2, 0]
    );
    assert_eq!(layout.file_of_piece(5), None);
    assert_eq!(layout.file_pieces(2), 1..4);
    assert!(!layout.is_pad_block(0, 0));
}

#[test]
fn hybrid_pieces_carry_padding_that_is_no_payload() {
    let piece = 4 * u64::from(K16);
    let files = [real(5), pad(piece - 5), real(piece + 1), pad(piece - 1)];
    let layout = Layout::new(Kind::Hybrid, piece as u32, files).unwrap();
    assert_eq!(layout.pieces(), 3);
    assert_eq!([0, 1, 2].map(|p| layout.piece_len(p)), [piece as u32; 3]);
    assert_eq!(
        [0, 1, 2].map(|p| layout.payload_len(p)),
        [5, piece as u32, 1]
    );
    assert_eq!(
        [0, 1, 2, 3].map(|b| layout.is_pad_block(0, b)),
        [false, true, true, true]
    );
    assert!(!layout.is_pad_block(0, 4));
    assert_eq!(layout.file_of_piece(2), Some(2));
}

#[test]
fn hybrid_padding_must_be_exact() {
    let k = u64::from(K16);
    let hybrid = |files: &[FileLen]| Layout::new(Kind::Hybrid, K16, files.iter().copied());
    assert_eq!(hybrid(&[real(5), real(5)]), Err(LayoutError::Misaligned(1)));
    assert_eq!(
        hybrid(&[real(5), pad(5), real(5)]),
        Err(LayoutError::Padding(1))
    );
    assert_eq!(
        hybrid(&[real(k), pad(k), real(5)]),
        Err(LayoutError::Padding(1))
    );
    assert_eq!(
        hybrid(&[real(5), pad(2 * k - 5), real(5)]),
        Err(LayoutError::Padding(1))
    );
    assert!(hybrid(&[real(5), real(0), pad(k - 5), real(5)]).is_ok());
}

#[test]
fn impossible_shapes_are_refused() {
    assert_eq!(
        Layout::new(Kind::V1, 0, [real(1)]),
        Err(LayoutError::PieceLength(0))
    );
    assert_eq!(
        Layout::new(Kind::V2, 16_385, [real(1)]),
        Err(LayoutError::PieceLengthV2(16_385))
    );
    assert_eq!(
        Layout::new(Kind::V2, 8192, [real(1)]),
        Err(LayoutError::PieceLengthV2(8192))
    );
    assert_eq!(Layout::new(Kind::V1, 16, []), Err(LayoutError::Empty));
    assert_eq!(
        Layout::new(Kind::V1, 16, [pad(16)]),
        Err(LayoutError::Empty)
    );
    assert_eq!(
        Layout::new(Kind::V1, 16, [real(u64::MAX)]),
        Err(LayoutError::TooLong)
    );
    let huge = real(i64::MAX as u64);
    assert_eq!(
        Layout::new(Kind::V2, K16, [huge, huge]),
        Err(LayoutError::TooManyPieces)
    );
    let many = std::iter::repeat_n(real(1), MAX_FILES + 1);
    assert_eq!(
        Layout::new(Kind::V1, 16, many),
        Err(LayoutError::TooManyFiles)
    );
}

#[test]
fn a_file_costs_sixteen_bytes() {
    assert_eq!(size_of::<Place>(), 16);
}

/// Every byte of piece space written out: which file it belongs to and where in it.
fn model(layout: &Layout) -> Vec<Option<(usize, u64, bool)>> {
    let mut bytes = vec![None; layout.size() as usize];
    let mut at = 0;
    for i in 0..layout.files() {
        let file = layout.file(i);
        if layout.kind() == Kind::V2 {
            while at % layout.piece_length() as usize != 0 {
                at += 1;
            }
        }
        for offset in 0..file.len {
            bytes[at] = Some((i, offset, file.pad));
            at += 1;
        }
    }
    bytes
}

proptest! {
    #[test]
    fn spans_agree_with_a_list_of_all_bytes(
        files in proptest::collection::vec((0u64..40, any::<bool>()), 1..20),
        piece_length in 1u32..50,
        begin in 0u32..60,
        len in 0u32..60,
    ) {
        let files = files.iter().map(|&(len, pad)| FileLen { len, pad });
        let Ok(layout) = Layout::new(Kind::V1, piece_length, files) else { return Ok(()) };
        let bytes = model(&layout);
        for p in 0..layout.pieces() {
            let start = layout.piece_start(p) as usize;
            let piece = &bytes[start..start + layout.piece_len(p) as usize];
            let from = (begin as usize).min(piece.len());
            let to = (from + len as usize).min(piece.len());
            let mut seen = Vec::new();
            for span in layout.spans(p, begin, len) {
                prop_assert!(span.len > 0);
                seen.extend((0..span.len).map(|i| Some((span.file, span.offset + u64::from(i), span.pad))));
            }
            prop_assert_eq!(&seen[..], &piece[from..to]);
            let payload = piece.iter().flatten().filter(|byte| !byte.2).count();
            prop_assert_eq!(layout.payload_len(p) as usize, payload);
            prop_assert_eq!(layout.is_pad_block(p, 0), payload == 0);
        }
    }

    #[test]
    fn v2_pieces_cover_each_file_once(files in proptest::collection::vec(0u64..100_000, 1..12)) {
        let lens = files.iter().map(|&len| real(len));
        let Ok(layout) = Layout::new(Kind::V2, 2 * K16, lens) else { return Ok(()) };
        let bytes = model(&layout);
        let mut total = 0;
        for p in 0..layout.pieces() {
            let file = layout.file_of_piece(p).unwrap();
            prop_assert!(layout.file_pieces(file).contains(&p));
            let spans: Vec<_> = layout.spans(p, 0, u32::MAX).collect();
            prop_assert_eq!(spans.len(), 1);
            prop_assert_eq!(spans[0].file, file);
            prop_assert_eq!(bytes[layout.piece_start(p) as usize], Some((file, spans[0].offset, false)));
            prop_assert_eq!(spans[0].offset, u64::from(layout.piece_in_file(p).unwrap()) * u64::from(2 * K16));
            total += u64::from(spans[0].len);
        }
        prop_assert_eq!(total, layout.payload());
    }
}
