//! `id devices`, `id revoke`: which devices are the person's.

use identity::link::SCHEME;
use identity::{Certificate, DeviceId, Devices, Link};
use node::identity::IdentityError;
use serde_json::json;

use super::{folder, now, person_of_words};
use crate::Context;
use crate::exit::{Exit, Failure, sentence};
use crate::paths::HomeFlag;
use crate::table::Table;

/// Letters of an id that are enough to say which is meant.
const ENOUGH: usize = 4;

/// List the person's devices that are known here, this one among them.
#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    home: HomeFlag,
}

/// Take a device away from the person, for good. The twelve words are read from the terminal or standard input. Other
/// devices go by it once they have heard of it.
#[derive(clap::Args)]
pub struct Revoke {
    /// Its name, its id or the beginning of it, or its link.
    #[arg(value_name = "DEVICE")]
    device: String,
    #[command(flatten)]
    home: HomeFlag,
}

impl List {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let card = folder(&self.home)?.card()?;
        let devices = card.devices.ok_or(IdentityError::NoPerson)?;
        let mut table = Table::new(&["DEVICE", "NAME", ""]);
        for one in devices.certificates() {
            let revoked = devices.revocation(one.device());
            let is_this = one.device() == card.device;
            context.console.event(&json!({
                "event": "device",
                "device": one.device().to_string(),
                "name": one.name().as_str(),
                "person": one.person().to_string(),
                "issued": one.issued().0,
                "revoked": revoked.map(|revoked| revoked.at().0),
                "this": is_this,
            }));
            let remark = match (is_this, revoked.is_some()) {
                (_, true) => "revoked",
                (true, false) => "this device",
                (false, false) => "",
            };
            let name = one.name().as_str().to_owned();
            table.row([one.device().to_string(), name, remark.to_owned()]);
        }
        table.show(context);
        Ok(())
    }
}

impl Revoke {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let folder = folder(&self.home)?;
        let card = folder.card()?;
        let devices = card.devices.as_ref().ok_or(IdentityError::NoPerson)?;
        let device = which(devices, &self.device)?;
        let known = devices
            .certificates()
            .iter()
            .find(|one| one.device() == device);
        let name = known.map_or(device.to_string(), |one| one.name().to_string());
        let this = if device == card.device {
            "this device, "
        } else {
            ""
        };
        if !context.yes {
            if !context.console.can_ask() {
                return Err(Failure::usage(format!(
                    "A device that is revoked never comes back. --yes says that {this}{name} is meant."
                )));
            }
            let question = format!("Take {this}{name}, away for good?");
            if !context.console.confirm(&question, false) {
                return Err(Failure::usage("Nothing was revoked."));
            }
        }
        let person = person_of_words(context)?;
        let revocation = folder.revoke(&person, device, now())?;
        context.console.event(&json!({
            "event": "revoked",
            "device": device.to_string(),
            "person": revocation.person().to_string(),
        }));
        context
            .console
            .note(&format!("{name} is no longer the person's device"));
        context.console.result(device.to_string());
        Ok(())
    }
}

/// The device that is meant. One that is not known here is named by its whole id or link.
fn which(devices: &Devices, text: &str) -> Result<DeviceId, Failure> {
    let is_link = text
        .trim_start()
        .get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    if is_link {
        return Link::parse(text)
            .and_then(Link::into_device)
            .map(|link| link.device)
            .map_err(|error| Failure::usage(sentence(&error.to_string())));
    }
    if let Ok(device) = text.parse() {
        return Ok(device);
    }
    let is_named = |one: &&Certificate| one.name().as_str() == text;
    let begins = |one: &&Certificate| {
        text.len() >= ENOUGH && one.device().to_string().starts_with(&text.to_lowercase())
    };
    let all = devices.certificates();
    let mut meant: Vec<_> = all.iter().filter(is_named).collect();
    if meant.is_empty() {
        meant = all.iter().filter(begins).collect();
    }
    match meant[..] {
        [one] => Ok(one.device()),
        [] => Err(Failure::new(
            Exit::NotFound,
            format!(
                "No device {text:?} is known here. `starling id devices` lists them; another is named by its whole id."
            ),
        )),
        _ => Err(Failure::usage(format!(
            "Several devices are called {text:?}. Name the one by its id; `starling id devices` shows it."
        ))),
    }
}
