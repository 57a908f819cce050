//! Slots: the buffers a block lives in between the socket and the disk.
//!
//! One bounded pool serves the whole process. A road that gets no slot stops reading its socket, so
//! the pool is also the back-pressure. What fills a slot, and what happens to it, is not known here.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes in a slot: one block of a piece (BEP 3's customary request size).
pub const SLOT: usize = torrent::layout::BLOCK as usize;

/// Slots in a pool unless the configuration says otherwise: 8 MiB, enough for 256 KiB batches of
/// some thirty pieces at once, little enough for a process of 24 MiB.
pub const DEFAULT_SLOTS: usize = 512;

/// Page-aligned, so that the kernel copies whole pages.
#[repr(align(4096))]
struct Page([u8; SLOT]);

type Callback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    /// Most recently used last, so that warm memory is used first. `free.len() + out ≤ capacity`.
    free: Vec<Box<Page>>,
    out: usize,
    /// Somebody was refused since the last call of `available`.
    missed: bool,
    available: Option<Callback>,
    thirst: Option<Callback>,
}

struct Shared {
    /// Slots there may be; fewer than are out while it has just become less.
    capacity: AtomicUsize,
    state: Mutex<State>,
}

impl Shared {
    fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the pool")
    }
}

/// A bounded pool of [`SLOT`]-byte buffers. Cloning it gives another handle to the same pool.
///
/// Memory is touched when a slot is first needed and kept for reuse, never more than the capacity.
#[derive(Clone)]
pub struct SlotPool {
    shared: Arc<Shared>,
}

impl SlotPool {
    /// A pool of at most `capacity` slots (at least one).
    pub fn new(capacity: usize) -> SlotPool {
        SlotPool {
            shared: Arc::new(Shared {
                capacity: AtomicUsize::new(capacity.max(1)),
                state: Mutex::default(),
            }),
        }
    }

    /// A slot of length `len` (at most [`SLOT`]), or `None` when all are in use. After a refusal the
    /// [`on_available`](Self::on_available) callback is called when a slot returns.
    ///
    /// The bytes are whatever the slot's last user left: fill all of it.
    ///
    /// # Panics
    /// If `len` is greater than [`SLOT`]: the caller checks a block's length before it asks.
    pub fn try_take(&self, len: usize) -> Option<Slot> {
        assert!(
            len <= SLOT,
            "a block is at most {SLOT} bytes, {len} were asked for"
        );
        let mut state = self.shared.state();
        if state.out >= self.shared.capacity() {
            state.missed = true;
            let thirst = state.thirst.clone();
            drop(state);
            if let Some(thirst) = thirst {
                thirst();
            }
            return None;
        }
        state.out += 1;
        let page = state.free.pop();
        drop(state);
        let page = page.unwrap_or_else(|| Box::new(Page([0; SLOT])));
        Some(Slot {
            page: Some(page),
            len,
            home: Some(self.shared.clone()),
        })
    }

    /// Slots that can be taken now.
    pub fn free(&self) -> usize {
        let out = self.shared.state().out;
        self.shared.capacity().saturating_sub(out)
    }

    /// Slots there are in all.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// As many slots as this from now on (at least one): memory of those that are too many is given back as they
    /// return.
    pub fn set_capacity(&self, capacity: usize) {
        let capacity = capacity.max(1);
        let before = self.shared.capacity.swap(capacity, Ordering::Relaxed);
        let mut state = self.shared.state();
        let kept = capacity.saturating_sub(state.out);
        state.free.truncate(kept);
        let wake = (capacity > before && std::mem::take(&mut state.missed))
            .then(|| state.available.clone())
            .flatten();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Calls `callback` when slots return after somebody was refused: once, however many were refused, so
    /// whoever is then served passes the word on. It is called on whatever thread dropped the slot, perhaps
    /// under the store's lock: wake a task, no more.
    pub fn on_available(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.shared.state().available = Some(Arc::new(callback));
    }

    /// Calls `callback` whenever somebody is refused: the store hands in what it has collected.
    pub(crate) fn on_thirst(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.shared.state().thirst = Some(Arc::new(callback));
    }

    /// True when less than a quarter of the slots is left: then nobody keeps one for later.
    pub(crate) fn is_short(&self) -> bool {
        self.free() * 4 < self.shared.capacity()
    }
}

impl fmt::Debug for SlotPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SlotPool {{ free: {} of {} }}",
            self.free(),
            self.capacity()
        )
    }
}

