//! `id new-person`, `id phrase`, `id restore`: twelve words, and what is made from them.

use identity::{PersonKey, Phrase};
use node::identity::IdentityError;
use serde_json::json;
use zeroize::Zeroizing;

use super::{PassphraseFlag, folder, name, now, person_of_words};
use crate::Context;
use crate::exit::{Exit, Failure};
use crate::paths::HomeFlag;

/// Make a person, whose first device this is. The twelve words are shown once and kept nowhere: write them down.
#[derive(clap::Args)]
pub struct NewPerson {
    #[command(flatten)]
    enrol: Enrol,
}

/// Check that the twelve words are written down right: those of this device's person, read from the terminal or
/// standard input.
#[derive(clap::Args)]
pub struct Check {
    #[command(flatten)]
    home: HomeFlag,
}

/// Make this computer a device of the person with these twelve words, which are read from the terminal or standard
/// input. It gets keys of its own.
#[derive(clap::Args)]
pub struct Restore {
    #[command(flatten)]
    enrol: Enrol,
}

/// How a device becomes a person's.
#[derive(clap::Args)]
struct Enrol {
    /// What this device is called; its host name if nothing is said.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseFlag,
    #[command(flatten)]
    home: HomeFlag,
}

impl NewPerson {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        // Nobody is to hear words that are of no use.
        if let Some(devices) = folder(&self.enrol.home)?.card()?.devices {
            return Err(IdentityError::OtherPerson(devices.person()).into());
        }
        let mut entropy = Zeroizing::new([0; 16]);
        getrandom::fill(&mut *entropy).map_err(|error| {
            Failure::new(
                Exit::Other,
                format!("The system gives no random bytes: {error}."),
            )
        })?;
        let phrase = Phrase::from_entropy(&entropy);
        let words = phrase.words();
        let console = &context.console;
        self.enrol
            .run(context, &PersonKey::from_phrase(&phrase), Some(&words))?;
        console.note(
            "Write these words down, in this order, on paper. They are shown this once and kept on no computer. Whoever has \
             them is you; without them nobody can add or take away a device. `starling id phrase` checks what you wrote.",
        );
        console.result(words.as_str());
        Ok(())
    }
}

impl Check {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let devices = folder(&self.home)?.card()?.devices;
        let devices = devices.ok_or(IdentityError::NoPerson)?;
        let person = person_of_words(context)?.id();
        if person != devices.person() {
            return Err(Failure::new(
                Exit::Identity,
                "These are not this person's words: they are another's, or a word or two are wrong.",
            ));
        }
        context
            .console
            .event(&json!({ "event": "phrase", "person": person.to_string() }));
        context.console.note("these are the right words");
        Ok(())
    }
}

impl Restore {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let person = person_of_words(context)?;
        self.enrol.run(context, &person, None)?;
        context.console.note(
            "it is the right person if `starling id` shows the same one on your other devices",
        );
        context.console.result(person.id().to_string());
        Ok(())
    }
}

impl Enrol {
    fn run(
        &self,
        context: &Context,
        person: &PersonKey,
        words: Option<&str>,
    ) -> Result<(), Failure> {
        let folder = folder(&self.home)?;
        let name = name(self.name.as_deref())?;
        let keys = self.passphrase.keys(context, &folder)?;
        let certificate = folder.enrol(person, &keys, name, now())?;
        let mut event = json!({
            "event": "enrolled",
            "person": person.id().to_string(),
            "device": certificate.device().to_string(),
            "name": certificate.name().as_str(),
        });
        if let Some(words) = words {
            event["phrase"] = words.into();
        }
        context.console.event(&event);
        context.console.note(&format!(
            "this device is {}, a device of the person {}",
            certificate.name(),
            person.id()
        ));
        Ok(())
    }
}
