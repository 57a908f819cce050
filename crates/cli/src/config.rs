//! How a daemon is to be: a file, before it the environment, before that the flags of `starling up`.
//!
//! A [`Configuration`] knows of each value where it is from. Which keys there are is in [`keys`]; reading a file, with
//! words for every mistake, in [`mod@file`].

mod file;
pub mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use api::{Check, Settings};
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Failure};
use crate::network::{Bind, Encryption};
use crate::paths::{self, HomeFiles};
pub use file::{Wrong, suggestion};
use keys::Key;

/// Where the API is when nothing else is said.
const API: &str = "127.0.0.1:7117";
/// Where content is when nothing else is said.
const CONTENT: &str = "127.0.0.1:7118";
/// What is logged when nothing else is said.
const LOG: &str = "info";

/// Which file is meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ConfigFlag {
    /// The configuration file; by default ~/.config/starling/config.toml, if it is there.
    #[arg(long, value_name = "FILE", env = "STARLING_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFlag {
    /// The file, and whether it was named: then it must be there.
    pub fn path(&self) -> (Option<PathBuf>, bool) {
        match self
            .config
            .clone()
            .filter(|path| !path.as_os_str().is_empty())
        {
            Some(path) => (Some(path), true),
            None => (paths::usual_config(), false),
        }
    }
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was said.
    Default,
    /// A line of a file.
    File(PathBuf, usize),
    /// A variable.
    Variable(String),
    /// A flag of `starling up`.
    Flag(&'static str),
    /// A person set it while the daemon ran.
    Changed,
    /// As a daemon that runs says.
    Said(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => f.write_str(name),
            Origin::Changed => f.write_str("changed while running"),
            Origin::Said(text) => f.write_str(text),
        }
    }
}

/// Where something listens: an address, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nowhere.
    None,
    /// Here; port 0 is any.
    At(SocketAddr),
}