/// A block's buffer. It returns to its pool when dropped.
pub struct Slot {
    page: Option<Box<Page>>,
    len: usize,
    home: Option<Arc<Shared>>,
}

impl Slot {
    /// A slot outside any pool, holding a copy of `bytes` (at most [`SLOT`]): for simulations and tests.
    pub fn detached(bytes: &[u8]) -> Slot {
        let mut page = Box::new(Page([0; SLOT]));
        page.0[..bytes.len()].copy_from_slice(bytes);
        Slot {
            page: Some(page),
            len: bytes.len(),
            home: None,
        }
    }
}

impl Deref for Slot {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let page = self
            .page
            .as_ref()
            .expect("a slot holds its page until it is dropped");
        &page.0[..self.len]
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [u8] {
        let page = self
            .page
            .as_mut()
            .expect("a slot holds its page until it is dropped");
        &mut page.0[..self.len]
    }
}

impl AsMut<[u8]> for Slot {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({} bytes)", self.len)
    }
}

/// Returns many slots under one lock; dropping them one by one does the same.
pub(crate) fn release(slots: impl IntoIterator<Item = Slot>) {
    let mut pages = Vec::new();
    let mut pool: Option<Arc<Shared>> = None;
    for mut slot in slots {
        match (&pool, slot.home.take()) {
            (_, None) => {}
            (Some(pool), Some(home)) if !Arc::ptr_eq(pool, &home) => slot.home = Some(home),
            (_, Some(home)) => {
                pages.extend(slot.page.take());
                pool = Some(home);
            }
        }
    }
    if let Some(pool) = pool {
        pool.take_back(pages);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let (Some(page), Some(home)) = (self.page.take(), self.home.take()) {
            home.take_back([page]);
        }
    }
}

impl Shared {
    fn take_back(&self, pages: impl IntoIterator<Item = Box<Page>>) {
        let mut state = self.state();
        let before = state.free.len();
        state.free.extend(pages);
        state.out -= state.free.len() - before;
        let kept = self.capacity().saturating_sub(state.out);
        state.free.truncate(kept);
        if !std::mem::take(&mut state.missed) {
            return;
        }
        let available = state.available.clone();
        drop(state);
        if let Some(available) = available {
            available();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_became_smaller_gives_memory_back_as_slots_return() {
        let pool = SlotPool::new(4);
        let out: Vec<Slot> = (0..4).map(|_| pool.try_take(SLOT).unwrap()).collect();
        pool.set_capacity(2);
        assert_eq!((pool.free(), pool.capacity()), (0, 2));
        drop(out);
        assert_eq!(pool.shared.state().free.len(), 2);
        let both = (pool.try_take(1), pool.try_take(1));
        assert!(both.0.is_some() && both.1.is_some() && pool.try_take(1).is_none());
        pool.set_capacity(3);
        assert!(pool.try_take(1).is_some());
    }

    #[test]
    fn a_pool_never_gives_more_than_its_capacity_and_takes_slots_back() {
        let pool = SlotPool::new(2);
        let a = pool.try_take(SLOT).unwrap();
        let b = pool.try_take(5).unwrap();
        assert_eq!((a.len(), b.len()), (SLOT, 5));
        assert!(pool.try_take(1).is_none());
        drop(a);
        assert_eq!(pool.free(), 1);
        assert!(pool.try_take(1).is_some());
    }

    #[test]
    fn a_refusal_is_followed_by_one_wake_up() {
        let pool = SlotPool::new(1);
        let woken = Arc::new(AtomicUsize::new(0));
        pool.on_available({
            let woken = woken.clone();
            move || {
                woken.fetch_add(1, Ordering::Relaxed);
            }
        });
        drop(pool.try_take(1));
        assert_eq!(woken.load(Ordering::Relaxed), 0, "nobody waited");
        let slot = pool.try_take(1);
        assert!(pool.try_take(1).is_none());
        drop(slot);
        drop(pool.try_take(1));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn slots_begin_on_a_page() {
        let pool = SlotPool::new(4);
        let slots: Vec<Slot> = (0..4).filter_map(|_| pool.try_take(SLOT)).collect();
        assert!(
            slots
                .iter()
                .all(|slot| (slot.as_ptr() as usize).is_multiple_of(4096))
        );
    }
}
