//! One contact's state, and events that are newer than all of it: the fast path of `aggregates/history.py`.
//!
//! Whatever is not certain here is Python's: events out of order, ids that may be known, creations of known contacts,
//! journals whose oldest entries are due to leave, states of another version, damaged bytes.

use crate::contact::*;
use crate::counters::Changes;
use crate::event::{Actor, Event, Outcome};
use crate::journal::{Journal, Order};
use crate::pack::*;
use crate::rules::{Need, Rules};

const STATE_VERSION: u8 = 2;
const CHUNK_ENTRIES: i64 = 32;

/// Contacts with more entries, words, conversations, pairs or touches are Python's: here each event looks through all of
/// them. The last three are where `aggregates/contact.py` begins to keep them in another way.
const MOST_ENTRIES: i64 = 4_096;
const MOST_WORDS: usize = 1_024;

pub struct History<'a> {
    tip: Contact<'a>,
    journal: Journal<'a>,
    newest_us: i64,
    base: Option<&'a [u8]>,
    mark: Option<&'a [u8]>,
    mark_length: i64,
    archive_count: i64,
    archived_until_us: i64,
    /// Nothing is stored of the contact.
    is_new: bool,
}

impl<'a> History<'a> {
    /// The history of a state's bytes, empty for a contact never heard of.
    pub fn read(state: &'a [u8]) -> Option<Self> {
        if state.is_empty() {
            return Some(History {
                tip: Contact::unknown(),
                journal: Journal::empty(),
                newest_us: -1,
                base: None,
                mark: None,
                mark_length: 0,
                archive_count: 0,
                archived_until_us: -1,
                is_new: true,
            });
        }
        if state[0] != STATE_VERSION {
            return None;
        }
        let mut reader = Reader::new(&state[1..]);
        reader.tuple(8)?;
        let history = History {
            tip: Contact::read(&mut reader)?,
            journal: Journal::read(&mut reader)?,
            newest_us: reader.int()?,
            base: reader.optional(Reader::bin)?,
            mark: reader.optional(Reader::bin)?,
            mark_length: reader.int()?,
            archive_count: reader.int()?,
            archived_until_us: reader.int()?,
            is_new: false,
        };
        let is_small = history.journal.count <= MOST_ENTRIES && history.journal.word_count() <= MOST_WORDS;
        (reader.is_empty() && is_small).then_some(history)
    }

    /// Take an event in. After a `Need` the history is of no more use.
    pub fn fold(
        &mut self,
        event: &Event<'a>,
        rules: &Rules,
        bin_uppers: &[i64],
        out: &mut Changes,
    ) -> Result<(), Need<'a>> {
        if !self.is_next(event) || self.journal.may_have(event.id) {
            return Err(Need::Python);
        }
        let entry = entry_of(event, rules)?;
        if entry.kind == CREATED && !self.tip.has_creation() {
            if !self.is_new {
                return Err(Need::Python); // what came before must be read again, with the creation known
            }
            self.tip = Contact::born_as(&entry, rules.version);
        }
        self.is_new = false;
        self.tip.step(&entry, &mut Scene { rules, bin_uppers, out })?;
        if !self.tip.is_small() {
            return Err(Need::Python);
        }
        self.journal.append(&entry, rules.version);
        self.newest_us = event.at_us;
        Ok(())
    }

    /// Whether the event is behind all entries. Ids settle what happened in one instant.
    fn is_next(&self, event: &Event<'a>) -> bool {
        if event.at_us != self.newest_us {
            return event.at_us > self.newest_us;
        }
        let order = Order { at_us: event.at_us, sequence: event.sequence, kind: event.kind, id: event.id };
        self.journal.count > 0 && self.journal.order(self.journal.count - 1).map_or(false, |last| last < order)
    }

    /// The state's bytes, at the end of a batch; `None` where entries are due to leave the journal.
    pub fn put(&self, lateness_ms: i64, out: &mut Vec<u8>) -> Option<()> {
        if self.mark.is_some() {
            let horizon_us = self.newest_us - lateness_ms * 1000;
            if self.journal.order(self.mark_length - 1)?.at_us < horizon_us {
                return None;
            }
        }
        out.push(STATE_VERSION);
        put_array(out, 8);
        let start = out.len();
        self.tip.put(out);
        // The tip of now is the next mark, once enough has gathered.
        let is_due = self.mark.is_none() && self.journal.count >= CHUNK_ENTRIES;
        let new_mark = if is_due { out[start..].to_vec() } else { Vec::new() };
        let (mark, mark_length) =
            if is_due { (Some(new_mark.as_slice()), self.journal.count) } else { (self.mark, self.mark_length) };
        self.journal.put(out);
        put_int(out, self.newest_us);
        put_optional(out, self.base, put_bin);
        put_optional(out, mark, put_bin);
        put_int(out, mark_length);
        put_int(out, self.archive_count);
        put_int(out, self.archived_until_us);
        Some(())
    }
}

/// The twin of `entry_of` in `aggregates/entry.py`.
fn entry_of<'a>(event: &Event<'a>, rules: &Rules) -> Result<Entry<'a>, Need<'a>> {
    let (day, hour) = rules.day_and_hour(event.at_us.div_euclid(1000))?;
    let mut entry = Entry {
        at_us: event.at_us,
        sequence: event.sequence,
        kind: event.kind,
        id: event.id,
        day,
        hour,
        flags: 0,
        actor: None,
        channel: None,
        conversation: event.conversation,
        advisor: None,
        group: None,
        to_conversation: None,
        origin: None,
    };
    match event.kind {
        SENT => {
            entry.actor = event.actor;
            entry.channel = event.channel;
            if event.actor == Some(Actor::Advisor) {
                let channel = event.channel.ok_or(Need::Python)?;
                entry.flags = if rules.is_effective(channel) { EFFECTIVE } else { UNCOUNTED };
                entry.advisor = event.advisor;
            }
        }
        RECEIVED => {
            entry.actor = Some(Actor::Contact);
            entry.channel = event.channel;
        }
        STARTED => {
            entry.actor = event.actor;
            entry.channel = event.channel;
        }
        CLOSED => {
            entry.flags = if rules.snoozes(event.reason.ok_or(Need::Python)?)? { SNOOZE } else { 0 };
            entry.advisor = event.advisor;
        }
        CREATED => {
            entry.actor = Some(event.actor.unwrap_or(Actor::Contact));
            entry.channel = event.channel;
            entry.group = event.group;
            entry.origin = event.origin;
        }
        CALLED => {
            entry.channel = Some("call");
            entry.advisor = event.advisor;
            let reached = if event.inbound {
                entry.actor = Some(Actor::Contact);
                let accepted = event.outcome == Some(Outcome::Accepted);
                entry.flags = if accepted { 0 } else { WAITS };
                accepted
            } else {
                entry.actor = Some(Actor::Advisor);
                event.outcome != Some(Outcome::Missed)
            };
            if reached && rules.is_effective("call") {
                entry.flags |= EFFECTIVE;
            }
        }
        TRANSFERRED => {
            entry.advisor = event.advisor;
            entry.group = event.group;
            entry.to_conversation = event.to_conversation;
        }
        MOVED => entry.group = event.group,
        _ => {}
    }
    Ok(entry)
}
