//! Every key of the configuration: its name, what its value may be, and where else it can be set.
//!
//! One table says what a file may contain, which variables are read, what `settings set` understands, and in which
//! words a mistake is explained. A test holds it against [`api::Settings`].

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::network::Bind;
use crate::paths;
use crate::units::{Clock, Size, parse_seconds, parse_size};

/// What a value may be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// true or false.
    Switch,
    /// A whole number.
    Count,
    /// Bytes, or bytes a second: a number, or a text such as `2MiB`.
    Bytes,
    /// A number, with a fraction or without.
    Real,
    /// Seconds: a number, or a text such as `5m`.
    Seconds,
    /// A text that this accepts, or says why not.
    Text(fn(&str) -> Result<(), String>),
    /// A proxy, with a password perhaps, which is never shown; or nothing.
    Proxy,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole path; `~/` is the person's folder.
    Folder,
    /// Texts.
    List,
    /// Tables with these keys.
    Tables(&'static [Key]),
}

/// One key.
pub struct Key {
    /// Its name in the file, with a dot for each table it is in.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// It may have no value: `none`.
    pub optional: bool,
    /// The flag of `starling up` that sets it too.
    pub flag: Option<Flag>,
}

/// A flag, as far as the configuration knows it.
#[derive(Clone, Copy)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// It says no where the key says yes.
    pub negates: bool,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        optional: false,
        flag: None,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Key {
    Key {
        optional: true,
        ..key(name, kind)
    }
}

const fn flagged(name: &'static str, kind: Kind, flag: &'static str) -> Key {
    Key {
        flag: Some(Flag {
            name: flag,
            negates: false,
        }),
        ..key(name, kind)
    }
}

const fn negated(name: &'static str, flag: &'static str) -> Key {
    Key {
        flag: Some(Flag {
            name: flag,
            negates: true,
        }),
        ..key(name, Kind::Switch)
    }
}

/// What a daemon reads when it starts.
pub const START: &[Key] = &[
    flagged("listen", Kind::Text(listen), "--bind"),
    flagged("api", Kind::Text(door), "--api"),
    key("api_names", Kind::List),
    flagged("interface", Kind::Text(any), "--interface"),
    flagged("proxy", Kind::Proxy, "--proxy"),
    flagged("proxy_required", Kind::Switch, "--proxy-required"),
    flagged("content", Kind::Text(door), "--content"),
    negated("port_mapping", "--no-port-mapping"),
    flagged("block_list", Kind::Folder, "--block-list"),
    negated("dht", "--no-dht"),
    flagged("dht_bootstrap", Kind::List, "--dht-bootstrap"),
    negated("local_discovery", "--no-local-discovery"),
    negated("trackers", "--no-trackers"),
    negated("utp", "--no-utp"),
    flagged(
        "encryption",
        Kind::Choice(&["prefer", "require", "refuse"]),
        "--encryption",
    ),
    key("log", Kind::Text(any)),
];

/// What it can be told while it runs: [`api::Settings`], in its order.
pub const SETTINGS: &[Key] = &[
    flagged("limits.down", Kind::Bytes, "--limit-down"),
    flagged("limits.up", Kind::Bytes, "--limit-up"),
    key("schedule", Kind::Tables(WINDOW)),
    key("lan_free", Kind::Switch),
    key("lan.down", Kind::Bytes),
    key("lan.up", Kind::Bytes),
    key("queue.downloads", Kind::Count),
    key("queue.seeds", Kind::Count),
    key("queue.slow", Kind::Bytes),
    optional("goals.ratio", Kind::Real),
    optional("goals.seeding_seconds", Kind::Seconds),
    key("connections.all", Kind::Count),
    key("connections.per_transfer", Kind::Count),
    key("connections.dials", Kind::Count),
    key("connections.files", Kind::Count),
    key("slots", Kind::Count),
    key("disk_reserve.bytes", Kind::Bytes),
    key("disk_reserve.percent", Kind::Real),
    key("memory", Kind::Bytes),
    key(
        "battery.action",
        Kind::Choice(&["ignore", "pause-below", "pause"]),
    ),
    key("battery.percent", Kind::Count),
    key(
        "metered.action",
        Kind::Choice(&["ignore", "pause", "limit"]),
    ),
    key("metered.limits.down", Kind::Bytes),
    key("metered.limits.up", Kind::Bytes),
    key("watch", Kind::Tables(WATCH)),
    key("on_done", Kind::List),
    key("folder", Kind::Folder),
];

/// A window of the schedule.
const WINDOW: &[Key] = &[
    key("days", Kind::List),
    key("from", Kind::Text(time_of_day)),
    key("to", Kind::Text(time_of_day)),
    key("pause", Kind::Switch),
    key("limits.down", Kind::Bytes),
    key("limits.up", Kind::Bytes),
];

/// A watched folder.
const WATCH: &[Key] = &[
    key("path", Kind::Folder),
    optional("folder", Kind::Folder),
    optional("label", Kind::Text(any)),
    key("paused", Kind::Switch),
];

/// All keys, in order.
pub fn all() -> impl Iterator<Item = &'static Key> {
    START.iter().chain(SETTINGS)
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn listen(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<Bind>().map(drop).map_err(str::to_owned)
}

