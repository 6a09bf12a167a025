//! Runs: the records of one fetch of one partition, in columns beside the bytes they lie in. Python keeps both.
//!
//! A record is named by its run and its place in it: `run << 32 | place`.

use crate::event::{scan, Actor, Event, Outcome};
use crate::kafka::Record;

/// Numbers per record: where its parts lie in the run's bytes (from, to; ABSENT for none), first its key and value, then
/// the strings of its event, and at last what is no string of it.
pub const SPANS: usize = 28;
const KEY: usize = 0;
const VALUE: usize = 2;
const ACCOUNT: usize = 4;
const ID: usize = 6;
const CONVERSATION: usize = 8;
const CHANNEL: usize = 10;
const ADVISOR: usize = 12;
const GROUP: usize = 14;
const TO_CONVERSATION: usize = 16;
const ORIGIN: usize = 18;
const REASON: usize = 20;
const KIND: usize = 22;
const MARKS: usize = 23;
const SEQUENCE: usize = 24;
const AT_US: usize = 26;

const ABSENT: [u32; 2] = [1, 0];

const ACTORS: [Option<Actor>; 6] =
    [None, Some(Actor::Contact), Some(Actor::Advisor), Some(Actor::Import), Some(Actor::Bot), Some(Actor::System)];
const OUTCOMES: [Option<Outcome>; 4] = [None, Some(Outcome::Accepted), Some(Outcome::Rejected), Some(Outcome::Missed)];

/// The spans of records whose events are not looked at yet; `None` where bytes are too many to be told in 32 bits.
pub fn spans_of(records: &[Record]) -> Option<Vec<u32>> {
    let mut spans = vec![0; SPANS * records.len()];
    for (record, spans) in records.iter().zip(spans.chunks_exact_mut(SPANS)) {
        for (which, part) in [(KEY, record.key), (VALUE, record.value)] {
            let span = match part {
                None => ABSENT,
                Some((from, to)) => [u32::try_from(from).ok()?, u32::try_from(to).ok()?],
            };
            spans[which..which + 2].copy_from_slice(&span);
        }
    }
    Some(spans)
}

/// Look at records of a topic (0 contacts, 1 conversations): what their events are, and when they happened; -1 where
/// Python must look, and no account then.
pub fn scan_all(topic: u8, data: &[u8], spans: &mut [u32], timestamps_ms: &[i64], instants_us: &mut [i64]) {
    for ((spans, &timestamp_ms), instant_us) in spans.chunks_exact_mut(SPANS).zip(timestamps_ms).zip(instants_us) {
        let event = match (part(data, &spans[KEY..]), part(data, &spans[VALUE..])) {
            (Some(key), Some(value)) => scan(topic, key, value, timestamp_ms),
            _ => None,
        };
        *instant_us = event.as_ref().map_or(-1, |event| event.at_us);
        match event {
            Some(event) => put_event(data, spans, &event),
            None => spans[ACCOUNT..ACCOUNT + 2].copy_from_slice(&ABSENT),
        }
    }
}

fn put_event(data: &[u8], spans: &mut [u32], event: &Event<'_>) {
    let strings = [
        (ACCOUNT, Some(event.account)),
        (ID, Some(event.id)),
        (CONVERSATION, event.conversation),
        (CHANNEL, event.channel),
        (ADVISOR, event.advisor),
        (GROUP, event.group),
        (TO_CONVERSATION, event.to_conversation),
        (ORIGIN, event.origin),
        (REASON, event.reason),
    ];
    for (which, string) in strings {
        let span = string.map_or(ABSENT, |string| {
            let from = string.as_ptr() as usize - data.as_ptr() as usize;
            [from as u32, (from + string.len()) as u32]
        });
        spans[which..which + 2].copy_from_slice(&span);
    }
    spans[KIND] = u32::from(event.kind);
    let actor = ACTORS.iter().position(|&actor| actor == event.actor).unwrap_or(0);
    let outcome = OUTCOMES.iter().position(|&outcome| outcome == event.outcome).unwrap_or(0);
    spans[MARKS] = (actor | outcome << 4 | usize::from(event.inbound) << 8) as u32;
    put_wide(&mut spans[SEQUENCE..], event.sequence);
    put_wide(&mut spans[AT_US..], event.at_us);
}

fn put_wide(numbers: &mut [u32], wide: i64) {
    numbers[0] = wide as u32;
    numbers[1] = (wide >> 32) as u32;
}

fn wide(numbers: &[u32]) -> i64 {
    i64::from(numbers[0]) | i64::from(numbers[1] as i32) << 32
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
        let (data, spans) = self.find(record)?;
        part(data, &spans[KEY..])
    }

    pub fn account(&self, record: u64) -> Option<&'a [u8]> {
        let (data, spans) = self.find(record)?;
        part(data, &spans[ACCOUNT..])
    }

    /// The event that `scan_all` found in a record.
    pub fn event(&self, record: u64) -> Option<Event<'a>> {
        let (data, spans) = self.find(record)?;
        let string = |which: usize| part(data, &spans[which..]).and_then(|string| std::str::from_utf8(string).ok());
        let marks = spans[MARKS] as usize;
        Some(Event {
            kind: spans[KIND] as u8,
            id: string(ID)?,
            account: string(ACCOUNT)?,
            contact: string(KEY)?,
            at_us: wide(&spans[AT_US..]),
            sequence: wide(&spans[SEQUENCE..]),
            conversation: string(CONVERSATION),
            channel: string(CHANNEL),
            actor: *ACTORS.get(marks & 15)?,
            advisor: string(ADVISOR),
            group: string(GROUP),
            to_conversation: string(TO_CONVERSATION),
            origin: string(ORIGIN),
            reason: string(REASON),
            inbound: marks >> 8 & 1 == 1,
            outcome: *OUTCOMES.get(marks >> 4 & 15)?,
        })
    }

    fn find(&self, record: u64) -> Option<(&'a [u8], &'a [u32])> {
        let &(data, spans) = self.runs.get(((record >> 32) as u32).checked_sub(self.first)? as usize)?;
        let at = SPANS * (record as u32) as usize;
        Some((data, spans.get(at..at + SPANS)?))
    }
}
