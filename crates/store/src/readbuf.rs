//! Buffers for bytes on their way out: bounded like slots, but as long as the longest read.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

/// Bytes in one read: neighbouring requests of one connection joined. Longer reads bring nothing more on a
/// network, and a slow peer would keep more memory.
pub const READ_MAX: usize = 256 * 1024;

/// Reads that may be under way or unsent unless the configuration says otherwise: 6 MiB at most, and the
/// next read waits. Only what was touched is resident.
pub const DEFAULT_READ_BUFFERS: usize = 24;

#[derive(Default)]
struct State {
    free: Vec<Box<[u8]>>,
    out: usize,
    starved: bool,
}

pub(crate) struct ReadPool {
    capacity: usize,
    state: Mutex<State>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl ReadPool {
    pub fn new(capacity: usize) -> Arc<ReadPool> {
        Arc::new(ReadPool {
            capacity: capacity.max(1),
            state: Mutex::default(),
            wake: OnceLock::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the read buffers")
    }

    /// Calls `wake` when a buffer returns after one was refused.
    pub fn on_available(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    pub fn try_take(self: &Arc<Self>, len: usize) -> Option<ReadBuf> {
        let mut state = self.state();
        if state.out == self.capacity {
            state.starved = true;
            return None;
        }
        state.out += 1;
        let free = state.free.pop();
        drop(state);
        // Zeroed memory comes from the system untouched.
        let bytes = free.unwrap_or_else(|| vec![0; READ_MAX].into_boxed_slice());
        Some(ReadBuf {
            bytes,
            len,
            pool: Some(self.clone()),
        })
    }
}

/// Bytes that were read; the buffer returns to its pool when dropped, and the next read may begin.
pub struct ReadBuf {
    bytes: Box<[u8]>,
    len: usize,
    pool: Option<Arc<ReadPool>>,
}

impl ReadBuf {
    /// A buffer outside any pool.
    pub(crate) fn detached(len: usize) -> ReadBuf {
        ReadBuf {
            bytes: vec![0; len].into_boxed_slice(),
            len,
            pool: None,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Deref for ReadBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for ReadBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for ReadBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadBuf({} bytes)", self.len)
    }
}

impl Drop for ReadBuf {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        let mut state = pool.state();
        state.free.push(std::mem::take(&mut self.bytes));
        state.out -= 1;
        let starved = std::mem::take(&mut state.starved);
        drop(state);
        if let (true, Some(wake)) = (starved, pool.wake.get()) {
            wake();
        }
    }
}
