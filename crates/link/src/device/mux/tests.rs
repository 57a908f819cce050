use std::collections::BTreeMap;

use super::*;
use crate::device::STREAM_WINDOW;

/// A side, with a wire to the other that can be cut anywhere.
struct Side {
    mux: Mux,
    wire: VecDeque<u8>,
}

impl Side {
    /// Puts what is to be sent on the wire.
    fn flush(&mut self, most: usize) -> usize {
        let mut parts = Vec::new();
        let len = self.mux.transmit(most, &mut parts);
        assert_eq!(len, parts.iter().map(Bytes::len).sum::<usize>());
        for part in parts {
            self.wire.extend(part);
        }
        len
    }
}

fn pair() -> [Side; 2] {
    [true, false].map(|dialled| Side {
        mux: Mux::new(dialled),
        wire: VecDeque::new(),
    })
}

/// Carries up to `most` bytes from one side to the other.
fn carry([a, b]: &mut [Side; 2], forth: bool, most: usize) {
    let (from, to) = if forth { (a, b) } else { (b, a) };
    let part: Vec<u8> = from.wire.drain(..from.wire.len().min(most)).collect();
    to.mux.receive(&part).unwrap();
}

/// Carries all there is.
fn settle(sides: &mut [Side; 2]) {
    while sides[0].flush(1 << 20) + sides[1].flush(1 << 20) > 0 {
        carry(sides, true, usize::MAX);
        carry(sides, false, usize::MAX);
    }
}

fn events(mux: &mut Mux) -> Vec<Event> {
    std::iter::from_fn(|| mux.poll()).collect()
}

fn write(mux: &mut Mux, id: StreamId, bytes: &'static [u8]) -> Poll<Result<usize, StreamError>> {
    mux.write(id, &mut Bytes::from_static(bytes))
}

fn ready<T: std::fmt::Debug>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// Writes until there is no room; how many bytes.
fn fill(mux: &mut Mux, id: StreamId) -> usize {
    let mut total = 0;
    while let Poll::Ready(len) = mux.write(id, &mut Bytes::from(vec![7; 100_000])) {
        total += len.unwrap();
    }
    total
}

/// Reads until there is nothing; how many bytes.
fn drain(mux: &mut Mux, id: StreamId) -> usize {
    let mut total = 0;
    while let Poll::Ready(part) = mux.read(id, 50_000) {
        match part.unwrap() {
            Some(part) => total += part.len(),
            None => break,
        }
    }
    total
}

#[test]
fn what_is_written_is_read_and_the_end_with_it() {
    let mut s = pair();
    let id = s[0].mux.open().unwrap();
    assert_eq!(ready(write(&mut s[0].mux, id, b"question")), Ok(8));
    s[0].mux.finish(id);
    settle(&mut s);
    assert_eq!(events(&mut s[1].mux), [Event::Arrived]);
    assert_eq!(s[1].mux.accept(), Some(id));
    let read = ready(s[1].mux.read(id, 5)).unwrap().unwrap();
    assert_eq!(&read[..], b"quest");
    let read = ready(s[1].mux.read(id, 5)).unwrap().unwrap();
    assert_eq!(&read[..], b"ion");
    assert_eq!(ready(s[1].mux.read(id, 5)), Ok(None));
    assert!(s[0].mux.read(id, 5).is_pending());
    ready(write(&mut s[1].mux, id, b"answer")).unwrap();
    settle(&mut s);
    assert_eq!(events(&mut s[0].mux), [Event::Readable(id)]);
    assert_eq!(
        ready(write(&mut s[0].mux, id, b"x")),
        Err(StreamError::Ended)
    );
}

#[test]
fn a_stream_that_nobody_reads_stops_itself_alone() {
    let mut s = pair();
    let stalled = s[0].mux.open().unwrap();
    let lively = s[0].mux.open().unwrap();
    let mut written = 0;
    loop {
        let len = fill(&mut s[0].mux, stalled);
        written += len;
        settle(&mut s);
        if len == 0 {
            break;
        }
    }
    // What the window allows has crossed, and the queue here is full.
    assert!(written >= STREAM_WINDOW as usize);
    for _ in 0..100 {
        fill(&mut s[0].mux, lively);
        settle(&mut s);
        if s[1].mux.accept().is_none() {
            drain(&mut s[1].mux, lively);
        }
    }
    assert_eq!(drain(&mut s[1].mux, stalled), STREAM_WINDOW as usize);
    settle(&mut s);
    let events = events(&mut s[0].mux);
    assert!(events.contains(&Event::Writable(stalled)), "{events:?}");
}

#[test]
fn unread_bytes_of_a_connection_have_a_limit() {
    let mut s = pair();
    let streams: Vec<_> = (0..STREAMS).map(|_| s[0].mux.open().unwrap()).collect();
    for _ in 0..20 {
        for id in &streams {
            fill(&mut s[0].mux, *id);
        }
        settle(&mut s);
    }
    let unread: usize = std::iter::from_fn(|| s[1].mux.accept())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|id| drain(&mut s[1].mux, id))
        .sum();
    assert_eq!(unread, WINDOW as usize);
    // Once read, it goes on.
    settle(&mut s);
    assert!(
        streams
            .iter()
            .map(|id| drain(&mut s[1].mux, *id))
            .sum::<usize>()
            > 0
    );
}

