//! A client's connection, which is driven by its task and by whoever has just sent something.

use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{self, Context, Poll, Waker};

use bytes::Bytes;
use h2::client::Connection;

use crate::client::locked;
use crate::io::Io;

/// A connection that its task drives, and whoever has just sent something: the system call is then made at once, in
/// the caller's thread, instead of after a switch of threads.
pub struct Driven {
    /// None once it has ended: h2 tells a connection's calls so only when it is dropped.
    connection: Mutex<Option<Connection<Io, Bytes>>>,
    bell: Arc<Bell>,
}

impl Driven {
    pub fn new(connection: Connection<Io, Bytes>) -> Arc<Self> {
        Arc::new(Self { connection: Mutex::new(Some(connection)), bell: Arc::default() })
    }

    /// Until what is returned is dropped the task is not woken, and then once.
    pub fn mute(&self) -> Muted {
        self.bell.mute()
    }

    pub async fn run(self: Arc<Self>) {
        poll_fn(|cx| {
            self.bell.is_for(cx.waker());
            self.poll(&mut locked(&self.connection))
        })
        .await;
    }

    pub fn drive(&self) {
        // Whoever else holds it has been rung for.
        let polled = self.connection.try_lock().map(|mut connection| self.poll(&mut connection));
        if matches!(polled, Ok(Poll::Ready(()))) {
            Waker::from(self.bell.clone()).wake();
        }
    }

    fn poll(&self, connection: &mut Option<Connection<Io, Bytes>>) -> Poll<()> {
        let Some(open) = connection else { return Poll::Ready(()) };
        // What it was rung for is seen now.
        self.bell.rung.store(false, SeqCst);
        let waker = Waker::from(self.bell.clone());
        let ended = Pin::new(open).poll(&mut Context::from_waker(&waker)).map(drop);
        if ended.is_ready() {
            *connection = None;
        }
        ended
    }
}

/// Wakes a connection's task, but not while it is mute: then once afterwards.
#[derive(Default)]
struct Bell {
    task: Mutex<Option<Waker>>,
    muted: AtomicUsize,
    rung: AtomicBool,
}

impl Bell {
    fn is_for(&self, waker: &Waker) {
        let mut task = locked(&self.task);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn mute(self: &Arc<Self>) -> Muted {
        self.muted.fetch_add(1, SeqCst);
        Muted(self.clone())
    }
}

impl task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, SeqCst);
        if self.muted.load(SeqCst) == 0 && self.rung.swap(false, SeqCst) {
            if let Some(task) = locked(&self.task).as_ref() {
                task.wake_by_ref();
            }
        }
    }
}

/// While it lives a bell is mute.
pub struct Muted(Arc<Bell>);

impl Drop for Muted {
    fn drop(&mut self) {
        if self.0.muted.fetch_sub(1, SeqCst) == 1 && self.0.rung.load(SeqCst) {
            Waker::from(self.0.clone()).wake();
        }
    }
}
