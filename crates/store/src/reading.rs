//! Bytes of one piece off the disk. Pads read as zeros. Hashing many pieces is [`sweep`](crate::sweep)'s work.

use torrent::{ids::Sha256Hash, layout::BLOCK, merkle};

use crate::{
    digest,
    disk::Disk,
    error::StoreError,
    files::Files,
    home::{Home, Name},
    sweep::SWEEP,
};

/// Fills `buf` with the bytes of `piece` from `begin`.
pub(crate) fn read<D: Disk>(
    files: &Files<D>,
    home: &Home,
    piece: u32,
    begin: u32,
    buf: &mut [u8],
) -> Result<(), StoreError> {
    let mut at = 0;
    for span in home.layout().spans(piece, begin, buf.len() as u32) {
        let part = &mut buf[at..at + span.len as usize];
        at += part.len();
        if span.pad {
            part.fill(0);
            continue;
        }
        let file = files.reader(home, span.file)?;
        // Once the right file is back, it is the one to open.
        check_print(files, home, span.file, &file)
            .inspect_err(|_| files.forget(home.id, span.file))?;
        let path = || home.path(span.file, home.facts().name(span.file));
        let got = files
            .disk
            .read(&file, part, span.offset)
            .map_err(|e| files.error(e, "read", &path(), 0))?;
        if got < part.len() {
            return Err(StoreError::FileChanged { path: path() });
        }
    }
    Ok(())
}

/// A whole file that somebody has written to since it was checked must not be served.
fn check_print<D: Disk>(
    files: &Files<D>,
    home: &Home,
    index: usize,
    file: &D::File,
) -> Result<(), StoreError> {
    let (known, name) = {
        let facts = home.facts();
        let at_rest = facts.is_whole(index) && !facts.dirty.contains(&(index as u32));
        let settled = home.placement.read_only || at_rest && facts.name(index) == Name::Whole;
        if !settled {
            return Ok(());
        }
        (facts.print(index), facts.name(index))
    };
    let path = || home.path(index, name);
    let now = files
        .disk
        .stat(file)
        .map_err(|e| files.error(e, "look at", &path(), 0))?
        .print;
    match known {
        Some(known) if known != now => Err(StoreError::FileChanged { path: path() }),
        Some(_) => Ok(()),
        None => {
            if now.len != home.layout().file(index).len {
                return Err(StoreError::FileChanged { path: path() });
            }
            home.facts().set_print(index, Some(now));
            Ok(())
        }
    }
}

/// SHA-256 of each block of a piece: of v2 and hybrid pieces the leaves (payload alone), of v1 pieces all bytes.
pub(crate) fn block_digests<D: Disk>(
    files: &Files<D>,
    home: &Home,
    piece: u32,
) -> Result<Vec<Sha256Hash>, StoreError> {
    let layout = home.layout();
    let len = if digest::wants_sha256(layout) {
        layout.payload_len(piece)
    } else {
        layout.piece_len(piece)
    };
    let mut buf = Vec::new();
    let mut digests = Vec::with_capacity(len.div_ceil(BLOCK) as usize);
    for begin in (0..len).step_by(SWEEP) {
        buf.resize((len - begin).min(SWEEP as u32) as usize, 0);
        read(files, home, piece, begin, &mut buf)?;
        digests.extend(buf.chunks(BLOCK as usize).map(merkle::leaf));
    }
    Ok(digests)
}
