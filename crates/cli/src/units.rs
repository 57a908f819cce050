//! Sizes, rates, times and dates, as people write and read them.

use std::fmt;
use std::time::Duration;

const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in words: `1.5 MiB`.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => return f.pad("1 byte"),
            bytes @ ..1024 => return f.pad(&format!("{bytes} bytes")),
            _ => {}
        }
        // 1023.95 and above would show as 1024.0.
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            (value, unit) = (value / 1024.0, unit + 1);
        }
        let unit = UNITS[unit];
        let exact = value.fract() == 0.0;
        f.pad(&if exact {
            format!("{value:.0} {unit}")
        } else {
            format!("{value:.1} {unit}")
        })
    }
}

/// A time in words, to two places: `1 h 5 min`.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
        f.pad(&match (days, hours, minutes) {
            (0, 0, 0) if seconds < 10 && self.0.subsec_millis() > 0 => {
                format!("{:.1} s", self.0.as_secs_f64())
            }
            (0, 0, 0) => format!("{seconds} s"),
            (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
            (0, hours, minutes) => format!("{hours} h {minutes} min"),
            (days, hours, _) => format!("{days} d {hours} h"),
        })
    }
}

/// A moment given in seconds since 1970, as date and time in UTC: `2024-02-29 13:05 UTC`.
#[derive(Clone, Copy, Debug)]
pub struct Date(pub i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Torrents can claim any number; years beyond four digits are not dates.
        if !(-62_135_596_800..253_402_300_800).contains(&self.0) {
            return write!(f, "{} seconds after 1970", self.0);
        }
        // Days are counted from 1 March of the year 0, so that a leap day ends its year.
        let days = self.0.div_euclid(86400) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + i64::from(month <= 2);
        let (hour, minute) = (
            self.0.rem_euclid(86400) / 3600,
            self.0.rem_euclid(3600) / 60,
        );
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

/// Numbers in a list, with runs joined: `3, 7-9`. At most `most` items are shown.
pub fn ranges(numbers: &[u32], most: usize) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let more = runs.len().saturating_sub(most);
    let mut shown: Vec<String> = runs
        .iter()
        .take(most)
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// `1 file`, `2 files`: for words that take an s.
pub fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// Reads a number of bytes: `16384`, `256K`, `256KiB`, `1.5 MiB`. K, M, G and T are powers of 1024; KB,
/// MB, GB and TB those of 1000.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("/s").unwrap_or(&unit);
    let factor: u64 = match unit {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err("give a number of bytes, such as 262144, 256KiB or 1.5M".into()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(factor)
            .ok_or_else(|| "that is too large".into());
    }
    match number.parse::<f64>() {
        Ok(value) if value * factor as f64 <= (1u64 << 53) as f64 => {
            Ok((value * factor as f64).round() as u64)
        }
        Ok(_) => Err("that is too large".into()),
        Err(_) => Err("give a number of bytes, such as 262144, 256KiB or 1.5M".into()),
    }
}

/// Reads a time in seconds: `30`, `30s`, `5m`, `2h`.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (number, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let number: u64 = number
        .trim_end()
        .parse()
        .map_err(|_| "give seconds, or a time such as 30s, 5m or 2h")?;
    let seconds = number.checked_mul(factor).ok_or("that is too long")?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("16384", 16384),
            ("256K", 256 << 10),
            ("256KiB", 256 << 10),
            ("1 MiB", 1 << 20),
            ("1.5M", 3 << 19),
            ("2MB", 2_000_000),
            ("0", 0),
            ("10MiB/s", 10 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "K",
            "-1",
            "1 X",
            "1.2.3",
            "99999999999T",
            "1e9",
            "18446744073709551616",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1 MiB"),
            (5 << 30, "5 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            let shown = Size(bytes).to_string();
            let close = shown.replace(".0 ", " ");
            assert_eq!(close, text);
        }
    }

    #[test]
    fn times_are_read_and_shown() {
        assert_eq!(parse_seconds("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_seconds("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_seconds("2h"), Ok(Duration::from_secs(7200)));
        assert!(
            parse_seconds("soon").is_err()
                && parse_seconds("").is_err()
                && parse_seconds("-1").is_err()
        );
        assert_eq!(Clock(Duration::from_millis(250)).to_string(), "0.2 s");
        assert_eq!(Clock(Duration::from_secs(9)).to_string(), "9 s");
        assert_eq!(Clock(Duration::from_secs(61)).to_string(), "1 min 1 s");
        assert_eq!(Clock(Duration::from_secs(3900)).to_string(), "1 h 5 min");
        assert_eq!(Clock(Duration::from_secs(90_000)).to_string(), "1 d 1 h");
    }

    #[test]
    fn dates_are_right_at_the_edges_of_years_and_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (1_709_211_900, "2024-02-29 13:05 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (253_402_300_799, "9999-12-31 23:59 UTC"),
            (i64::MAX, "9223372036854775807 seconds after 1970"),
        ] {
            assert_eq!(Date(seconds).to_string(), text);
        }
    }

    #[test]
    fn runs_of_numbers_are_joined() {
        assert_eq!(ranges(&[3, 7, 8, 9, 11], 9), "3, 7-9, 11");
        assert_eq!(ranges(&[1, 3, 5, 7], 2), "1, 3, and 2 more");
        assert_eq!(ranges(&[], 2), "");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            (count(1, "file"), count(0, "file")),
            ("1 file".into(), "0 files".into())
        );
    }
}
