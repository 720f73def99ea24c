//! Where an answer goes: the end of a unary call, or a place among a stream's answers.

use std::collections::BTreeMap;
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

    /// Whether it is one of these places of a stream.
    pub fn is_one_of(&self, order: &Arc<Order>, places: &[u64]) -> bool {
        matches!(self, Self::Stream(its, place) if Arc::ptr_eq(its, order) && places.contains(place))
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

/// The answers of a stream, on their way to its client.
pub struct Order {
    /// An answer waits for those of all earlier requests; otherwise it leaves as it comes.
    as_requested: bool,
    places: Mutex<Places>,
    /// A reply may leave, or the last request has been read.
    pub moved: Notify,
    /// A request is unanswered no more.
    freed: Notify,
}

/// Requests have a place each, counted up in the order in which they were read.
#[derive(Default)]
struct Places {
    next: u64,
    /// The ids of those whose replies have not come.
    waiting: BTreeMap<u64, String>,
    replies: BTreeMap<u64, Reply>,
    no_more: bool,
}

impl Order {
    pub fn new(as_requested: bool) -> Self {
        Self { as_requested, places: Mutex::default(), moved: Notify::new(), freed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until fewer than `most` are unanswered.
    pub async fn room(&self, most: usize) {
        while self.lock().unanswered() >= most {
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
        places.no_more && places.unanswered() == 0
    }

    /// A place for a request with this id.
    pub fn next_place(&self, id: &str) -> u64 {
        let mut places = self.lock();
        places.next += 1;
        let place = places.next;
        places.waiting.insert(place, id.to_owned());
        place
    }

    pub fn settle(&self, place: u64, reply: Reply) {
        let mut places = self.lock();
        // One that was withdrawn meanwhile is not answered.
        if places.waiting.remove(&place).is_some() {
            places.replies.insert(place, reply);
            self.moved.notify_one();
        }
    }

    /// The places of unanswered requests with this id, which will not be answered any more.
    pub fn withdraw(&self, id: &str) -> Vec<u64> {
        let mut places = self.lock();
        let named = places.waiting.iter().filter(|(_, its)| *its == id).map(|(place, _)| *place);
        let withdrawn: Vec<u64> = named.collect();
        for place in &withdrawn {
            places.waiting.remove(place);
        }
        self.moved.notify_one();
        self.freed.notify_one();
        withdrawn
    }

    /// The next reply that may leave.
    pub fn pop(&self) -> Option<Reply> {
        let mut places = self.lock();
        let place = places.replies.first_key_value()?.0;
        if self.as_requested && places.waiting.first_key_value().is_some_and(|(earlier, _)| earlier < place) {
            return None;
        }
        self.freed.notify_one();
        Some(places.replies.pop_first()?.1)
    }
}

impl Places {
    fn unanswered(&self) -> usize {
        self.waiting.len() + self.replies.len()
    }
}
