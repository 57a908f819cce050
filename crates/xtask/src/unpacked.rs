//! Clients newer than the machine's own, from Debian 13, unpacked under `target/` and run
//! from there with the libraries they came with. Nothing is installed.
//!
//! Debian 12 has aria2 1.36 and transmission 3.00, neither of which can read a hybrid torrent:
//! they refuse the empty keys in its file tree.

use crate::shell::{command, output, root, run, succeeds};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const RELEASE: &str = "trixie";
const PACKAGES: &[&str] = &["aria2", "transmission-cli", "transmission-daemon"];

/// What tests and benchmarks call, each a script in `target/interop`.
const PROGRAMS: &[&str] = &["aria2c", "transmission-create", "transmission-daemon"];

/// Makes sure that the programs are there and run.
pub fn provide() -> Result<()> {
    let place = root().join("target/interop");
    let works = || {
        PROGRAMS.iter().all(|name| {
            let program = place.join(name);
            succeeds(&mut command(&program.to_string_lossy(), &["--version"]))
        })
    };
    if works() {
        return Ok(());
    }
    let unpacked = place.join(RELEASE);
    fetch(&unpacked)?;
    for name in PROGRAMS {
        script(&unpacked, name, &place.join(name))?;
    }
    if !works() {
        bail!(
            "{PROGRAMS:?} were unpacked to {} but do not run",
            unpacked.display()
        );
    }
    Ok(())
}

/// Downloads the packages with all they need, checked against Debian's signature, and unpacks them.
fn fetch(to: &Path) -> Result<()> {
    let (debs, files) = (to.join("debs"), to.join("root"));
    for folder in [&debs, &files, &to.join("lists/partial"), &to.join("cache")] {
        fs::create_dir_all(folder)?;
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let source = format!("deb [signed-by={keyring}] http://deb.debian.org/debian {RELEASE} main\n");
    fs::write(to.join("sources.list"), source)?;
    let place = to.to_string_lossy();
    let options = [
        format!("Dir::Etc::sourcelist={place}/sources.list"),
        "Dir::Etc::sourceparts=/dev/null".into(),
        format!("Dir::State::lists={place}/lists"),
        format!("Dir::Cache={place}/cache"),
    ];
    let apt = |program: &str, args: &[&str]| {
        let mut apt = command(program, &[]);
        for option in &options {
            apt.args(["-o", option]);
        }
        apt.args(args);
        apt
    };
    run(&mut apt("apt-get", &["update", "-q"]))?;
    let kinds = [
        "pre-depends",
        "recommends",
        "suggests",
        "conflicts",
        "breaks",
        "replaces",
        "enhances",
    ];
    let without: Vec<String> = kinds.iter().map(|kind| format!("--no-{kind}")).collect();
    let mut depends = apt("apt-cache", &["depends", "--recurse"]);
    let tree = output(depends.args(without).args(PACKAGES))?;
    // Packages stand at the start of a line; what they need follows indented, virtual ones in <>.
    let wanted = tree
        .lines()
        .filter(|line| !line.starts_with([' ', '<', '|']));
    run(apt("apt-get", &["download", "-q"])
        .args(wanted)
        .current_dir(&debs))?;
    for deb in fs::read_dir(&debs)? {
        let deb = deb?.path();
        let unpack = ["-x", &deb.to_string_lossy(), &files.to_string_lossy()].map(String::from);
        let status = command("dpkg", &[]).args(unpack).status().context("dpkg")?;
        if !status.success() {
            bail!("could not unpack {}", deb.display());
        }
    }
    Ok(())
}

/// A script that runs an unpacked program with its own loader and libraries.
fn script(unpacked: &Path, name: &str, at: &Path) -> Result<()> {
    let lib = unpacked.join("root/usr/lib");
    let libraries =
        find(&lib, |n| n.ends_with("-linux-gnu")).context("no libraries were unpacked")?;
    let loader =
        find(&libraries, |n| n.starts_with("ld-linux")).context("no loader was unpacked")?;
    let (loader, libraries, program) = (
        loader.display(),
        libraries.display(),
        unpacked.join("root/usr/bin").join(name),
    );
    let text = format!(
        "#!/bin/sh\nexec '{loader}' --library-path '{libraries}' '{}' \"$@\"\n",
        program.display()
    );
    fs::write(at, text)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn find(folder: &Path, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .find(|entry| is_it(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
}
