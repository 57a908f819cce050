//! Reading a configuration file: every mistake with its line, and what was probably meant.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, Kind};

/// Bytes of a configuration file; more is none.
pub const MAX_FILE: u64 = 1 << 20;

/// Letters that may differ between what was written and what was meant, for each three.
const LETTERS_PER_SLIP: usize = 3;

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what may have been meant, in a sentence or two.
    pub text: String,
}

/// A value that a file sets.
pub struct Set {
    /// Its key.
    pub key: &'static Key,
    /// The value, as JSON.
    pub value: Value,
    /// The line, from 1.
    pub line: usize,
}

/// Reads a file's text: what it sets, and what is wrong with it.
pub fn read(text: &str) -> (Vec<Set>, Vec<Wrong>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        wrong: Vec::new(),
    };
    for error in errors {
        let line = reader.line(error.span().map_or(0, |span| span.start));
        let message = error.message().trim_end_matches('.').replace('\n', ", ");
        reader.wrong.push(Wrong {
            line,
            text: format!("this is not TOML: {message}."),
        });
    }
    // What was recovered of a broken file would only be guessed at.
    if !reader.wrong.is_empty() {
        return (Vec::new(), reader.wrong);
    }
    let all: Vec<&Key> = keys::all().collect();
    let mut set = Vec::new();
    reader.table(&all, "", table.get_ref(), &mut |name, value, line| {
        if let Some(key) = keys::find(name) {
            set.push(Set { key, value, line });
        }
    });
    reader.wrong.sort_by_key(|wrong| wrong.line);
    set.sort_by_key(|set| set.line);
    (set, reader.wrong)
}

/// Reads one value as a file would have it.
pub fn read_inline(key: &Key, text: &str) -> Result<Value, String> {
    let value = DeValue::parse(text)
        .map_err(|error| format!("{}: {}", key.expectation(), error.message()))?;
    let mut reader = Reader {
        text,
        wrong: Vec::new(),
    };
    let read = reader.value(key, key.name, &value);
    match (read, reader.wrong.into_iter().next()) {
        (_, Some(wrong)) => Err(wrong.text.trim_end_matches('.').to_owned()),
        (Some(value), None) => Ok(value),
        (None, None) => Err(key.expectation().to_owned()),
    }
}

struct Reader<'t> {
    text: &'t str,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        1 + before.bytes().filter(|&byte| byte == b'\n').count()
    }

    fn wrong(&mut self, at: usize, text: String) {
        let line = self.line(at);
        self.wrong.push(Wrong { line, text });
    }

    /// Reads the keys of a table whose name and a dot are `prefix`.
    fn table(
        &mut self,
        keys: &[&Key],
        prefix: &str,
        table: &DeTable<'_>,
        found: &mut dyn FnMut(&str, Value, usize),
    ) {
        for (name, value) in table {
            let at = name.span().start;
            let name = format!("{prefix}{}", name.get_ref());
            if let Some(key) = keys.iter().find(|key| key.name == name) {
                if let Some(read) = self.value(key, &name, value) {
                    let line = self.line(at);
                    found(&name, read, line);
                }
                continue;
            }
            let inner = format!("{name}.");
            let parts = keys.iter().filter_map(|key| key.name.strip_prefix(&inner));
            let parts: Vec<&str> = parts.collect();
            match value.get_ref() {
                DeValue::Table(table) if !parts.is_empty() => {
                    self.table(keys, &inner, table, found);
                }
                _ if !parts.is_empty() => {
                    let text = format!("{name} is a table, with {}.", parts.join(", "));
                    self.wrong(at, text);
                }
                _ => self.unknown(keys, &name, value, at),
            }
        }
    }

    /// A key that is none: its name may be another's, or that of a whole table.
    fn unknown(&mut self, keys: &[&Key], name: &str, value: &Spanned<DeValue<'_>>, at: usize) {
        let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        // `[limit]` is meant to be `[limits]`; `[limit] down` would be said to be near `limits.down`.
        if matches!(value.get_ref(), DeValue::Table(_)) {
            let tables = keys
                .iter()
                .filter_map(|key| key.name.rsplit_once('.').map(|(table, _)| table));
            names = tables.collect();
        }
        self.wrong(
            at,
            format!("there is no {name}.{}", suggestion(name, names)),
        );
    }

    fn value(&mut self, key: &Key, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let at = value.span().start;
        let read = match (key.kind, value.get_ref()) {
            (Kind::Switch, DeValue::Boolean(value)) => Ok((*value).into()),
            (Kind::Count | Kind::Bytes | Kind::Seconds | Kind::Real, DeValue::Integer(number)) => {
                let value = u64::from_str_radix(number.as_str(), number.radix());
                match key.kind {
                    Kind::Count => value
                        .ok()
                        .and_then(|value| u32::try_from(value).ok())
                        .map(Value::from),
                    // 2 and 2.0 are one number.
                    Kind::Real => value.ok().map(|value| (value as f64).into()),
                    _ => value.ok().map(Value::from),
                }
                .ok_or_else(|| key.expectation().to_owned())
            }
            (Kind::Real, DeValue::Float(number)) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number.into()),
                _ => Err(key.expectation().to_owned()),
            },
            (Kind::List, DeValue::Array(texts)) => {
                let read = texts.iter().map(|text| text.get_ref().as_str());
                let read: Option<Vec<&str>> = read.collect();
                read.map(|texts| texts.into_iter().collect())
                    .ok_or_else(|| key.expectation().to_owned())
            }
            (Kind::Tables(keys), DeValue::Array(tables)) => {
                return self.tables(keys, name, tables.iter());
            }
            (
                Kind::Bytes
                | Kind::Seconds
                | Kind::Text(_)
                | Kind::Proxy
                | Kind::Choice(_)
                | Kind::Folder,
                DeValue::String(text),
            ) => key.read_quoted(text),
            _ => Err(key.expectation().to_owned()),
        };
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                let raw = self.text.get(value.span()).unwrap_or("").trim();
                let shown = key.quoted(raw.lines().next().unwrap_or(""));
                self.wrong(at, format!("{name} cannot be {shown}: {why}."));
                None
            }
        }
    }

    /// Reads tables of a list; all or none.
    fn tables<'a, 'i: 'a>(
        &mut self,
        keys: &'static [Key],
        name: &str,
        tables: impl Iterator<Item = &'a Spanned<DeValue<'i>>>,
    ) -> Option<Value> {
        let keys: Vec<&Key> = keys.iter().collect();
        let before = self.wrong.len();
        let mut read = Vec::new();
        for value in tables {
            let DeValue::Table(table) = value.get_ref() else {
                self.wrong(value.span().start, format!("{name} is a list of tables."));
                continue;
            };
            let mut object = Value::Object(Map::new());
            let mut inside = Reader {
                text: self.text,
                wrong: Vec::new(),
            };
            inside.table(&keys, "", table, &mut |name, value, _| {
                super::put(&mut object, name, value);
            });
            let told = inside.wrong.into_iter().map(|wrong| Wrong {
                line: wrong.line,
                text: format!("in {name}: {}", wrong.text),
            });
            self.wrong.extend(told);
            read.push(object);
        }
        (self.wrong.len() == before).then_some(Value::Array(read))
    }
}

