//! The records in what a broker sent of a partition: record batches of message format 2, neither compressed nor of a
//! transaction (https://kafka.apache.org/documentation/#recordbatch). Whatever else there is, damage too, is left to
//! the client library, which knows all forms and words the refusal.

use crate::checksum::crc32c;

/// Bytes of a batch before its records, and of it those before what `length` counts.
const HEAD: usize = 61;
const BEFORE_LENGTH: usize = 12;

/// Bits of a batch's attributes: the compression, the log's own time in place of the producer's, marks of transactions.
const COMPRESSION: i16 = 0b111;
const LOG_TIME: i16 = 1 << 3;
const TRANSACTION: i16 = 0b11 << 4;

#[derive(Debug, PartialEq)]
pub struct Record {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Span>,
    pub value: Option<Span>,
}

/// Where something stands in the bytes: from, to.
pub type Span = (usize, usize);

/// The records from an offset on, and the offset after all of them. A batch that was cut off at the end is no part.
pub fn records(data: &[u8], from_offset: i64) -> Option<(Vec<Record>, i64)> {
    let mut records = Vec::new();
    let mut next_offset = from_offset;
    let mut at = 0;
    while data.len() - at >= BEFORE_LENGTH {
        let length = usize::try_from(i32::from_be_bytes(number(data, at + 8)?)).ok()?;
        let end = at + BEFORE_LENGTH + length;
        if end > data.len() {
            break;
        }
        next_offset = next_offset.max(read_batch(data, at, end, from_offset, &mut records)?);
        at = end;
    }
    Some((records, next_offset))
}

fn read_batch(data: &[u8], at: usize, end: usize, from_offset: i64, records: &mut Vec<Record>) -> Option<i64> {
    if end - at < HEAD || data[at + 16] != 2 {
        return None;
    }
    let attributes = i16::from_be_bytes(number(data, at + 21)?);
    let checksum = u32::from_be_bytes(number(data, at + 17)?);
    if attributes & (COMPRESSION | TRANSACTION) != 0 || crc32c(&data[at + 21..end]) != checksum {
        return None;
    }
    let base_offset = i64::from_be_bytes(number(data, at)?);
    let first_ms = i64::from_be_bytes(number(data, at + 27)?);
    let last_ms = i64::from_be_bytes(number(data, at + 35)?);
    let count = u32::from_be_bytes(number(data, at + 57)?);
    let mut rest = Cursor { data: &data[..end], at: at + HEAD };
    for _ in 0..count {
        let length = usize::try_from(rest.varint()?).ok()?;
        let record_end = rest.at.checked_add(length)?;
        rest.skip(1)?;
        let timestamp_ms = first_ms.checked_add(rest.varint()?)?;
        let offset = base_offset.checked_add(rest.varint()?)?;
        let key = rest.bytes()?;
        let value = rest.bytes()?;
        // Headers follow, which are of no use here.
        if rest.at > record_end || record_end > end {
            return None;
        }
        rest.at = record_end;
        if offset >= from_offset {
            let timestamp_ms = if attributes & LOG_TIME != 0 { last_ms } else { timestamp_ms };
            records.push(Record { offset, timestamp_ms, key, value });
        }
    }
    let last_delta = i32::from_be_bytes(number(data, at + 23)?);
    base_offset.checked_add(i64::from(last_delta))?.checked_add(1)
}

fn number<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, count: usize) -> Option<Span> {
        let start = self.at;
        self.at = start.checked_add(count).filter(|&end| end <= self.data.len())?;
        Some((start, self.at))
    }

    /// A number in groups of seven bits, the lowest first, its sign in the last bit.
    fn varint(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        None
    }

    /// A length and so many bytes; `Some(None)` for none.
    fn bytes(&mut self) -> Option<Option<Span>> {
        match self.varint()? {
            -1 => Some(None),
            length => self.skip(usize::try_from(length).ok()?).map(Some),
        }
    }
}
