//! nnpm's native transport. See README.md for a picture.
//!
//! A request's way: `listener` (connection, HTTP/2) -> `unary` or `stream` (messages) -> `plain` and `table` (blocks)
//! -> Python (`front`). A reply's way: `deliver` -> `table` -> `sink`. What is not hot goes through `forward`.
//! `client` is the worker's side.

use pyo3::prelude::*;

mod buffers;
mod client;
mod deliver;
mod driven;
mod forward;
mod front;
mod grpc;
mod io;
mod limits;
mod listener;
mod plain;
mod sink;
mod stream;
mod table;
mod tls;
mod unary;
mod wake;

#[pymodule]
fn nnpm_wire(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<front::Front>()?;
    module.add_class::<front::Turn>()?;
    module.add_class::<front::PyDelivered>()?;
    module.add_class::<front::Calls>()?;
    module.add_class::<client::Client>()
}
