//! What Python sees of the scheduler's side: `Front`, and the blocks of calls that it hands over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{watch, Notify};

use crate::buffers::copied;
use crate::grpc::Status;
use crate::io::Listener;
use crate::limits::{Limits, Phase, Shared};
use crate::listener::{self, Door, Role};
use crate::table::{Block, Claim, Shelf, Table};
use crate::tls::{acceptor, ServerPem};
use crate::wake::Wake;

#[pyclass(frozen, module = "nnpm_wire")]
pub struct Front {
    shared: Arc<Shared>,
    handle: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl Front {
    #[new]
    #[pyo3(signature = (*, scheduler, max_message_bytes, total_bytes, connection_bytes, calls, metadata, refusals))]
    #[allow(clippy::too_many_arguments)] // by name only
    fn new(
        scheduler: String,
        max_message_bytes: usize,
        total_bytes: usize,
        connection_bytes: usize,
        calls: usize,
        metadata: Vec<String>,
        refusals: HashMap<String, (i32, String, Vec<u8>)>,
    ) -> PyResult<Self> {
        let status = |(code, message, details)| Status { code, message, details };
        let shared = Arc::new(Shared {
            scheduler,
            limits: Limits { message_bytes: max_message_bytes, total_bytes, connection_bytes, calls },
            no_metadata: metadata.iter().map(|_| String::new()).collect(),
            metadata,
            refusals: refusals.into_iter().map(|(name, refusal)| (name, status(refusal))).collect(),
            table: Table::default(),
            wake: Wake::new()?,
            stir: Notify::new(),
            phase: watch::Sender::new(Phase::Serving),
            bytes: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("nnpm-front".into()).spawn(move || run(&runtime, &theirs))?;
        Ok(Self { shared, handle, thread: Mutex::new(Some(thread)) })
    }

    #[pyo3(signature = (address, *, upstream, role, tls))]
    fn listen(&self, address: &str, upstream: &str, role: &str, tls: Option<ServerPem>) -> PyResult<String> {
        let role = match role {
            "data" => Role::Data,
            "mesh" => Role::Mesh,
            _ => return Err(PyValueError::new_err("role is data or mesh")),
        };
        if *self.shared.phase.borrow() == Phase::Closed {
            return Err(PyOSError::new_err("the front is closed"));
        }
        let tls = tls.map(|pem| acceptor(&pem)).transpose()?;
        let _runtime = self.handle.enter();
        let listener = Listener::bind(address)?;
        let shown = listener.address()?;
        let door = Door { role, upstream: upstream.into(), tls };
        self.handle.spawn(listener::serve(listener, Arc::new(door), self.shared.clone()));
        Ok(shown)
    }

    fn fileno(&self) -> i32 {
        self.shared.wake.fileno()
    }

    fn turn(&self, py: Python<'_>) -> PyResult<Turn> {
        self.shared.wake.lower();
        let (shelves, happened) = self.shared.table.take();
        let calls = shelves.into_iter().map(|shelf| Calls::new(&self.shared, shelf));
        let delivered = happened.delivered.into_iter().map(|delivered| {
            let landed = delivered.replies.into_iter().map(|(number, offset, count, answered, queue_ns, status)| {
                (number, offset, count, answered, queue_ns, status.map(|status| PyBytes::new(py, &status).unbind()))
            });
            PyDelivered {
                worker: delivered.worker,
                revision: delivered.revision,
                figures: delivered.figures,
                replies: landed.collect(),
                sent: delivered.sent,
            }
        });
        Ok(Turn {
            calls: PyList::new(py, calls.collect::<Vec<_>>())?.unbind(),
            cancelled: PyList::new(py, happened.cancelled)?.unbind(),
            delivered: PyList::new(py, delivered.collect::<Vec<_>>())?.unbind(),
        })
    }

    fn drain(&self) {
        let drained = |phase: &mut Phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Draining;
            }
            serving
        };
        self.shared.phase.send_if_modified(drained);
    }

    fn close(&self, py: Python<'_>) {
        self.shared.phase.send_replace(Phase::Closed);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            // The thread never takes the GIL.
            let _ = py.detach(move || thread.join());
        }
    }

