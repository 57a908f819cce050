//! What a request for a file comes to, before a byte of it is read: conditions (RFC 9110 §13), ranges (§14), and the
//! headers that say so.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{ContentFile, Problem};
use axum::body::Body;
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::media::{Media, Use};
use super::names;
use super::range::{Asked, asked};

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200.
    Whole,
    /// 206.
    Part(Range<u64>),
    /// 304: whoever asks has it.
    Unchanged,
    /// 412: it is not what whoever asks thinks it is.
    Other,
    /// 416.
    Nothing,
}

/// Judges a request, in the order of RFC 9110 §13.2.2.
pub(crate) fn judge(method: &Method, headers: &HeaderMap, file: &ContentFile) -> Verdict {
    let tag = tag(file);
    let when = |name| headers.get(name).and_then(seconds);
    if headers.contains_key(header::IF_MATCH) {
        if !names_tag(headers, header::IF_MATCH, &tag, false) {
            return Verdict::Other;
        }
    } else if when(header::IF_UNMODIFIED_SINCE).is_some_and(|when| file.since > when) {
        return Verdict::Other;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if names_tag(headers, header::IF_NONE_MATCH, &tag, true) {
            return Verdict::Unchanged;
        }
    } else if when(header::IF_MODIFIED_SINCE).is_some_and(|when| file.since <= when) {
        return Verdict::Unchanged;
    }
    // A range means something to GET alone (§14.2).
    let range = headers.get(header::RANGE).filter(|_| method == Method::GET);
    let Some(range) = range.filter(|_| is_still(headers, file, &tag)) else {
        return Verdict::Whole;
    };
    match asked(range.as_bytes(), file.size) {
        Asked::All => Verdict::Whole,
        Asked::Part(range) => Verdict::Part(range),
        Asked::Nothing => Verdict::Nothing,
    }
}

/// Is it what `If-Range` says it was, if that is said?
fn is_still(headers: &HeaderMap, file: &ContentFile, tag: &str) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else {
        return true;
    };
    match value.as_bytes() {
        [b'"', ..] | [b'W', b'/', ..] => value == tag,
        _ => seconds(value) == Some(file.since),
    }
}

/// The entity tag of a file: strong, because its bytes never change.
fn tag(file: &ContentFile) -> String {
    format!("\"{}\"", file.tag)
}

/// Does a list of tags have this one? `weakly`: one marked as weak will do (§8.8.3.2).
fn names_tag(headers: &HeaderMap, name: HeaderName, tag: &str, weakly: bool) -> bool {
    let lists = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut named = lists.flat_map(|list| list.split(',')).map(str::trim);
    named.any(|named| {
        let strong = named.strip_prefix("W/").filter(|_| weakly).unwrap_or(named);
        named == "*" || strong == tag
    })
}

/// A date, in seconds since 1970; `None` if it is none.
fn seconds(value: &HeaderValue) -> Option<u64> {
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    date.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// The answer about a file, as yet without a body. `save`: it is to be saved whatever it is.
pub(crate) fn about(file: &ContentFile, verdict: &Verdict, save: bool) -> Response {
    let media = Media::of(&file.path);
    let (status, length) = match verdict {
        Verdict::Whole => (StatusCode::OK, Some(file.size)),
        Verdict::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range.end - range.start)),
        Verdict::Unchanged => (StatusCode::NOT_MODIFIED, None),
        Verdict::Other => (StatusCode::PRECONDITION_FAILED, Some(0)),
        Verdict::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, Some(0)),
    };
    let mut response = bare(status, media.usage);
    let headers = response.headers_mut();
    let mut set = |name, value: String| {
        let value =
            HeaderValue::try_from(value).expect("numbers, tags and escaped names are ASCII");
        headers.insert(name, value);
    };
    set(header::ETAG, tag(file));
    set(header::LAST_MODIFIED, date(file.since));
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    // A browser asks again each time: whoever was forgotten is not shown from what it kept.
    set(header::CACHE_CONTROL, "private, no-cache".to_owned());
    length
        .into_iter()
        .for_each(|length| set(header::CONTENT_LENGTH, length.to_string()));
    match verdict {
        Verdict::Whole | Verdict::Part(_) => {
            let saved = save || media.usage == Use::Save;
            let how = if saved { "attachment" } else { "inline" };
            set(header::CONTENT_TYPE, media.media_type.to_owned());
            set(
                header::CONTENT_DISPOSITION,
                names::disposition(how, &file.path),
            );
        }
        Verdict::Nothing => set(header::CONTENT_RANGE, format!("bytes */{}", file.size)),
        Verdict::Unchanged | Verdict::Other => {}
    }
    if let Verdict::Part(range) = verdict {
        let (first, last) = (range.start, range.end - 1);
        set(
            header::CONTENT_RANGE,
            format!("bytes {first}-{last}/{}", file.size),
        );
    }
    response
}