fn door(text: &str) -> Result<(), String> {
    text.parse::<super::Door>().map(drop).map_err(str::to_owned)
}

fn time_of_day(text: &str) -> Result<(), String> {
    let time = text.parse::<api::ClockTime>();
    time.map(drop).map_err(|error| format!("it is {error}"))
}

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        let name = self
            .flag
            .map_or(self.name, |flag| flag.name.trim_start_matches('-'));
        let name = name.replace(['.', '-'], "_").to_ascii_uppercase();
        format!("STARLING_{name}")
    }

    /// Whether the variable says no where the key says yes.
    pub fn negated(&self) -> bool {
        self.flag.is_some_and(|flag| flag.negates)
    }

    /// The value that a text stands for, as a variable, a flag or `KEY=VALUE` has it.
    ///
    /// # Errors
    /// Why it cannot be, as the end of a sentence.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if self.optional && matches!(text, "none" | "") {
            return Ok(Value::Null);
        }
        match self.kind {
            Kind::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true.into()),
                "false" | "0" | "no" | "off" => Ok(false.into()),
                _ => Err("it is true or false".into()),
            },
            Kind::Count => text
                .parse::<u32>()
                .map(Value::from)
                .map_err(|_| "it is a whole number, from 0".into()),
            Kind::Real => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number.into()),
                _ => Err("it is a number".into()),
            },
            Kind::Bytes
            | Kind::Seconds
            | Kind::Text(_)
            | Kind::Proxy
            | Kind::Choice(_)
            | Kind::Folder => self.read_quoted(text),
            Kind::List if text.starts_with('[') => super::file::read_inline(self, text),
            Kind::List => Ok(text.split_whitespace().collect()),
            Kind::Tables(_) => super::file::read_inline(self, text),
        }
    }

    /// The value that a text in quotes stands for.
    pub fn read_quoted(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Kind::Bytes => parse_size(text).map(Value::from),
            Kind::Seconds => parse_seconds(text).map(|time| time.as_secs().into()),
            Kind::Text(check) => check(text).map(|()| text.into()),
            Kind::Proxy if text.is_empty() => Ok(text.into()),
            Kind::Proxy => match text.parse::<node::Proxy>() {
                Ok(_) => Ok(text.into()),
                Err(error) => Err(error.to_string()),
            },
            Kind::Choice(choices) if choices.contains(&text) => Ok(text.into()),
            Kind::Choice(choices) => Err(format!("it is one of {}", choices.join(", "))),
            Kind::Folder => folder(text).map(Value::from),
            _ => Err(self.expectation().into()),
        }
    }

    /// What is expected, as the end of a sentence.
    pub fn expectation(&self) -> &'static str {
        match self.kind {
            Kind::Switch => "it is true or false",
            Kind::Count => "it is a whole number, from 0",
            Kind::Bytes => "it is a number of bytes, or a text such as \"2MiB\"",
            Kind::Real => "it is a number",
            Kind::Seconds => "it is a number of seconds, or a text such as \"5m\"",
            Kind::Text(_) | Kind::Proxy | Kind::Choice(_) => "it is a text, in quotes",
            Kind::Folder => "it is a path, in quotes",
            Kind::List => "it is a list of texts, such as [\"a\", \"b\"]",
            Kind::Tables(_) => "it is a list of tables",
        }
    }

    /// A value as it may be shown and kept: without its secret.
    pub fn public(&self, value: &Value) -> Value {
        match (self.kind, value) {
            (Kind::Proxy, Value::String(text)) => {
                let proxy = text.parse::<node::Proxy>();
                proxy.map_or_else(|_| "".into(), |proxy| proxy.to_string().into())
            }
            _ => value.clone(),
        }
    }

    /// A text that may hold the secret of its key, as it may be repeated in a complaint.
    pub fn quoted<'t>(&self, text: &'t str) -> &'t str {
        match self.kind {
            Kind::Proxy => "what was given",
            _ => text,
        }
    }

    /// A value as a file would have it, in TOML; nothing for no value.
    pub fn write(&self, value: &Value) -> Option<String> {
        Some(match (self.kind, value) {
            (_, Value::Null) => return None,
            (Kind::Bytes, Value::Number(number)) => match number.as_u64() {
                Some(bytes) if bytes >= 1024 && bytes % 1024 == 0 => {
                    json!(Size(bytes).to_string()).to_string()
                }
                _ => number.to_string(),
            },
            (Kind::Tables(keys), Value::Array(tables)) => {
                let tables: Vec<String> = tables
                    .iter()
                    .map(|table| write_table(keys, table))
                    .collect();
                format!("[{}]", tables.join(", "))
            }
            // Texts, lists of texts and numbers are in TOML what they are in JSON.
            (_, value) => value.to_string(),
        })
    }

    /// A value in words.
    pub fn show(&self, value: &Value) -> String {
        match (self.kind, value) {
            (_, Value::Null) => "none".to_owned(),
            (Kind::Bytes, value) => value
                .as_u64()
                .map_or_else(|| value.to_string(), |bytes| Size(bytes).to_string()),
            (Kind::Seconds, value) => value.as_u64().map_or_else(
                || value.to_string(),
                |seconds| Clock(std::time::Duration::from_secs(seconds)).to_string(),
            ),
            (Kind::Text(_) | Kind::Choice(_) | Kind::Folder, Value::String(text)) => text.clone(),
            (Kind::Proxy, value) => self.public(value).as_str().unwrap_or_default().to_owned(),
            _ => self.write(value).unwrap_or_default(),
        }
    }
}

