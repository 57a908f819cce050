//! A node that runs for as long as the computer is on: transfers as people manage them, kept in a database, seen and
//! changed through the API. What its parts are is in `docs/design/daemon.md`.

mod state;
