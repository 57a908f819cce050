//! The API's description: `docs/openapi.json`, as it is served. A test writes the same from the
//! code and compares.

use axum::response::Response;
use http::StatusCode;

use super::answer::with_type;

/// The OpenAPI 3.1 document.
pub const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// Describe the API
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "daemon",
    security(()),
    responses((status = 200, body = serde_json::Value)),
)]
pub(crate) async fn document() -> Response {
    with_type(StatusCode::OK, "application/json", DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use api::{
        Change, File, FileChange, Items, Kind, Label, Notice, Peer, PeerChange, Problem, Settings,
        Snapshot, Totals, Tracker, TrackerChange, Transfer, TransferId,
    };
    use serde_json::{Map, Value, json};
    use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
    use utoipa::{Modify, OpenApi, ToSchema};

    use super::super::{details, events, login, metrics, routes};

    /// What the event stream carries: each property is the name of an event, its schema that of
    /// the event's data.
    #[derive(ToSchema)]
    #[expect(dead_code, reason = "a schema")]
    struct EventData {
        snapshot: Snapshot,
        added: Vec<Transfer>,
        changed: Vec<Change>,
        removed: Vec<TransferId>,
        finished: TransferId,
        notice: Notice,
        labels: Vec<Label>,
        settings: Settings,
        totals: Totals,
    }

    /// What the event stream of one transfer carries: each property is the name of an event, its
    /// schema that of the event's data.
    #[derive(ToSchema)]
    #[schema(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "a schema")]
    struct ViewEventData {
        transfer: Transfer,
        transfer_changed: Vec<Change>,
        files: Items<File>,
        files_changed: Vec<FileChange>,
        peers: Vec<Peer>,
        peers_added: Vec<Peer>,
        peers_changed: Vec<PeerChange>,
        peers_removed: Vec<String>,
        trackers: Vec<Tracker>,
        trackers_changed: Vec<TrackerChange>,
        removed: Vec<TransferId>,
    }

    #[derive(OpenApi)]
    #[openapi(
        info(
            title = "Starling",
            description = "The API of a Starling daemon. Errors are problem details (RFC 9457).",
            license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        ),
        servers((url = "http://127.0.0.1:7117")),
        security(("token" = [])),
        modifiers(&Common),
        components(schemas(Problem, EventData, ViewEventData)),
        paths(
            routes::index, routes::healthz, metrics::metrics, super::document,
            login::make_link, login::log_in, login::log_out,
            routes::status, routes::reload, routes::shutdown, routes::settings, routes::update_settings,
            events::events, details::details,
            routes::list, routes::add, routes::preview, routes::transfer_row, routes::update, routes::remove,
            routes::files, routes::peers, routes::add_peers, routes::reach, routes::trackers, routes::bulk,
            routes::web_seeds, routes::change_web_seeds, routes::reusable, routes::reuse,
            routes::pause, routes::resume, routes::recheck, routes::move_data, routes::rename,
            routes::labels, routes::add_label, routes::update_label, routes::remove_label,
        ),
        tags(
            (name = "transfers", description = "Content that is fetched and offered."),
            (name = "labels", description = "Names that transfers share, with folder, limits and goals."),
            (name = "settings", description = "What a person can set."),
            (name = "events", description = "What changes, as it changes."),
            (name = "daemon", description = "The program itself."),
            (name = "login", description = "Letting a browser in."),
        ),
    )]
    struct Api;

    /// What all operations share: how they are refused, and by whom they may be asked.
    struct Common;

    impl Modify for Common {
        fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
            let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
            let components = openapi.components.get_or_insert_default();
            components.add_security_scheme("token", token);
        }
    }

    /// Kinds of problems that an operation may answer with, one for each status.
    fn refusals(path: &str, method: &str, operation: &Value) -> Vec<Kind> {
        let body = !operation["requestBody"].is_null();
        let open = operation["security"] == json!([{}]);
        let named = path.contains('{');
        let mut kinds = vec![
            Kind::Malformed,
            Kind::Forbidden,
            Kind::Misdirected,
            Kind::Internal,
            Kind::Unavailable,
        ];
        if !open || path.ends_with("/sessions") {
            kinds.extend([Kind::Unauthorized, Kind::TooMany]);
        }
        if named {
            kinds.push(Kind::NotFound);
        }
        if body || operation["parameters"].is_array() {
            kinds.push(Kind::Invalid);
        }
        if body {
            kinds.extend([Kind::TooLarge, Kind::MediaType, Kind::Timeout]);
        }
        if method != "get" && !path.contains("session") {
            kinds.extend([Kind::Conflict, Kind::NoSpace]);
        }
        kinds
    }

    /// The answer that carries a problem.
    fn refusal(kind: Kind) -> Value {
        let mut answer = json!({
            "description": kind.title(),
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
            },
        });
        if matches!(kind, Kind::TooMany | Kind::Unavailable) {
            let schema = json!({"type": "integer", "minimum": 1});
            answer["headers"] = json!({
                "retry-after": {"description": "Seconds to wait.", "schema": schema},
            });
        }
        answer
    }

    /// IP:PORT, as Rust reads it.
    fn address_pattern() -> String {
        let byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
        let port =
            "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})";
        let word = "[0-9a-fA-F]{1,4}";
        let mut six = vec![
            format!("({word}:){{7}}{word}"),
            format!("({word}:){{1,7}}:"),
            format!(":(:{word}){{1,7}}"),
            "::".to_owned(),
        ];
        six.extend((1..7).map(|n| format!("({word}:){{1,{}}}(:{word}){{1,{n}}}", 7 - n)));
        format!(r"^(({byte}\.){{3}}{byte}|\[({})\]):{port}$", six.join("|"))
    }

    /// What cannot be said beside a field: ranges of what is in a list.
    fn refine(schemas: &mut Value) {
        let tag = json!({"minLength": 1, "maxLength": 100});
        let address = json!({"pattern": address_pattern()});
        schemas["TorrentForm"]["additionalProperties"] = false.into();
        schemas["TorrentForm"]["properties"]["torrent"]["minLength"] = 1.into();
        schemas["TorrentFile"]["minLength"] = 1.into();
        schemas["Rename"]["properties"]["name"]["not"] = json!({"enum": [".", ".."]});
        schemas["AddOptions"]["not"] = json!({
            "required": ["folder", "root"],
            "properties": {"folder": {"type": "string"}, "root": {"type": "string"}},
        });
        // Of a variant there is its name and nothing else.
        for variants in ["Which", "Verb"] {
            let variants = schemas[variants]["oneOf"].as_array_mut().unwrap();
            let objects = variants.iter_mut().filter(|one| one["type"] == "object");
            objects.for_each(|one| one["additionalProperties"] = false.into());
        }
        schemas["Which"]["oneOf"][0]["properties"]["ids"]["maxItems"] = 10_000.into();
        let update = schemas["Verb"]["oneOf"].as_array_mut().unwrap().last_mut();
        let own = ["name", "priorities", "queue_position"];
        let own = own.map(|name| json!({"required": [name]}));
        update.unwrap()["properties"]["update"]["not"] = json!({"anyOf": own});
        let url = json!({"minLength": 1, "maxLength": 2048, "pattern": "^https?://[!-~]+$"});
        let items = [
            ("AddOptions", "tags", &tag),
            ("TransferPatch", "tags", &tag),
            ("AddOptions", "select", &json!({"maxLength": 1024})),
            ("AddOptions", "peers", &address),
            ("MorePeers", "peers", &address),
            ("AddOptions", "web_seeds", &url),
            ("WebSeedChange", "add", &url),
            (
                "WebSeedChange",
                "remove",
                &json!({"minLength": 1, "maxLength": 2048}),
            ),
        ];
        for (schema, property, ranges) in items {
            let items = &mut schemas[schema]["properties"][property]["items"];
            assert_eq!(items["type"], "string", "{schema}.{property}");
            let items = items.as_object_mut().unwrap();
            items.extend(ranges.as_object().unwrap().clone());
        }
    }

    /// Says the same more exactly: numbers without sign have the range of their type, a schema
    /// that has a name is named, and what is absent is not `null`.
    fn tidy(value: &mut Value, named: &[(String, Value)]) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|item| tidy(item, named)),
            Value::Object(map) => {
                if map.get("default") == Some(&Value::Null) {
                    map.remove("default");
                }
                if map.get("format") == Some(&json!("int32")) && map.get("minimum").is_some() {
                    map.remove("format");
                    map.entry("maximum").or_insert(u32::MAX.into());
                }
                if let Some(Value::String(text)) = map.get_mut("description") {
                    *text = text
                        .replace("[`", "`")
                        .replace("`]", "`")
                        .replace('\n', " ");
                }
                for (_, item) in map {
                    match named.iter().find(|(_, schema)| schema == item) {
                        Some((name, _)) => {
                            *item = json!({"$ref": format!("#/components/schemas/{name}")});
                        }
                        None => tidy(item, named),
                    }
                }
            }
            _ => {}
        }
    }

    fn document() -> Value {
        let mut document = serde_json::to_value(Api::openapi()).unwrap();
        let mut answers = Map::new();
        for (path, item) in document["paths"].as_object_mut().unwrap() {
            for (method, operation) in item.as_object_mut().unwrap() {
                for kind in refusals(path, method, operation) {
                    let status = kind.status().to_string();
                    operation["responses"][&status] =
                        json!({"$ref": format!("#/components/responses/{}", kind.name())});
                    answers.insert(kind.name().to_owned(), refusal(kind));
                }
            }
        }
        document["components"]["responses"] = answers.into();
        let schemas = document["components"]["schemas"].take();
        let named: Vec<_> = schemas.as_object().unwrap().clone().into_iter().collect();
        tidy(&mut document, &named);
        let tidied = named.iter().map(|(name, schema)| {
            let mut schema = schema.clone();
            tidy(&mut schema, &named);
            (name.clone(), schema)
        });
        let mut schemas = Value::Object(tidied.collect());
        refine(&mut schemas);
        document["components"]["schemas"] = schemas;
        document
    }

    #[test]
    fn the_committed_document_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let said = format!("{:#}\n", document());
        if std::env::var_os("STARLING_WRITE_OPENAPI").is_some() {
            std::fs::write(&path, &said).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(
            committed == said,
            "docs/openapi.json is of older code. To write it anew: \
             STARLING_WRITE_OPENAPI=1 cargo test -p gateway openapi"
        );
    }
}
