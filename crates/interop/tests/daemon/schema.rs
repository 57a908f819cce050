//! The API against its own description, with requests that nobody thought of: schemathesis.

use crate::world::Daemon;
use interop::{Kind, MIB, Scenario};
use std::path::Path;
use std::process::Command;

/// Seconds after which it has to be done.
const PATIENCE: &str = "150";
/// Requests made up for each operation, besides those at the edges of its ranges.
const EXAMPLES: &str = "8";

#[test]
fn answers_are_as_the_document_says_whatever_is_asked() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    daemon.seeds(&torrent);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop/venv/bin/python");
    let mut schemathesis = Command::new("timeout");
    schemathesis
        .arg(PATIENCE)
        .arg(python)
        .args(["-m", "schemathesis.cli", "run"]);
    schemathesis.args([
        &format!("http://{}/api/v1/openapi.json", daemon.api),
        "--url",
        &format!("http://{}", daemon.api),
        "--header",
        &format!("Authorization: Bearer {}", daemon.token()),
        // It would end the daemon, and what follows would be refused.
        "--exclude-path",
        "/api/v1/shutdown",
        // They have no end, so there is no answer to compare.
        "--exclude-path",
        "/api/v1/events",
        "--exclude-path",
        "/api/v1/transfers/{id}/events",
        // ignored_auth: wrong tokens are counted, and soon answered with 429; the gateway's own tests try them.
        // positive_data_acceptance: no schema can say which bytes are a torrent, or which folder there is.
        "--exclude-checks",
        "ignored_auth,positive_data_acceptance",
        "--max-examples",
        EXAMPLES,
        "--request-timeout",
        "15",
        "--no-color",
    ]);
    // What it keeps from one run to the next lies in the scenario.
    let out = schemathesis.current_dir(s.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let log = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}\n{said}\n{log}", out.status);
    assert!(said.contains(" generated, "), "it tried something: {said}");
    assert_eq!(
        daemon.asks("GET", "/status", None).status,
        200,
        "it still answers"
    );
    daemon.down();
}
