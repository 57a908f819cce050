//! The vectors of docs/design/links.md: lines of a name, a colon, and a value that may go on in indented lines.

const PAGE: &str = include_str!("../../../../docs/design/links.md");

/// The value behind this name.
pub fn vector(name: &str) -> String {
    let mut lines = PAGE
        .lines()
        .skip_while(|line| line.split_once(": ").is_none_or(|(key, _)| key != name));
    let first = lines
        .next()
        .unwrap_or_else(|| panic!("the page has a vector {name}"));
    let more = lines.take_while(|line| line.starts_with("  "));
    let (_, value) = first.split_once(": ").expect("it was found by it");
    more.fold(value.trim().to_owned(), |value, line| value + line.trim())
}

/// `N` bytes that count upwards.
pub fn count<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|at| from.wrapping_add(at as u8))
}

/// The bytes behind this name, which are written in hexadecimal.
#[allow(
    dead_code,
    reason = "each test that reads the page is a program of its own"
)]
pub fn bytes(name: &str) -> Vec<u8> {
    let hex = vector(name);
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("it is ASCII"), 16);
    digits
        .map(|pair| byte(pair).expect("they are digits"))
        .collect()
}
