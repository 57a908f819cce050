//! Names on their way through URLs and headers.

/// What a path in a URL stands for (RFC 3986 §2.1), without its leading `/`; `None` if that is no text.
pub(crate) fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.strip_prefix('/').unwrap_or(path).bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// A path as it stands in a URL, with its leading `/`.
pub(crate) fn encoded(path: &str) -> String {
    let mut url = String::with_capacity(path.len() + 1);
    for part in path.split('/') {
        url.push('/');
        // Unreserved characters stay as they are (RFC 3986 §2.3).
        escape(&mut url, part, b"-._~");
    }
    url
}

/// `Content-Disposition` (RFC 6266) for the file with this path: the last part of it, in ASCII for those who know no
/// more, and as it is (RFC 8187).
pub(crate) fn disposition(how: &str, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%');
    let ascii: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    let mut header = format!("{how}; filename=\"{ascii}\"");
    if ascii != name {
        header.push_str("; filename*=UTF-8''");
        escape(&mut header, name, b"!#$&+-.^_`|~");
    }
    header
}

/// Letters, digits and what is in `also` stay; all else becomes `%XX`.
fn escape(into: &mut String, text: &str, also: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || also.contains(&byte) {
            into.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
            into.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Text in an HTML page.
pub(crate) fn html(text: &str) -> String {
    let mut page = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            c => page.push(c),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back_from_its_url() {
        for path in [
            "a.txt",
            "disc 2/50% über.flac",
            "a&b=c?d#e/+.x",
            "音楽/\u{1f426}.mkv",
            "\"<'>\\",
        ] {
            let url = encoded(path);
            assert!(
                url.is_ascii() && !url.contains(['?', '#', ' ', '"']),
                "{url}"
            );
            assert_eq!(decoded(&url).as_deref(), Some(path));
        }
    }

    #[test]
    fn what_is_no_text_is_no_name() {
        for wrong in ["/%", "/%4", "/%zz", "/%ff", "/a%C3"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
        assert_eq!(
            decoded("/a+b").as_deref(),
            Some("a+b"),
            "a plus is a plus in a path"
        );
    }

    #[test]
    fn a_name_is_given_in_ascii_and_as_it_is() {
        assert_eq!(
            disposition("inline", "a/b c.mkv"),
            "inline; filename=\"b c.mkv\""
        );
        assert_eq!(
            disposition("attachment", "50% \"ü\".txt"),
            "attachment; filename=\"50_ ___.txt\"; filename*=UTF-8''50%25%20%22%C3%BC%22.txt"
        );
        let evil = disposition("inline", "a\r\nSet-Cookie: x=1\\\".txt");
        assert!(!evil.contains(['\r', '\n', '\\']), "{evil}");
    }
}
