//! `/metrics` in the text format of Prometheus (exposition format 0.0.4).

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::{Metrics, Service, State};
use axum::extract;
use http::StatusCode;

use super::App;
use super::answer::{Answer, with_type};

/// Measure the daemon
///
/// What Prometheus scrapes, with the token as its bearer token.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "daemon",
    responses((status = 200, description = "Text exposition format 0.0.4.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics<S: Service>(
    extract::State(app): extract::State<Arc<App<S>>>,
) -> Answer {
    let mut text = Exposition(String::with_capacity(4096));
    text.daemon(&app.service.metrics().await?);
    text.gateway(&app);
    Ok(with_type(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text.0,
    ))
}

struct Exposition(String);

impl Exposition {
    /// HELP and TYPE of a family; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a String takes all");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.line(format_args!("{name} {value}"));
    }

    fn daemon(&mut self, metrics: &Metrics) {
        let totals = &metrics.totals;
        self.family("starling_build_info", "gauge", "The program; always 1.");
        self.line(format_args!(
            "starling_build_info{{version=\"{}\"}} 1",
            escaped(&metrics.version)
        ));
        self.gauge(
            "starling_start_time_seconds",
            "When it started, since 1970.",
            metrics.started_at,
        );
        self.counter(
            "starling_cpu_seconds_total",
            "Processor time used.",
            metrics.cpu_seconds,
        );
        self.gauge(
            "starling_resident_memory_bytes",
            "Memory in use.",
            metrics.resident_bytes,
        );
        self.gauge(
            "starling_open_fds",
            "Open file descriptors.",
            metrics.open_files,
        );
        self.gauge(
            "starling_max_fds",
            "Most that may be open.",
            metrics.max_open_files,
        );
        self.family("starling_transfers", "gauge", "Transfers by what they do.");
        for state in State::ALL {
            let count = totals.states.get(&state).copied().unwrap_or(0);
            self.line(format_args!(
                "starling_transfers{{state=\"{}\"}} {count}",
                state.name()
            ));
        }
        self.gauge(
            "starling_transfers_dormant",
            "Transfers that cost a row alone.",
            metrics.dormant,
        );
        self.gauge("starling_peers", "Connected peers.", totals.peers);
        self.gauge(
            "starling_dht_nodes",
            "Nodes of the DHT that answer.",
            totals.dht_nodes,
        );
        self.counter(
            "starling_received_bytes_total",
            "Payload received from peers.",
            totals.received,
        );
        self.counter(
            "starling_sent_bytes_total",
            "Payload sent to peers.",
            totals.sent,
        );
        self.counter(
            "starling_wasted_bytes_total",
            "Payload received in vain.",
            totals.wasted,
        );
        self.gauge(
            "starling_receive_bytes_per_second",
            "Payload rate, from peers.",
            totals.rate_down,
        );
        self.gauge(
            "starling_send_bytes_per_second",
            "Payload rate, to peers.",
            totals.rate_up,
        );
        self.gauge(
            "starling_receive_limit_bytes_per_second",
            "Limit in effect; 0: none.",
            totals.limits.down,
        );
        self.gauge(
            "starling_send_limit_bytes_per_second",
            "Limit in effect; 0: none.",
            totals.limits.up,
        );
        self.gauge(
            "starling_upload_slots",
            "Peers that are sent to at once.",
            totals.slots,
        );
        if let Some(free) = totals.free {
            self.gauge("starling_free_bytes", "Free where content goes.", free);
        }
    }

    fn gateway<S>(&mut self, app: &App<S>) {
        self.family(
            "starling_http_answers_total",
            "counter",
            "Answers of the API by class of status.",
        );
        for (class, count) in (1..).zip(&app.counts.answers) {
            let count = count.load(Ordering::Relaxed);
            self.line(format_args!(
                "starling_http_answers_total{{class=\"{class}xx\"}} {count}"
            ));
        }
        self.counter(
            "starling_http_refused_tokens_total",
            "Requests with a wrong token or login code.",
            app.counts.refused.load(Ordering::Relaxed),
        );
        self.gauge(
            "starling_http_followers",
            "Clients that follow events.",
            app.max_followers - app.followers.available_permits(),
        );
    }
}

/// The value of a label.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_a_family_with_help_and_type_before_it() {
        let mut text = Exposition(String::new());
        text.daemon(&Metrics {
            version: "1 \"beta\"".into(),
            ..Metrics::default()
        });
        let mut family = "";
        for line in text.0.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(matches!(kind, "gauge" | "counter"), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(text.0.contains(&format!("# HELP {name} ")), "{line}");
                family = name;
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(name.split('{').next(), Some(family));
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(
            text.0
                .contains(r#"starling_build_info{version="1 \"beta\""} 1"#)
        );
        assert!(text.0.contains(r#"starling_transfers{state="seeding"} 0"#));
    }
}
