//! Bytes from and to Python.

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Appends what supports the buffer protocol.
pub fn append(out: &mut Vec<u8>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        out.extend_from_slice(bytes.as_bytes());
        return Ok(());
    }
    let buffer = PyBuffer::<u8>::get(object)?;
    let start = out.len();
    out.resize(start + buffer.len_bytes(), 0);
    buffer.copy_to_slice(object.py(), &mut out[start..])
}

pub fn copied(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let mut out = vec![];
    append(&mut out, object)?;
    Ok(out.into())
}

pub fn size(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    object.len()
}
