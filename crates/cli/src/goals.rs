//! Limits and goals of a transfer or label, as flags say them.
//!
//! They have no variables: one that is set for the daemon would change every transfer that is touched.

use std::str::FromStr;

use api::{Goals, Limits};

use crate::units::{parse_seconds, parse_size};

/// Flags for its own limits.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits and goals")]
pub struct OwnLimits {
    /// Receive at most so much a second, such as 2MiB; 0 is no limit.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_down: Option<u64>,
    /// Send at most so much a second, such as 500KiB; 0 is no limit.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_up: Option<u64>,
}

impl OwnLimits {
    /// What is left unsaid is as in `now`; nothing if all of it is.
    pub fn over(&self, now: Limits) -> Option<Limits> {
        let said = self.limit_down.is_some() || self.limit_up.is_some();
        said.then(|| Limits {
            down: self.limit_down.unwrap_or(now.down),
            up: self.limit_up.unwrap_or(now.up),
        })
    }
}

/// Flags for its own goals.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits and goals")]
pub struct GoalFlags {
    /// Seed until so many bytes are sent for each byte of its size; none is without end.
    #[arg(long, value_name = "NUMBER")]
    ratio: Option<Ratio>,
    /// Seed for so long, such as 12h; none is without end.
    #[arg(long, value_name = "TIME")]
    seed_time: Option<SeedTime>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio(Option<f64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SeedTime(Option<u64>);

impl FromStr for Ratio {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Ratio, &'static str> {
        if text == "none" {
            return Ok(Ratio(None));
        }
        match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1e6).contains(&ratio) => Ok(Ratio(Some(ratio))),
            _ => Err("give a number such as 1.5, or none"),
        }
    }
}

impl FromStr for SeedTime {
    type Err = String;

    fn from_str(text: &str) -> Result<SeedTime, String> {
        if text == "none" {
            return Ok(SeedTime(None));
        }
        parse_seconds(text).map(|time| SeedTime(Some(time.as_secs())))
    }
}

impl GoalFlags {
    /// What is left unsaid is as in `now`; nothing if all of it is.
    pub fn over(&self, now: Option<Goals>) -> Option<Goals> {
        if self.ratio.is_none() && self.seed_time.is_none() {
            return None;
        }
        let now = now.unwrap_or_default();
        Some(Goals {
            ratio: self.ratio.map_or(now.ratio, |Ratio(ratio)| ratio),
            seeding_seconds: self
                .seed_time
                .map_or(now.seeding_seconds, |SeedTime(time)| time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goal_can_be_set_and_the_other_stays() {
        let flags = |ratio: Option<&str>, time: Option<&str>| GoalFlags {
            ratio: ratio.map(|text| text.parse().unwrap()),
            seed_time: time.map(|text| text.parse().unwrap()),
        };
        let now = Some(Goals {
            ratio: Some(1.0),
            seeding_seconds: Some(60),
        });
        assert_eq!(flags(None, None).over(now), None);
        let both = flags(Some("2.5"), None).over(now).unwrap();
        assert_eq!((both.ratio, both.seeding_seconds), (Some(2.5), Some(60)));
        let one = flags(Some("none"), Some("2h")).over(None).unwrap();
        assert_eq!((one.ratio, one.seeding_seconds), (None, Some(7200)));
        assert!("-1".parse::<Ratio>().is_err() && "NaN".parse::<Ratio>().is_err());
    }
}
