//! Where an answer goes: the end of a unary call, or a place in a stream's order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::SendStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::grpc::{self, Status};
use crate::limits::Held;

/// A gRPC message, prefix included: `first`, then `rest`. What it holds is counted until it is written.
pub struct Reply {
    pub first: Bytes,
    pub rest: Vec<Bytes>,
    pub held: Held,
}

pub enum Sink {
    Unary(SendResponse<Bytes>, Handle),
    Stream(Arc<Order>, u64),
}

impl Sink {
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(..))
    }

    pub fn send(self, reply: Reply) {
        match self {
            Self::Unary(respond, _) if reply.rest.is_empty() => send_small(respond, reply.first),
            Self::Unary(mut respond, handle) => {
                if let Ok(mut stream) = respond.send_response(grpc::head(), false) {
                    handle.spawn(async move {
                        if write(&mut stream, reply).await.is_ok() {
                            let _ = stream.send_trailers(grpc::ok());
                        }
                    });
                }
            }
            Self::Stream(order, place) => order.settle(place, reply),
        }
    }

    pub fn fail(self, status: &Status) {
        if let Self::Unary(mut respond, _) = self {
            grpc::fail(&mut respond, status);
        }
    }
}

/// Headers, message and trailers are queued together and leave in one write. A stream has one small answer, and a
/// connection a bounded number of streams: what waits here for a slow reader is bounded by that.
pub fn send_small(mut respond: SendResponse<Bytes>, message: Bytes) {
    // An error means that the client is gone.
    if let Ok(mut stream) = respond.send_response(grpc::head(), false) {
        let _ = stream.send_data(message, false);
        let _ = stream.send_trailers(grpc::ok());
    }
}

/// Waits for the client's flow control.
pub async fn write(stream: &mut SendStream<Bytes>, reply: Reply) -> Result<(), h2::Error> {
    let Reply { first, rest, held } = reply;
    for part in std::iter::once(first).chain(rest) {
        send_data(stream, part).await?;
    }
    drop(held);
    Ok(())
}

pub async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let free = match stream.capacity() {
            0 => match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(free) => free?,
                None => return Err(h2::Reason::CANCEL.into()),
            },
            free => free,
        };
        stream.send_data(data.split_to(free.min(data.len())), false)?;
    }
    Ok(())
}

/// The answers of a stream, in the order of its requests.
#[derive(Default)]
pub struct Order {
    places: Mutex<Places>,
    /// A reply came to the head, or the last request has been read.
    pub moved: Notify,
    /// A reply was taken from the head.
    freed: Notify,
}

#[derive(Default)]
struct Places {
    first: u64,
    replies: VecDeque<Option<Reply>>,
    no_more: bool,
}

impl Order {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn unanswered(&self) -> usize {
        self.lock().replies.len()
    }

    /// Until fewer than `most` are unanswered.
    pub async fn room(&self, most: usize) {
        while self.unanswered() >= most {
            self.freed.notified().await;
        }
    }

    /// The last request has been read.
    pub fn end(&self) {
        self.lock().no_more = true;
        self.moved.notify_one();
    }

    pub fn ended(&self) -> bool {
        let places = self.lock();
        places.no_more && places.replies.is_empty()
    }

    pub fn next_place(&self) -> u64 {
        let mut places = self.lock();
        places.replies.push_back(None);
        places.first + places.replies.len() as u64 - 1
    }

    pub fn settle(&self, place: u64, reply: Reply) {
        let mut places = self.lock();
        let at = place - places.first;
        if let Some(slot) = places.replies.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) {
            *slot = Some(reply);
        }
        if at == 0 {
            self.moved.notify_one();
        }
    }

    /// The reply at the head, if it is there.
    pub fn pop(&self) -> Option<Reply> {
        let mut places = self.lock();
        let reply = places.replies.front_mut()?.take()?;
        places.replies.pop_front();
        places.first += 1;
        self.freed.notify_one();
        Some(reply)
    }
}
