//! ModelStreamInfer: each message is a call; answers come in the order of the requests.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;

use crate::grpc::{self, Fault, Messages};
use crate::limits::{Connection, Held};
use crate::plain::odd_id;
use crate::sink::{write, Order, Reply, Sink};
use crate::table::{stream_error, Arrival, Call};
use crate::unary::{arrival, arrive};

/// Requests of one stream that may be unanswered; further ones are left unread.
const MOST_UNANSWERED: usize = 1024;

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
    let Ok(mut out) = respond.send_response(grpc::head(), false) else { return };
    let order = Arc::new(Order::default());
    let reading = read(&connection, &arrival, stream, &order, body);
    let ended = tokio::try_join!(reading, write_all(&order, &mut out));
    match ended {
        Ok(_) => {
            let _ = out.send_trailers(grpc::ok());
        }
        Err(End::Broken) => out.send_reset(Reason::CANCEL),
        Err(End::Fault(fault)) => {
            let mut trailers = http::HeaderMap::new();
            connection.shared.refusal(fault).write(&mut trailers);
            let _ = out.send_trailers(trailers);
        }
    }
    connection.cancel(Some(stream));
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
            order.room(MOST_UNANSWERED).await;
            let sink = Sink::Stream(order.clone(), order.next_place());
            match std::mem::replace(&mut next, Counted::new(connection)) {
                Counted { held, fault: None } => {
                    arrive(connection, arrival, Call { body: message, id: 0..0, sink, held, stream });
                }
                Counted { held, fault: Some(fault) } => {
                    let text = connection.shared.refusal(fault).message;
                    let first = stream_error(&message[odd_id(&message)], &text);
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