impl FromStr for Door {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Door, &'static str> {
        if text == "none" {
            return Ok(Door::None);
        }
        if let Some(Ok(port)) = text.strip_prefix(':').map(str::parse::<u16>) {
            return Ok(Door::At((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse()
            .map(Door::At)
            .map_err(|_| "give ADDR:PORT, :PORT for this computer alone (:0 is any), or none")
    }
}

/// A value and where it is from.
#[derive(Clone, Debug)]
pub struct Set {
    /// The value.
    pub value: Value,
    /// Where it is from.
    pub origin: Origin,
}

/// How a daemon is to be: a value for every key.
#[derive(Clone, Debug)]
pub struct Configuration {
    values: BTreeMap<&'static str, Set>,
}

impl Configuration {
    /// What file, environment and flags say together.
    ///
    /// # Errors
    /// Any of them says what cannot be; of a file, every mistake is named.
    pub fn load(
        config: &ConfigFlag,
        flags: &[(&'static str, Value)],
    ) -> Result<Configuration, Failure> {
        let mut configuration = Configuration::usual();
        if let (Some(path), named) = config.path()
            && let Some(text) = read_file(&path, named)?
        {
            let wrong = configuration.add_file(&path, &text);
            if !wrong.is_empty() {
                return Err(refused(&path, &wrong));
            }
        }
        configuration
            .add_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        for (name, value) in flags {
            let Some(key) = keys::find(name) else {
                continue;
            };
            let flag = key.flag.map_or("a flag", |flag| flag.name);
            configuration.set(key, value.clone(), Origin::Flag(flag));
            configuration
                .check(key)
                .map_err(|why| Failure::usage(format!("{flag} cannot be meant: {why}")))?;
        }
        Ok(configuration)
    }

    /// What holds when nothing is said.
    pub fn usual() -> Configuration {
        let settings = serde_json::to_value(Settings::default()).expect("settings are JSON");
        let start = json!({
            "listen": "", "api": API, "api_names": [], "content": CONTENT, "interface": "",
            "proxy": "", "proxy_required": false, "port_mapping": true, "block_list": "", "dht": true, "dht_bootstrap": [],
            "local_discovery": true, "trackers": true, "utp": true, "encryption": "prefer", "log": LOG,
        });
        let usual = |key: &Key| {
            at(&start, key.name)
                .or_else(|| at(&settings, key.name))
                .cloned()
        };
        let values = keys::all().map(|key| {
            let value = usual(key).expect("every key has a value when nothing is said");
            let origin = Origin::Default;
            (key.name, Set { value, origin })
        });
        Configuration {
            values: values.collect(),
        }
    }

    /// Takes up what a file says; answers what is wrong with it.
    pub fn add_file(&mut self, path: &Path, text: &str) -> Vec<Wrong> {
        let (set, mut wrong) = file::read(text);
        for file::Set { key, value, line } in set {
            self.set(key, value, Origin::File(path.to_owned(), line));
            if let Err(text) = self.check(key) {
                wrong.push(Wrong { line, text });
            }
        }
        wrong.sort_by_key(|wrong| wrong.line);
        wrong
    }

    fn add_variables(&mut self, read: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
        for key in keys::all() {
            let name = key.variable();
            let Some(text) = read(&name) else { continue };
            let failed = |why: String| {
                Failure::usage(format!("{name} cannot be {}: {why}.", key.quoted(&text)))
            };
            let mut value = key.read(&text).map_err(failed)?;
            if key.negated() {
                value = json!(value == json!(false));
            }
            self.set(key, value, Origin::Variable(name.clone()));
            self.check(key)
                .map_err(|why| failed(why.trim_end_matches('.').to_owned()))?;
        }
        Ok(())
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        self.values.insert(key.name, Set { value, origin });
    }

    /// Whether the value of one key can be meant; why not, in a sentence.
    fn check(&self, key: &Key) -> Result<(), String> {
        if !is_setting(key) {
            return Ok(());
        }
        let mut alone = Value::Object(Map::new());
        put(&mut alone, key.name, self.values[key.name].value.clone());
        let settings: Settings = serde_json::from_value(alone)
            .map_err(|error| format!("{} is not right: {error}.", key.name))?;
        settings.check().map_err(|problem| problem.detail)
    }

    /// What the daemon shows other values for was set by a person while it ran.
    pub fn changed_to(&mut self, settings: &Settings) {
        let settings = serde_json::to_value(settings).expect("settings are JSON");
        for key in keys::SETTINGS {
            if let Some(value) = at(&settings, key.name)
                && !same(value, &self.values[key.name].value)
            {
                self.set(key, value.clone(), Origin::Changed);
            }
        }
    }

    /// Keeps it, with its origins, for [`running`](Self::running).
    pub fn keep(&self, files: &HomeFiles) -> std::io::Result<()> {
        let kept: Map<String, Value> = self
            .iter()
            .map(|(key, set)| {
                let value = key.public(&set.value);
                let kept = json!({ "value": value, "origin": set.origin.to_string() });
                (key.name.to_owned(), kept)
            })
            .collect();
        let path = files.running_config();
        let new = path.with_extension("new");
        std::fs::write(&new, Value::from(kept).to_string())?;
        std::fs::rename(new, path)
    }

    /// What the daemon that runs for this home was configured with.
    pub fn running(files: &HomeFiles) -> Option<Configuration> {
        let text = std::fs::read_to_string(files.running_config()).ok()?;
        let mut kept: Map<String, Value> = serde_json::from_str(&text).ok()?;
        let mut configuration = Configuration::usual();
        for key in keys::all() {
            let kept = kept.get_mut(key.name)?;
            let value = kept.get_mut("value")?.take();
            let origin = Origin::Said(kept.get("origin")?.as_str()?.to_owned());
            configuration.set(key, value, origin);
        }
        Some(configuration)
    }

    /// Every key, its value and where that is from, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, &Set)> {
        keys::all().map(|key| (key, &self.values[key.name]))
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        let mut settings = Value::Object(Map::new());
        for key in keys::SETTINGS {
            put(&mut settings, key.name, self.values[key.name].value.clone());
        }
        serde_json::from_value(settings).expect("every value was checked")
    }

    /// How the node of a daemon with this home is to run.
    pub fn node(&self, home: PathBuf) -> node::Config {
        let bind: Bind = self.text("listen").parse().unwrap_or_default();
        node::Config {
            bind: bind.addr,
            port: bind.port,
            interface: some_text(self.text("interface")),
            proxy: self.text("proxy").parse().ok(),
            proxy_required: self.switch("proxy_required"),
            port_mapping: self.switch("port_mapping"),
            block_list: some_text(self.text("block_list")).map(PathBuf::from),
            dht: self.switch("dht"),
            dht_bootstrap: self.list("dht_bootstrap"),
            local_discovery: self.switch("local_discovery"),
            trackers: self.switch("trackers"),
            utp: self.switch("utp"),
            encryption: <Encryption as clap::ValueEnum>::from_str(self.text("encryption"), false)
                .map_or_else(|_| node::Encryption::default(), Into::into),
            ..node::Config::new(home)
        }
    }

    /// Where `api` or `content` listens.
    pub fn door(&self, name: &str) -> Door {
        self.text(name).parse().unwrap_or(Door::None)
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        self.values[name].value.as_str().unwrap_or_default()
    }

    /// A list of texts.
    pub fn list(&self, name: &str) -> Vec<String> {
        let texts = self.values[name].value.as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    }

    fn switch(&self, name: &str) -> bool {
        self.values[name].value == json!(true)
    }

    /// Names of keys that only a start puts in effect and in which `other` differs.
    pub fn differs_at_start(&self, other: &Configuration) -> Vec<&'static str> {
        let differs = |key: &&Key| self.values[key.name].value != other.values[key.name].value;
        keys::START
            .iter()
            .filter(differs)
            .map(|key| key.name)
            .collect()
    }
}

/// A text, unless it is empty.
fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn is_setting(key: &Key) -> bool {
    keys::SETTINGS
        .iter()
        .any(|setting| setting.name == key.name)
}

/// Whether two values are the same, 2 and 2.0 included; what a window or folder leaves out is as it is by default.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let mut names = one.keys().chain(other.keys());
            let blank = |value: Option<&Value>| match value {
                None | Some(Value::Null | Value::Bool(false)) => true,
                Some(Value::Object(table)) => table.values().all(|value| *value == json!(0)),
                Some(value) => *value == json!(0),
            };
            names.all(|name| match (one.get(name), other.get(name)) {
                (Some(one), Some(other)) => same(one, other),
                (one, other) => blank(one) && blank(other),
            })
        }
        (one, other) => one == other,
    }
}

