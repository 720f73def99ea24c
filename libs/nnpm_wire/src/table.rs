//! The table of calls: those that arrived, grouped in blocks, and those in flight, found by number.
//!
//! Two locks, taken in this order and never held while anything waits: the table's, then a block's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use slab::Slab;

use crate::grpc::{put_prefix, put_varint, varint_len, Status, PREFIX};
use crate::limits::Held;
use crate::plain::{odd_id, Scan};
use crate::sink::{Reply, Sink};

/// Replies above this are not copied: their tensors go out as slices of the worker's message.
const COPIED: usize = 16 * 1024;

/// One call that waits for its answer.
pub struct Call {
    pub body: Bytes,
    pub id: std::ops::Range<usize>,
    pub sink: Sink,
    pub held: Held,
    pub stream: u32,
}

impl Call {
    pub fn id_text(&self) -> String {
        String::from_utf8_lossy(self.id()).into_owned()
    }

    fn id(&self) -> &[u8] {
        &self.body[self.id.clone()]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Whole,
    Raw,
}

/// What calls of one block have in common.
#[derive(Clone, Default)]
pub struct Common {
    /// Empty: odd.
    pub header: Bytes,
    pub spans: Arc<[std::ops::Range<usize>]>,
    pub tail: usize,
    pub metadata: Arc<[String]>,
    pub streamed: bool,
    /// Time-outs of one class are within a thousandth of each other.
    pub class: u64,
    pub deadline: Option<Instant>,
}

/// Calls that say the same but for their ids and raw contents. None: answered, cancelled, or moved to another block.
#[derive(Default)]
pub struct Block {
    pub common: Common,
    pub calls: Vec<Option<Call>>,
    pub size: usize,
    /// Number and nonce, once it flies.
    pub flight: Option<(u64, u64)>,
    /// It was taken apart, or is a part: a reply may mean calls under later numbers.
    pub apart: bool,
    /// RedeemPayload may ask for the one call's bytes: the whole body, or its raw contents.
    pub claim: Option<Claim>,
}

impl Block {
    pub fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.calls.len()).filter(|offset| self.calls[*offset].is_some())
    }

    /// A block of calls that leave this one.
    pub fn moved(&self, calls: Vec<Option<Call>>) -> Self {
        let size = calls.iter().flatten().map(|call| call.body.len()).sum();
        Self { common: self.common.clone(), calls, size, flight: self.flight, apart: false, claim: self.claim }
    }

    /// Cuts a reply's outputs apart, adds each call's id, and sends. How many calls it answered, and the bytes sent.
    fn answer(&mut self, offset: usize, count: usize, head: &Bytes, raw: &[Bytes]) -> (u32, usize) {
        let Some(calls) = self.calls.get_mut(offset..offset.saturating_add(count)) else { return (0, 0) };
        let strides = || raw.iter().map(|data| data.len() / count.max(1));
        let common = head.len() + strides().map(|stride| 1 + varint_len(stride) + stride).sum::<usize>();
        // One allocation for all replies of a block, each of them a slice of it.
        let mut out = BytesMut::new();
        if common <= COPIED {
            out.reserve((common + 48) * count);
        }
        let (mut answered, mut sent) = (0, 0);
        for (index, call) in calls.iter_mut().enumerate() {
            let Some(call) = call.take() else { continue };
            let id = call.id();
            let length = common + if id.is_empty() { 0 } else { 1 + varint_len(id.len()) + id.len() };
            put_lead(&mut out, call.sink.is_stream(), length);
            if !id.is_empty() {
                put_field(&mut out, 0x1a, id);
            }
            out.put_slice(head);
            let mut rest = vec![];
            for (data, stride) in raw.iter().zip(strides()) {
                out.put_u8(0x32);
                put_varint(&mut out, stride);
                let part = index * stride..(index + 1) * stride;
                if common <= COPIED {
                    out.put_slice(&data[part]);
                } else {
                    rest.push(out.split().freeze());
                    rest.push(data.slice(part));
                }
            }
            let first = if rest.is_empty() { out.split().freeze() } else { Bytes::new() };
            answered += 1;
            sent += length;
            call.sink.send(Reply { first, rest, held: call.held });
        }
        (answered, sent)
    }

    /// Fails every live call. In a stream an error is a message that names its request by id.
    pub fn fail(&mut self, status: &Status, streamed: &str) -> usize {
        let mut failed = 0;
        for call in self.calls.iter_mut().filter_map(Option::take) {
            failed += 1;
            if !call.sink.is_stream() {
                call.sink.fail(status);
                continue;
            }
            let first = stream_error(call.id(), streamed);
            call.sink.send(Reply { first, rest: vec![], held: call.held });
        }
        failed
    }
}

