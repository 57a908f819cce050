//! The units for systemd are right, and give away no more than they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Desk;

/// The units of a manager, with the program that was just built in place of the installed one.
fn units(desk: &Desk, manager: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../packaging/systemd")
        .join(manager);
    let mut units = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let unit = desk.path(path.file_name().unwrap().to_str().unwrap());
        fs::write(
            &unit,
            text.replace("/usr/bin/starling", env!("CARGO_BIN_EXE_starling")),
        )
        .unwrap();
        units.push(unit);
    }
    units.sort();
    units
}

fn analyze(desk: &Desk, args: &[&str], units: &[PathBuf]) {
    let output = Command::new("systemd-analyze")
        .args(args)
        .args(units)
        .env("XDG_RUNTIME_DIR", desk.path(""))
        .output()
        .expect("systemd-analyze is installed: cargo xtask setup");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}\n{said}");
}

#[test]
fn units_hold_no_mistakes() {
    let desk = Desk::new();
    let user = units(&desk, "user");
    assert_eq!(user.len(), 2);
    analyze(&desk, &["--user", "verify"], &user);
    let desk = Desk::new();
    let system = units(&desk, "system");
    assert_eq!(system.len(), 1);
    analyze(&desk, &["verify"], &system);
}

#[test]
fn the_service_of_a_computer_is_shut_off_from_the_rest_of_it() {
    let desk = Desk::new();
    let service = units(&desk, "system");
    // Tenths of systemd's points: 0 is nothing at all, 100 is everything. 15 is a network, sockets, and files.
    analyze(
        &desk,
        &["security", "--offline=true", "--threshold=15"],
        &service,
    );
    // A person's manager cannot shut off what needs privileges; what it can, it does.
    let desk = Desk::new();
    let user = units(&desk, "user");
    analyze(
        &desk,
        &["--user", "security", "--offline=true", "--threshold=65"],
        &user[..1],
    );
}
