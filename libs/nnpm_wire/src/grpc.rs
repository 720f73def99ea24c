//! gRPC over HTTP/2: length-prefixed messages, statuses in trailers, time-outs in headers.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};
use http::{Response, StatusCode};

pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

pub const PREFIX: usize = 5;
/// A message up to this is given its whole memory at once.
const SMALL: usize = 1 << 20;

/// A status as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub code: i32,
    pub message: String,
    /// A serialised google.rpc.Status, or nothing.
    pub details: Vec<u8>,
}

impl Status {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: vec![] }
    }

    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(STATUS, HeaderValue::from(self.code));
        if let Ok(message) = HeaderValue::try_from(percent_encoded(&self.message).as_ref()) {
            headers.insert(MESSAGE, message);
        }
        if !self.details.is_empty() {
            if let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(&self.details)) {
                headers.insert(DETAILS, details);
            }
        }
    }

    /// None where the headers hold no status.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get(STATUS)?.to_str().ok()?.parse().ok()?;
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
        let details = text(DETAILS).trim_end_matches('=');
        let details = STANDARD_NO_PAD.decode(details).or_else(|_| STANDARD.decode(details)).unwrap_or_default();
        Some(Self { code, message: percent_decoded(text(MESSAGE)), details })
    }
}

/// The headers of every answer.
pub fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// The trailers of a success.
pub fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    trailers
}

/// A failure is headers alone. (A client that is gone needs none.)
pub fn fail(respond: &mut SendResponse<Bytes>, status: &Status) {
    let mut response = head();
    status.write(response.headers_mut());
    let _ = respond.send_response(response, true);
}

/// What is no gRPC call at all is answered in HTTP's terms.
pub fn fail_http(respond: &mut SendResponse<Bytes>, code: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = code;
    let _ = respond.send_response(response, true);
}

/// `grpc-timeout`: at most eight digits and a unit; None for anything else.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.as_bytes();
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

pub fn put_prefix(out: &mut impl BufMut, length: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

pub fn varint_len(value: usize) -> usize {
    (70 - (value as u64 | 1).leading_zeros() as usize) / 7
}

pub fn put_varint(out: &mut impl BufMut, value: usize) {
    let mut value = value as u64;
    while value > 127 {
        out.put_u8((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Why a body is no message: names of refusals.
pub type Fault = &'static str;

/// Puts messages together from DATA frames. A message that came in one frame is never copied, any other one once.
pub struct Messages {
    whole: Bytes,
    partial: BytesMut,
    limit: usize,
}

impl Messages {
    pub fn new(limit: usize) -> Self {
        Self { whole: Bytes::new(), partial: BytesMut::new(), limit }
    }

    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.partial.is_empty()
    }

    pub fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.whole = chunk;
            return;
        }
        let whole = std::mem::take(&mut self.whole);
        let have = self.partial.len() + whole.len();
        let wanted = PREFIX + self.length(if whole.is_empty() { &self.partial } else { &whole });
        // No more than twice what is there, so that a large message that was only announced takes no memory.
        let room = wanted.min((2 * (have + chunk.len())).max(SMALL)).saturating_sub(self.partial.len());
        self.partial.reserve(room.max(whole.len() + chunk.len()));
        self.partial.extend_from_slice(&whole);
        self.partial.extend_from_slice(&chunk);
    }

    /// A fault as soon as the next message's prefix shows it.
    pub fn check(&self) -> Result<(), Fault> {
        match self.have() {
            [0, ..] | [] if self.length(self.have()) <= self.limit => Ok(()),
            [0, ..] => Err("message_too_large"),
            [1, ..] => Err("compressed"),
            _ => Err("malformed"),
        }
    }

    /// The next message, once it is whole.
    pub fn pop(&mut self) -> Result<Option<Bytes>, Fault> {
        self.check()?;
        let whole = PREFIX + self.length(self.have());
        if self.have().len() < whole {
            return Ok(None);
        }
        let message = match self.partial.is_empty() {
            true => self.whole.split_to(whole),
            false => self.partial.split_to(whole).freeze(),
        };
        Ok(Some(message.slice(PREFIX..)))
    }

    fn have(&self) -> &[u8] {
        if self.partial.is_empty() {
            &self.whole
        } else {
            &self.partial
        }
    }

    fn length(&self, have: &[u8]) -> usize {
        match have {
            [_, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
            _ => 0,
        }
    }
}

fn percent_encoded(text: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'%';
    if text.bytes().all(|byte| plain(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match plain(&byte) {
            true => encoded.push(char::from(byte)),
            false => write!(encoded, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    Cow::Owned(encoded)
}

fn percent_decoded(text: &str) -> String {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let escaped = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together_from_any_pieces() {
        let mut wire = vec![];
        for message in [b"".as_slice(), b"abc", &[7; 300]] {
            put_prefix(&mut wire, message.len());
            wire.extend_from_slice(message);
        }
        for size in 1..wire.len() {
            let (mut messages, mut found) = (Messages::new(300), vec![]);
            for chunk in wire.chunks(size) {
                messages.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = messages.pop().expect("well formed") {
                    found.push(message);
                }
            }
            assert!(messages.is_empty());
            assert_eq!(found, [Bytes::new(), Bytes::from_static(b"abc"), Bytes::from(vec![7; 300])], "{size}");
        }
    }

    #[test]
    fn bad_prefixes_are_faults_before_the_message_came() {
        for (bytes, fault) in
            [(b"\x01".as_slice(), "compressed"), (b"\x02", "malformed"), (b"\x00\xff\xff\xff\xff", "message_too_large")]
        {
            let mut messages = Messages::new(300);
            messages.push(Bytes::copy_from_slice(bytes));
            assert_eq!(messages.pop(), Err(fault));
        }
    }

    #[test]
    fn statuses_survive_headers() {
        let status = Status { code: 8, message: "100 % of «all»\n".into(), details: vec![0, 255, 7, 9] };
        let mut headers = HeaderMap::new();
        status.write(&mut headers);
        assert_eq!(Status::read(&headers), Some(status));
    }

    #[test]
    fn timeouts_are_read() {
        let read = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        for odd in ["", "m", "1", "123456789S", "-1S", "1x"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn varints_are_as_long_as_said() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 30, u32::MAX as usize, usize::MAX] {
            let mut out = vec![];
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}
