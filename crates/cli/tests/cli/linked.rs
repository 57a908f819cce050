//! What the program needs of the system it runs on.

use std::process::Command;

#[test]
fn the_program_needs_the_c_library_and_nothing_else() {
    let asked = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_starling"))
        .output()
        .expect("ldd comes with the C library");
    let text = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{text}");
    let of_the_c_library = [
        "linux-vdso",
        "ld-linux",
        "libc.",
        "libm.",
        "libdl.",
        "libpthread.",
        "librt.",
    ];
    let others: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| {
            let name = name.rsplit('/').next().unwrap_or(name);
            !of_the_c_library.iter().any(|known| name.starts_with(known))
        })
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(text.contains("libc."), "{text}");
}
