//! An eventfd that the other thread's event loop watches: readable from the first thing that happened until it is taken.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{eventfd, EventfdFlags};

pub struct Wake {
    fd: OwnedFd,
    raised: AtomicBool,
}

impl Wake {
    pub fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, raised: AtomicBool::new(false) })
    }

    pub fn fileno(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// One system call a turn, however much happens in it.
    pub fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            // It fails only when the counter is full, and then it is readable anyway.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Comes before taking: what happens after it raises again.
    pub fn lower(&self) {
        if self.raised.load(Ordering::Acquire) {
            let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
            self.raised.store(false, Ordering::Release);
        }
    }
}
