//! The verbs, one file each; two or three in one where they are mirror images.

mod add;
mod completions;
mod config;
mod create;
mod down;
mod files;
mod get;
mod id;
mod inspect;
mod label;
mod list;
mod login;
mod logs;
mod man;
mod orders;
mod paths;
mod peers;
mod preview;
mod relocate;
mod remove;
mod reuse;
mod seed;
mod set;
mod settings;
mod show;
mod status;
mod trackers;
mod up;
mod verify;
mod webseeds;

use clap::Subcommand;

use crate::Context;
use crate::exit::Failure;
use orders::Order;
pub use relocate::whole;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Share a file or folder with everybody
    Seed(seed::Seed),
    /// Fetch files or folders, from all who have them at once
    Get(get::Get),
    /// Make a torrent file from a file or folder
    Create(create::Create),
    /// Show what a torrent file or magnet link contains
    Inspect(inspect::Inspect),
    /// Check a copy against its torrent, and name each wrong file and piece
    Verify(verify::Verify),
    /// Run the daemon: transfers go on for as long as the computer is on
    Up(up::Up),
    /// Stop the daemon
    Down(down::Down),
    /// Show how the daemon is, and a line for each transfer
    Status(status::Status),
    /// Give the daemon something to fetch
    Add(add::Add),
    /// List transfers
    List(list::List),
    /// Show all that is known of a transfer
    Show(show::Show),
    /// List the files of a transfer
    Files(files::Files),
    /// List the connected peers of a transfer
    Peers(peers::Peers),
    /// List the trackers of a transfer
    Trackers(trackers::Trackers),
    /// List the web servers that a transfer is fetched from, add some, or take some away
    WebSeeds(webseeds::WebSeeds),
    /// Copy the files that other transfers have already, instead of fetching them
    Reuse(reuse::Reuse),
    /// Pause transfers, until they are resumed
    Pause(orders::Orders),
    /// Let paused transfers go on, and look again at what stopped others
    Resume(orders::Orders),
    /// Hash the data of transfers again
    Recheck(orders::Orders),
    /// Move a transfer's data into another folder
    Move(relocate::MoveData),
    /// Rename a transfer's file or folder on disk
    Rename(relocate::Rename),
    /// Change label, limits, goals, order or priorities of transfers
    Set(set::Set),
    /// Forget transfers; their files stay
    Forget(remove::Forget),
    /// Forget transfers and delete their files
    Delete(remove::Delete),
    /// Labels: names that transfers share, with a folder, limits and goals
    Label(label::Label),
    /// Show or change the daemon's settings while it runs
    Settings(settings::Settings),
    /// Show what adding something would add
    Preview(preview::Preview),
    /// Show what the daemon in the background logged
    Logs(logs::Logs),
    /// Print a link that logs a browser in, once
    Login(login::Login),
    /// Who this computer is: its link, its person, that person's devices
    Id(id::Id),
    /// Show the configuration, or check a file
    Config(config::Config),
    /// Show where things are
    Paths(paths::Paths),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Write the man pages
    Man(man::Man),
}

impl Command {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Command::Seed(seed) => seed.run(context),
            Command::Get(get) => get.run(context),
            Command::Create(create) => create.run(context),
            Command::Inspect(inspect) => inspect.run(context),
            Command::Verify(verify) => verify.run(context),
            Command::Up(up) => up.run(context),
            Command::Down(down) => down.run(context),
            Command::Status(status) => status.run(context),
            Command::Add(add) => add.run(context),
            Command::List(list) => list.run(context),
            Command::Show(show) => show.run(context),
            Command::Files(files) => files.run(context),
            Command::Peers(peers) => peers.run(context),
            Command::Trackers(trackers) => trackers.run(context),
            Command::WebSeeds(seeds) => seeds.run(context),
            Command::Reuse(reuse) => reuse.run(context),
            Command::Pause(orders) => orders.run(context, Order::Pause),
            Command::Resume(orders) => orders.run(context, Order::Resume),
            Command::Recheck(orders) => orders.run(context, Order::Recheck),
            Command::Move(to) => to.run(context),
            Command::Rename(to) => to.run(context),
            Command::Set(set) => set.run(context),
            Command::Forget(forget) => forget.run(context),
            Command::Delete(delete) => delete.run(context),
            Command::Label(label) => label.run(context),
            Command::Settings(settings) => settings.run(context),
            Command::Preview(preview) => preview.run(context),
            Command::Logs(logs) => logs.run(context),
            Command::Login(login) => login.run(context),
            Command::Id(id) => id.run(context),
            Command::Config(config) => config.run(context),
            Command::Paths(paths) => paths.run(context),
            Command::Completions(completions) => completions.run(context),
            Command::Man(man) => man.run(context),
        }
    }
}
