//! Labels: a name that transfers share, and what comes with it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::{self, Check, MAX_LABEL};
use crate::problem::Problem;
use crate::settings::{Goals, Limits, nullable, present, set};

/// A name that transfers share, and with it a folder, limits and goals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Its name.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Where its transfers go; `null`: the folder of the settings.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 4096, pattern = "^/")]
    pub folder: Option<String>,
    /// Limits of all its transfers together.
    #[serde(default)]
    pub limits: Limits,
    /// Goals of its transfers; `null`: those of the settings.
    #[serde(default)]
    pub goals: Option<Goals>,
    /// Most of its transfers that run at once; 0: no limit.
    #[serde(default)]
    pub max_active: u32,
}

impl Label {
    /// A label with a name alone.
    pub fn new(name: impl Into<String>) -> Label {
        Label {
            name: name.into(),
            folder: None,
            limits: Limits::default(),
            goals: None,
            max_active: 0,
        }
    }
}

impl Check for Label {
    fn check(&self) -> Result<(), Problem> {
        check::text("name", &self.name, 1, MAX_LABEL)?;
        if let Some(folder) = &self.folder {
            check::path("folder", folder)?;
        }
        self.limits.check()?;
        self.goals.check()
    }
}

/// What to change in a label; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelPatch {
    /// A new name.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    pub name: Option<String>,
    /// A new folder; `null`: the folder of the settings.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096, pattern = "^/")]
    pub folder: Option<Option<String>>,
    /// New limits.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limits: Option<Limits>,
    /// New goals; `null`: those of the settings.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Goals>)]
    pub goals: Option<Option<Goals>>,
    /// Most of its transfers that run at once; 0: no limit.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_active: Option<u32>,
}

impl LabelPatch {
    /// Changes `label`.
    pub fn apply(self, label: &mut Label) {
        set(&mut label.name, self.name);
        set(&mut label.folder, self.folder);
        set(&mut label.limits, self.limits);
        set(&mut label.goals, self.goals);
        set(&mut label.max_active, self.max_active);
    }
}

impl Check for LabelPatch {
    fn check(&self) -> Result<(), Problem> {
        let mut label = Label::new("any");
        self.clone().apply(&mut label);
        label.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_takes_a_labels_folder_away_and_absence_keeps_it() {
        let mut label = Label {
            folder: Some("/a".into()),
            ..Label::new("x")
        };
        let absent: LabelPatch = serde_json::from_str("{}").unwrap();
        absent.apply(&mut label);
        assert_eq!(label.folder.as_deref(), Some("/a"));
        let null: LabelPatch = serde_json::from_str(r#"{"folder": null}"#).unwrap();
        null.apply(&mut label);
        assert_eq!(label.folder, None);
    }
}
