//! `starling id`: keys, persons and their devices.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::{Desk, Ended};

impl Desk {
    fn key(&self) -> PathBuf {
        self.path(&self.home).join("identity/device.key")
    }

    /// Runs a command that reads `input`.
    fn run_with(&self, args: &[&str], input: &str) -> Ended {
        fs::write(self.path("input"), input).unwrap();
        let mut command = self.command(args);
        command.stdin(File::open(self.path("input")).unwrap());
        Ended::of(command)
    }

    /// Makes a person; its words.
    fn person(&self, name: &str) -> String {
        let made = self.run(&["id", "new-person", "--name", name]).ends(0);
        assert_eq!(made.last().split(' ').count(), 12, "{}", made.out);
        made.last().to_owned()
    }
}

#[test]
fn a_device_has_one_link_from_the_first_time_on() {
    let desk = Desk::new();
    let first = desk.run(&["id"]).ends(0);
    assert!(first.last().starts_with("starling:c"), "{}", first.out);
    assert_eq!(first.last().len(), 70);
    let seen = desk.run(&["id", "--json"]).ends(0).event();
    assert_eq!(seen["link"], first.last());
    assert_eq!(
        (&seen["person"].is_null(), &seen["locked"]),
        (&true, &false.into())
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(desk.key()), 0o600);
    assert_eq!(mode(desk.path("home/identity")), 0o700);
}

#[test]
fn programs_that_start_at_once_make_one_key() {
    let desk = Desk::new();
    let all: Vec<_> = (0..8)
        .map(|_| {
            let mut command = desk.command(&["id"]);
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let links: Vec<_> = all
        .into_iter()
        .map(|child| child.wait_with_output().unwrap().stdout)
        .collect();
    assert!(links[0].starts_with(b"starling:") && links.iter().all(|link| *link == links[0]));
}

#[test]
fn keys_that_others_can_read_or_that_are_damaged_are_not_used() {
    let desk = Desk::new();
    desk.run(&["id"]).ends(0);
    fs::set_permissions(desk.key(), Permissions::from_mode(0o640)).unwrap();
    let exposed = desk.run(&["id", "--json"]).ends(8);
    assert_eq!(exposed.event()["code"], "identity");
    assert!(
        exposed.err.contains("(mode 640)") && exposed.err.contains("chmod go="),
        "{}",
        exposed.err
    );
    fs::set_permissions(desk.key(), Permissions::from_mode(0o600)).unwrap();

    let good = fs::read(desk.key()).unwrap();
    for bad in [&good[..20], b"", &[&good[..30], b"x", &good[31..]].concat()] {
        fs::write(desk.key(), bad).unwrap();
        let damaged = desk.run(&["id"]).ends(8);
        assert!(damaged.err.contains("is damaged"), "{}", damaged.err);
        assert_eq!(
            fs::read(desk.key()).unwrap(),
            bad,
            "nothing was put in its place"
        );
    }
}

#[test]
fn twelve_words_make_another_computer_a_device_with_keys_of_its_own() {
    let mut desk = Desk::new();
    let none = desk.run(&["id", "devices"]).ends(8);
    assert!(none.err.contains("new-person"), "{}", none.err);
    let words = desk.person("laptop");
    let person = desk.run(&["id", "--json"]).ends(0).event();
    assert_eq!(person["name"], "laptop");
    desk.run(&["id", "new-person"]).ends(8);

    // The words are right, however they are written; other words are not.
    let shouted = words.to_uppercase().replace(' ', "\n");
    desk.run_with(&["id", "phrase"], &shouted).ends(0);
    let (first, rest) = words.split_once(' ').unwrap();
    let typo = desk
        .run_with(&["id", "phrase"], &format!("{first}q {rest}"))
        .ends(8);
    assert!(
        typo.err.contains("Word 1") && typo.err.contains(first),
        "{}",
        typo.err
    );
    let other = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let wrong = desk.run_with(&["id", "phrase"], other).ends(8);
    assert!(wrong.err.contains("not this person's"), "{}", wrong.err);
    desk.run(&["id", "phrase"]).ends(2);

    desk.home = "restored".into();
    let restored = desk
        .run_with(&["id", "restore", "--name", "tower", "--json"], &words)
        .ends(0)
        .event();
    assert_eq!(restored["person"], person["person"]);
    assert_ne!(restored["device"], person["device"]);
    assert!(restored.get("phrase").is_none());
    let again = desk.run_with(&["id", "restore"], other).ends(8);
    assert!(again.err.contains("another person"), "{}", again.err);
    assert_eq!(
        desk.run(&["id", "--person"]).ends(0).last(),
        person["person_link"].as_str().unwrap()
    );

    // No file holds what the words stand for.
    for (path, bytes) in crate::contents(&desk.path("home")) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(first), "{}", path.display());
    }
}

