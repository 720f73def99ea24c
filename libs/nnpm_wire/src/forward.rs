//! Every other method goes to the grpc.aio server behind this one, stream for stream: headers, data, trailers, resets
//! and flow control, both ways.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::grpc::{self, Status};
use crate::sink::send_data;

/// The way from one connection of a client's to the server behind: a connection of its own, made at the first call.
#[derive(Clone)]
pub struct Upstream {
    path: PathBuf,
    sender: Arc<Mutex<Option<SendRequest<Bytes>>>>,
}

impl Upstream {
    pub fn new(path: PathBuf) -> Self {
        Self { path, sender: Arc::default() }
    }

    async fn sender(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.lock().await;
        if let Some(open) = sender.take() {
            if let Ok(open) = open.ready().await {
                return Some(sender.insert(open).clone());
            }
        }
        let io = UnixStream::connect(&self.path).await.ok()?;
        let mut builder = client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(16 << 20).max_frame_size(1 << 18);
        let (open, connection) = builder.enable_push(false).handshake(io).await.ok()?;
        // It ends with the last handle: the client's connection holds one, and each call.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Some(sender.insert(open).clone())
    }
}

/// Which end of a copy failed.
enum Failed {
    Source(h2::Error),
    Target,
}

pub async fn call(upstream: Upstream, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let Some(mut sender) = upstream.sender().await else {
        return grpc::fail(&mut respond, &Status::new(14, "the server behind this address does not answer"));
    };
    let (mut head, body) = request.into_parts();
    let mut onward = Request::new(());
    *onward.method_mut() = head.method;
    *onward.headers_mut() = std::mem::take(&mut head.headers);
    let mut uri = head.uri.into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority.get_or_insert(Authority::from_static("localhost"));
    match Uri::from_parts(uri) {
        Ok(uri) => *onward.uri_mut() = uri,
        Err(_) => return respond.send_reset(Reason::PROTOCOL_ERROR),
    }
    let ends = body.is_end_stream();
    let Ok((response, mut up)) = sender.send_request(onward, ends) else {
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    let ended = {
        let sending = async {
            match ends {
                true => Ok(()),
                false => copy(body, &mut up).await,
            }
        };
        let (mut sending, mut answering) = (pin!(sending), pin!(answer(response, &mut respond)));
        tokio::select! {
            ended = &mut answering => ended,
            sent = &mut sending => match sent {
                // The server behind may stop listening before it has said all.
                Ok(()) | Err(Failed::Target) => answering.await,
                Err(Failed::Source(_)) => Err(Failed::Target),
            },
        }
    };
    match ended {
        Ok(()) => {}
        // A broken client is known behind at once.
        Err(Failed::Target) => up.send_reset(Reason::CANCEL),
        Err(Failed::Source(error)) => respond.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR)),
    }
}

async fn answer(response: ResponseFuture, respond: &mut SendResponse<Bytes>) -> Result<(), Failed> {
    let response = tokio::select! {
        response = response => response.map_err(Failed::Source)?,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return Err(Failed::Target),
    };
    let (head, body) = response.into_parts();
    let mut answer = Response::new(());
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    let ends = body.is_end_stream();
    let mut out = respond.send_response(answer, ends).map_err(|_| Failed::Target)?;
    match ends {
        true => Ok(()),
        false => copy(body, &mut out).await,
    }
}

/// Data and trailers, no faster than the target takes them.
async fn copy(mut source: RecvStream, target: &mut SendStream<Bytes>) -> Result<(), Failed> {
    loop {
        let chunk = tokio::select! {
            chunk = source.data() => chunk,
            _ = poll_fn(|cx| target.poll_reset(cx)) => return Err(Failed::Target),
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(Failed::Source)?;
        let size = chunk.len();
        send_data(target, chunk).await.map_err(|_| Failed::Target)?;
        source.flow_control().release_capacity(size).map_err(Failed::Source)?;
    }
    match source.trailers().await.map_err(Failed::Source)? {
        Some(trailers) => target.send_trailers(trailers),
        None => target.send_data(Bytes::new(), true),
    }
    .map_err(|_| Failed::Target)
}
