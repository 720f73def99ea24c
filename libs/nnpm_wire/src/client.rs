//! The worker's side: calls to many schedulers, over connections that are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::SendStream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout_at;

use crate::buffers::{append, size};
use crate::driven::Driven;
use crate::front::runtime;
use crate::grpc::{self, put_prefix, Messages, Status, PREFIX};
use crate::io::dial;
use crate::sink::send_data;
use crate::tls::{connector, ClientPem};
use crate::wake::Wake;

const UNAVAILABLE: i32 = 14;
const DEADLINE_EXCEEDED: i32 = 4;
/// An address that did not answer is left alone for so long, and for twice as long after each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Outcome = (u64, Result<Vec<Bytes>, Status>);
type Shown = (u64, i32, String, Py<PyBytes>, Vec<Py<PyBytes>>);
type Key = (String, Option<ClientPem>);

/// What has ended since Python looked last.
struct Ended {
    wake: Wake,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Ended {
    fn push(&self, outcome: Outcome) {
        locked(&self.outcomes).push(outcome);
        self.wake.raise();
    }
}

#[pyclass(frozen, module = "nnpm_wire")]
pub struct Client {
    handle: Handle,
    ended: Arc<Ended>,
    links: Mutex<HashMap<Key, Arc<Link>>>,
    tokens: Mutex<u64>,
    message_bytes: usize,
    thread: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (*, max_message_bytes))]
    fn new(max_message_bytes: usize) -> PyResult<Self> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let (close, closed) = oneshot::channel();
        let run = move || {
            let _ = runtime.block_on(closed);
        };
        let thread = std::thread::Builder::new().name("nnpm-client".into()).spawn(run)?;
        Ok(Self {
            handle,
            ended: Arc::new(Ended { wake: Wake::new()?, outcomes: Mutex::default() }),
            links: Mutex::default(),
            tokens: Mutex::new(0),
            message_bytes: max_message_bytes,
            thread: Mutex::new(Some((close, thread))),
        })
    }

    #[pyo3(signature = (address, path, parts, timeout, tls = None))]
    fn call(
        &self,
        address: String,
        path: String,
        parts: Vec<Bound<'_, PyAny>>,
        timeout: f64,
        tls: Option<ClientPem>,
    ) -> PyResult<u64> {
        let message = framed(&parts)?;
        let token = {
            let mut last = locked(&self.tokens);
            *last += 1;
            *last
        };
        let link = self.link(address, tls)?;
        let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::from_secs(86_400));
        let call = Call { path, timeout, until: Instant::now() + timeout, limit: self.message_bytes };
        let ended = self.ended.clone();
        let outcome = match link.begin(&call, &message) {
            // The connection stands: the request leaves from this thread.
            Some(begun) => {
                self.handle.spawn(async move { ended.push((token, call.finish(begun, message).await)) });
                return Ok(token);
            }
            None => async move { call.begin_and_finish(&link, message).await },
        };
        self.handle.spawn(async move { ended.push((token, outcome.await)) });
        Ok(token)
    }

    fn fileno(&self) -> i32 {
        self.ended.wake.fileno()
    }

    fn turn(&self, py: Python<'_>) -> Vec<Shown> {
        self.ended.wake.lower();
        let outcomes = std::mem::take(&mut *locked(&self.ended.outcomes));
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        let shown = |(token, outcome): Outcome| match outcome {
            Ok(messages) => (token, 0, String::new(), bytes(b""), messages.iter().map(|one| bytes(one)).collect()),
            Err(status) => (token, status.code, status.message, bytes(&status.details), vec![]),
        };
        outcomes.into_iter().map(shown).collect()
    }

    fn close(&self, py: Python<'_>) {
        if let Some((close, thread)) = locked(&self.thread).take() {
            let _ = close.send(());
            // The thread never takes the GIL.
            let _ = py.detach(move || thread.join());
        }
    }
}

impl Client {
    fn link(&self, address: String, tls: Option<ClientPem>) -> PyResult<Arc<Link>> {
        let mut links = locked(&self.links);
        let key = (address, tls);
        if let Some(link) = links.get(&key) {
            return Ok(link.clone());
        }
        let config = key.1.as_ref().map(connector).transpose()?;
        let link = Arc::new(Link { address: key.0.clone(), tls: config, state: Mutex::default() });
        links.insert(key, link.clone());
        Ok(link)
    }
}

