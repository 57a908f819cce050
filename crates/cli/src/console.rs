//! What a person, a pipe or a program sees.
//!
//! Results go to stdout, one a line, the last line last; everything else a person may read goes to stderr.
//! With `--json` stdout carries one event a line and nothing else. A pipe that closes is no error.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::Value;
use terminal_size::{Height, Width};

use crate::exit::{Exit, Failure};

/// How often bars are drawn, at most: enough to look alive, and nothing beside the transfer.
const REDRAWS_PER_SECOND: u8 = 8;

/// Where words, bars and events go.
pub struct Console {
    json: bool,
    quiet: bool,
    colour: bool,
    bars: MultiProgress,
    /// Lines for stdout that are written together.
    held: RefCell<Option<Vec<u8>>>,
}

impl Console {
    /// As the flags say, and as stderr allows: bars and colour only on a terminal.
    pub fn new(json: bool, quiet: bool) -> Console {
        let live = io::stderr().is_terminal() && !json && !quiet;
        let target = if live {
            ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Console {
            json,
            quiet,
            colour: live && !no_colour,
            bars: MultiProgress::with_draw_target(target),
            held: RefCell::default(),
        }
    }

    /// Whether bars are seen by anybody.
    pub fn is_live(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// Whether results are read on a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether events are wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        !self.json && !self.quiet && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// A line for a person.
    pub fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.err(text);
        }
    }

    /// A line that a person should not miss.
    pub fn warn(&self, text: &str) {
        if !self.quiet && !self.json {
            self.err(&format!("{}{}", self.paint("33", "warning: "), clean(text)));
        }
    }

    /// Why something failed: a sentence for a person, and an event. Told once.
    pub fn failure(&self, mut failure: Failure) -> Failure {
        if !std::mem::replace(&mut failure.told, true) {
            self.event(&serde_json::json!({
                "event": "error",
                "code": failure.exit.name(),
                "message": failure.message,
            }));
            let calm = failure.exit == Exit::Interrupted;
            let head = if calm {
                String::new()
            } else {
                self.paint("31", "error: ")
            };
            self.err(&format!("{head}{}", clean(&failure.message)));
        }
        failure
    }

    /// What was asked for: a line on stdout.
    pub fn result(&self, text: impl AsRef<OsStr>) {
        if !self.json {
            self.out(text.as_ref().as_encoded_bytes());
        }
    }

    /// A link as a result; if wanted, on a terminal also as a picture to point a phone at.
    pub fn link(&self, link: &str, pictured: bool) {
        if pictured {
            self.picture(link);
        }
        self.result(link);
    }

    /// A text as a picture to point a phone at, on a terminal.
    pub fn picture(&self, text: &str) {
        if self.is_live()
            && let Some(picture) = qr(text, self.colour)
        {
            self.err(&picture);
        }
    }

    /// A text for stdout as it is: a script, a page.
    pub fn print(&self, text: &[u8]) {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(text).and_then(|()| stdout.flush());
    }

    /// One event, if events are wanted.
    pub fn event(&self, event: &Value) {
        if self.json {
            self.out(event.to_string().as_bytes());
        }
    }

    /// Asks a question; without an answer, `default`.
    pub fn confirm(&self, question: &str, default: bool) -> bool {
        let choices = if default { "[Y/n]" } else { "[y/N]" };
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{} {choices} ", clean(question));
        let _ = stderr.flush();
        let mut answer = String::new();
        if io::stdin().lock().read_line(&mut answer).is_err() {
            return false;
        }
        match answer.trim().to_lowercase().as_str() {
            "" => default && answer.ends_with('\n'),
            answer => matches!(answer, "y" | "yes"),
        }
    }

    /// A bar below the text, of `total` bytes. It is only seen on a terminal.
    pub fn bar(&self, total: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total));
        let bar_or_plain = if self.colour {
            "{prefix} {wide_bar:.green/dim} {msg}"
        } else {
            "{prefix} {wide_bar} {msg}"
        };
        let style =
            ProgressStyle::with_template(bar_or_plain).expect("the template is well-formed");
        bar.set_style(style.progress_chars("━╸─"));
        bar
    }

    /// A line below the text that turns while something is waited for.
    pub fn spinner(&self) -> ProgressBar {
        let spinner = self.bars.add(ProgressBar::new_spinner());
        let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg}")
            .expect("the template is well-formed");
        spinner.set_style(style);
        if self.is_live() {
            spinner.enable_steady_tick(Duration::from_millis(125));
        }
        spinner
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn err(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// Writes what is told meanwhile with one call, at the end: a folder of 10,000 small files says so many lines
    /// within a moment.
    pub fn together(&self, tell: impl FnOnce()) {
        *self.held.borrow_mut() = Some(Vec::new());
        tell();
        let held = self.held.borrow_mut().take();
        if let Some(held) = held.filter(|held| !held.is_empty()) {
            self.write(&held);
        }
    }

    fn out(&self, line: &[u8]) {
        if let Some(held) = self.held.borrow_mut().as_mut() {
            held.extend_from_slice(line);
            held.push(b'\n');
            return;
        }
        self.write(&[line, b"\n"].concat());
    }

    fn write(&self, text: &[u8]) {
        self.bars.suspend(|| {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(text).and_then(|()| stdout.flush());
        });
    }
}

/// A link as a QR code of half blocks, if the terminal has room for it.
fn qr(link: &str, colour: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
    // Terminals are mostly dark, so light modules are the ones drawn.
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    let width = picture.lines().next()?.chars().count();
    let (Width(columns), Height(rows)) = terminal_size::terminal_size_of(io::stderr())?;
    if width > columns.into() || picture.lines().count() >= rows.into() {
        return None;
    }
    let paint = |line: &str| {
        if colour {
            format!("\x1b[97;40m{line}\x1b[0m")
        } else {
            line.to_owned()
        }
    };
    Some(picture.lines().map(paint).collect::<Vec<_>>().join("\n"))
}

/// `text` without what would steer a terminal: comments, tracker messages and file names are written by strangers.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' || is_direction(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Marks that make text read in another order than it is written.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_steer_the_terminal() {
        assert_eq!(
            clean("a\x1b[2Jb\rc\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d"
        );
        assert_eq!(clean("Ärger, 日本語\nnext"), "Ärger, 日本語\nnext");
    }
}