    #[getter]
    fn bytes_held(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    #[getter]
    fn calls_held(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    #[getter]
    fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn run(runtime: &Runtime, shared: &Shared) {
    runtime.block_on(async {
        let stirring = async {
            loop {
                shared.stir.notified().await;
                // Runs after the tasks that were ready with it: their calls make one turn.
                shared.wake.raise();
            }
        };
        tokio::select! {
            () = stirring => {}
            () = shared.until(|phase| phase == Phase::Closed) => {}
        }
        // What is told to connections by now is written before they are dropped.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    });
}

#[pyclass(frozen, get_all, module = "nnpm_wire")]
pub struct Turn {
    calls: Py<PyList>,
    cancelled: Py<PyList>,
    delivered: Py<PyList>,
}

type Landed = (u64, u32, u32, u32, u64, Option<Py<PyBytes>>);

#[pyclass(frozen, get_all, name = "Delivered", module = "nnpm_wire")]
pub struct PyDelivered {
    worker: String,
    revision: String,
    figures: (u32, u32, u64, u64, u64),
    replies: Vec<Landed>,
    sent: usize,
}

/// One block.
#[pyclass(frozen, module = "nnpm_wire")]
pub struct Calls {
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
}

impl Calls {
    fn new(shared: &Arc<Shared>, shelf: Arc<Shelf>) -> Self {
        Self { shared: shared.clone(), shelf }
    }

    fn shelve(&self, block: Block) -> Self {
        Self::new(&self.shared, self.shared.table.shelve(block))
    }
}

#[pymethods]
impl Calls {
    #[getter]
    fn header<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.shelf.lock().common.header)
    }

    #[getter]
    fn timeout(&self) -> Option<f64> {
        let deadline = self.shelf.lock().common.deadline?;
        let now = Instant::now();
        Some(match deadline >= now {
            true => (deadline - now).as_secs_f64(),
            false => -(now - deadline).as_secs_f64(),
        })
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.shelf.lock().common.metadata.iter())
    }

    #[getter]
    fn method(&self) -> &'static str {
        if self.shelf.lock().common.streamed {
            "ModelStreamInfer"
        } else {
            "ModelInfer"
        }
    }

    #[getter]
    fn size(&self) -> usize {
        self.shelf.lock().size
    }

    fn __len__(&self) -> usize {
        self.shelf.lock().calls.len()
    }

    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let first = self.shelf.lock().calls.first().and_then(|call| Some(call.as_ref()?.body.clone()));
        PyBytes::new(py, &first.unwrap_or_default())
    }

    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let (spans, tails) = {
            let block = self.shelf.lock();
            let tail = |body: &Bytes| body.slice(body.len() - block.common.tail..);
            let tails = block.calls.iter().map(|call| call.as_ref().map(|call| tail(&call.body)));
            (block.common.spans.clone(), tails.collect::<Vec<_>>())
        };
        let joined = PyList::empty(py);
        for span in spans.iter() {
            let fill = |out: &mut [u8]| {
                for (part, tail) in out.chunks_exact_mut(span.len().max(1)).zip(&tails) {
                    // Those that are gone stay zeros.
                    if let Some(tail) = tail {
                        part.copy_from_slice(&tail[span.clone()]);
                    }
                }
                Ok(())
            };
            joined.append(PyBytes::new_with(py, span.len() * tails.len(), fill)?)?;
        }
        Ok(joined)
    }

    fn claimable(&self, whole: bool) {
        self.shelf.lock().claim = Some(if whole { Claim::Whole } else { Claim::Raw });
    }

    fn ids(&self) -> Vec<String> {
        let block = self.shelf.lock();
        let id = |call: &Option<_>| call.as_ref().map(crate::table::Call::id_text).unwrap_or_default();
        block.calls.iter().map(id).collect()
    }

    fn split(&self, count: usize) -> PyResult<Self> {
        let first = {
            let mut block = self.shelf.lock();
            if count == 0 || count >= block.calls.len() || block.flight.is_some() {
                return Err(PyValueError::new_err("a block is split before it flies, in two that are not empty"));
            }
            let rest = block.calls.split_off(count);
            let taken = std::mem::replace(&mut block.calls, rest);
            let first = block.moved(taken);
            block.size = block.size.saturating_sub(first.size);
            first
        };
        Ok(self.shelve(first))
    }

    fn fly(&self, number: u64, nonce: u64) {
        if self.shared.table.fly(&self.shelf, number, nonce) {
            self.shared.stir.notify_one();
        }
    }

    fn live(&self) -> Vec<usize> {
        self.shelf.lock().live().collect()
    }

    fn single(&self, offset: usize) -> PyResult<Self> {
        let one = {
            let mut block = self.shelf.lock();
            let Some(call) = block.calls.get_mut(offset).and_then(Option::take) else {
                return Err(PyValueError::new_err("no live call has this offset"));
            };
            block.apart = true;
            let mut one = block.moved(vec![Some(call)]);
            block.size = block.size.saturating_sub(one.size);
            one.apart = true;
            one.flight = one.flight.map(|(number, nonce)| (number + offset as u64, nonce));
            one
        };
        Ok(self.shelve(one))
    }

    fn fail(&self, py: Python<'_>, code: i32, message: String, details: Vec<u8>, streamed: &str) -> usize {
        let status = Status { code, message, details };
        py.detach(|| self.shelf.lock().fail(&status, streamed))
    }

    fn answer(
        &self,
        py: Python<'_>,
        offset: usize,
        count: usize,
        head: Vec<u8>,
        raw: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<u32> {
        let raw: Vec<Bytes> = raw.iter().map(copied).collect::<PyResult<_>>()?;
        let head = Bytes::from(head);
        Ok(py.detach(|| Table::answer_block(&self.shelf, offset, count, &head, &raw)))
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.shared.table.drop_shelf(&self.shelf);
    }
}
