//! Pieces: right or wrong, checked, lost; and whose fault that was.

use super::*;

impl Torrent {
    /// `None` if nothing is known to judge it by.
    pub(crate) fn judge(&self, piece: u32, digest: &PieceDigest) -> Option<bool> {
        let info = self.info.as_ref()?;
        let v1 = info
            .piece_sha1(piece)
            .map(|right| digest.sha1.as_ref() == Some(right));
        let v2 = match self.tree.expected(piece) {
            Expected::Hash(right) => Some(digest.root.as_ref() == Some(&right)),
            Expected::Unknown | Expected::None => None,
        };
        match (v1, v2) {
            (None, None) => None,
            (v1, v2) => Some(v1.unwrap_or(true) && v2.unwrap_or(true)),
        }
    }

    pub fn piece_hashed(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digest: PieceDigest,
    ) {
        if self.info.is_none() || self.picker.have().get(piece) {
            return;
        }
        if self.judge(piece, &digest) == Some(true) {
            self.piece_right(shared, now, piece, &digest);
        } else {
            self.piece_wrong(shared, now, piece, digest);
        }
    }

    pub(crate) fn piece_right(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digest: &PieceDigest,
    ) {
        let proof = self.culprits.wants_proof(piece);
        self.mark(shared, now, piece, digest);
        if proof {
            match &digest.leaves {
                Some(leaves) => self.convict(shared, now, piece, leaves),
                None => shared.out.push_back(Output::ReadDigests(self.id, piece)),
            }
        }
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&conn) else {
                continue;
            };
            let theirs = peer.pieces.has(piece);
            if theirs {
                peer.wanted = peer.wanted.saturating_sub(1);
            }
            if matches!(peer.pieces, Pieces::All) || peer.upload_only {
                peer.untold.push(piece);
            } else {
                shared.send(now, peer, Message::Have(piece));
            }
            if theirs && peer.wanted == 0 {
                self.update_interest(shared, now, conn);
            }
        }
        self.say_if_finished(shared, now);
    }

    /// Notes a piece as verified.
    pub(crate) fn mark(
        &mut self,
        shared: &mut Shared,
        _now: Instant,
        piece: u32,
        digest: &PieceDigest,
    ) {
        if self.picker.verified(piece) {
            shared.out.push_back(Output::Verified(self.id, piece));
            if let Some(root) = digest.root {
                self.tree.learned(piece, root);
            }
        }
    }

    pub(crate) fn piece_wrong(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digest: PieceDigest,
    ) {
        let Some(info) = self.info.clone() else {
            return;
        };
        let author = |conn| {
            let peer = || self.authors.get(&conn).map(|&ip| Author::Peer(ip));
            web::author(conn).or_else(peer)
        };
        let from: Vec<(u32, Author)> = self
            .picker
            .contributors(piece)
            .into_iter()
            .filter_map(|(block, conn)| Some((block, author(conn)?)))
            .collect();
        self.wasted += from
            .iter()
            .map(|&(block, _)| u64::from(info.layout().block_len(piece, block)))
            .sum::<u64>();
        shared
            .out
            .push_back(Output::Event(self.id, Event::PieceFailed(piece)));
        shared.out.push_back(Output::Abandon(self.id, piece));
        if from.is_empty() {
            self.picker.failed(info.layout(), piece, false);
            return self.refill_all(shared, now);
        }
        match self.culprits.failed(piece, from, digest.leaves.as_deref()) {
            Finding::Guilty(who) => {
                self.picker.failed(info.layout(), piece, false);
                self.condemn(shared, now, who);
            }
            Finding::Noted => self.picker.failed(info.layout(), piece, true),
            // Asked for again once the evidence is read: it would be overwritten.
            Finding::NeedDigests => {
                shared.out.push_back(Output::ReadDigests(self.id, piece));
                return;
            }
        }
        self.refill_all(shared, now);
    }

    pub(crate) fn convict(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        right: &[Sha256Hash],
    ) {
        for who in self.culprits.convict(piece, right) {
            self.condemn(shared, now, who);
        }
    }

    /// Who sent bad data is asked no more.
    fn condemn(&mut self, shared: &mut Shared, now: Instant, who: Author) {
        match who {
            Author::Peer(ip) => self.ban(shared, now, ip),
            Author::Web(seed) => {
                let why = "what it sends is not what the torrent says".to_owned();
                self.drop_web_seed(shared, seed, why);
            }
        }
    }

    pub fn digests(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digests: Option<Vec<Sha256Hash>>,
    ) {
        let Some(info) = self.info.clone() else {
            return;
        };
        for (conn, message) in self.tree.leaves(piece, digests.as_deref()) {
            if let Some(peer) = self.peers.get_mut(&conn) {
                shared.send(now, peer, message);
            }
        }
        if self.picker.have().get(piece) {
            if let Some(right) = &digests
                && self.culprits.wants_proof(piece)
            {
                self.convict(shared, now, piece, right);
            }
            return;
        }
        if let Some(digests) = digests {
            self.culprits.note(piece, digests);
        }
        if self.picker.contributors(piece).is_empty() {
            return;
        }
        self.picker.failed(info.layout(), piece, true);
        self.refill_all(shared, now);
    }

    pub fn write_failed(&mut self, shared: &mut Shared, piece: u32) {
        if let Some(info) = &self.info {
            self.picker.failed(info.layout(), piece, false);
            shared.out.push_back(Output::Abandon(self.id, piece));
        }
    }

    pub fn checked(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        piece: u32,
        digest: Option<PieceDigest>,
    ) {
        match digest.map(|digest| (self.judge(piece, &digest), digest)) {
            Some((Some(true), digest)) => self.mark(shared, now, piece, &digest),
            // A v2 file whose piece layer nobody has sent yet: all its pieces together can
            // still prove to be right, by the file's root.
            Some((
                None,
                PieceDigest {
                    root: Some(root), ..
                },
            )) => {
                self.unjudged.insert(piece, root);
                self.tree.learned(piece, root);
            }
            _ => self.picker.lost(piece),
        }
    }

    pub fn resumed(&mut self, have: &Bitfield) {
        if have.len() == self.picker.have().len() {
            have.iter().for_each(|piece| {
                self.picker.verified(piece);
            });
        }
    }

    pub fn check_finished(&mut self, shared: &mut Shared, now: Instant) {
        if self.phase == Phase::Checking {
            self.phase = Phase::Running;
            for (piece, root) in std::mem::take(&mut self.unjudged) {
                if self.tree.expected(piece) == Expected::Hash(root) {
                    self.picker.open(piece);
                    let digest = PieceDigest {
                        root: Some(root),
                        ..PieceDigest::default()
                    };
                    self.mark(shared, now, piece, &digest);
                }
            }
            self.say_if_finished(shared, now);
            for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                self.recount(shared, now, conn);
                self.ask_hashes(shared, now, conn);
            }
            self.refill_web(shared, now);
        }
    }

    pub fn lost(&mut self, shared: &mut Shared, now: Instant, piece: u32) {
        self.picker.lost(piece);
        self.say_if_unfinished(shared, now);
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&conn) else {
                continue;
            };
            if peer.ids.dont_have != 0 {
                let payload = extension::DontHave(piece).encode();
                let id = peer.ids.dont_have;
                shared.send(now, peer, Message::Extended { id, payload });
            }
            self.recount(shared, now, conn);
        }
        self.refill_web(shared, now);
    }

    pub(crate) fn say_if_finished(&mut self, shared: &mut Shared, now: Instant) {
        if self.phase == Phase::Checking || !self.is_finished() || self.finished_said {
            return;
        }
        self.finished_said = true;
        shared
            .out
            .push_back(Output::Event(self.id, Event::Finished));
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&conn) else {
                continue;
            };
            for piece in std::mem::take(&mut peer.untold) {
                shared.send(now, peer, Message::Have(piece));
            }
            if peer.ids.upload_only != 0 {
                let payload = extension::UploadOnly(true).encode();
                let id = peer.ids.upload_only;
                shared.send(now, peer, Message::Extended { id, payload });
            }
            self.close_if_redundant(shared, now, conn);
        }
    }

    /// What was finished wants more: peers that took us for one who only gives are told.
    pub(crate) fn say_if_unfinished(&mut self, shared: &mut Shared, now: Instant) {
        if self.is_finished() || !std::mem::take(&mut self.finished_said) {
            return;
        }
        self.unveil_if_seeded(shared, now);
        for peer in self.peers.values_mut().filter(|p| p.ids.upload_only != 0) {
            let (id, payload) = (peer.ids.upload_only, extension::UploadOnly(false).encode());
            shared.send(now, peer, Message::Extended { id, payload });
        }
    }

    pub(crate) fn close_if_redundant(&mut self, shared: &mut Shared, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else {
            return;
        };
        // A peer still fetching metadata looks upload-only to nobody; hash requests need a peer too.
        if self.is_finished() && peer.pieces.is_all() && self.seed_here()
            || self.is_finished()
                && peer.upload_only
                && !matches!(peer.pieces, Pieces::Early { .. })
        {
            self.close(shared, now, conn, Reason::Redundant);
        }
    }
}
