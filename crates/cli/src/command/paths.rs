//! `starling paths`: where things are.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::Context;
use crate::config::ConfigFlag;
use crate::exit::Failure;
use crate::paths::{self, HomeFiles, HomeFlag};
use crate::table::Table;

/// Show where things are: the home folder and what is in it, the configuration, downloads.
#[derive(clap::Args)]
pub struct Paths {
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    home: HomeFlag,
}

impl Paths {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let files = HomeFiles::of(self.home.path()?);
        let mut all: Vec<(&str, PathBuf)> = vec![("home", files.dir.clone())];
        all.extend(self.config.path().0.map(|path| ("config", path)));
        all.extend([
            ("downloads", paths::downloads(&files.dir)),
            ("socket", files.socket()),
            ("token", files.token()),
            ("log", files.log()),
            ("database", files.database()),
            ("torrents", files.torrents()),
            ("resume", files.resume()),
        ]);
        let mut table = Table::new(&["WHAT", "WHERE"]);
        let mut event = Map::from_iter([("event".to_owned(), Value::from("paths"))]);
        for (name, path) in all {
            let path = path.display().to_string();
            event.insert(name.to_owned(), path.clone().into());
            table.row([name.to_owned(), path]);
        }
        context.console.event(&event.into());
        table.show(context);
        Ok(())
    }
}