/// The gRPC prefix of a ModelInferResponse of so many bytes; in a stream also the field that it is there.
fn put_lead(out: &mut BytesMut, stream: bool, length: usize) {
    if stream {
        put_prefix(out, 1 + varint_len(length) + length);
        out.put_u8(0x12);
        put_varint(out, length);
    } else {
        put_prefix(out, length);
    }
}

/// A whole ModelStreamInferResponse that says why a request failed, and which.
pub fn stream_error(id: &[u8], text: &str) -> Bytes {
    let mut response = BytesMut::new();
    put_field(&mut response, 0x1a, id);
    let mut message = BytesMut::new();
    put_field(&mut message, 0x0a, text.as_bytes());
    put_field(&mut message, 0x12, &response);
    let mut out = BytesMut::with_capacity(PREFIX + message.len());
    put_prefix(&mut out, message.len());
    out.put_slice(&message);
    out.freeze()
}

fn put_field(out: &mut BytesMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    put_varint(out, bytes.len());
    out.put_slice(bytes);
}

/// A block that Python has been told of.
pub struct Shelf {
    pub key: usize,
    block: Mutex<Block>,
}

impl Shelf {
    pub fn lock(&self) -> MutexGuard<'_, Block> {
        // A panic while it was held has ended one task; the block is still whole enough to be failed.
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker's reply says; see `Reply` in worker.proto.
pub struct Answer {
    pub number: u64,
    pub nonce: u64,
    pub offset: usize,
    pub count: usize,
    pub head: Bytes,
    pub raw: Vec<Bytes>,
}

/// One Deliver, as Python is told of it: (number, offset, count, answered, queue_ns, status).
pub type Landed = (u64, u32, u32, u32, u64, Option<Bytes>);

pub struct Delivered {
    pub worker: String,
    pub revision: String,
    pub figures: (u32, u32, u64, u64, u64),
    pub replies: Vec<Landed>,
    pub sent: usize,
}

/// What has happened since Python looked last.
#[derive(Default)]
pub struct Happened {
    pub blocks: Vec<Block>,
    pub cancelled: Vec<(u64, usize)>,
    pub delivered: Vec<Delivered>,
}

#[derive(Default)]
struct Inner {
    scan: Scan,
    happened: Happened,
    /// Blocks of this turn by their headers' hashes.
    open: HashMap<u64, usize>,
    shelved: Slab<Arc<Shelf>>,
    flying: HashMap<u64, Arc<Shelf>>,
}

#[derive(Default)]
pub struct Table {
    inner: Mutex<Inner>,
}

/// What a call brings besides its body.
pub struct Arrival {
    pub metadata: Arc<[String]>,
    pub alone: bool,
    pub timeout: Option<Duration>,
    pub streamed: bool,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a call into a block of this turn.
    pub fn arrive(&self, arrival: &Arrival, mut call: Call) {
        let inner = &mut *self.lock();
        let class = arrival.timeout.map_or(0, class_of);
        let deadline = arrival.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let blocks = &mut inner.happened.blocks;
        let mut common = Common {
            metadata: arrival.metadata.clone(),
            streamed: arrival.streamed,
            class,
            deadline,
            ..Common::default()
        };
        let mut hash = None;
        match inner.scan.scan(&call.body) {
            Some(id) if !arrival.alone => {
                call.id = id;
                let found = hash_of(&inner.scan.header);
                let same = |block: &Block| {
                    let its = &block.common;
                    its.header == inner.scan.header[..]
                        && (its.class, its.streamed) == (class, arrival.streamed)
                        && its.metadata == arrival.metadata
                };
                if let Some(block) = inner.open.get(&found).map(|at| &mut blocks[*at]).filter(|block| same(block)) {
                    block.size += call.body.len();
                    block.common.deadline = block.common.deadline.min(deadline);
                    block.calls.push(Some(call));
                    return;
                }
                hash = Some(found);
            }
            Some(id) => call.id = id,
            None => call.id = odd_id(&call.body),
        }
        if inner.scan.plain {
            common.header = Bytes::copy_from_slice(&inner.scan.header);
            common.spans = inner.scan.spans.as_slice().into();
            common.tail = inner.scan.tail;
        }
        if let Some(hash) = hash {
            inner.open.insert(hash, blocks.len());
        }
        blocks.push(Block { common, size: call.body.len(), calls: vec![Some(call)], ..Block::default() });
    }

