//! Splits a serialised ModelInferRequest into what a block has in common and what each call has of its own.
//!
//! `nnpm_scheduler/dispatch/plain.py` does the same for the grpc.aio transport; the two agree on what is plain.

use std::ops::Range;

/// A longer header is not worth remembering.
pub const MOST_HEADER: usize = 4096;

const ID: u8 = 0x1a;
const RAW: u8 = 0x3a;
const OTHERS: [u8; 5] = [0x0a, 0x12, 0x22, 0x2a, 0x32];

/// What `scan` leaves behind: kept between calls, so that nothing is allocated for one.
#[derive(Default)]
pub struct Scan {
    /// Everything but the id field and the raw contents' bytes; their tags and lengths stay.
    pub header: Vec<u8>,
    /// Start and end of each raw content, counted from `tail` bytes before the body's end.
    pub spans: Vec<Range<usize>>,
    /// Bytes from the first raw content's tag to the end: the same in all bodies with this header.
    pub tail: usize,
    /// Whether the last body was.
    pub plain: bool,
}

impl Scan {
    /// Where the id's bytes are; None: the request is odd, and has to be parsed in full.
    pub fn scan(&mut self, body: &[u8]) -> Option<Range<usize>> {
        self.plain = false;
        self.header.clear();
        self.spans.clear();
        let (mut at, mut since, mut id, mut raw_from) = (0, 0, None, None);
        while at < body.len() {
            let (tag, start) = (body[at], at);
            let (length, from) = canonical_varint(body, at + 1)?;
            let stop = from.checked_add(length).filter(|stop| *stop <= body.len())?;
            if tag == RAW {
                let tail_from = *raw_from.get_or_insert(start);
                self.header.extend_from_slice(&body[since..from]);
                self.spans.push(from - tail_from..stop - tail_from);
                since = stop;
            } else if raw_from.is_some() || at > MOST_HEADER {
                return None;
            } else if tag == ID && id.is_none() {
                std::str::from_utf8(&body[from..stop]).ok()?;
                self.header.extend_from_slice(&body[since..start]);
                id = Some(from..stop);
                since = stop;
            } else if !OTHERS.contains(&tag) {
                return None;
            }
            if self.header.len() > MOST_HEADER {
                return None;
            }
            at = stop;
        }
        self.tail = body.len() - raw_from?;
        self.plain = true;
        Some(id.unwrap_or(0..0))
    }
}

/// A varint of at most five bytes without idle ones, and where it ends.
fn canonical_varint(body: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut value, mut shift) = (0usize, 0);
    while shift < 35 {
        let byte = *body.get(at)?;
        at += 1;
        value |= usize::from(byte & 127) << shift;
        if byte < 128 {
            return (byte != 0 || shift == 0).then_some((value, at));
        }
        shift += 7;
    }
    None
}

/// The id of an odd request: the last field 3, as protobuf has it; nothing where the bytes are no message.
pub fn odd_id(body: &[u8]) -> Range<usize> {
    let (mut at, mut id) = (0, 0..0);
    while at < body.len() {
        let Some((tag, from)) = any_varint(body, at) else { return 0..0 };
        let stop = match tag & 7 {
            0 => any_varint(body, from).map(|(_, stop)| stop),
            1 => from.checked_add(8),
            2 => any_varint(body, from).and_then(|(length, start)| {
                let stop = start.checked_add(usize::try_from(length).ok()?)?;
                if tag >> 3 == 3 && stop <= body.len() {
                    id = start..stop;
                }
                Some(stop)
            }),
            5 => from.checked_add(4),
            _ => None,
        };
        match stop {
            Some(stop) if stop <= body.len() => at = stop,
            _ => return 0..0,
        }
    }
    if std::str::from_utf8(&body[id.clone()]).is_ok() {
        id
    } else {
        0..0
    }
}

fn any_varint(body: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let (mut value, mut shift) = (0u64, 0);
    while shift < 64 {
        let byte = *body.get(at)?;
        at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some((value, at));
        }
        shift += 7;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

    fn split(body: &[u8]) -> Option<Parts> {
        let mut scan = Scan::default();
        let id = scan.scan(body)?;
        let tail = &body[body.len() - scan.tail..];
        let raws = scan.spans.iter().map(|span| tail[span.clone()].to_vec()).collect();
        Some((scan.header, body[id].to_vec(), raws))
    }

    #[test]
    fn ids_and_raw_bytes_are_not_in_the_header() {
        let one = split(b"\x0a\x01m\x1a\x02id\x2a\x01i\x3a\x03abc\x3a\x00").expect("plain");
        let two = split(b"\x1a\x01x\x0a\x01m\x2a\x01i\x3a\x03xyz\x3a\x00").expect("plain");
        assert_eq!(one.0, b"\x0a\x01m\x2a\x01i\x3a\x03\x3a\x00");
        assert_eq!(one.0, two.0);
        assert_eq!((one.1.as_slice(), two.1.as_slice()), (b"id".as_slice(), b"x".as_slice()));
        assert_eq!(one.2, [b"abc".to_vec(), vec![]]);
    }

    #[test]
    fn odd_requests_are_left_to_a_full_parse() {
        for body in [
            b"".as_slice(),
            b"\x0a\x01m",                         // no raw contents
            b"\x3a\x01a\x0a\x01m",                // a name behind raw contents
            b"\x1a\x01a\x1a\x01b\x3a\x01a",       // two ids
            b"\x1a\x01\xff\x3a\x01a",             // an id that is no text
            b"\x3a\x81\x00a",                     // an idle byte in a length
            b"\x3a\x05a",                         // cut short
            b"\x08\x01\x3a\x01a",                 // another field
            b"\x3a\xff\xff\xff\xff\xff\xff\x01a", // an endless length
        ] {
            assert!(split(body).is_none(), "{body:?}");
        }
    }

    #[test]
    fn long_headers_are_odd() {
        let mut body = vec![0x0a, 0x80, 0x20];
        body.extend([b'm'; 4096]);
        body.extend(b"\x3a\x01a");
        assert!(split(&body).is_none());
    }

    #[test]
    fn an_odd_requests_id_is_found() {
        let body = b"\x08\x96\x01\x1a\x01a\x1a\x02id\x25\x00\x00\x00\x00";
        assert_eq!(&body[odd_id(body)], b"id");
        assert_eq!(odd_id(b"\x1a\x05a"), 0..0);
        assert_eq!(odd_id(b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 0..0);
    }
}
