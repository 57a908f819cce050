//! What requests carry, read with a limit on bytes and on time: numbers in paths, queries, JSON,
//! torrent files.

use std::time::Duration;

use api::{Add, AddBody, AddOptions, Check, Kind, PreviewBody, Problem, Source, TransferId};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use multer::{Constraints, Multipart, SizeLimit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::Refusal;

/// Most bytes of a JSON body.
pub(crate) const MAX_JSON: usize = 1 << 20;
/// Most bytes of a body with a torrent file: 100,000 files with their piece layers, and options.
pub(crate) const MAX_TORRENT: usize = 64 << 20;
/// How long a JSON body may take.
const JSON_TIME: Duration = Duration::from_secs(15);
/// How long a body with a torrent file may take.
const TORRENT_TIME: Duration = Duration::from_secs(120);
/// What is thrown away of a body over its limit, so that its sender gets to read the answer.
const LINGER_BYTES: usize = 4 << 20;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// The number of a transfer in a path.
pub(crate) struct Id(pub TransferId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Refusal> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(id) if digits => Ok(Id(TransferId(id))),
            _ => Err(Refusal::new(
                Kind::NotFound,
                format!("{text} is no number of a transfer."),
            )),
        }
    }
}

/// A name in a path.
pub(crate) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Name, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Name(name))
            .map_err(|error| Refusal::new(Kind::Malformed, error.body_text()))
    }
}

/// The query of a URL.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned + Check, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, Refusal> {
        let Query(params) = Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            Refusal::new(
                Kind::Malformed,
                format!("The query cannot be read: {}.", error.body_text()),
            )
        })?;
        params.check()?;
        Ok(Params(params))
    }
}

/// A body of JSON, of at most so many bytes.
pub(crate) struct Json<T, const MOST: usize = MAX_JSON>(pub T);

impl<T: DeserializeOwned + Serialize + Check, S: Sync, const MOST: usize> FromRequest<S>
    for Json<T, MOST>
{
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Json<T, MOST>, Refusal> {
        let merge = request.method() == Method::PATCH;
        match media_type(request.headers()).as_str() {
            "application/json" => {}
            "application/merge-patch+json" if merge => {}
            other => return Err(media_type_refused(other, "application/json")),
        }
        Ok(Json(read_json(request.into_body(), MOST).await?))
    }
}

/// The media type of a body, in lower case, without parameters.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or("").split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}

fn media_type_refused(got: &str, wanted: &str) -> Refusal {
    let got = if got.is_empty() { "no type" } else { got };
    Refusal::new(
        Kind::MediaType,
        format!("The body has {got}; send {wanted} as Content-Type."),
    )
}

async fn read_json<T: DeserializeOwned + Serialize + Check>(
    body: Body,
    most: usize,
) -> Result<T, Refusal> {
    parse(&read(body, most, JSON_TIME).await?)
}

/// Reads JSON and checks it.
fn parse<T: DeserializeOwned + Serialize + Check>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut said: Value = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::new(Kind::Malformed, format!("This is no JSON: {error}.")))?;
    whole_numbers(&mut said);
    let unfit = |error| Problem::invalid(format!("The JSON does not fit: {error}."));
    let value = T::deserialize(&said).map_err(unfit)?;
    let meant = serde_json::to_value(&value).expect("our types are JSON");
    if !same_shape(&said, &meant) {
        return Err(Problem::invalid(
            "The JSON has a list where an object is wanted, or an object where a text is.",
        )
        .into());
    }
    value.check()?;
    Ok(value)
}

/// 5.0 is a whole number too (JSON Schema, `integer`), and some programs write it so.
fn whole_numbers(value: &mut Value) {
    /// Up to here each is exact.
    const MOST: f64 = (1u64 << 53) as f64;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            if float.fract() == 0.0 && float.abs() <= MOST {
                *value = (float as i64).into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Are there objects wherever objects are meant? serde also takes the fields of a struct as a
/// list, which nobody should come to rely on.
fn same_shape(said: &Value, meant: &Value) -> bool {
    match (said, meant) {
        (Value::Object(said), Value::Object(meant)) => said
            .iter()
            .all(|(name, said)| meant.get(name).is_none_or(|meant| same_shape(said, meant))),
        (Value::Array(said), Value::Array(meant)) => said
            .iter()
            .zip(meant)
            .all(|(said, meant)| same_shape(said, meant)),
        // Neither is a variant of an enum, a text, taken as an object of one field.
        (_, Value::Object(_)) | (Value::Object(_), _) => false,
        _ => true,
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        Kind::TooLarge,
        format!("The body is larger than {limit} bytes, which is the most that is taken here."),
    )
}

fn too_slow() -> Refusal {
    Refusal::new(Kind::Timeout, "The body did not arrive in time. Try again.")
}

fn broken_off() -> Refusal {
    Refusal::new(Kind::Malformed, "The body broke off.")
}

/// Reads all of a body.
async fn read(mut body: Body, limit: usize, time: Duration) -> Result<Bytes, Refusal> {
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        linger(&mut body, declared).await;
        return Err(too_large(limit));
    }
    let mut bytes = BytesMut::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| broken_off())?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    match timeout(time, reading).await {
        Err(_) => Err(too_slow()),
        Ok(Err(refusal)) => {
            linger(&mut body, 0).await;
            Err(refusal)
        }
        Ok(Ok(())) => Ok(bytes.freeze()),
    }
}