    /// Everything since the last time; the blocks are shelved.
    pub fn take(&self) -> (Vec<Arc<Shelf>>, Happened) {
        let inner = &mut *self.lock();
        let mut happened = std::mem::take(&mut inner.happened);
        inner.open.clear();
        let blocks = std::mem::take(&mut happened.blocks);
        let alive = blocks.into_iter().filter(|block| block.calls.iter().any(Option::is_some));
        (alive.map(|block| inner.shelve(block)).collect(), happened)
    }

    pub fn shelve(&self, block: Block) -> Arc<Shelf> {
        self.lock().shelve(block)
    }

    /// Python has let go of a block. It answers every call before; one that it did not is not left waiting.
    pub fn drop_shelf(&self, shelf: &Arc<Shelf>) {
        let mut block = {
            let inner = &mut *self.lock();
            inner.shelved.try_remove(shelf.key);
            let block = shelf.lock();
            if let Some((number, _)) = block.flight {
                if inner.flying.get(&number).is_some_and(|flying| Arc::ptr_eq(flying, shelf)) {
                    inner.flying.remove(&number);
                }
            }
            block
        };
        if block.live().next().is_some() {
            let lost = Status::new(13, "the scheduler lost sight of the call");
            block.fail(&lost, &lost.message);
        }
    }

    /// Numbers a block. Whether some of its calls are gone already, which is told as cancellations.
    pub fn fly(&self, shelf: &Arc<Shelf>, number: u64, nonce: u64) -> bool {
        let inner = &mut *self.lock();
        let mut block = shelf.lock();
        block.flight = Some((number, nonce));
        let before = inner.happened.cancelled.len();
        let gone = (0..block.calls.len()).filter(|offset| block.calls[*offset].is_none());
        inner.happened.cancelled.extend(gone.map(|offset| (number, offset)));
        inner.flying.insert(number, shelf.clone());
        inner.happened.cancelled.len() > before
    }

    /// Nobody waits for these calls any more. Whether there were any to tell of.
    pub fn cancel(&self, which: impl Fn(&Call) -> bool) -> bool {
        let inner = &mut *self.lock();
        let theirs = |call: &Option<Call>| call.as_ref().is_some_and(&which);
        // Dropping a call resets its stream, which takes the connection's lock: fine, but not needed under ours.
        let mut gone = vec![];
        for block in &mut inner.happened.blocks {
            gone.extend(block.calls.iter_mut().filter(|call| theirs(call)).map(Option::take));
            block.calls.retain(Option::is_some);
            block.size = block.calls.iter().flatten().map(|call| call.body.len()).sum();
        }
        let before = inner.happened.cancelled.len();
        for (_, shelf) in &inner.shelved {
            let mut block = shelf.lock();
            let flight = block.flight;
            for (offset, call) in block.calls.iter_mut().enumerate() {
                if theirs(call) {
                    gone.push(call.take());
                    inner.happened.cancelled.extend(flight.map(|(number, _)| (number, offset)));
                }
            }
        }
        inner.happened.cancelled.len() > before
    }

