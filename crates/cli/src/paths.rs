//! Where things are: the home folder, the configuration, what a daemon keeps and where it is reached.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Which home folder is meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct HomeFlag {
    /// Where resume records, torrents and known nodes are kept; a daemon is found by it.
    #[arg(
        long,
        value_name = "DIR",
        env = "STARLING_HOME",
        help_heading = "Network"
    )]
    home: Option<PathBuf>,
}

impl HomeFlag {
    /// The folder that stays from one run to the next; a whole path.
    pub fn path(&self) -> Result<PathBuf, Failure> {
        let usual = || {
            if cfg!(target_os = "macos") {
                person().map(|home| home.join("Library/Application Support/Starling"))
            } else {
                whole("XDG_STATE_HOME")
                    .or_else(|| person().map(|home| home.join(".local/state")))
                    .map(|state| state.join("starling"))
            }
        };
        let given = self.home.clone();
        let home = given
            .filter(|dir| !dir.as_os_str().is_empty())
            .or_else(usual)
            .ok_or_else(|| {
                Failure::usage(
                    "There is no home folder to keep records in. Set STARLING_HOME to a folder of yours.",
                )
            })?;
        std::path::absolute(&home).map_err(|error| Failure::io(&error, "use", &home))
    }
}

/// What lies in a home (docs/design/daemon.md).
#[derive(Clone, Debug)]
pub struct HomeFiles {
    /// The home itself.
    pub dir: PathBuf,
}

impl HomeFiles {
    /// Those of this home.
    pub fn of(dir: PathBuf) -> HomeFiles {
        HomeFiles { dir }
    }

    /// The unix socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    /// The token of the API.
    pub fn token(&self) -> PathBuf {
        self.dir.join("api-token")
    }

    /// What a daemon in the background logs.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log/starling.log")
    }

    /// What a daemon that runs was configured with, and from where.
    pub fn running_config(&self) -> PathBuf {
        self.dir.join("running-config.json")
    }

    /// The database of transfers.
    pub fn database(&self) -> PathBuf {
        self.dir.join("state.sqlite")
    }

    /// Torrent files.
    pub fn torrents(&self) -> PathBuf {
        self.dir.join("torrents")
    }

    /// Resume records.
    pub fn resume(&self) -> PathBuf {
        self.dir.join("resume")
    }
}

/// Where the configuration is when nothing else is said.
pub fn usual_config() -> Option<PathBuf> {
    whole("XDG_CONFIG_HOME")
        .or_else(|| person().map(|home| home.join(".config")))
        .map(|config| config.join("starling/config.toml"))
}

/// Where content goes when nothing else is said: the person's folder for downloads, or one in `home` where there is
/// no person.
pub fn downloads(home: &Path) -> PathBuf {
    let Some(person) = person() else {
        return home.join("downloads");
    };
    let named = whole("XDG_CONFIG_HOME")
        .unwrap_or_else(|| person.join(".config"))
        .join("user-dirs.dirs");
    std::fs::read_to_string(named)
        .ok()
        .and_then(|text| named_downloads(&text, &person))
        .unwrap_or_else(|| person.join("Downloads"))
}

/// What `user-dirs.dirs` says (xdg-user-dirs): a path below `$HOME`, or a whole one.
fn named_downloads(text: &str, person: &Path) -> Option<PathBuf> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("XDG_DOWNLOAD_DIR="))?;
    let path = line.trim().trim_matches('"');
    let path = match path.strip_prefix("$HOME/") {
        Some(below) => person.join(below),
        None => PathBuf::from(path),
    };
    path.is_absolute().then_some(path)
}

/// The person's folder. Who has none is given `/` by some systems.
pub fn person() -> Option<PathBuf> {
    whole("HOME").filter(|home| home.parent().is_some())
}

/// A variable that names a whole path; any other is as good as none (XDG Base Directory).
fn whole(name: &str) -> Option<PathBuf> {
    set(name).map(PathBuf::from).filter(|dir| dir.is_absolute())
}

/// A variable that is set to something.
pub fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_for_downloads_is_the_one_the_desktop_names() {
        let person = Path::new("/home/alice");
        let named = |text: &str| named_downloads(text, person);
        assert_eq!(
            named("# a remark\nXDG_DOWNLOAD_DIR=\"$HOME/Heruntergeladenes\"\n"),
            Some("/home/alice/Heruntergeladenes".into())
        );
        assert_eq!(named("XDG_DOWNLOAD_DIR=\"/data\""), Some("/data".into()));
        assert_eq!(named("XDG_DOWNLOAD_DIR=\"relative\""), None);
        assert_eq!(named("XDG_MUSIC_DIR=\"/data\""), None);
    }
}
