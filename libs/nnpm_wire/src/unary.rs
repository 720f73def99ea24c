//! Methods that take one message: ModelInfer from clients, Deliver and RedeemPayload from workers.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::RecvStream;
use http::request::Parts;
use http::{HeaderMap, Request};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::deliver;
use crate::grpc::{self, Fault, Messages};
use crate::limits::{Connection, Held, Shared};
use crate::sink::Sink;
use crate::table::{Arrival, Call};

/// How long a body may come without an end: half-open calls do not stay.
const UPLOAD: Duration = Duration::from_secs(120);
/// A worker's message is a client's, and a few fields more.
const MESH_HEADROOM: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Infer,
    Deliver,
    Redeem,
}

/// A call whose body is on its way. It is done with when `poll` is ready.
pub struct Upload {
    method: Method,
    connection: Arc<Connection>,
    head: Parts,
    body: RecvStream,
    messages: Messages,
    rest: Option<(SendResponse<Bytes>, Held)>,
}

impl Upload {
    pub fn new(
        method: Method,
        connection: Arc<Connection>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        held: Held,
    ) -> Self {
        let limit = connection.shared.limits.message_bytes + if method == Method::Infer { 0 } else { MESH_HEADROOM };
        let (head, body) = request.into_parts();
        Self { method, connection, head, body, messages: Messages::new(limit), rest: Some((respond, held)) }
    }

    pub async fn run(mut self) {
        if timeout(UPLOAD, poll_fn(|cx| self.poll(cx))).await.is_err() {
            if let Some((mut respond, _)) = self.rest.take() {
                respond.send_reset(h2::Reason::CANCEL);
            }
        }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some((respond, held)) = &mut self.rest else { return Poll::Ready(()) };
            let outcome = match self.body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(_))) => {
                    self.rest = None;
                    continue;
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    let size = chunk.len();
                    let _ = self.body.flow_control().release_capacity(size);
                    self.messages.push(chunk);
                    // What is announced too large is not waited for.
                    match (self.method, self.messages.check()) {
                        (Method::Infer, Ok(())) => held.grow(size).map(|()| None),
                        (_, checked) => checked.map(|()| None),
                    }
                }
                Poll::Ready(None) => only(&mut self.messages).map(Some),
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(message)) => {
                    let (respond, held) = self.rest.take().expect("looked at above");
                    self.serve(message, respond, held);
                }
                Err(fault) => {
                    grpc::fail(respond, &self.connection.shared.refusal(fault));
                    self.rest = None;
                }
            }
        }
    }

    fn serve(&self, message: Bytes, respond: SendResponse<Bytes>, held: Held) {
        match self.method {
            Method::Infer => {
                let stream = respond.stream_id().as_u32();
                let sink = Sink::Unary(respond, Handle::current());
                arrive(
                    &self.connection,
                    &arrival(&self.connection.shared, &self.head.headers, false),
                    Call { body: message, id: 0..0, sink, held, stream },
                );
            }
            Method::Deliver => deliver::deliver(&self.connection.shared, message, respond),
            Method::Redeem => deliver::redeem(&self.connection.shared, &message, respond),
        }
    }
}

pub fn arrive(connection: &Arc<Connection>, arrival: &Arrival, call: Call) {
    connection.shared.table.arrive(arrival, call);
    connection.shared.stir.notify_one();
}

/// What of a call's headers says into which block it goes.
pub fn arrival(shared: &Shared, headers: &HeaderMap, streamed: bool) -> Arrival {
    let value = |key: &String| headers.get(key).and_then(|value| value.to_str().ok()).unwrap_or("");
    let none = shared.metadata.iter().all(|key| value(key).is_empty());
    let metadata = match none {
        true => shared.no_metadata.clone(),
        false => shared.metadata.iter().map(|key| value(key).to_owned()).collect(),
    };
    let alone = !none && shared.metadata.iter().any(|key| key == "traceparent" && !value(key).is_empty());
    Arrival { metadata, alone, timeout: grpc::timeout(headers), streamed }
}

/// The one message of a body that has ended.
fn only(messages: &mut Messages) -> Result<Bytes, Fault> {
    match messages.pop()? {
        Some(message) if messages.is_empty() => Ok(message),
        _ => Err("malformed"),
    }
}