    /// Answers calls of a block, wherever they are now. How many, and how many bytes went out; None: no such block.
    pub fn answer(&self, answer: &Answer) -> Option<(u32, usize)> {
        let shelf = self.lock().flying.get(&answer.number).cloned();
        if let Some(shelf) = &shelf {
            let mut block = shelf.lock();
            if !block.apart {
                let known = block.flight.is_some_and(|(_, nonce)| nonce == answer.nonce);
                return known.then(|| block.answer(answer.offset, answer.count, &answer.head, &answer.raw));
            }
        }
        self.answer_apart(answer)
    }

    /// The block was taken apart: each of its calls is under its own number.
    fn answer_apart(&self, answer: &Answer) -> Option<(u32, usize)> {
        let mut total = None;
        for index in 0..answer.count.min(1 << 16) {
            let number = answer.number + (answer.offset + index) as u64;
            let Some(shelf) = self.lock().flying.get(&number).cloned() else { continue };
            let mut block = shelf.lock();
            if block.flight.is_none_or(|(_, nonce)| nonce != answer.nonce) {
                continue;
            }
            let part = |data: &Bytes| {
                let stride = data.len() / answer.count;
                data.slice(index * stride..(index + 1) * stride)
            };
            let raw: Vec<Bytes> = answer.raw.iter().map(part).collect();
            let (answered, sent) = block.answer(0, 1, &answer.head, &raw);
            let (all_answered, all_sent) = total.unwrap_or((0, 0));
            total = Some((all_answered + answered, all_sent + sent));
        }
        total
    }

    /// Answers a block's own calls, for replies that came by another way.
    pub fn answer_block(shelf: &Shelf, offset: usize, count: usize, head: &Bytes, raw: &[Bytes]) -> u32 {
        shelf.lock().answer(offset, count, head, raw).0
    }

    /// Whether a worker's status is for a block that is still in flight.
    pub fn flies(&self, number: u64, nonce: u64, offset: usize, count: usize) -> bool {
        let inner = self.lock();
        let is = |number| {
            let flying: Option<&Arc<Shelf>> = inner.flying.get(&number);
            flying.is_some_and(|shelf| shelf.lock().flight == Some((number, nonce)))
        };
        is(number) || (offset..offset.saturating_add(count.min(1 << 16))).any(|index| is(number + index as u64))
    }

    pub fn delivered(&self, delivered: Delivered) {
        self.lock().happened.delivered.push(delivered);
    }

    /// The bytes that RedeemPayload streams: the raw contents one behind the other, or the body.
    pub fn payload(&self, number: u64, nonce: u64) -> Option<Vec<Bytes>> {
        let shelf = self.lock().flying.get(&number).cloned()?;
        let block = shelf.lock();
        let call = block.calls.first()?.as_ref()?;
        if block.flight != Some((number, nonce)) {
            return None;
        }
        if block.claim? == Claim::Whole {
            return Some(vec![call.body.clone()]);
        }
        let tail = call.body.slice(call.body.len() - block.common.tail..);
        Some(block.common.spans.iter().map(|span| tail.slice(span.clone())).collect())
    }
}

impl Inner {
    fn shelve(&mut self, block: Block) -> Arc<Shelf> {
        let flight = block.flight;
        let entry = self.shelved.vacant_entry();
        let shelf = Arc::new(Shelf { key: entry.key(), block: Mutex::new(block) });
        entry.insert(shelf.clone());
        if let Some((number, _)) = flight {
            self.flying.insert(number, shelf.clone());
        }
        shelf
    }
}

/// Cut to a thousandth of itself; never 0, which is no time-out.
fn class_of(timeout: Duration) -> u64 {
    let micros = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
    let idle = (64 - micros.leading_zeros()).saturating_sub(10);
    ((micros >> idle) << idle) + 1
}

/// FNV-1a over words: short, and collisions cost one block more.
fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    hash
}
