//! Runs: the records of one fetch of one partition, in columns beside the bytes they lie in. Python keeps both.
//!
//! A record is named by its run and its place in it: `run << 32 | place`.

use crate::event::scan;
use crate::kafka::Record;

/// Per record where its key, its value and its event's account id lie in the run's bytes: from, to; ABSENT for none.
pub const SPANS: usize = 6;
const ABSENT: [u32; 2] = [1, 0];
const ACCOUNT: usize = 4;

/// The spans of records whose events are not looked at yet; `None` where bytes are too many to be told in 32 bits.
pub fn spans_of(records: &[Record]) -> Option<Vec<u32>> {
    let mut spans = Vec::with_capacity(SPANS * records.len());
    for record in records {
        for part in [record.key, record.value, None] {
            match part {
                None => spans.extend(ABSENT),
                Some((from, to)) => spans.extend([u32::try_from(from).ok()?, u32::try_from(to).ok()?]),
            }
        }
    }
    Some(spans)
}

/// Look at records of a topic (0 contacts, 1 conversations): where each event's account is, and when it happened; -1
/// where Python must look.
pub fn scan_all(topic: u8, data: &[u8], spans: &mut [u32], timestamps_ms: &[i64], instants_us: &mut [i64]) {
    for ((spans, &timestamp_ms), instant_us) in spans.chunks_exact_mut(SPANS).zip(timestamps_ms).zip(instants_us) {
        let event = match (part(data, &spans[..2]), part(data, &spans[2..4])) {
            (Some(key), Some(value)) => scan(topic, key, value, timestamp_ms),
            _ => None,
        };
        let account = match &event {
            Some(event) => {
                let from = event.account.as_ptr() as usize - data.as_ptr() as usize;
                [from as u32, (from + event.account.len()) as u32]
            }
            None => ABSENT,
        };
        *instant_us = event.map_or(-1, |event| event.at_us);
        spans[ACCOUNT..].copy_from_slice(&account);
    }
}

fn part<'a>(data: &'a [u8], span: &[u32]) -> Option<&'a [u8]> {
    data.get(span[0] as usize..span[1] as usize)
}

pub struct Runs<'a> {
    /// The number of the first one.
    pub first: u32,
    /// The bytes of each, and its records' spans.
    pub runs: Vec<(&'a [u8], &'a [u32])>,
}

impl<'a> Runs<'a> {
    pub fn key(&self, record: u64) -> Option<&'a [u8]> {
        self.part(record, 0)
    }

    pub fn value(&self, record: u64) -> Option<&'a [u8]> {
        self.part(record, 2)
    }

    pub fn account(&self, record: u64) -> Option<&'a [u8]> {
        self.part(record, ACCOUNT)
    }

    fn part(&self, record: u64, which: usize) -> Option<&'a [u8]> {
        let &(data, spans) = self.runs.get(((record >> 32) as u32).checked_sub(self.first)? as usize)?;
        let at = SPANS * (record as u32) as usize + which;
        part(data, spans.get(at..at + 2)?)
    }
}
