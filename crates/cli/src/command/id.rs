//! `starling id`: who this computer is, and whose.

mod devices;
mod passphrase;
mod person;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use identity::link::{DeviceLink, Hints};
use identity::{Link, Name, PersonKey, Phrase, UnixTime};
use node::identity::{Card, Folder, IdentityError, Keys};
use serde_json::json;

use crate::exit::{Exit, Failure, sentence};
use crate::paths::HomeFlag;
use crate::{Context, ask};

const EXAMPLES: &str = "\
Examples:
  starling id                          this device's link, and a QR code on a terminal
  starling id new-person               become a person: twelve words that restore you
  starling id restore                  on your next computer: make it one of your devices
  starling id revoke 'old laptop'      take one away

A person is a key made from twelve words, kept on paper and by no computer. It certifies devices; each device has
keys of its own, which never leave it.";

/// Show this device's key as a link, and make it a person's.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Id {
    #[command(subcommand)]
    what: Option<What>,
    /// The link to the person instead of the device.
    #[arg(long)]
    person: bool,
    #[command(flatten)]
    home: HomeFlag,
}

/// What to do.
#[derive(Subcommand)]
enum What {
    /// Make a person, whose first device this is; shows the twelve words, once
    NewPerson(person::NewPerson),
    /// Check that the twelve words are written down right
    Phrase(person::Check),
    /// Make this computer a device of the person with these twelve words
    Restore(person::Restore),
    /// List the person's devices that are known here
    Devices(devices::List),
    /// Take a device away from the person; needs the twelve words
    Revoke(devices::Revoke),
    /// Lock this device's keys with a passphrase, change it, or remove it
    Passphrase(passphrase::Passphrase),
}

/// Where a passphrase comes from that is not typed.
#[derive(clap::Args)]
struct PassphraseFlag {
    /// The keys are locked, and the passphrase is the first line of this file.
    #[arg(long, value_name = "FILE", env = "STARLING_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseFlag {
    /// The secret keys; asks for the passphrase if they are locked.
    fn keys(&self, context: &Context, folder: &Folder) -> Result<Keys, Failure> {
        if !folder.card()?.is_locked {
            return Ok(folder.keys(None)?);
        }
        let file = self.passphrase_file.as_deref();
        let passphrase = ask::passphrase(context, file, "Passphrase of this device: ")?;
        Ok(folder.keys(Some(passphrase.as_bytes()))?)
    }
}

impl Id {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self.what {
            None => show(context, &folder(&self.home)?, self.person),
            Some(What::NewPerson(new)) => new.run(context),
            Some(What::Phrase(check)) => check.run(context),
            Some(What::Restore(restore)) => restore.run(context),
            Some(What::Devices(list)) => list.run(context),
            Some(What::Revoke(revoke)) => revoke.run(context),
            Some(What::Passphrase(passphrase)) => passphrase.run(context),
        }
    }
}

/// The keys' folder in the home.
fn folder(home: &HomeFlag) -> Result<Folder, Failure> {
    Ok(Folder::of(&home.path()?))
}

fn show(context: &Context, folder: &Folder, of_person: bool) -> Result<(), Failure> {
    let card = folder.card()?;
    let certificate = card.certificate();
    let person = certificate.map(|certificate| certificate.person());
    let device = Link::Device(DeviceLink {
        device: card.device,
        hints: Hints::default(),
    });
    context.console.event(&json!({
        "event": "identity",
        "device": card.device.to_string(),
        "link": device.to_string(),
        "name": certificate.map(|certificate| certificate.name().as_str()),
        "person": person.map(|person| person.to_string()),
        "person_link": person.map(|person| Link::Person(person).to_string()),
        "locked": card.is_locked,
    }));
    let link = match (of_person, person) {
        (false, _) => device,
        (true, Some(person)) => Link::Person(person),
        (true, None) => return Err(IdentityError::NoPerson.into()),
    };
    context.console.note(&introduction(&card));
    context.console.picture(&link.for_qr());
    context.console.result(link.to_string());
    Ok(())
}

/// A sentence or two about this device.
fn introduction(card: &Card) -> String {
    let lock = if card.is_locked {
        ", locked with a passphrase"
    } else {
        ""
    };
    match card.certificate() {
        Some(certificate) => format!(
            "this device is {}{lock}, a device of the person {}",
            certificate.name(),
            certificate.person()
        ),
        None if card.devices.is_some() => {
            format!("this device was taken away from its person{lock}")
        }
        None => format!("this device is no person's yet{lock}; `starling id new-person` makes one"),
    }
}

/// The key of the person with the words that are asked for.
fn person_of_words(context: &Context) -> Result<PersonKey, Failure> {
    let words = ask::phrase(context)?;
    let phrase = Phrase::parse(&words)
        .map_err(|error| Failure::new(Exit::Identity, sentence(&error.to_string())))?;
    Ok(PersonKey::from_phrase(&phrase))
}

/// What this device is to be called: as the person says, or as the computer is.
fn name(given: Option<&str>) -> Result<Name, Failure> {
    if let Some(given) = given {
        return Name::new(given).map_err(|error| Failure::usage(sentence(&error.to_string())));
    }
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let first = host.split('.').next().unwrap_or_default();
    Ok(Name::new(first).unwrap_or_else(|_| Name::new("device").expect("it is a name")))
}

/// What the clock on the wall says.
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Failure {
        match error {
            IdentityError::System { op, path, source } => Failure::io(&source, op, &path),
            IdentityError::Passphrase => Failure::usage(sentence(&error.to_string())),
            error => Failure::new(Exit::Identity, sentence(&error.to_string())),
        }
    }
}
