//! ModelStreamInfer: each message is a call, or cancels one. Metadata say in which order answers leave.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::HeaderValue;
use http::{HeaderMap, Request};
use prost::Message;

use crate::grpc::{self, Fault, Messages};
use crate::limits::{Connection, Held};
use crate::sink::{write, Order, Reply, Sink};
use crate::table::{stream_error, Arrival, Call};
use crate::unary::{arrival, arrive};

/// Requests of one stream that may be unanswered; further ones are left unread.
const MOST_UNANSWERED: usize = 1024;
/// Metadata: `request`, the default, or `completion`.
const ORDER: &str = "nnpm-stream-order";
/// A request with this parameter is not run: it names, by id, one that is not to be answered any more.
const CANCEL: &str = "nnpm_cancel";

/// What a stream looks at in a ModelInferRequest.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "3")]
    id: String,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, Parameter>,
}

/// An InferParameter that is a string; any other is empty here.
#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(string, tag = "3")]
    string: String,
}

enum End {
    /// The client is gone.
    Broken,
    /// What it sent is no message, or more than may be held.
    Fault(Fault),
}

impl From<h2::Error> for End {
    fn from(_: h2::Error) -> Self {
        Self::Broken
    }
}

pub async fn serve(connection: Arc<Connection>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, body) = request.into_parts();
    let arrival = arrival(&connection.shared, &head.headers, true);
    let stream = respond.stream_id().as_u32();
    let Some(as_requested) = as_requested(&head.headers) else {
        return grpc::fail(&mut respond, &connection.shared.refusal("unknown_order"));
    };
    let Ok(mut out) = respond.send_response(grpc::head(), false) else { return };
    let order = Arc::new(Order::new(as_requested));
    let reading = read(&connection, &arrival, stream, &order, body);
    let ended = tokio::try_join!(reading, write_all(&order, &mut out));
    match ended {
        Ok(_) => {
            let _ = out.send_trailers(grpc::ok());
        }
        Err(End::Broken) => out.send_reset(Reason::CANCEL),
        Err(End::Fault(fault)) => {
            let mut trailers = HeaderMap::new();
            connection.shared.refusal(fault).write(&mut trailers);
            let _ = out.send_trailers(trailers);
        }
    }
    connection.cancel(|call| call.stream == stream);
}

/// Whether answers leave in the order of their requests; None: the metadata say something else.
fn as_requested(headers: &HeaderMap) -> Option<bool> {
    match headers.get(ORDER).map(HeaderValue::as_bytes) {
        None | Some(b"request") => Some(true),
        Some(b"completion") => Some(false),
        Some(_) => None,
    }
}

/// Until the client has said its last request.
async fn read(
    connection: &Arc<Connection>,
    arrival: &Arrival,
    stream: u32,
    order: &Arc<Order>,
    mut body: RecvStream,
) -> Result<(), End> {
    let mut messages = Messages::new(connection.shared.limits.message_bytes);
    let mut next = Counted::new(connection);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let (size, mut left) = (chunk.len(), chunk.len());
        messages.push(chunk);
        while let Some(message) = messages.pop().map_err(End::Fault)? {
            let counted = left.min(grpc::PREFIX + message.len());
            left -= counted;
            next.grow(counted);
            let Counted { held, fault } = std::mem::replace(&mut next, Counted::new(connection));
            // What is no message is left to the full parse, which says so.
            let asked = Asked::decode(message.clone()).unwrap_or_default();
            let cancelled = asked.parameters.get(CANCEL).map(|parameter| &parameter.string);
            if let Some(id) = cancelled.filter(|id| !id.is_empty()) {
                let places = order.withdraw(id);
                connection.cancel(|call| call.sink.is_one_of(order, &places));
                continue;
            }
            order.room(MOST_UNANSWERED).await;
            let sink = Sink::Stream(order.clone(), order.next_place(&asked.id));
            match fault.or(cancelled.map(|_| "names_no_id")) {
                None => arrive(connection, arrival, Call { body: message, id: 0..0, sink, held, stream }),
                Some(fault) => {
                    let text = connection.shared.refusal(fault).message;
                    let first = stream_error(asked.id.as_bytes(), &text);
                    sink.send(Reply { first, rest: vec![], held });
                }
            }
        }
        next.grow(left);
        body.flow_control().release_capacity(size)?;
    }
    order.end();
    if messages.is_empty() {
        Ok(())
    } else {
        Err(End::Fault("malformed"))
    }
}

/// What the next message holds, and the bound that it broke.
struct Counted {
    held: Held,
    fault: Option<Fault>,
}

impl Counted {
    fn new(connection: &Arc<Connection>) -> Self {
        let (held, fault) = Held::counted(connection);
        Self { held, fault }
    }

    fn grow(&mut self, bytes: usize) {
        self.fault = self.fault.or(self.held.grow(bytes).err());
    }
}

/// Until every request is answered, and no more can come.
async fn write_all(order: &Order, out: &mut SendStream<Bytes>) -> Result<(), End> {
    loop {
        while let Some(reply) = order.pop() {
            write(out, reply).await?;
        }
        if order.ended() {
            return Ok(());
        }
        tokio::select! {
            () = order.moved.notified() => {}
            _ = poll_fn(|cx| out.poll_reset(cx)) => return Err(End::Broken),
        }
    }
}