fn write_table(keys: &[Key], table: &Value) -> String {
    let written = keys.iter().filter_map(|key| {
        let value = super::at(table, key.name)?;
        Some(format!("{} = {}", key.name, key.write(value)?))
    });
    format!("{{ {} }}", written.collect::<Vec<_>>().join(", "))
}

/// A whole path; nothing stays nothing.
fn folder(text: &str) -> Result<String, String> {
    let path = match (text.strip_prefix("~/"), paths::person()) {
        (Some(below), Some(person)) => person.join(below),
        _ => PathBuf::from(text),
    };
    if !text.is_empty() && !path.is_absolute() {
        return Err("it is a whole path: begin with / or ~/".into());
    }
    path.into_os_string()
        .into_string()
        .map_err(|_| "it is a path of letters that can be written".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_key_and_every_key_a_setting() {
        fn leaves(prefix: &str, value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(table) => table
                    .iter()
                    .for_each(|(name, value)| leaves(&format!("{prefix}{name}."), value, found)),
                _ => found.push(prefix.trim_end_matches('.').to_owned()),
            }
        }
        let settings = serde_json::to_value(api::Settings::default()).unwrap();
        let mut found = Vec::new();
        leaves("", &settings, &mut found);
        let mut keys: Vec<&str> = SETTINGS.iter().map(|key| key.name).collect();
        found.sort();
        keys.sort_unstable();
        assert_eq!(keys, found);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let cases = [
            ("limits.down", json!(2 << 20), "\"2 MiB\""),
            ("limits.down", json!(1500), "1500"),
            ("goals.ratio", json!(1.5), "1.5"),
            (
                "on_done",
                json!(["echo", "{name}"]),
                "[\"echo\",\"{name}\"]",
            ),
            (
                "schedule",
                json!([{"days": ["mon"], "from": "22:00", "to": "06:00", "pause": false, "limits": {"down": 1024, "up": 0}}]),
                "[{ days = [\"mon\"], from = \"22:00\", to = \"06:00\", pause = false, limits.down = \"1 KiB\", limits.up = 0 }]",
            ),
        ];
        for (name, value, text) in cases {
            let key = find(name).unwrap();
            assert_eq!(key.write(&value).as_deref(), Some(text));
            assert_eq!(
                super::super::file::read_inline(key, text),
                Ok(value),
                "{name}"
            );
        }
        assert_eq!(find("goals.ratio").unwrap().write(&Value::Null), None);
    }

    #[test]
    fn a_text_becomes_the_value_that_its_key_wants() {
        let read = |name: &str, text: &str| find(name).unwrap().read(text);
        assert_eq!(read("limits.up", "500KiB"), Ok(json!(500 << 10)));
        assert_eq!(read("goals.seeding_seconds", "2h"), Ok(json!(7200)));
        assert_eq!(read("goals.ratio", "none"), Ok(Value::Null));
        assert_eq!(read("dht", "0"), Ok(json!(false)));
        assert_eq!(
            read("on_done", "notify-send done"),
            Ok(json!(["notify-send", "done"]))
        );
        assert_eq!(read("on_done", "['a b']"), Ok(json!(["a b"])));
        for (name, text) in [
            ("limits.up", "fast"),
            ("dht", "maybe"),
            ("slots", "-1"),
            ("battery.action", "explode"),
            ("folder", "relative"),
            ("goals.ratio", "NaN"),
            ("api", "everywhere"),
            ("schedule", "22:00"),
        ] {
            assert!(read(name, text).is_err(), "{name} {text}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_read_and_never_shown() {
        let key = find("proxy").unwrap();
        let text = "socks5://alice:secret@10.0.0.1:1080";
        let value = key.read(text).unwrap();
        assert_eq!(value, json!(text));
        assert_eq!(key.public(&value), json!("socks5://10.0.0.1:1080"));
        assert_eq!(key.show(&value), "socks5://10.0.0.1:1080");
        assert_eq!(key.public(&json!("")), json!(""));
        let wrong = "socks5://alice:secret@";
        let error = key.read(wrong).unwrap_err();
        assert!(!error.contains("secret") && !key.quoted(wrong).contains("secret"));
    }

    #[test]
    fn variables_are_named_like_flags_where_there_are_flags() {
        let variable = |name: &str| find(name).unwrap().variable();
        assert_eq!(variable("listen"), "STARLING_BIND");
        assert_eq!(variable("limits.up"), "STARLING_LIMIT_UP");
        assert_eq!(variable("dht"), "STARLING_NO_DHT");
        assert_eq!(variable("queue.downloads"), "STARLING_QUEUE_DOWNLOADS");
    }
}