fn date(seconds: u64) -> String {
    // The year 9999 is the last that a date can name.
    let seconds = seconds.min(253_402_300_799);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// An answer with the headers that all have: nothing of it is guessed at, and nobody learns the host, which is a
/// secret, by a link.
fn bare(status: StatusCode, usage: Use) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    if usage != Use::Play {
        let policy = HeaderValue::from_static(
            "sandbox; default-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'none'",
        );
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Why there is no answer, in words.
pub(crate) fn refusal(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = format!("{}\n", problem.detail);
    let mut response = page("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// Something that we say ourselves. Its links may be followed and saved, and that is all.
pub(crate) fn page(media_type: &'static str, text: String) -> Response {
    let mut response = bare(StatusCode::OK, Use::Page);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox allow-downloads; default-src 'none'"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    *response.body_mut() = Body::from(text);
    response
}

#[cfg(test)]
mod tests {
    use api::TransferId;

    use super::*;

    fn film() -> ContentFile {
        ContentFile {
            transfer: TransferId(1),
            index: 0,
            path: "a/film.mkv".to_owned(),
            size: 100,
            tag: "abc".to_owned(),
            since: 1_700_000_000, // Tue, 14 Nov 2023 22:13:20 GMT
        }
    }

    fn judged(method: Method, lines: &[(&'static str, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        judge(&method, &headers, &film())
    }

    const THEN: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    #[test]
    fn who_has_it_is_told_so() {
        let unchanged: [&[_]; 6] = [
            &[("if-none-match", "\"abc\"")],
            &[("if-none-match", "\"x\", W/\"abc\"")],
            &[("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")],
            &[("if-none-match", "*")],
            &[("if-modified-since", THEN)],
            &[("if-none-match", "\"abc\""), ("range", "bytes=0-1")],
        ];
        for lines in unchanged {
            assert_eq!(judged(Method::GET, lines), Verdict::Unchanged, "{lines:?}");
            assert_eq!(judged(Method::HEAD, lines), Verdict::Unchanged, "{lines:?}");
        }
        let whole: [&[_]; 5] = [
            &[("if-none-match", "\"abcd\"")],
            &[("if-none-match", "abc")],
            // A tag says more than a date.
            &[("if-none-match", "\"x\""), ("if-modified-since", THEN)],
            &[("if-modified-since", BEFORE)],
            &[("if-modified-since", "yesterday")],
        ];
        for lines in whole {
            assert_eq!(judged(Method::GET, lines), Verdict::Whole, "{lines:?}");
        }
    }

    #[test]
    fn a_range_holds_if_it_is_still_the_same_file() {
        let part = Verdict::Part(10..20);
        for (condition, verdict) in [
            ("\"abc\"", &part),
            (THEN, &part),
            ("\"old\"", &Verdict::Whole),
            ("W/\"abc\"", &Verdict::Whole),
            (BEFORE, &Verdict::Whole),
            ("nonsense", &Verdict::Whole),
        ] {
            let lines = [("if-range", condition), ("range", "bytes=10-19")];
            assert_eq!(judged(Method::GET, &lines), *verdict, "{condition}");
        }
        let lines = [("range", "bytes=100-")];
        assert_eq!(judged(Method::GET, &lines), Verdict::Nothing);
        assert_eq!(
            judged(Method::HEAD, &lines),
            Verdict::Whole,
            "HEAD has no ranges"
        );
    }

    #[test]
    fn who_means_another_file_is_told_so() {
        for lines in [
            ("if-match", "\"x\""),
            ("if-match", "W/\"abc\""),
            ("if-unmodified-since", BEFORE),
        ] {
            assert_eq!(judged(Method::GET, &[lines]), Verdict::Other, "{lines:?}");
        }
        for lines in [
            ("if-match", "\"abc\""),
            ("if-match", "*"),
            ("if-unmodified-since", THEN),
        ] {
            assert_eq!(judged(Method::GET, &[lines]), Verdict::Whole, "{lines:?}");
        }
    }

    #[test]
    fn headers_say_what_is_sent_and_how_it_may_be_used() {
        let response = about(&film(), &Verdict::Part(10..20), false);
        let headers = response.headers();
        assert_eq!(response.status(), 206);
        assert_eq!(headers["content-range"], "bytes 10-19/100");
        assert_eq!(headers["content-length"], "10");
        assert_eq!(headers["content-type"], "video/x-matroska");
        assert_eq!(
            headers["content-disposition"],
            "inline; filename=\"film.mkv\""
        );
        assert_eq!(headers["last-modified"], THEN);
        assert_eq!(headers["etag"], "\"abc\"");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(
            !headers.contains_key("content-security-policy"),
            "a player is no page"
        );

        let page = ContentFile {
            path: "index.html".to_owned(),
            ..film()
        };
        let response = about(&page, &Verdict::Whole, true);
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("sandbox;"), "{policy}");
        assert_eq!(
            response.headers()["content-disposition"],
            "attachment; filename=\"index.html\""
        );

        let response = about(&film(), &Verdict::Nothing, false);
        assert_eq!(response.status(), 416);
        assert_eq!(response.headers()["content-range"], "bytes */100");
        let response = about(&film(), &Verdict::Unchanged, false);
        assert!(!response.headers().contains_key("content-length"));
        for name in ["access-control-allow-origin", "set-cookie"] {
            assert!(!response.headers().contains_key(name));
        }
    }
}
