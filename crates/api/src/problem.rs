//! Errors as everyone sees them: problem details (RFC 9457) with a kind that programs can act on.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request cannot be read: malformed JSON, an unknown query parameter.
    Malformed,
    /// No token, or one that is not right.
    Unauthorized,
    /// Not from where it came: another origin.
    Forbidden,
    /// No such transfer, label, file or route.
    NotFound,
    /// The route exists, with other methods.
    Method,
    /// The body took too long to arrive.
    Timeout,
    /// The request is right, but things are not so that it can be done.
    Conflict,
    /// The transfer is there already; `instance` names it.
    AlreadyPresent,
    /// A body over its limit.
    TooLarge,
    /// The body is of a type that this route does not take.
    MediaType,
    /// The request names a host that this daemon is not.
    Misdirected,
    /// The request can be read and asks for something that cannot be: a value out of range, an
    /// unknown key.
    Invalid,
    /// Too many wrong tokens.
    TooMany,
    /// The system does not allow it.
    Permission,
    /// Data is not what the torrent says, or the torrent itself is damaged.
    Damaged,
    /// What a URL names could not be fetched.
    Unreachable,
    /// The disk is full.
    NoSpace,
    /// Not now: too many clients, or the daemon is stopping.
    Unavailable,
    /// A mistake of the daemon's own.
    Internal,
}

impl Kind {
    /// Its name in JSON, and at the end of [`Problem::type_uri`].
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// The HTTP status that carries it (RFC 9110 §15).
    pub fn status(self) -> u16 {
        self.facts().1
    }

    /// A few words, the same for each of the kind.
    pub fn title(self) -> &'static str {
        self.facts().2
    }

    fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Kind::Malformed => ("malformed", 400, "The request cannot be read"),
            Kind::Unauthorized => ("unauthorized", 401, "A valid token is needed"),
            Kind::Forbidden => ("forbidden", 403, "Not allowed from here"),
            Kind::NotFound => ("not-found", 404, "Not found"),
            Kind::Method => ("method", 405, "Another method is needed"),
            Kind::Timeout => ("timeout", 408, "The request took too long"),
            Kind::Conflict => ("conflict", 409, "Not as things are"),
            Kind::AlreadyPresent => ("already-present", 409, "It is there already"),
            Kind::Permission => ("permission", 409, "The system does not allow it"),
            Kind::Damaged => ("damaged", 409, "The data is damaged"),
            Kind::Unreachable => ("unreachable", 409, "It could not be fetched"),
            Kind::TooLarge => ("too-large", 413, "The request is too large"),
            Kind::MediaType => ("media-type", 415, "Another type of body is needed"),
            Kind::Misdirected => ("misdirected", 421, "Another host is meant"),
            Kind::Invalid => (
                "invalid",
                422,
                "The request asks for something that cannot be",
            ),
            Kind::TooMany => ("too-many", 429, "Too many wrong tokens"),
            Kind::Internal => ("internal", 500, "A mistake of the daemon"),
            Kind::Unavailable => ("unavailable", 503, "Not now"),
            Kind::NoSpace => ("no-space", 507, "The disk is full"),
        }
    }
}

/// Why a request was not done (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:starling:problem:` and the kind.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    pub type_uri: String,
    /// A few words, the same for each of the kind.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened and what to do, in a sentence or two.
    pub detail: String,
    /// The path of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri-reference")]
    pub instance: Option<String>,
    /// What kind of error it is, for programs.
    pub kind: Kind,
}

impl Problem {
    /// A problem of this kind; `detail` says what happened and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            type_uri: format!("urn:starling:problem:{}", kind.name()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            kind,
        }
    }

    /// The same, about what is at this path.
    #[must_use]
    pub fn about(mut self, path: impl Into<String>) -> Problem {
        self.instance = Some(path.into());
        self
    }

    /// A value out of range, or one that cannot be.
    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::Invalid, detail)
    }

    /// There is no transfer with this number.
    pub fn no_transfer(id: crate::TransferId) -> Problem {
        Problem::new(
            Kind::NotFound,
            format!("There is no transfer {id}. `starling list` shows those there are."),
        )
        .about(format!("/api/v1/transfers/{id}"))
    }

    /// There is no label with this name.
    pub fn no_label(name: &str) -> Problem {
        Problem::new(
            Kind::NotFound,
            format!("There is no label {name}. Make it first, or choose one there is."),
        )
    }

    /// The daemon is stopping.
    pub fn stopping() -> Problem {
        Problem::new(
            Kind::Unavailable,
            "The daemon is stopping. `starling up` starts it again.",
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_its_kind() {
        let problem = Problem::no_transfer(crate::TransferId(7));
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:starling:problem:not-found");
        assert_eq!(json["status"], 404);
        assert_eq!(json["kind"], "not-found");
        assert_eq!(json["instance"], "/api/v1/transfers/7");
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
