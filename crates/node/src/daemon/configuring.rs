//! Settings: those of the configuration, and over them what a person changed while the daemon ran.

use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use api::{Check, Problem, Settings, SettingsPatch};
use tokio::sync::oneshot;

use super::state::Change;
use super::{Daemon, rules};

/// Somebody waits for the configuration to be read again.
pub struct Reload(oneshot::Sender<Result<(), Problem>>);

impl Reload {
    /// It was read and is in effect, or why it is not.
    pub fn answer(self, read: Result<(), Problem>) {
        // Whoever asked may have gone.
        let _ = self.0.send(read);
    }
}

impl Daemon {
    /// Where content goes when nothing else is said.
    pub(super) fn folder(&self) -> PathBuf {
        let set = self
            .shared
            .live
            .read(|table| table.settings().folder.clone());
        match set.is_empty() {
            true => self.shared.downloads.clone(),
            false => PathBuf::from(set),
        }
    }

    /// Changes settings.
    pub(super) async fn change_settings(self, patch: SettingsPatch) -> Result<Settings, Problem> {
        let patched = || {
            let mut settings = self.shared.live.read(|table| (**table.settings()).clone());
            patch.clone().apply(&mut settings, &self.configured());
            settings
        };
        let settings = patched();
        settings.check()?;
        rules::settings(&settings, &self.book().labels).map_err(rules::wrong_setting)?;
        let kept = patch
            .parts()
            .into_iter()
            .map(|(key, value)| Change::Setting(key, value));
        self.commit(kept.collect()).await?;
        // Others may have changed meanwhile.
        let settings = patched();
        self.settle(&settings)?;
        Ok(settings)
    }

    /// Settings are in effect.
    pub(super) fn settle(&self, settings: &Settings) -> Result<(), Problem> {
        let checked =
            rules::settings(settings, &self.book().labels).map_err(rules::wrong_setting)?;
        self.judge([policy::Input::Settings(
            Box::new(checked),
            rules::local_time(),
        )]);
        self.shared
            .live
            .update(|table| table.set_settings(settings.clone()));
        self.shared.watched.send_if_modified(|watched| {
            let changed = *watched != settings.watch;
            watched.clone_from(&settings.watch);
            changed
        });
        self.shared.stirred.notify_one();
        self.show_effects();
        Ok(())
    }

    /// The configuration was read again.
    ///
    /// # Errors
    /// It cannot be meant; the one before stays in effect.
    pub fn reconfigure(&self, configured: Settings) -> Result<(), Problem> {
        configured.check()?;
        let mut before = self.configured();
        let mut settings = self.shared.live.read(|table| (**table.settings()).clone());
        // What the file changes goes in, and is the last that was said of it; what a person changed while it ran and the
        // file leaves alone stays.
        let news = SettingsPatch::between(&before, &configured);
        let said = news.parts().into_iter();
        let said = said.map(|(key, _)| Change::Setting(key, None)).collect();
        news.apply(&mut settings, &configured);
        self.settle(&settings)?;
        self.shared.state.note(said);
        *before = configured;
        Ok(())
    }

    /// Settings of the configuration.
    fn configured(&self) -> MutexGuard<'_, Settings> {
        let configured = self.shared.configured.lock();
        configured.unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the configuration to be read again, and waits for it.
    pub(super) async fn read_again(&self) -> Result<(), Problem> {
        let (sender, read) = oneshot::channel();
        let asked = async {
            let sent = self.shared.reload.0.send(Reload(sender)).await;
            sent.map_err(|_| Problem::stopping())?;
            read.await.unwrap_or_else(|_| Err(Problem::stopping()))
        };
        tokio::select! {
            read = asked => read,
            () = self.stopping() => Err(Problem::stopping()),
        }
    }

    /// Ends when the configuration is to be read again; whoever asked waits for the [answer](Reload::answer).
    pub async fn reload_asked(&self) -> Reload {
        match self.shared.reload.1.lock().await.recv().await {
            Some(asked) => asked,
            // The sender lives as long as the daemon.
            None => std::future::pending().await,
        }
    }
}

/// The configuration's settings, with those that a person changed while the daemon ran.
pub(super) fn overridden(configured: &Settings, kept: &[(String, String)]) -> Settings {
    let mut settings = configured.clone();
    for (key, value) in kept {
        // One setting that an other version wrote must not undo all others.
        match SettingsPatch::one(key, value) {
            Ok(patch) => patch.apply(&mut settings, configured),
            Err(error) => tracing::warn!(key, %error, "a kept setting is left out"),
        }
    }
    settings
}
