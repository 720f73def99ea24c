//! Accepts connections, speaks HTTP/2 on each, and hands every call to who serves its method.

use std::future::{poll_fn, Future};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{interval_at, timeout, Instant, Interval, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;

use crate::forward::Upstream;
use crate::grpc;
use crate::io::{accept_tls, Io, Listener, Watched, HANDSHAKE};
use crate::limits::{Connection, Held, Phase, Shared};
use crate::unary::{Method as Unary, Upload};
use crate::{forward, stream};

const MOST_CONNECTIONS: usize = 10_000;
const MOST_STREAMS: u32 = 1024;
const HEADER_LIST: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Resets that a client may send at once, and how many more each second: who opens and resets for nothing is cut off.
const RESETS: f64 = 2_000.0;
const RESETS_A_SECOND: f64 = 500.0;
/// A peer that has not answered a ping when the next one is due is gone.
const KEEPALIVE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Data,
    Mesh,
}

pub struct Door {
    pub role: Role,
    pub upstream: PathBuf,
    pub tls: Option<TlsAcceptor>,
}

impl Door {
    /// Workers still deliver while clients are asked to go.
    fn drains(&self, phase: Phase) -> bool {
        self.role == Role::Data && phase != Phase::Serving
    }
}

static CONNECTION_IDS: AtomicU64 = AtomicU64::new(1);

/// Until the front closes; a data door until it drains.
pub async fn serve(listener: Listener, door: Arc<Door>, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    let mut over = pin!(shared.until(|phase| phase == Phase::Closed || door.drains(phase)));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(io) if shared.connections.load(Ordering::Relaxed) < MOST_CONNECTIONS => {
                    open.spawn(connection(io, door.clone(), shared.clone()));
                }
                Ok(_) => {}
                // Out of file descriptors: it passes, and must not spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = open.join_next() => {}
            () = &mut over => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn connection(io: Io, door: Arc<Door>, shared: Arc<Shared>) {
    let id = CONNECTION_IDS.fetch_add(1, Ordering::Relaxed);
    let connection = Arc::new(Connection::new(id, shared.clone()));
    let serving = async {
        let Ok(io) = accept_tls(io, door.tls.clone()).await else { return };
        let handshake = builder().handshake::<_, Bytes>(Watched::new(io, connection.clone()));
        let Ok(Ok(h2)) = timeout(HANDSHAKE, handshake).await else { return };
        Calls::new(h2, connection.clone(), door.clone()).run().await;
    };
    tokio::select! {
        // First, so that what is queued when the front closes is still written.
        biased;
        () = serving => {}
        () = shared.until(|phase| phase == Phase::Closed) => {}
    }
    connection.cancel(|_| true);
}

fn builder() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .max_frame_size(1 << 18)
        .max_header_list_size(HEADER_LIST)
        // Clients that cancel many calls at once are honest up to `RESETS`; h2's own limit would be 20.
        .max_pending_accept_reset_streams(MOST_STREAMS as usize)
        .max_concurrent_reset_streams(MOST_STREAMS as usize)
        .max_send_buffer_size(1 << 20);
    builder
}

/// The calls of one connection, in one task: what is there at a wake-up is taken in one go.
struct Calls {
    h2: server::Connection<Watched, Bytes>,
    connection: Arc<Connection>,
    door: Arc<Door>,
    upstream: Upstream,
    pings: Option<PingPong>,
    ping_due: Interval,
    ping_sent: bool,
    resets_left: f64,
    resets_at: Instant,
}

impl Calls {
    fn new(mut h2: server::Connection<Watched, Bytes>, connection: Arc<Connection>, door: Arc<Door>) -> Self {
        let pings = h2.ping_pong();
        let mut ping_due = interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
        ping_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let upstream = Upstream::new(door.upstream.clone());
        let (resets_left, resets_at) = (RESETS, Instant::now());
        Self { h2, connection, door, upstream, pings, ping_due, ping_sent: false, resets_left, resets_at }
    }

    async fn run(mut self) {
        let (shared, door) = (self.connection.shared.clone(), self.door.clone());
        let mut draining = pin!(shared.until(|phase| door.drains(phase)));
        let mut told = false;
        poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                told = true;
                self.h2.graceful_shutdown();
            }
            self.poll(cx)
        })
        .await;
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.call(cx, request, respond),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if self.spent(&self.connection.take_resets()) {
            self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            cx.waker().wake_by_ref();
        }
        self.keep_alive(cx)
    }

    fn call(&mut self, cx: &mut Context<'_>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let Some(unary) = method(self.door.role, request.uri().path()) else {
            tokio::spawn(forward::call(self.upstream.clone(), request, respond));
            return;
        };
        if request.method() != Method::POST {
            return grpc::fail_http(&mut respond, StatusCode::METHOD_NOT_ALLOWED);
        }
        let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        if !kind.starts_with(b"application/grpc") {
            return grpc::fail_http(&mut respond, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let shared = &self.connection.shared;
        if self.door.role == Role::Data && shared.draining() {
            return grpc::fail(&mut respond, &shared.refusal("shutting_down"));
        }
        let Some(unary) = unary else {
            tokio::spawn(stream::serve(self.connection.clone(), request, respond));
            return;
        };
        let (held, fault) = Held::counted(&self.connection);
        if let (Some(fault), Unary::Infer) = (fault, unary) {
            return grpc::fail(&mut respond, &shared.refusal(fault));
        }
        let mut upload = Upload::new(unary, self.connection.clone(), request, respond, held);
        // A small body came with its headers: no task is needed for it.
        if upload.poll(cx).is_pending() {
            tokio::spawn(upload.run());
        }
    }

    /// Cancels the calls that were reset. Whether there were too many.
    fn spent(&mut self, resets: &[u32]) -> bool {
        if resets.is_empty() {
            return false;
        }
        for stream in resets {
            self.connection.cancel(|call| call.stream == *stream);
        }
        let passed = self.resets_at.elapsed().as_secs_f64();
        self.resets_at = Instant::now();
        self.resets_left = (self.resets_left + passed * RESETS_A_SECOND).min(RESETS) - resets.len() as f64;
        self.resets_left < 0.0
    }

    /// Ready when the peer does not answer any more.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.ping_sent {
            match pings.poll_pong(cx) {
                Poll::Ready(Ok(_)) => self.ping_sent = false,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        while self.ping_due.poll_tick(cx).is_ready() {
            if self.ping_sent || pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.ping_sent = true;
            // To be woken by the pong.
            let _ = pings.poll_pong(cx);
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// None: somebody else's; Some(None): the streaming one.
fn method(role: Role, path: &str) -> Option<Option<Unary>> {
    match (role, path) {
        (Role::Data, "/inference.GRPCInferenceService/ModelInfer") => Some(Some(Unary::Infer)),
        (Role::Data, "/inference.GRPCInferenceService/ModelStreamInfer") => Some(None),
        (Role::Mesh, "/nnpm.api.worker.v1.WorkerService/Deliver") => Some(Some(Unary::Deliver)),
        (Role::Mesh, "/nnpm.api.worker.v1.WorkerService/RedeemPayload") => Some(Some(Unary::Redeem)),
        _ => None,
    }
}
