//! The program that a person wants to run when a transfer is done.

use std::path::Path;

use super::Daemon;

impl Daemon {
    /// Runs the program that a person wants to run when a transfer is done.
    pub(super) fn run_hook(&self, id: u32, name: &str, root: &Path) {
        let argv = self
            .shared
            .live
            .read(|table| table.settings().on_done.clone());
        let Some((program, arguments)) = argv.split_first() else {
            return;
        };
        let path = root.to_string_lossy();
        // A name that begins with a dash is still a name: it replaces a part of an argument or all of it, and is
        // never taken apart by a shell.
        let fill = |argument: &String| {
            argument
                .replace("{id}", &id.to_string())
                .replace("{name}", name)
                .replace("{path}", &path)
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments.iter().map(fill))
            // What it holds is a secret between us and the proxy.
            .env_remove("STARLING_PROXY")
            .env("STARLING_TRANSFER_ID", id.to_string())
            .env("STARLING_TRANSFER_NAME", name)
            .env("STARLING_TRANSFER_PATH", root)
            .stdin(std::process::Stdio::null());
        let (daemon, program) = (self.clone(), program.clone());
        match command.spawn() {
            Err(error) => self.notice(Some(id), format!("{program} cannot be run: {error}")),
            Ok(mut child) => drop(tokio::spawn(async move {
                match child.wait().await {
                    Ok(status) if status.success() => {}
                    Ok(status) => daemon.notice(Some(id), format!("{program} ended with {status}")),
                    Err(error) => daemon.notice(Some(id), format!("{program}: {error}")),
                }
            })),
        }
    }
}
