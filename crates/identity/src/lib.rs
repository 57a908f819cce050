//! Who is who, and who may what: keys, the statements they sign, and the texts that people pass on.
//!
//! A [`PersonKey`] comes from a [`Phrase`] and certifies devices; a [`DeviceKey`] is made on a device and stays there.
//! Values only: nothing here reads a clock, a file, a socket or a source of randomness. What is parsed is valid: a
//! [`Certificate`] that exists was signed by its person and its device.

mod bytes;
mod certificate;
mod crypto;
mod devices;
pub mod grant;
mod key;
pub mod link;
mod name;
mod phrase;
pub mod proof;
mod secret;
pub mod slots;
mod statement;
mod text;
mod time;

pub use certificate::{Certificate, Revocation};
pub use devices::{Devices, DevicesError, MAX_DEVICES};
pub use grant::{Grant, ShareId};
pub use key::{DeviceId, DeviceKey, IdError, PersonId, PersonKey, SealKey};
pub use link::{Link, LinkError};
pub use name::{Label, Name, NameError, Text};
pub use phrase::{Phrase, PhraseError};
pub use secret::{Party, SECRET_LEN, ShareSecret};
pub use statement::StatementError;
pub use time::UnixTime;