#[test]
fn streams_have_a_limit_and_places_are_given_back() {
    let mut s = pair();
    let streams: Vec<_> = std::iter::from_fn(|| s[0].mux.open()).collect();
    assert_eq!(streams.len(), STREAMS as usize);
    settle(&mut s);
    for id in streams {
        assert_eq!(s[1].mux.accept(), Some(id));
        for side in &mut s {
            side.mux.finish(id);
            side.mux.stop(id, 0);
            side.mux.release(id);
        }
    }
    settle(&mut s);
    assert!(events(&mut s[0].mux).contains(&Event::Room));
    assert!(s.iter().all(|side| side.mux.streams.is_empty()));
    assert_eq!(
        std::iter::from_fn(|| s[0].mux.open()).count(),
        STREAMS as usize
    );
}

#[test]
fn giving_up_and_stopping_are_told() {
    let mut s = pair();
    let id = s[0].mux.open().unwrap();
    ready(write(&mut s[0].mux, id, b"half")).unwrap();
    settle(&mut s);
    s[1].mux.accept();
    s[0].mux.reset(id, 42);
    s[0].mux.stop(id, 43);
    settle(&mut s);
    assert_eq!(ready(s[1].mux.read(id, 99)), Err(StreamError::Reset(42)));
    assert_eq!(
        ready(write(&mut s[1].mux, id, b"x")),
        Err(StreamError::Stopped(43))
    );
    s[0].mux.release(id);
    s[1].mux.reset(id, 0);
    s[1].mux.stop(id, 0);
    s[1].mux.release(id);
    settle(&mut s);
    assert!(s.iter().all(|side| side.mux.streams.is_empty()));
}

#[test]
fn pings_come_back_and_the_last_word_arrives() {
    let mut s = pair();
    s[0].mux.ping(99);
    settle(&mut s);
    assert_eq!(events(&mut s[0].mux), [Event::Pong(99)]);
    s[1].mux.close(17, &"ä".repeat(200));
    settle(&mut s);
    let [Event::Closed(17, text)] = &events(&mut s[0].mux)[..] else {
        panic!("no last word");
    };
    assert_eq!(text, &"ä".repeat(128));
}

