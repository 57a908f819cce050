//! Following what changes, across broken connections and restarts of the daemon.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{collect, connect, refused, request};
use super::sse::{Message, Parser};
use super::{Address, ClientError, Result};
use crate::change::Event;
use crate::ids::EventId;
use crate::view::ViewEvent;

/// How long to wait before coming back.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a daemon that is away is looked for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a stream may be silent: two heartbeats and a bit.
const SILENCE: Duration = Duration::from_secs(75);
/// How long the daemon may take to begin to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What a stream of events says: [`Event`], or [`ViewEvent`] of one transfer.
pub trait Said: Sized {
    /// Reads a message by its name; `None`: a name that this client does not know.
    ///
    /// # Errors
    /// The data is not what the name promises.
    fn read(name: &str, data: &str) -> serde_json::Result<Option<Self>>;
}

impl Said for Event {
    fn read(name: &str, data: &str) -> serde_json::Result<Option<Event>> {
        Event::read(name, data)
    }
}

impl Said for ViewEvent {
    fn read(name: &str, data: &str) -> serde_json::Result<Option<ViewEvent>> {
        ViewEvent::read(name, data)
    }
}

/// What changes, as a client sees it. When a connection breaks it comes back and goes on where it
/// was; a daemon that was restarted sends a snapshot. Of one transfer everything is sent again,
/// and one that is gone is a problem of kind `not-found`.
#[derive(Debug)]
pub struct Follower<E = Event> {
    address: Address,
    path: String,
    seen: Option<EventId>,
    /// Messages that are here.
    ready: VecDeque<Message>,
    stream: Option<Stream>,
    patience: Duration,
    said: PhantomData<fn() -> E>,
}

#[derive(Debug)]
struct Stream {
    body: Incoming,
    parser: Parser,
    /// The connection ends without it.
    _sender: SendRequest<Full<Bytes>>,
}

impl<E: Said> Follower<E> {
    pub(super) fn new(address: Address, path: String, since: Option<EventId>) -> Follower<E> {
        Follower {
            address,
            path,
            seen: since,
            ready: VecDeque::new(),
            stream: None,
            patience: PATIENCE,
            said: PhantomData,
        }
    }

    /// Looks for a daemon that is away for this long, in place of 15 seconds.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Follower<E> {
        Follower { patience, ..self }
    }

    /// The latest state that was completely seen.
    pub fn seen(&self) -> Option<EventId> {
        self.seen
    }

    /// The next event.
    ///
    /// # Errors
    /// The daemon refuses (a wrong token), stays away, or says what this client does not
    /// understand. It may be asked again.
    pub async fn next(&mut self) -> Result<E> {
        let mut last_heard = Instant::now();
        loop {
            if let Some(message) = self.ready.pop_front() {
                if let Some(event) = self.take(&message)? {
                    return Ok(event);
                }
                continue;
            }
            match self.hear().await {
                Ok(true) => last_heard = Instant::now(),
                Ok(false) => self.stream = None,
                Err(error) => {
                    self.stream = None;
                    let final_ =
                        matches!(&error, ClientError::Problem(problem) if problem.status < 500);
                    if final_ || last_heard.elapsed() >= self.patience {
                        return Err(error);
                    }
                }
            }
            if self.stream.is_none() {
                sleep(PAUSE).await;
            }
        }
    }

    fn take(&mut self, message: &Message) -> Result<Option<E>> {
        let event = E::read(&message.name, &message.data)
            .map_err(|error| ClientError::Answer(format!("{} {error}", message.name)))?;
        if let Some(id) = &message.id {
            self.seen = id.parse().ok();
        }
        Ok(event)
    }

    /// Reads some; false at the end of the stream.
    async fn hear(&mut self) -> Result<bool> {
        if self.stream.is_none() {
            let opening = timeout(ANSWER_TIME, self.open()).await;
            self.stream = Some(opening.unwrap_or(Err(ClientError::Timeout))?);
        }
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let frame = match timeout(SILENCE, stream.body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            // However it ended, it is to be opened again.
            Err(_) | Ok(None | Some(Err(_))) => return Ok(false),
        };
        let bytes = frame.into_data().unwrap_or_default();
        let ready = &mut self.ready;
        stream
            .parser
            .feed(&bytes, |message| ready.push_back(message))
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        Ok(true)
    }

    async fn open(&self) -> Result<Stream> {
        let mut request = request(&self.address, Method::GET, &self.path)?;
        if let Some(seen) = self.seen {
            let id = HeaderValue::try_from(seen.to_string()).expect("an id is ASCII");
            request.headers_mut().insert("last-event-id", id);
        }
        let mut sender = connect(&self.address).await?;
        let sent = sender.send_request(request).await;
        let response = sent.map_err(|error| super::connection::broken(&error))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(refused(status, &collect(response.into_body()).await?));
        }
        Ok(Stream {
            body: response.into_body(),
            parser: Parser::default(),
            _sender: sender,
        })
    }
}
