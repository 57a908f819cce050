//! Reading server-sent events (WHATWG HTML §9.2.6): bytes in, messages out.

/// Most bytes of a message: a part of the changes has a few hundred thousand.
const MAX_MESSAGE: usize = 16 << 20;

/// A message of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The id the stream had reached with it, if it says one.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// What a stream of bytes has come to.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The line that is not whole yet.
    line: Vec<u8>,
    id: Option<String>,
    name: String,
    data: String,
}

/// The stream is not one that we follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {MAX_MESSAGE} bytes")]
pub(super) struct TooLong;

impl Parser {
    /// Takes bytes; says each message that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut say: impl FnMut(Message)) -> Result<(), TooLong> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            if let Some(message) = self.take(line.strip_suffix('\r').unwrap_or(&line)) {
                say(message);
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.len() > MAX_MESSAGE {
            return Err(TooLong);
        }
        Ok(())
    }

    fn take(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let name = std::mem::take(&mut self.name);
            let id = self.id.take();
            return (!data.is_empty()).then_some(Message { id, name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments, `retry`, and what is not known.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = "retry: 2000\n\n:\n\nevent: added\ndata: [1]\n\nid: 7\nevent: notice\n\
        data: {\"text\":\r\ndata:\"ü\"}\n\nevent: half\ndata: x\n"
        .as_bytes();

    fn messages(step: usize) -> Vec<Message> {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        for bytes in STREAM.chunks(step) {
            parser
                .feed(bytes, |message| messages.push(message))
                .unwrap();
        }
        messages
    }

    #[test]
    fn messages_are_read_however_the_bytes_come() {
        let all = messages(STREAM.len());
        let message = |id: Option<&str>, name: &str, data: &str| Message {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(
            all,
            [
                message(None, "added", "[1]"),
                message(Some("7"), "notice", "{\"text\":\n\"ü\"}"),
            ]
        );
        for step in 1..STREAM.len() {
            assert_eq!(messages(step), all, "{step}");
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; MAX_MESSAGE / 4 + 1];
        let fed = (0..4).try_for_each(|_| parser.feed(&chunk, |_| ()));
        assert_eq!(fed, Err(TooLong));
    }
}