/// The text of a configuration file; `None` if it need not be there and is not.
pub fn read_file(path: &Path, named: bool) -> Result<Option<String>, Failure> {
    let failed = |error: std::io::Error| Failure::io(&error, "read", path);
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(file::MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let too_long = bytes.len() as u64 > file::MAX_FILE;
    match String::from_utf8(bytes) {
        Ok(text) if !too_long => Ok(Some(text)),
        _ => Err(Failure::usage(format!(
            "{} is no configuration file, which is a short text in TOML.",
            path.display()
        ))),
    }
}

/// What is wrong with a file, all of it.
pub fn refused(path: &Path, wrong: &[Wrong]) -> Failure {
    let path = path.display();
    let told: Vec<String> = wrong
        .iter()
        .map(|wrong| format!("{path}:{}: {}", wrong.line, wrong.text))
        .collect();
    Failure::new(Exit::Usage, told.join("\n"))
}

/// The value at a dotted name.
pub fn at<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.')
        .try_fold(value, |value, part| value.get(part))
}

/// Puts a value at a dotted name, and makes the tables on the way.
pub fn put(object: &mut Value, name: &str, value: Value) {
    let place = name.split('.').fold(object, |object, part| {
        if !object.is_object() {
            *object = Value::Object(Map::new());
        }
        object
            .as_object_mut()
            .expect("it was just made one")
            .entry(part)
            .or_insert(Value::Null)
    });
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Configuration {
        let mut configuration = Configuration::usual();
        assert_eq!(configuration.add_file(Path::new("c.toml"), text), []);
        configuration
    }

    #[test]
    fn nothing_said_is_the_usual() {
        assert_eq!(Configuration::usual().settings(), Settings::default());
        let node = Configuration::usual().node("/home".into());
        assert!(node.dht && node.trackers && node.local_discovery);
        assert_eq!((node.bind, node.port), (None, None));
    }

    #[test]
    fn a_variable_goes_before_the_file_and_both_are_remembered() {
        let mut configuration = file("slots = 4\ndht = true\nlimits.up = 5\n");
        let variables = |name: &str| match name {
            "STARLING_SLOTS" => Some("7".to_owned()),
            "STARLING_NO_DHT" => Some("1".to_owned()),
            _ => None,
        };
        configuration.add_variables(variables).unwrap();
        let origin = |name: &str| configuration.values[name].origin.clone();
        assert_eq!(origin("slots"), Origin::Variable("STARLING_SLOTS".into()));
        assert_eq!(origin("limits.up"), Origin::File("c.toml".into(), 3));
        assert_eq!(origin("limits.down"), Origin::Default);
        assert_eq!(configuration.settings().slots, 7);
        assert!(!configuration.node("/home".into()).dht);

        let wrong = configuration
            .add_variables(|name| (name == "STARLING_SLOTS").then(|| "1001".to_owned()))
            .unwrap_err();
        assert!(wrong.message.contains("STARLING_SLOTS") && wrong.message.contains("1000"));
    }

    #[test]
    fn values_out_of_range_are_named_with_their_line() {
        let mut configuration = Configuration::usual();
        let wrong = configuration.add_file(
            Path::new("c.toml"),
            "dht = false\nslots = 2000\n[[schedule]]\ndays = [\"someday\"]\nfrom = \"08:00\"\nto = \"09:00\"\n",
        );
        let lines: Vec<usize> = wrong.iter().map(|wrong| wrong.line).collect();
        assert_eq!(lines, [2, 3], "{wrong:?}");
        assert!(wrong[0].text.starts_with("slots is 2000"), "{wrong:?}");
        assert!(wrong[1].text.contains("someday"), "{wrong:?}");
    }

    #[test]
    fn what_a_person_changed_while_it_ran_is_told_from_what_the_file_says() {
        let mut configuration = file(
            "goals.ratio = 2\n[[schedule]]\ndays = [\"mon\"]\nfrom = \"08:00\"\nto = \"09:00\"\n[[watch]]\npath = \"/x\"\n",
        );
        let mut settings = configuration.settings();
        configuration.changed_to(&settings);
        assert!(
            configuration
                .iter()
                .all(|(_, set)| set.origin != Origin::Changed)
        );
        settings.limits.up = 9;
        configuration.changed_to(&settings);
        let changed: Vec<_> = configuration
            .iter()
            .filter(|(_, set)| set.origin == Origin::Changed)
            .map(|(key, _)| key.name)
            .collect();
        assert_eq!(changed, ["limits.up"]);
    }

    #[test]
    fn what_a_daemon_runs_with_is_kept_with_its_origins() {
        let dir = tempfile::tempdir().unwrap();
        let files = HomeFiles::of(dir.path().to_owned());
        assert!(Configuration::running(&files).is_none());
        file("slots = 4\n").keep(&files).unwrap();
        let running = Configuration::running(&files).unwrap();
        assert_eq!(running.settings().slots, 4);
        assert_eq!(running.values["slots"].origin.to_string(), "c.toml:1");
        assert_eq!(running.values["dht"].origin.to_string(), "default");
    }

    #[test]
    fn doors_are_addresses_ports_or_none() {
        let door = |text: &str| text.parse::<Door>();
        assert_eq!(door("none"), Ok(Door::None));
        assert_eq!(door(":0"), Ok(Door::At(([127, 0, 0, 1], 0).into())));
        assert_eq!(door("0.0.0.0:80"), Ok(Door::At(([0, 0, 0, 0], 80).into())));
        assert!(door("localhost:80").is_err() && door("80").is_err() && door("").is_err());
    }
}
