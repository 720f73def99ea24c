//! What workers ask for: replies are routed to their calls without waiting for Python, claimed bytes are streamed.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use prost::Message;

use crate::grpc::{self, put_prefix, put_varint, varint_len, PREFIX};
use crate::limits::Shared;
use crate::sink::{send_data, send_small};
use crate::table::{Answer, Delivered};

/// Of one message of RedeemPayload.
const PIECE: usize = 1 << 20;

/// See worker.proto.
#[derive(Clone, PartialEq, Message)]
struct DeliverRequest {
    #[prost(string, tag = "1")]
    worker: String,
    #[prost(string, tag = "2")]
    scheduler: String,
    #[prost(string, tag = "3")]
    revision: String,
    #[prost(message, repeated, tag = "4")]
    replies: Vec<WorkerReply>,
    #[prost(message, optional, tag = "5")]
    figures: Option<Figures>,
}

#[derive(Clone, PartialEq, Message)]
struct WorkerReply {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(fixed64, tag = "2")]
    nonce: u64,
    #[prost(uint32, tag = "3")]
    offset: u32,
    #[prost(uint32, tag = "4")]
    count: u32,
    #[prost(bytes = "bytes", tag = "5")]
    head: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    raw: Vec<Bytes>,
    /// A google.rpc.Status, left serialised for Python.
    #[prost(bytes = "bytes", optional, tag = "7")]
    status: Option<Bytes>,
    #[prost(uint64, tag = "9")]
    queue_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Figures {
    #[prost(uint32, tag = "1")]
    requests: u32,
    #[prost(uint32, tag = "2")]
    rows: u32,
    #[prost(uint64, tag = "3")]
    compute_input_ns: u64,
    #[prost(uint64, tag = "4")]
    compute_infer_ns: u64,
    #[prost(uint64, tag = "5")]
    compute_output_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DeliverResponse {
    #[prost(uint32, tag = "1")]
    completed: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RedeemPayloadRequest {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(fixed64, tag = "2")]
    nonce: u64,
}

pub fn deliver(shared: &Arc<Shared>, message: Bytes, mut respond: SendResponse<Bytes>) {
    let request = match DeliverRequest::decode(message) {
        Ok(request) if request.scheduler == shared.scheduler => request,
        Ok(_) => return grpc::fail(&mut respond, &shared.refusal("wrong_scheduler")),
        Err(_) => return grpc::fail(&mut respond, &shared.refusal("malformed")),
    };
    let completed = route(shared, request);
    let response = DeliverResponse { completed };
    let mut out = BytesMut::with_capacity(PREFIX + response.encoded_len());
    put_prefix(&mut out, response.encoded_len());
    response.encode(&mut out).expect("there is room");
    send_small(respond, out.freeze());
}

/// Answers what is answered, and notes it all for Python. How many calls were completed.
fn route(shared: &Arc<Shared>, request: DeliverRequest) -> u32 {
    let (mut completed, mut sent, mut landed) = (0, 0, vec![]);
    for reply in request.replies {
        let (number, nonce, offset, count) = (reply.number, reply.nonce, reply.offset, reply.count.max(1));
        if reply.status.is_some() {
            if shared.table.flies(number, nonce, offset as usize, count as usize) {
                landed.push((number, offset, count, 0, reply.queue_ns, reply.status));
            }
            continue;
        }
        let (offset_, count_) = (offset as usize, count as usize);
        let answer = Answer { number, nonce, offset: offset_, count: count_, head: reply.head, raw: reply.raw };
        if let Some((answered, bytes)) = shared.table.answer(&answer) {
            completed += answered;
            sent += bytes;
            landed.push((number, offset, count, answered, reply.queue_ns, None));
        }
    }
    let figures = request.figures.unwrap_or_default();
    shared.table.delivered(Delivered {
        worker: request.worker,
        revision: request.revision,
        figures: (
            figures.requests,
            figures.rows,
            figures.compute_input_ns,
            figures.compute_infer_ns,
            figures.compute_output_ns,
        ),
        replies: landed,
        sent,
    });
    shared.stir.notify_one();
    completed
}

pub fn redeem(shared: &Arc<Shared>, message: &Bytes, mut respond: SendResponse<Bytes>) {
    let Ok(request) = RedeemPayloadRequest::decode(message.clone()) else {
        return grpc::fail(&mut respond, &shared.refusal("malformed"));
    };
    let Some(payload) = shared.table.payload(request.number, request.nonce) else {
        return grpc::fail(&mut respond, &shared.refusal("claim_not_found"));
    };
    tokio::spawn(async move {
        let Ok(mut stream) = respond.send_response(grpc::head(), false) else { return };
        for mut part in payload {
            while !part.is_empty() {
                let piece = part.split_to(PIECE.min(part.len()));
                let length = 1 + varint_len(piece.len()) + piece.len();
                let mut lead = BytesMut::with_capacity(16);
                put_prefix(&mut lead, length);
                lead.put_u8(0x0a);
                put_varint(&mut lead, piece.len());
                if send_data(&mut stream, lead.freeze()).await.is_err() || send_data(&mut stream, piece).await.is_err()
                {
                    return;
                }
            }
        }
        let _ = stream.send_trailers(grpc::ok());
    });
}