/// The message with its prefix: the one copy that is made of it.
fn framed(parts: &[Bound<'_, PyAny>]) -> PyResult<Bytes> {
    let mut sizes = 0;
    for part in parts {
        sizes += size(part)?;
    }
    let mut message = Vec::with_capacity(PREFIX + sizes);
    message.put_bytes(0, PREFIX);
    for part in parts {
        append(&mut message, part)?;
    }
    let length = message.len() - PREFIX;
    put_prefix(&mut &mut message[..PREFIX], length);
    Ok(message.into())
}

/// An address, and the connection to it while there is one.
struct Link {
    address: String,
    tls: Option<Arc<rustls::ClientConfig>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<(SendRequest<Bytes>, Arc<Driven>)>,
    dialling: Option<watch::Receiver<Option<Status>>>,
    pause: Duration,
    not_before: Option<Instant>,
}

type Begun = (ResponseFuture, SendStream<Bytes>, Bytes);

impl Link {
    /// Sends a request's head, and as much of its message as is small, if the connection stands.
    fn begin(&self, call: &Call, message: &Bytes) -> Option<Begun> {
        let mut state = locked(&self.state);
        let (sender, driven) = state.open.as_mut()?;
        let driven = driven.clone();
        // Else h2 wakes the task for the head already, which then takes the processor from the message.
        let _quiet = driven.mute();
        let begun = sender.send_request(call.request(self), false).ok().and_then(|(response, mut stream)| {
            // What is small is queued whole. Anything else waits for the window.
            let small = message.len() <= 1 << 16;
            if small {
                stream.send_data(message.clone(), true).ok()?;
            }
            Some((response, stream, if small { Bytes::new() } else { message.clone() }))
        });
        if begun.is_none() {
            state.open = None;
        }
        drop(state);
        driven.drive();
        begun
    }

    /// Until the connection stands. One dials, the others wait.
    async fn open(self: &Arc<Self>) -> Result<(), Status> {
        let mut dialled = {
            let mut state = locked(&self.state);
            if state.open.is_some() {
                return Ok(());
            }
            match &state.dialling {
                Some(dialled) => dialled.clone(),
                None => {
                    if state.not_before.is_some_and(|at| Instant::now() < at) {
                        return Err(unavailable(format!("{} did not answer a moment ago", self.address)));
                    }
                    let (tell, dialled) = watch::channel(None);
                    state.dialling = Some(dialled.clone());
                    let link = self.clone();
                    tokio::spawn(async move { tell.send_replace(Some(link.dial().await)) });
                    dialled
                }
            }
        };
        let told = dialled.wait_for(Option::is_some).await;
        match told.map(|status| status.clone().unwrap_or_default()) {
            Ok(status) if status.code == 0 => Ok(()),
            Ok(status) => Err(status),
            Err(_) => Err(unavailable("the client is closing")),
        }
    }

    async fn dial(&self) -> Status {
        let dialled = async {
            let io = dial(&self.address, self.tls.clone()).await.map_err(|error| error.to_string())?;
            let mut builder = Builder::new();
            builder.initial_window_size(4 << 20).initial_connection_window_size(64 << 20).max_frame_size(1 << 18);
            builder.enable_push(false).handshake::<_, Bytes>(io).await.map_err(|error| error.to_string())
        };
        let dialled = dialled.await;
        let mut state = locked(&self.state);
        state.dialling = None;
        match dialled {
            Ok((sender, connection)) => {
                let driven = Driven::new(connection);
                tokio::spawn(driven.clone().run());
                state.open = Some((sender, driven));
                state.pause = Duration::ZERO;
                state.not_before = None;
                Status::default()
            }
            Err(error) => {
                state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                state.not_before = Some(Instant::now() + state.pause);
                unavailable(format!("cannot connect to {}: {error}", self.address))
            }
        }
    }
}

struct Call {
    path: String,
    timeout: Duration,
    until: Instant,
    limit: usize,
}

impl Call {
    fn request(&self, link: &Link) -> Request<()> {
        let scheme = if link.tls.is_some() { "https" } else { "http" };
        let authority = if link.address.starts_with("unix:") { "localhost" } else { &link.address };
        let millis = self.timeout.as_millis().clamp(1, 99_999_999);
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = format!("{scheme}://{authority}{}", self.path).parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, grpc::GRPC);
        headers.insert("te", HeaderValue::from_static("trailers"));
        if let Ok(timeout) = HeaderValue::try_from(format!("{millis}m")) {
            headers.insert(grpc::TIMEOUT, timeout);
        }
        request
    }

    async fn begin_and_finish(self, link: &Arc<Link>, message: Bytes) -> Result<Vec<Bytes>, Status> {
        match timeout_at(self.until.into(), link.open()).await {
            Err(_) => return Err(late()),
            Ok(opened) => opened?,
        }
        match link.begin(&self, &message) {
            Some(begun) => self.finish(begun, message).await,
            None => Err(unavailable("the connection broke")),
        }
    }

    async fn finish(self, begun: Begun, _message: Bytes) -> Result<Vec<Bytes>, Status> {
        let (response, mut stream, rest) = begun;
        let exchange = async {
            let sending = async {
                if rest.is_empty() || send_data(&mut stream, rest).await.is_err() {
                    return;
                }
                let _ = stream.send_data(Bytes::new(), true);
            };
            let (outcome, ()) = tokio::join!(collect(response, self.limit), sending);
            outcome
        };
        timeout_at(self.until.into(), exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn collect(response: ResponseFuture, limit: usize) -> Result<Vec<Bytes>, Status> {
    let broken = |error: h2::Error| unavailable(format!("the connection broke: {error}"));
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if let Some(status) = Status::read(&head.headers).filter(|status| status.code != 0) {
        return Err(status);
    }
    if !head.status.is_success() {
        return Err(unavailable(format!("HTTP status {}", head.status)));
    }
    let (mut messages, mut found) = (Messages::new(limit), vec![]);
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        let _ = body.flow_control().release_capacity(chunk.len());
        messages.push(chunk);
        while let Some(message) = messages.pop().map_err(|fault| Status::new(13, fault))? {
            found.push(message);
        }
    }
    match body.trailers().await.map_err(broken)?.as_ref().and_then(Status::read) {
        Some(status) if status.code == 0 => Ok(found),
        Some(status) => Err(status),
        None => Err(Status::new(2, "the answer has no status")),
    }
}

fn unavailable(message: impl Into<String>) -> Status {
    Status::new(UNAVAILABLE, message)
}

fn late() -> Status {
    Status::new(DEADLINE_EXCEEDED, "the call's time is up")
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