#[test]
fn who_breaks_the_rules_is_found_out() {
    let broken: [(&[u8], MuxError); 10] = [
        (&[9, 0, 0, 0, 0, 0, 0, 1], MuxError::Kind(9)),
        (&[1, 1, 0, 1, 0, 0, 0, 1], MuxError::Length(1, 65537)),
        (&[1, 0, 0, 0, 0, 0, 0, 1], MuxError::Length(1, 0)),
        (&[0, 0, 0, 1, 0, 0, 0, 1], MuxError::Length(0, 1)),
        (&[8, 0, 1, 5, 0, 0, 0, 0], MuxError::Length(8, 261)),
        (&[0, 0, 0, 0, 0, 0, 0, 0], MuxError::Stream(0)),
        // The number of the other side, and one too far.
        (&[0, 0, 0, 0, 0, 0, 0, 2], MuxError::Stream(2)),
        (&[0, 0, 0, 0, 0, 0, 0, 3], MuxError::Stream(3)),
        (&[2, 0, 0, 0, 0, 0, 0, 1], MuxError::Stream(1)),
        (&[1, 0, 0, 1, 0, 0, 0, 1, 7], MuxError::Stream(1)),
    ];
    for (bytes, error) in broken {
        assert_eq!(Mux::new(false).receive(bytes), Err(error), "{bytes:?}");
    }
    // More than the window allows.
    let mut mux = Mux::new(false);
    mux.receive(&[0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    let mut frame = vec![1, 1, 0, 0, 0, 0, 0, 1];
    frame.resize(HEADER + (64 << 10), 0);
    for _ in 0..STREAM_WINDOW as usize / (64 << 10) {
        mux.receive(&frame).unwrap();
    }
    assert_eq!(mux.receive(&frame), Err(MuxError::Window(1)));
    // After the end.
    let mut mux = Mux::new(false);
    mux.receive(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1])
        .unwrap();
    assert_eq!(
        mux.receive(&[1, 0, 0, 1, 0, 0, 0, 1, 7]),
        Err(MuxError::Stream(1))
    );
    // More streams than agreed.
    let mut mux = Mux::new(false);
    for n in 0..STREAMS {
        mux.receive(&Header::new(Kind::Open, 0, 1 + 2 * n).encode())
            .unwrap();
    }
    let next = Header::new(Kind::Open, 0, 1 + 2 * STREAMS).encode();
    assert_eq!(mux.receive(&next), Err(MuxError::TooMany));
}

#[test]
fn short_parts_share_memory() {
    let mut mux = Mux::new(false);
    mux.receive(&[0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    for _ in 0..100_000 {
        mux.receive(&[1, 0, 0, 1, 0, 0, 0, 1, 7]).unwrap();
    }
    assert!(mux.streams[&1].inbound.parts() <= 100_000 / 1024 + 1);
}

/// What one direction of a stream should deliver.
#[derive(Default)]
struct Model {
    written: Vec<u8>,
    read: usize,
    finished: bool,
    /// Reset or stopped: not all need arrive.
    cut: bool,
    done: bool,
}

/// Whatever both sides do, and however the wire cuts it: what is read is what was written, and all of it unless
/// somebody gave up.
#[test]
fn random_traffic_arrives_in_order() {
    for seed in 0..150 {
        traffic(seed);
    }
}

fn traffic(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut s = pair();
    // By writer and stream.
    let mut models: BTreeMap<(usize, StreamId), Model> = BTreeMap::new();
    let mut held: [Vec<StreamId>; 2] = Default::default();
    for step in 0..600 {
        let quiet = step > 450;
        let who = rng.usize(..2);
        let mux = &mut s[who].mux;
        let opened = match rng.u8(..10) {
            0 if !quiet => mux.open(),
            1 => mux.accept(),
            _ => None,
        };
        if let Some(id) = opened {
            held[who].push(id);
            models.entry((who, id)).or_default();
        }
        if let Some(id) = rng.choice(held[who].clone()) {
            let out = models.get_mut(&(who, id)).unwrap();
            match rng.u8(..20) {
                0..=6 if !quiet => {
                    let size = rng.choice([10, 1000, 200_000]).unwrap();
                    let len = rng.usize(..size);
                    let mut bytes: Bytes = (0..len).map(|_| rng.u8(..)).collect();
                    let whole = bytes.clone();
                    match s[who].mux.write(id, &mut bytes) {
                        Poll::Ready(Ok(n)) => out.written.extend_from_slice(&whole[..n]),
                        Poll::Ready(Err(_)) => assert!(out.finished || out.cut, "seed {seed}"),
                        Poll::Pending => {}
                    }
                }
                7 => {
                    s[who].mux.finish(id);
                    out.finished = true;
                }
                8 if rng.u8(..4) == 0 => {
                    s[who].mux.reset(id, 1);
                    (out.cut, out.finished) = (true, true);
                }
                9 if rng.u8(..4) == 0 => {
                    s[who].mux.stop(id, 2);
                    let back = models.entry((1 - who, id)).or_default();
                    (back.cut, back.done) = (true, true);
                }
                _ => read(&mut s[who].mux, (1 - who, id), &mut models, &mut rng, seed),
            }
        }
        let most = rng.usize(..300_000);
        s[who].flush(most);
        let size = rng.choice([3, 5000, 500_000]).unwrap();
        let most = rng.usize(..size);
        carry(&mut s, who == 0, most);
    }
    // All is said, taken and read.
    for _ in 0..400 {
        for who in 0..2 {
            while let Some(id) = s[who].mux.accept() {
                held[who].push(id);
                models.entry((who, id)).or_default();
            }
            for id in held[who].clone() {
                s[who].mux.finish(id);
                models.get_mut(&(who, id)).unwrap().finished = true;
                read(&mut s[who].mux, (1 - who, id), &mut models, &mut rng, seed);
            }
        }
        settle(&mut s);
    }
    for ((who, id), model) in &models {
        assert!(model.done, "seed {seed}: stream {id} of {who} has no end");
        let all = model.read == model.written.len();
        assert!(
            all || model.cut,
            "seed {seed}: stream {id} of {who} lost something"
        );
    }
    for who in 0..2 {
        for id in held[who].drain(..) {
            s[who].mux.stop(id, 0);
            s[who].mux.release(id);
        }
    }
    settle(&mut s);
    assert!(s.iter().all(|s| s.mux.streams.is_empty()), "seed {seed}");
    assert!(s.iter().all(|s| s.mux.open == [0; 2]), "seed {seed}");
}

fn read(
    mux: &mut Mux,
    (writer, id): (usize, StreamId),
    models: &mut BTreeMap<(usize, StreamId), Model>,
    rng: &mut fastrand::Rng,
    seed: u64,
) {
    let model = models.entry((writer, id)).or_default();
    match mux.read(id, rng.usize(1..200_000)) {
        Poll::Ready(Ok(Some(part))) => {
            let wanted = &model.written[model.read..];
            assert!(
                wanted.starts_with(&part),
                "seed {seed}: stream {id} is garbled"
            );
            model.read += part.len();
        }
        Poll::Ready(Ok(None)) => {
            assert!(model.finished && (model.cut || model.read == model.written.len()));
            model.done = true;
        }
        Poll::Ready(Err(error)) => {
            assert!(model.cut, "seed {seed}: stream {id}: {error}");
            model.done = true;
        }
        Poll::Pending => {}
    }
}