/// Throws away what is still coming, within reason.
async fn linger(body: &mut Body, declared: u64) {
    if declared > LINGER_BYTES as u64 {
        return;
    }
    let mut rest = LINGER_BYTES;
    let throwing = async {
        while let Some(Ok(frame)) = body.frame().await {
            rest = rest.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if rest == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER_TIME, throwing).await;
}

/// A transfer to add: JSON, a torrent file, or a form with both.
pub(crate) async fn read_add(request: Request<Body>, uploads: &Semaphore) -> Result<Add, Refusal> {
    let add = match media_type(request.headers()).as_str() {
        "application/json" => {
            let AddBody { source, options } = read_json(request.into_body(), MAX_JSON).await?;
            let source = Source::Text(source);
            Add { source, options }
        }
        _ => read_torrent(request, uploads).await?,
    };
    add.check()?;
    Ok(add)
}

/// Something to look at.
pub(crate) async fn read_source(
    request: Request<Body>,
    uploads: &Semaphore,
) -> Result<Source, Refusal> {
    let source = match media_type(request.headers()).as_str() {
        "application/json" => {
            let PreviewBody { source } = read_json(request.into_body(), MAX_JSON).await?;
            Source::Text(source)
        }
        _ => read_torrent(request, uploads).await?.source,
    };
    source.check()?;
    Ok(source)
}

async fn read_torrent(request: Request<Body>, uploads: &Semaphore) -> Result<Add, Refusal> {
    let (parts, body) = request.into_parts();
    let form = match media_type(&parts.headers).as_str() {
        "application/x-bittorrent" => None,
        "multipart/form-data" => {
            let content_type = parts.headers.get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok());
            let boundary = multer::parse_boundary(content_type.unwrap_or(""));
            Some(boundary.map_err(|_| {
                Refusal::new(
                    Kind::Malformed,
                    "The form's Content-Type names no boundary.",
                )
            })?)
        }
        other => {
            return Err(media_type_refused(
                other,
                "application/json, application/x-bittorrent or multipart/form-data",
            ));
        }
    };
    let Ok(_turn) = uploads.try_acquire() else {
        return Err(Refusal::new(
            Kind::Unavailable,
            "Other torrent files are being received. Try again in a moment.",
        ));
    };
    let Some(boundary) = form else {
        let bytes = read(body, MAX_TORRENT, TORRENT_TIME).await?;
        return Ok(Add {
            source: Source::Torrent(bytes),
            options: AddOptions::default(),
        });
    };
    if body.size_hint().lower() > MAX_TORRENT as u64 {
        return Err(too_large(MAX_TORRENT));
    }
    let limit = SizeLimit::new().whole_stream(MAX_TORRENT as u64);
    let constraints = Constraints::new().size_limit(limit);
    let form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    timeout(TORRENT_TIME, read_form(form))
        .await
        .unwrap_or_else(|_| Err(too_slow()))
}

/// The parts `torrent` (or `source`) and `options`, each at most once.
async fn read_form(mut form: Multipart<'_>) -> Result<Add, Refusal> {
    let mut source = None;
    let mut options = None;
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| form_refused(&error))?
    {
        let name = field.name().unwrap_or("").to_owned();
        let bytes = field.bytes().await.map_err(|error| form_refused(&error))?;
        let again = match name.as_str() {
            "torrent" => source.replace(Source::Torrent(bytes)).is_some(),
            "options" => options.replace(parse(&bytes)?).is_some(),
            other => {
                return Err(Problem::invalid(format!(
                    "The form has a part {other:?}, where `torrent` and `options` are possible."
                ))
                .into());
            }
        };
        if again {
            return Err(Problem::invalid(format!("The form has the part `{name}` twice.")).into());
        }
    }
    let missing =
        || Problem::invalid("The form has no part `torrent`: the bytes of a torrent file.");
    Ok(Add {
        source: source.ok_or_else(missing)?,
        options: options.unwrap_or_default(),
    })
}

fn form_refused(error: &multer::Error) -> Refusal {
    match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            too_large(MAX_TORRENT)
        }
        multer::Error::StreamReadFailed(_) => broken_off(),
        other => Refusal::new(
            Kind::Malformed,
            format!("The form cannot be read: {other}."),
        ),
    }
}
