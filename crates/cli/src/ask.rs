//! Reading what a person knows: a phrase, a passphrase. From a terminal line by line, and without showing it where that
//! is wanted; otherwise what is piped in. Secrets are never flags: everybody on the computer sees those.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use node::identity::MAX_PASSPHRASE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::Context;
use crate::exit::Failure;

/// Most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 4096;

/// How often Ctrl-C is looked for meanwhile.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The words of a phrase, however they are laid out.
pub fn phrase(context: &Context) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        return line(context, "The twelve words: ", true);
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_ANSWER as usize));
    let read = io::stdin()
        .lock()
        .take(MAX_ANSWER)
        .read_to_string(&mut text);
    read.map_err(|error| Failure::io(&error, "read", Path::new("standard input")))?;
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(Failure::usage(
            "The twelve words are read from standard input, and there is nothing on it.",
        )),
    }
}

/// A passphrase: the first line of the file, or what is typed.
pub fn passphrase(
    context: &Context,
    file: Option<&Path>,
    question: &str,
) -> Result<Zeroizing<String>, Failure> {
    let Some(path) = file else {
        return match io::stdin().is_terminal() {
            true => line(context, question, false),
            false => Err(Failure::usage(
                "A passphrase is needed. It is typed on a terminal, or read from --passphrase-file.",
            )),
        };
    };
    // A line end may follow, of two characters.
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSPHRASE + 3));
    let file = File::open(path).map_err(|error| Failure::io(&error, "read", path))?;
    file.take(MAX_PASSPHRASE as u64 + 3)
        .read_to_string(&mut text)
        .map_err(|error| Failure::io(&error, "read", path))?;
    let first = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(first.to_owned()))
}

/// A line from the terminal.
fn line(context: &Context, question: &str, is_shown: bool) -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    let failed = |error: io::Error| Failure::io(&error, "read", Path::new("standard input"));
    let _echo = if is_shown { None } else { Echo::off() };
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
    loop {
        if context.interrupt.is_asked() {
            let _ = writeln!(stderr);
            return Err(Failure::interrupted());
        }
        let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut wanted, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return Err(failed(error.into())),
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_ANSWER as usize));
    let read = stdin.lock().take(MAX_ANSWER).read_line(&mut text);
    if !is_shown {
        let _ = writeln!(stderr);
    }
    read.map_err(failed)?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// The terminal shows nothing of what is typed, until this is dropped.
struct Echo(Termios);

impl Echo {
    fn off() -> Option<Echo> {
        let shown = tcgetattr(io::stdin()).ok()?;
        let mut hidden = shown.clone();
        hidden.local_modes &= !LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Echo(shown))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
