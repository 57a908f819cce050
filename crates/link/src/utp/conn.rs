//! One uTP connection: what was sent and is not acknowledged, what came and was not read.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::time::{Duration, Instant};

use super::packet::{HEADER, Header, Kind, Packet, SELECTIVE_MAX};
use super::window::Window;

/// Most bytes in a datagram: it fits into a tunnel's packet on the ways that are usual. Where one is too large all the
/// same, IP takes it apart: nothing forbids it.
pub const DATAGRAM: usize = 1400;
/// Payload in a full packet, in bytes.
const PAYLOAD: usize = DATAGRAM - HEADER;
/// Bytes taken ahead of the window.
const AHEAD: usize = 64 << 10;
/// Bytes that came and were not read; the other side is told what is left of it.
const UNREAD: usize = 1 << 20;
/// Packets beyond a gap that are kept or can be under way.
const BEYOND: usize = 1024;
/// A packet is lost when so many after it have come (RFC 5681 counts alike).
const REORDERED: usize = 3;
/// Bounds of the time until a packet is sent again by the clock (BEP 29).
const RTO_LEAST: Duration = Duration::from_millis(500);
const RTO_FIRST: Duration = Duration::from_secs(1);
const RTO_MOST: Duration = Duration::from_secs(30);
/// A packet that another has overtaken is lost when it is older than the round trip and this part of it (RFC 8985 §6.2
/// has the same).
const OVERTAKEN: f32 = 1.25;
/// After so many round trips, and what the other side may hold its answer back, the last packet is sent once more: the
/// answer tells which are missing (RFC 8985 §7).
const PROBE: u32 = 2;
const HELD_BACK: Duration = Duration::from_millis(10);
/// Silences in a row until a connection is given up: about half a minute.
const SILENCES: u32 = 5;
/// The same before it is answered at all.
const SILENCES_SYN: u32 = 3;

/// The same where both sides dial at once: what opens the way for theirs, and what finds the way that theirs opened, goes
/// out again and again, at this pace, for about six seconds.
const SILENCES_PUNCH: u32 = 15;
const RTO_PUNCH: Duration = Duration::from_millis(400);

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not answered yet.
    Dialling,
    /// Both ways are open.
    Open,
    /// It is over, in peace or not.
    Over(End),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was sent and acknowledged.
    Closed,
    /// The other side does not know it.
    Reset,
    /// Nothing came back.
    TimedOut,
}

/// A packet that is not acknowledged.
#[derive(Debug)]
struct Sent {
    kind: Kind,
    payload: Vec<u8>,
    at: Instant,
    /// How often it was sent. More than once: its answer says nothing of the round trip.
    sends: u8,
    arrived: bool,
    /// It has to be sent, for the first time or again.
    lost: bool,
}

/// One side of a connection. Sequence numbers wrap; all differences of them are taken modulo 2^16.
#[derive(Debug)]
pub struct Conn {
    state: State,
    /// The number that packets to us carry.
    pub recv_id: u16,
    send_id: u16,
    /// Where our clock begins.
    epoch: Instant,

    /// The next packet's number.
    seq: u16,
    /// Up to the packet before `seq`, in order.
    sent: VecDeque<Sent>,
    /// Payload that was not sent yet, packet by packet.
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    in_flight: usize,
    /// Packets among `sent` that have to be sent.
    lost: usize,
    /// One packet may go although their window is closed.
    tries: bool,
    window: Window,
    their_window: usize,
    /// The window is shrunk once for all packets before this one.
    recovered: u16,
    repeats: usize,
    srtt: Option<Duration>,
    rttvar: Duration,
    rto: Duration,
    timer: Option<Instant>,
    /// Since anything came, the last packet was sent once more.
    probed: bool,
    silences: u32,
    /// It dials at the same pace until it is answered.
    insists: bool,
    closing: bool,
    /// The number of our last packet.
    fin: Option<u16>,

    /// Everything up to this packet has come.
    ack: u16,
    ready: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that were read.
    read: usize,
    unread: usize,
    /// Packets after `ack`, as far as they have come.
    beyond: VecDeque<Option<Vec<u8>>>,
    beyond_bytes: usize,
    /// The number of their last packet.
    last: Option<u16>,
    /// How long their last packet was under way.
    under_way: u32,
    ack_due: bool,
    /// The window that was told last.
    told: usize,
}

