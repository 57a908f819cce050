//! What all signed statements have in common: a version, a body, a signature at the end; and why one is refused.

use crate::bytes::{Reader, Short};
use crate::crypto::{SIGNATURE_LEN, is_signed};
use crate::name::Text;
use crate::time::UnixTime;

/// The version of all statements here.
pub(crate) const VERSION: u8 = 1;

/// Why bytes are not the statement they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Fewer or more bytes than it has.
    #[error("it is cut off, or something is appended to it")]
    Length,
    /// A later format.
    #[error("it was made by a newer Starling (format {0}); update Starling to read it")]
    Newer(u8),
    /// A value that cannot be.
    #[error("its {0} cannot be")]
    Field(&'static str),
    /// Not signed by whom it names, or changed since.
    #[error("the signature is wrong: it was changed, or somebody else made it")]
    Signature,
}

impl From<Short> for StatementError {
    fn from(_: Short) -> StatementError {
        StatementError::Length
    }
}

/// Reads a version that can be read here.
pub(crate) fn version(reader: &mut Reader<'_>) -> Result<(), StatementError> {
    match reader.u8()? {
        VERSION => Ok(()),
        0 => Err(StatementError::Field("version")),
        newer => Err(StatementError::Newer(newer)),
    }
}

/// Reads a text behind its length.
pub(crate) fn text<const MAX: usize>(
    reader: &mut Reader<'_>,
    what: &'static str,
) -> Result<Text<MAX>, StatementError> {
    let len = reader.u8()?;
    Text::exact(reader.bytes(len.into())?).ok_or(StatementError::Field(what))
}

/// Writes a text behind its length.
pub(crate) fn put_text<const MAX: usize>(out: &mut Vec<u8>, text: &Text<MAX>) {
    out.push(text.as_str().len() as u8);
    out.extend(text.as_str().bytes());
}

/// Reads a time.
pub(crate) fn time(reader: &mut Reader<'_>) -> Result<UnixTime, StatementError> {
    Ok(UnixTime(reader.u64()?))
}

/// Reads the signature of `signer` over all of `bytes` before it, as what `context` says.
pub(crate) fn signature(
    reader: &mut Reader<'_>,
    bytes: &[u8],
    signer: &[u8; 32],
    context: &str,
) -> Result<[u8; SIGNATURE_LEN], StatementError> {
    let body = &bytes[..bytes.len() - reader.rest().len()];
    let signature = reader.array()?;
    match is_signed(signer, context, body, &signature) {
        true => Ok(signature),
        false => Err(StatementError::Signature),
    }
}

/// There is nothing behind it.
pub(crate) fn end(reader: &Reader<'_>) -> Result<(), StatementError> {
    match reader.is_empty() {
        true => Ok(()),
        false => Err(StatementError::Length),
    }
}