#[test]
fn a_device_is_taken_away_by_name_id_or_link() {
    let desk = Desk::new();
    let words = desk.person("laptop");
    let stolen = Desk::new().run(&["id", "--json"]).ends(0).event();
    let link = stolen["link"].as_str().unwrap();
    let this = desk.run(&["id", "--json"]).ends(0).event();

    desk.run_with(&["id", "revoke", link], &words).ends(2);
    desk.run_with(&["id", "revoke", "phone", "--yes"], &words)
        .ends(3);
    let person = this["person_link"].as_str().unwrap();
    let foreign = desk
        .run_with(&["id", "revoke", person, "--yes"], &words)
        .ends(2);
    assert!(
        foreign.err.contains("a link to a person"),
        "{}",
        foreign.err
    );
    let cut = desk
        .run_with(&["id", "revoke", &link[..40], "--yes"], &words)
        .ends(2);
    assert!(cut.err.contains("cut off"), "{}", cut.err);

    let gone = desk
        .run_with(&["id", "revoke", link, "--yes"], &words)
        .ends(0);
    assert_eq!(gone.last(), stolen["device"].as_str().unwrap());
    let listed = desk.run(&["id", "devices", "--json"]).ends(0).event();
    assert_eq!(
        (&listed["name"], listed["revoked"].is_null()),
        (&"laptop".into(), true)
    );

    desk.run_with(&["id", "revoke", "laptop", "--yes"], &words)
        .ends(0);
    let listed = desk.run(&["id", "devices"]).ends(0);
    assert!(listed.out.contains("revoked"), "{}", listed.out);
    assert!(desk.run(&["id", "--json"]).ends(0).event()["person"].is_null());
    let back = desk.run_with(&["id", "restore"], &words).ends(8);
    assert!(back.err.contains("never comes back"), "{}", back.err);
}

#[test]
fn a_passphrase_is_needed_where_the_keys_are() {
    let desk = Desk::new();
    let link = desk.run(&["id"]).ends(0).last().to_owned();
    fs::write(desk.path("right"), "open sesame\n").unwrap();
    fs::write(desk.path("wrong"), "open barley\n").unwrap();
    fs::write(desk.path("empty"), "\n").unwrap();
    desk.run(&["id", "passphrase"]).ends(2);
    desk.run(&["id", "passphrase", "--new-passphrase-file", "empty"])
        .ends(2);
    desk.run(&["id", "passphrase", "--new-passphrase-file", "right"])
        .ends(0);

    assert_eq!(
        desk.run(&["id"]).ends(0).last(),
        link,
        "the link is no secret"
    );
    let asked = desk.run(&["id", "new-person"]).ends(2);
    assert!(asked.err.contains("--passphrase-file"), "{}", asked.err);
    let wrong = desk
        .run(&["id", "new-person", "--passphrase-file", "wrong"])
        .ends(8);
    assert!(wrong.err.contains("not the passphrase"), "{}", wrong.err);
    desk.run(&["id", "new-person", "--passphrase-file", "right"])
        .ends(0);
    desk.run(&["id", "passphrase", "--remove", "--passphrase-file", "right"])
        .ends(0);
    assert_eq!(desk.run(&["id", "--json"]).ends(0).event()["locked"], false);
}
