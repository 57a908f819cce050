//! On Linux the program needs the C library and nothing else: what unwinds the stack is linked into it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" && unwinder().is_some() {
        // The standard library asks for the shared libgcc_s. The linker finds this script under that name first.
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
        let script = "GROUP ( -lgcc_eh -lgcc )\n";
        fs::write(out.join("libgcc_s.so"), script).expect("cargo's folder can be written");
        println!("cargo::rustc-link-arg-bins=-L{}", out.display());
    }
}

/// The static unwinder, where the compiler brings one.
fn unwinder() -> Option<PathBuf> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let asked = Command::new(compiler)
        .arg("-print-file-name=libgcc_eh.a")
        .output()
        .ok()?;
    let path = String::from_utf8(asked.stdout).ok()?;
    let path = Path::new(path.trim());
    (path.is_absolute() && path.exists()).then(|| path.to_owned())
}
