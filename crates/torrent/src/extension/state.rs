//! Two messages of a few bytes about what the sender has and wants: a piece taken back, and upload only.

use super::ExtensionError;

/// `lt_donthave`: the sender no longer has this piece (BEP 54).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DontHave(pub u32);

impl DontHave {
    /// The payload of the extended message.
    pub fn encode(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    /// Reads the payload of an extended message.
    ///
    /// # Errors
    /// Any length but four bytes.
    pub fn parse(payload: &[u8]) -> Result<DontHave, ExtensionError> {
        let bytes = payload
            .try_into()
            .map_err(|_| ExtensionError::Length(payload.len()))?;
        Ok(DontHave(u32::from_be_bytes(bytes)))
    }
}

/// `upload_only`: whether the sender from now on wants nothing more. BEP 21 says it in the extended handshake;
/// libtorrent and µTorrent send this message when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadOnly(pub bool);

impl UploadOnly {
    /// The payload of the extended message.
    pub fn encode(self) -> Vec<u8> {
        vec![u8::from(self.0)]
    }

    /// Reads the payload of an extended message.
    ///
    /// # Errors
    /// Any length but one byte.
    pub fn parse(payload: &[u8]) -> Result<UploadOnly, ExtensionError> {
        match payload {
            [flag] => Ok(UploadOnly(*flag != 0)),
            _ => Err(ExtensionError::Length(payload.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_taken_back_is_four_bytes() {
        assert_eq!(DontHave(0x0102_0304).encode(), [1, 2, 3, 4]);
        assert_eq!(DontHave::parse(&[1, 2, 3, 4]), Ok(DontHave(0x0102_0304)));
        assert_eq!(DontHave::parse(&[1, 2, 3]), Err(ExtensionError::Length(3)));
        assert_eq!(
            DontHave::parse(&[1, 2, 3, 4, 5]),
            Err(ExtensionError::Length(5))
        );
    }

    #[test]
    fn upload_only_is_one_byte() {
        assert_eq!(UploadOnly(true).encode(), [1]);
        assert_eq!(UploadOnly::parse(&[1]), Ok(UploadOnly(true)));
        assert_eq!(UploadOnly::parse(&[0]), Ok(UploadOnly(false)));
        assert_eq!(UploadOnly::parse(&[]), Err(ExtensionError::Length(0)));
    }
}
