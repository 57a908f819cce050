//! Settings one by one: how a daemon keeps those that a person changed, and how a configuration file
//! names them.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::settings::{Settings, SettingsPatch};

impl SettingsPatch {
    /// Each part that is named: its key and its JSON; `None`: as the configuration says.
    pub fn parts(&self) -> Vec<(String, Option<String>)> {
        let kept = |value: Value| (!value.is_null()).then(|| value.to_string());
        let parts = object(self).into_iter();
        parts.map(|(key, value)| (key, kept(value))).collect()
    }

    /// A patch of one part, from its key and JSON.
    ///
    /// # Errors
    /// There is no such key, or the value is not one of its type.
    pub fn one(key: &str, json: &str) -> serde_json::Result<SettingsPatch> {
        let value: Value = serde_json::from_str(json)?;
        serde_json::from_value(Map::from_iter([(key.to_owned(), value)]).into())
    }

    /// What leads from `before` to `after`.
    pub fn between(before: &Settings, after: &Settings) -> SettingsPatch {
        let before = object(before);
        let mut changed = object(after);
        changed.retain(|key, value| before.get(key) != Some(value));
        serde_json::from_value(changed.into()).expect("parts of settings are parts of a patch")
    }
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => unreachable!("settings are written as an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limits;

    #[test]
    fn a_patch_in_parts_is_the_patch() {
        let changed = Settings {
            slots: 9,
            limits: Limits { down: 0, up: 5000 },
            ..Settings::default()
        };
        let patch = SettingsPatch::between(&Settings::default(), &changed);
        let mut again = Settings::default();
        let parts = patch.parts();
        assert_eq!(parts.len(), 2);
        for (key, value) in parts {
            let part = SettingsPatch::one(&key, &value.unwrap()).unwrap();
            part.apply(&mut again, &Settings::default());
        }
        assert_eq!(again, changed);
        assert!(SettingsPatch::one("slot", "9").is_err());
        assert!(SettingsPatch::one("slots", "\"many\"").is_err());
        let dropped: SettingsPatch = serde_json::from_str(r#"{"slots": null}"#).unwrap();
        assert_eq!(dropped.parts(), [("slots".to_owned(), None)]);
    }
}
