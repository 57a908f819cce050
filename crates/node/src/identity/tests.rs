use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use identity::Phrase;
use tempfile::TempDir;

use super::*;

fn home() -> (TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::of(&dir.path().join("home"));
    (dir, folder)
}

fn person(n: u8) -> PersonKey {
    PersonKey::from_phrase(&Phrase::from_entropy(&[n; 16]))
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_once_and_are_for_their_owner_alone() {
    let (_dir, folder) = home();
    let card = folder.card().unwrap();
    assert_eq!(folder.card().unwrap(), card);
    assert_eq!(folder.keys(None).ok().unwrap().device.id(), card.device);
    assert_eq!(mode(folder.path()), 0o700);
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let (_other, elsewhere) = home();
    assert_ne!(elsewhere.card().unwrap().device, card.device);
}

#[test]
fn those_who_come_at_once_make_one_key() {
    let (_dir, folder) = home();
    let ids: Vec<DeviceId> = thread::scope(|scope| {
        let open = || folder.card().unwrap().device;
        let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_file_that_others_could_read_or_change_is_refused() {
    let (_dir, folder) = home();
    let card = folder.card().unwrap();
    let key = folder.key_path();
    for (path, bad, good) in [
        (key.as_path(), 0o644, 0o600),
        (key.as_path(), 0o620, 0o600),
        (folder.path(), 0o777, 0o700),
    ] {
        fs::set_permissions(path, Permissions::from_mode(bad)).unwrap();
        let error = folder.card().unwrap_err();
        assert!(matches!(&error, IdentityError::Exposed { mode, .. } if *mode == bad));
        assert!(
            error.to_string().contains(&format!("(mode {bad:o})")),
            "{error}"
        );
        fs::set_permissions(path, Permissions::from_mode(good)).unwrap();
    }
    assert_eq!(
        folder.card().unwrap(),
        card,
        "nothing was changed meanwhile"
    );
}

#[test]
fn damage_is_told_and_nothing_put_in_its_place() {
    let (_dir, folder) = home();
    folder.card().unwrap();
    let key = folder.key_path();
    let good = fs::read(&key).unwrap();
    for bad in [&b""[..], b"noise", &good[..50], &[0; 100_000]] {
        fs::write(&key, bad).unwrap();
        assert!(matches!(folder.card(), Err(IdentityError::Damaged { .. })));
        assert!(matches!(
            folder.keys(None),
            Err(IdentityError::Damaged { .. })
        ));
        assert_eq!(fs::read(&key).unwrap(), bad);
    }
    fs::write(&key, good).unwrap();
    folder.card().unwrap();
    fs::write(folder.path().join("devices"), b"noise").unwrap();
    fs::set_permissions(folder.path().join("devices"), Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        folder.card(),
        Err(IdentityError::Newer { .. } | IdentityError::Damaged { .. })
    ));
}

#[test]
fn what_a_crash_left_behind_is_in_nobodys_way() {
    let (_dir, folder) = home();
    private::folder(folder.path()).unwrap();
    fs::write(folder.path().join("device.new"), b"half").unwrap();
    folder.card().unwrap();
    assert!(!folder.path().join("device.new").exists());
}

#[test]
fn a_passphrase_locks_keys_and_nothing_else() {
    let (_dir, folder) = home();
    let card = folder.card().unwrap();
    let keys = folder.keys(None).ok().unwrap();
    folder.lock(&keys, Some(b"open sesame")).unwrap();
    let locked = folder.card().unwrap();
    assert_eq!((locked.device, locked.is_locked), (card.device, true));
    assert!(matches!(folder.keys(None), Err(IdentityError::Locked)));
    assert!(matches!(
        folder.keys(Some(b"barley")),
        Err(IdentityError::WrongPassphrase)
    ));
    let opened = folder.keys(Some(b"open sesame")).ok().unwrap();
    assert_eq!(opened.device.expose(), keys.device.expose());
    folder.lock(&opened, None).unwrap();
    assert_eq!(folder.card().unwrap(), card);
}

#[test]
fn a_device_is_enrolled_named_and_taken_away() {
    let (_dir, folder) = home();
    let keys = folder.keys(None).ok().unwrap();
    let enrol =
        |person: &PersonKey, called, now| folder.enrol(person, &keys, name(called), UnixTime(now));
    assert!(folder.card().unwrap().certificate().is_none());
    enrol(&person(1), "laptop", 100).unwrap();
    // A new name counts, with a clock that was set back, too.
    enrol(&person(1), "old laptop", 50).unwrap();
    let card = folder.card().unwrap();
    assert_eq!(card.certificate().unwrap().name().as_str(), "old laptop");
    assert_eq!(card.devices.as_ref().unwrap().certificates().len(), 1);

    let other = enrol(&person(2), "laptop", 100).unwrap_err();
    assert!(matches!(other, IdentityError::OtherPerson(id) if id == person(1).id()));
    let stolen = DeviceId([9; 32]);
    assert!(matches!(
        folder.revoke(&person(2), stolen, UnixTime(1)),
        Err(IdentityError::OtherPerson(_))
    ));
    folder.revoke(&person(1), stolen, UnixTime(1)).unwrap();
    assert!(folder.card().unwrap().certificate().is_some());
    folder.revoke(&person(1), card.device, UnixTime(1)).unwrap();
    assert!(folder.card().unwrap().certificate().is_none());
    assert!(matches!(
        enrol(&person(1), "laptop", 200),
        Err(IdentityError::Revoked { .. })
    ));
}

#[test]
fn nobody_is_revoked_where_there_is_no_person() {
    let (_dir, folder) = home();
    let revoked = folder.revoke(&person(1), DeviceId([9; 32]), UnixTime(1));
    assert!(matches!(revoked, Err(IdentityError::NoPerson)));
}