impl Conn {
    /// Dials. `recv_id` is any number that is free, `epoch` where our clock begins.
    pub fn dial(epoch: Instant, recv_id: u16) -> Conn {
        let mut conn = Conn::new(epoch, recv_id, recv_id.wrapping_add(1), 1);
        conn.state = State::Dialling;
        conn.push(Kind::Syn, Vec::new());
        conn
    }

    /// Dials somebody who dials us at the same moment (BEP 55): insistently, since what comes before theirs has left is lost
    /// at their router.
    pub fn punch(epoch: Instant, recv_id: u16) -> Conn {
        let mut conn = Conn::dial(epoch, recv_id);
        conn.insists = true;
        conn.rto = RTO_PUNCH;
        conn
    }

    /// Answers who dials. `seq` is any number.
    pub fn accept(now: Instant, epoch: Instant, syn: &Header, seq: u16) -> Conn {
        let mut conn = Conn::new(epoch, syn.conn_id.wrapping_add(1), syn.conn_id, seq);
        conn.ack = syn.seq;
        conn.their_window = syn.window as usize;
        conn.under_way = conn.clock(now).wrapping_sub(syn.sent_at);
        conn.ack_due = true;
        conn
    }

    fn new(epoch: Instant, recv_id: u16, send_id: u16, seq: u16) -> Conn {
        Conn {
            state: State::Open,
            recv_id,
            send_id,
            epoch,
            seq,
            sent: VecDeque::new(),
            queue: VecDeque::new(),
            queued: 0,
            in_flight: 0,
            lost: 0,
            tries: false,
            window: Window::new(PAYLOAD),
            their_window: PAYLOAD,
            recovered: seq,
            repeats: 0,
            srtt: None,
            rttvar: Duration::ZERO,
            rto: RTO_FIRST,
            timer: None,
            probed: false,
            silences: 0,
            insists: false,
            closing: false,
            fin: None,
            ack: 0,
            ready: VecDeque::new(),
            read: 0,
            unread: 0,
            beyond: VecDeque::new(),
            beyond_bytes: 0,
            last: None,
            under_way: 0,
            ack_due: false,
            told: UNREAD,
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// There is something to read, or its end.
    pub fn is_readable(&self) -> bool {
        self.unread > 0 || self.is_at_end() || matches!(self.state, State::Over(_))
    }

    /// Something can be written.
    pub fn is_writable(&self) -> bool {
        match self.state {
            State::Dialling => false,
            State::Open => self.room() > 0,
            State::Over(_) => true,
        }
    }

    /// Everything that the other side sent has been read.
    pub fn is_at_end(&self) -> bool {
        self.unread == 0 && self.last == Some(self.ack)
    }

    /// The other side has to be told something, though there may be nothing to send.
    pub fn owes_word(&self) -> bool {
        self.ack_due
    }

    /// The number that packets from us carry.
    pub fn send_id(&self) -> u16 {
        self.send_id
    }

    fn room(&self) -> usize {
        let most = self.window.bytes() + AHEAD;
        most.saturating_sub(self.queued + self.in_flight)
    }

    /// Takes what is to be sent; answers how many bytes of it.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> usize {
        if self.state != State::Open || self.closing {
            return 0;
        }
        let mut room = self.room();
        let before = self.queued;
        for slice in slices {
            let mut rest = &slice[..slice.len().min(room)];
            room -= rest.len();
            while !rest.is_empty() {
                let full = self.queue.back().is_none_or(|last| last.len() == PAYLOAD);
                if full {
                    self.queue.push_back(Vec::with_capacity(PAYLOAD));
                }
                let Some(packet) = self.queue.back_mut() else {
                    break;
                };
                let (part, after) = rest.split_at(rest.len().min(PAYLOAD - packet.len()));
                packet.extend_from_slice(part);
                self.queued += part.len();
                rest = after;
            }
        }
        self.queued - before
    }

    /// Reads what has come, into these slices one after the other.
    pub fn read(&mut self, slices: &mut [IoSliceMut<'_>]) -> usize {
        let before = self.unread;
        for slice in slices {
            let mut rest = &mut slice[..];
            while !rest.is_empty()
                && let Some(packet) = self.ready.front()
            {
                let part = &packet[self.read..];
                let len = part.len().min(rest.len());
                rest[..len].copy_from_slice(&part[..len]);
                rest = &mut rest[len..];
                self.read += len;
                self.unread -= len;
                if self.read == packet.len() {
                    self.ready.pop_front();
                    self.read = 0;
                }
            }
        }
        // Who was told to wait has to learn that there is room again.
        if self.told < UNREAD / 2 && self.own_window() >= UNREAD / 2 {
            self.ack_due = true;
        }
        before - self.unread
    }

    /// Sends what is left, then says so; nothing more is read.
    pub fn close(&mut self) {
        self.closing = true;
        if self.state == State::Dialling {
            self.state = State::Over(End::Closed);
        }
    }

    /// Ends it at once.
    pub fn end(&mut self, end: End) {
        self.state = State::Over(end);
        self.timer = None;
    }

    /// When [`poll`](Self::poll) is due without anything having come.
    pub fn deadline(&self) -> Option<Instant> {
        self.timer
    }

    fn clock(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_micros() as u32
    }

    fn own_window(&self) -> usize {
        UNREAD.saturating_sub(self.unread + self.beyond_bytes)
    }

    // ---- what comes --------------------------------------------------------------------------

    /// Takes a packet of this connection.
    pub fn receive(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = &packet.header;
        if matches!(self.state, State::Over(_)) {
            return;
        }
        match header.kind {
            Kind::Reset => return self.end(End::Reset),
            // Our answer was lost.
            Kind::Syn => {
                self.ack_due = true;
                return;
            }
            _ => {}
        }
        if self.state == State::Dialling {
            if header.kind != Kind::State || header.ack != self.seq.wrapping_sub(1) {
                return;
            }
            self.state = State::Open;
            // A packet without payload has the number of the next one that has some.
            self.ack = header.seq.wrapping_sub(1);
        }
        self.under_way = self.clock(now).wrapping_sub(header.sent_at);
        self.acknowledged(now, packet);
        self.their_window = header.window as usize;
        if matches!(header.kind, Kind::Data | Kind::Fin) {
            self.take(header, packet.payload);
        }
        if self.fin.is_some() && self.sent.is_empty() {
            self.end(End::Closed);
        }
    }

    fn acknowledged(&mut self, now: Instant, packet: &Packet<'_>) {
        let header = &packet.header;
        let first = self.seq.wrapping_sub(self.sent.len() as u16);
        let arrived = usize::from(header.ack.wrapping_sub(first).wrapping_add(1));
        if arrived > self.sent.len() {
            // Old, or of somebody who guesses.
            return;
        }
        let full = self.in_flight + PAYLOAD > self.window.bytes();
        let (mut bytes, mut round_trip) = (0, None);
        let (mut in_flight, mut lost) = (self.in_flight, self.lost);
        let mut settle = |sent: &Sent| {
            if sent.arrived {
                return;
            }
            bytes += sent.payload.len();
            match sent.lost {
                true => lost -= 1,
                false => in_flight -= sent.payload.len(),
            }
            if sent.sends == 1 {
                round_trip = Some(now.saturating_duration_since(sent.at));
            }
        };
        self.sent.drain(..arrived).for_each(|sent| settle(&sent));
        let mut last = 0;
        for (at, sent) in self.sent.iter_mut().enumerate().skip(1) {
            let Some(byte) = packet.selective.get((at - 1) / 8) else {
                break;
            };
            if byte >> ((at - 1) % 8) & 1 == 1 {
                last = at;
                settle(sent);
                sent.arrived = true;
                sent.lost = false;
            }
        }
        (self.in_flight, self.lost) = (in_flight, lost);
        let news = arrived > 0 || bytes > 0;
        if let Some(sample) = round_trip {
            self.measured(sample);
        }
        let rtt = self.srtt.unwrap_or(RTO_FIRST);
        self.repeats = match news || self.sent.is_empty() || header.kind != Kind::State {
            true => 0,
            false => self.repeats + 1,
        };
        if self.find_lost(now, last, rtt) {
            self.window.lost(now, rtt);
        }
        if news {
            let way = (header.under_way != 0).then_some(header.under_way);
            self.window.acked(now, bytes, way, rtt, full);
            self.silences = 0;
            self.probed = false;
            self.timer = (!self.sent.is_empty()).then_some(now + self.patience());
        }
    }

    /// Marks packets as lost that others have overtaken; true if the window has to shrink for it. `last` is the
    /// place of the last that has come.
    fn find_lost(&mut self, now: Instant, last: usize, rtt: Duration) -> bool {
        let first = self.seq.wrapping_sub(self.sent.len() as u16);
        let (mut after, mut shrinks) = (0, false);
        let mut news = Vec::new();
        for at in (0..=last).rev() {
            let Some(sent) = self.sent.get(at) else {
                continue;
            };
            if sent.arrived {
                after += 1;
                continue;
            }
            let late = after > 0 && sent.at + rtt.mul_f32(OVERTAKEN) < now;
            // What was sent again has to have had its time.
            let overtaken = after >= REORDERED && sent.sends == 1;
            if !sent.lost && (late || overtaken) {
                news.push(at);
            }
        }
        if self.repeats == REORDERED && self.sent.front().is_some_and(|sent| !sent.lost) {
            news.push(0);
        }
        for at in news {
            let sent = &mut self.sent[at];
            if sent.lost {
                continue;
            }
            sent.lost = true;
            self.lost += 1;
            self.in_flight -= sent.payload.len();
            let number = first.wrapping_add(at as u16);
            if (number.wrapping_sub(self.recovered) as i16) >= 0 {
                shrinks = true;
            }
        }
        if shrinks {
            self.recovered = self.seq;
        }
        shrinks
    }

    /// RFC 6298 §2.
    fn measured(&mut self, sample: Duration) {
        match self.srtt {
            None => {
                self.srtt = Some(sample);
                self.rttvar = sample / 2;
            }
            Some(srtt) => {
                self.rttvar = (self.rttvar * 3 + srtt.abs_diff(sample)) / 4;
                self.srtt = Some((srtt * 7 + sample) / 8);
            }
        }
        let rto = self.srtt.unwrap_or(sample) + self.rttvar * 4;
        self.rto = rto.clamp(RTO_LEAST, RTO_MOST);
    }

    /// Puts payload where it belongs.
    fn take(&mut self, header: &Header, payload: &[u8]) {
        self.ack_due = true;
        let at = usize::from(header.seq.wrapping_sub(self.ack).wrapping_sub(1));
        let beyond_end = self
            .last
            .is_some_and(|last| (header.seq.wrapping_sub(last) as i16) > 0);
        if at >= BEYOND || payload.len() > self.own_window() || beyond_end {
            return;
        }
        if self.beyond.len() <= at {
            self.beyond.resize_with(at + 1, || None);
        }
        if self.beyond[at].is_some() {
            return;
        }
        if header.kind == Kind::Fin {
            self.last = Some(header.seq);
        }
        self.beyond_bytes += payload.len();
        self.beyond[at] = Some(payload.to_vec());
        while let Some(Some(_)) = self.beyond.front() {
            let packet = self.beyond.pop_front().flatten().unwrap_or_default();
            self.ack = self.ack.wrapping_add(1);
            self.beyond_bytes -= packet.len();
            // Nobody reads any more what comes after we have closed.
            if !packet.is_empty() && !self.closing {
                self.unread += packet.len();
                self.ready.push_back(packet);
            }
        }
    }

    // ---- what goes ---------------------------------------------------------------------------

    /// Puts the next datagram into `out`; false: there is none now.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        out.clear();
        if matches!(self.state, State::Over(_)) {
            return false;
        }
        if self.timer.is_some_and(|at| at <= now) {
            self.timer = None;
            if !self.probe(now) {
                self.silence();
            }
            if matches!(self.state, State::Over(_)) {
                return false;
            }
        }
        if self.lost > 0
            && let Some(at) = self.sent.iter().position(|sent| sent.lost)
            && self.fits(self.sent[at].payload.len())
        {
            self.send(now, at, out);
            return true;
        }
        if self.state == State::Open {
            if let Some(kind) = self.next_kind() {
                let payload = self.queue.pop_front().unwrap_or_default();
                self.queued -= payload.len();
                self.push(kind, payload);
                self.send(now, self.sent.len() - 1, out);
                return true;
            }
            if self.ack_due {
                self.put(now, Kind::State, self.seq, out);
                return true;
            }
            if self.in_flight == 0 && !self.queue.is_empty() {
                // Their window is closed. It is tried after a while: the word of its opening may be lost.
                self.timer.get_or_insert(now + self.rto);
            }
        }
        false
    }

    /// What new packet may go now.
    fn next_kind(&self) -> Option<Kind> {
        let room = self.sent.len() < BEYOND;
        match self.queue.front() {
            Some(next) => (room && self.fits(next.len())).then_some(Kind::Data),
            None => (room && self.closing && self.fin.is_none()).then_some(Kind::Fin),
        }
    }

    /// Whether so many bytes more may be under way.
    fn fits(&self, len: usize) -> bool {
        let most = self.window.bytes().min(self.their_window);
        self.in_flight + len <= most || self.in_flight == 0 && (self.tries || len == 0)
    }

    fn push(&mut self, kind: Kind, payload: Vec<u8>) {
        if kind == Kind::Fin {
            self.fin = Some(self.seq);
        }
        self.sent.push_back(Sent {
            kind,
            payload,
            at: self.epoch,
            sends: 0,
            arrived: false,
            lost: true,
        });
        self.lost += 1;
        self.seq = self.seq.wrapping_add(1);
    }

    /// Sends a packet, for the first time or again.
    fn send(&mut self, now: Instant, at: usize, out: &mut Vec<u8>) {
        let number = self.seq.wrapping_sub((self.sent.len() - at) as u16);
        let sent = &mut self.sent[at];
        sent.at = now;
        sent.sends = sent.sends.saturating_add(1);
        sent.lost = false;
        let (kind, len) = (sent.kind, sent.payload.len());
        self.lost -= 1;
        self.in_flight += len;
        self.tries = false;
        self.timer.get_or_insert(now + self.patience());
        self.put(now, kind, number, out);
        out.extend_from_slice(&self.sent[at].payload);
    }

    /// Writes a header, with all that is to be acknowledged.
    fn put(&mut self, now: Instant, kind: Kind, seq: u16, out: &mut Vec<u8>) {
        self.told = self.own_window();
        self.ack_due = false;
        let header = Header {
            kind,
            conn_id: match kind {
                Kind::Syn => self.recv_id,
                _ => self.send_id,
            },
            sent_at: self.clock(now),
            under_way: self.under_way,
            window: self.told as u32,
            seq,
            ack: self.ack,
        };
        let mut mask = [0; SELECTIVE_MAX];
        let mut len = 0;
        if kind == Kind::State {
            for (at, packet) in self.beyond.iter().skip(1).enumerate() {
                if packet.is_some() && at / 8 < SELECTIVE_MAX {
                    mask[at / 8] |= 1 << (at % 8);
                    len = (at / 8 + 1).next_multiple_of(4);
                }
            }
        }
        header.write(&mask[..len], out);
    }

    /// How long to wait for an answer before something is sent again.
    fn patience(&self) -> Duration {
        let probe = self.srtt.map(|srtt| srtt * PROBE + HELD_BACK);
        match probe {
            Some(probe) if !self.probed => probe.min(self.rto),
            _ => self.rto,
        }
    }

    /// Finds out what is missing while there may be little to it; false if that was done already.
    fn probe(&mut self, now: Instant) -> bool {
        let Some(rtt) = self.srtt.filter(|_| !self.probed && !self.sent.is_empty()) else {
            return false;
        };
        self.probed = true;
        self.timer = Some(now + self.rto);
        if self.find_lost(now, self.sent.len() - 1, rtt) {
            self.window.lost(now, rtt);
        }
        let last = self.sent.iter_mut().rev().find(|sent| !sent.arrived);
        if self.lost == 0
            && let Some(last) = last
        {
            last.lost = true;
            self.lost += 1;
            self.in_flight -= last.payload.len();
        }
        true
    }

    /// Nothing has come for too long.
    fn silence(&mut self) {
        if self.sent.is_empty() {
            self.tries = true;
            return;
        }
        self.silences += 1;
        let most = match self.state {
            State::Dialling if self.insists => SILENCES_PUNCH,
            State::Dialling => SILENCES_SYN,
            _ => SILENCES,
        };
        if self.silences > most {
            return self.end(End::TimedOut);
        }
        for sent in self.sent.iter_mut().filter(|sent| !sent.arrived) {
            self.lost += usize::from(!sent.lost);
            sent.lost = true;
        }
        self.in_flight = 0;
        self.recovered = self.seq;
        self.window.timed_out();
        if self.state != State::Dialling || !self.insists {
            self.rto = (self.rto * 2).min(RTO_MOST);
        }
    }
}
