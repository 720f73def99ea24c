//! What connections may hold, and who holds how much.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{watch, Notify};

use crate::grpc::{Fault, Status};
use crate::table::{Call, Table};
use crate::wake::Wake;

/// As set from Python.
pub struct Limits {
    pub message_bytes: usize,
    pub total_bytes: usize,
    pub connection_bytes: usize,
    pub calls: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Serving,
    Draining,
    Closed,
}

/// What every connection of a Front shares.
pub struct Shared {
    pub scheduler: String,
    pub limits: Limits,
    pub metadata: Vec<String>,
    pub no_metadata: Arc<[String]>,
    pub refusals: HashMap<String, Status>,
    pub table: Table,
    pub wake: Wake,
    /// Wakes the task that raises `wake` after the tasks that are ready now.
    pub stir: Notify,
    pub phase: watch::Sender<Phase>,
    pub bytes: AtomicUsize,
    pub calls: AtomicUsize,
    pub connections: AtomicUsize,
}

impl Shared {
    pub fn refusal(&self, fault: Fault) -> Status {
        self.refusals.get(fault).cloned().unwrap_or_else(|| Status::new(13, fault))
    }

    pub async fn until(&self, is: impl Fn(Phase) -> bool) {
        // It fails only when the sender, which is ours, is gone.
        let _ = self.phase.subscribe().wait_for(|phase| is(*phase)).await;
    }

    pub fn draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }
}

/// One connection.
pub struct Connection {
    pub id: u64,
    pub shared: Arc<Shared>,
    pub bytes: AtomicUsize,
    /// Streams that the client has reset since last looked.
    resets: Mutex<Vec<u32>>,
    any_resets: AtomicBool,
}

impl Connection {
    pub fn new(id: u64, shared: Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Self { id, shared, bytes: AtomicUsize::new(0), resets: Mutex::default(), any_resets: AtomicBool::new(false) }
    }

    pub fn reset(&self, stream: u32) {
        self.resets.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        self.any_resets.store(true, Ordering::Release);
    }

    pub fn take_resets(&self) -> Vec<u32> {
        if !self.any_resets.swap(false, Ordering::AcqRel) {
            return vec![];
        }
        std::mem::take(&mut self.resets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nobody waits for these of its calls any more.
    pub fn cancel(&self, which: impl Fn(&Call) -> bool) {
        if self.shared.table.cancel(|call| call.held.connection() == self.id && which(call)) {
            self.shared.stir.notify_one();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One call and its bytes, counted until dropped.
pub struct Held {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Held {
    /// Counts a call in, in any case; a fault at the bound.
    pub fn counted(connection: &Arc<Connection>) -> (Self, Option<Fault>) {
        let shared = &connection.shared;
        let over = shared.calls.fetch_add(1, Ordering::Relaxed) >= shared.limits.calls;
        (Self { connection: connection.clone(), bytes: 0 }, over.then_some("too_many_calls"))
    }

    /// Counts further bytes, in any case; a fault at a bound.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        let shared = &self.connection.shared;
        self.bytes += bytes;
        let total = shared.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let own = self.connection.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if total > shared.limits.total_bytes {
            return Err("total_bytes");
        }
        if own > shared.limits.connection_bytes {
            return Err("connection_bytes");
        }
        Ok(())
    }

    pub fn connection(&self) -> u64 {
        self.connection.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let shared = &self.connection.shared;
        shared.calls.fetch_sub(1, Ordering::Relaxed);
        shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.connection.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