/// ` Did you mean …?`, if one of the names is near.
pub fn suggestion<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let near = names
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(slips, other)| slips * LETTERS_PER_SLIP <= name.len().max(other.len()))
        .min();
    near.map_or_else(String::new, |(_, other)| format!(" Did you mean {other}?"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(text: &str) -> Vec<(usize, String)> {
        let (_, wrong) = read(text);
        wrong
            .into_iter()
            .map(|wrong| (wrong.line, wrong.text))
            .collect()
    }

    #[test]
    fn what_a_file_sets_is_read_with_its_lines() {
        let text = "# ours\napi = \"127.0.0.1:7000\"\nslots = 4\n\n[limits]\nup = \"2MiB\"\ndown = 0\n\n\
                    [[schedule]]\ndays = [\"sat\", \"sun\"]\nfrom = \"08:00\"\nto = \"20:00\"\nlimits.up = 1024\n";
        let (set, wrong) = read(text);
        assert_eq!(wrong, []);
        let set: Vec<_> = set
            .iter()
            .map(|set| (set.line, set.key.name, set.value.clone()))
            .collect();
        let window = json!([{"days": ["sat", "sun"], "from": "08:00", "to": "20:00", "limits": {"up": 1024}}]);
        assert_eq!(
            set,
            [
                (2, "api", json!("127.0.0.1:7000")),
                (3, "slots", json!(4)),
                (6, "limits.up", json!(2 << 20)),
                (7, "limits.down", json!(0)),
                (9, "schedule", window),
            ]
        );
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_what_was_meant() {
        assert_eq!(
            wrong("slot = 4\n[limit]\nup = 1\n[limits]\nupp = 1\nquue.seeds = 3\n"),
            [
                (1, "there is no slot. Did you mean slots?".to_owned()),
                (2, "there is no limit. Did you mean limits?".to_owned()),
                (
                    5,
                    "there is no limits.upp. Did you mean limits.up?".to_owned()
                ),
                (6, "there is no limits.quue.".to_owned()),
            ]
        );
        assert_eq!(
            wrong("dht = \"yes\"\nlimits = 5\nslots = -1\nbattery.action = \"stop\"\n"),
            [
                (1, "dht cannot be \"yes\": it is true or false.".to_owned()),
                (2, "limits is a table, with down, up.".to_owned()),
                (
                    3,
                    "slots cannot be -1: it is a whole number, from 0.".to_owned()
                ),
                (
                    4,
                    "battery.action cannot be \"stop\": it is one of ignore, pause-below, pause."
                        .to_owned()
                ),
            ]
        );
        assert_eq!(
            wrong("[[schedule]]\nform = \"08:00\"\nto = \"25:00\"\n"),
            [
                (2, "in schedule: there is no form. Did you mean from?".to_owned()),
                (
                    3,
                    "in schedule: to cannot be \"25:00\": it is not a time of day, which looks like 22:30."
                        .to_owned()
                ),
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_line() {
        let wrong = wrong("slots = 4\nlimits = {\n");
        assert!(
            wrong[0].0 >= 2 && wrong[0].1.starts_with("this is not TOML"),
            "{wrong:?}"
        );
    }

    #[test]
    fn far_names_are_not_suggested() {
        assert_eq!(suggestion("colour", ["limits", "slots"]), "");
        assert_eq!(
            suggestion("trakers", ["trackers", "slots"]),
            " Did you mean trackers?"
        );
    }
}
