//! The life of one contact, one entry at a time: the twin of `aggregates/contact.py`, in the same order and words.
//!
//! The rules are explained there. Here is the same for the events that nearly all are: newer than all that is known of
//! their contact. `tests/laws` holds both together, state by state and counter by counter.

use std::cmp::max;

use crate::counters::{observation, reckoning, Changes};
use crate::event::Actor;
use crate::pack::*;
use crate::rules::{Need, Rules};

/// `date(1970, 1, 1).toordinal()`: days are counted from 1970 here and in states, and by ordinals in counters.
pub const EPOCH_DAY: i64 = 719_163;

const UNKNOWN_CHANNEL: &str = "unknown";

/// `MANY_CONVERSATIONS`, `MOST_PAIRS` and `MOST_TOUCHES` of `aggregates/contact.py`: what is not below them is Python's.
const MANY_CONVERSATIONS: usize = 256;
const MOST_PAIRS: usize = 64;
const MOST_TOUCHES: usize = 256;

const LIVE: i64 = 0;
const DELETED: i64 = 1;
const MERGED: i64 = 2;

/// Kinds of entries: the event types' ranks.
pub const CREATED: u8 = 0;
pub const CONTACT_DELETED: u8 = 1;
pub const RESTORED: u8 = 2;
pub const MOVED: u8 = 3;
pub const CONTACT_MERGED: u8 = 4;
pub const STARTED: u8 = 5;
pub const RECEIVED: u8 = 6;
pub const SENT: u8 = 7;
pub const CALLED: u8 = 8;
pub const NOTED: u8 = 9;
pub const HANDED_OFF: u8 = 10;
pub const TRANSFERRED: u8 = 11;
pub const CLOSED: u8 = 12;

/// Flags of an entry, as in `aggregates/entry.py`.
pub const EFFECTIVE: i64 = 1;
pub const UNCOUNTED: i64 = 2;
pub const SNOOZE: i64 = 4;
pub const WAITS: i64 = 8;

pub struct Entry<'a> {
    pub at_us: i64,
    pub sequence: i64,
    pub kind: u8,
    pub id: &'a str,
    pub day: i64,
    pub hour: i64,
    pub flags: i64,
    pub actor: Option<Actor>,
    pub channel: Option<&'a str>,
    pub conversation: Option<&'a str>,
    pub advisor: Option<&'a str>,
    pub group: Option<&'a str>,
    pub to_conversation: Option<&'a str>,
    pub origin: Option<&'a str>,
}

impl Entry<'_> {
    pub fn at_ms(&self) -> i64 {
        self.at_us.div_euclid(1000)
    }
}

/// The creation, as a state keeps it.
pub struct Creation<'a> {
    at_us: i64,
    sequence: i64,
    id: &'a str,
    day: i64,
    hour: i64,
    actor: Option<&'a str>,
    channel: Option<&'a str>,
    group: Option<&'a str>,
    origin: Option<&'a str>,
}

struct Wait<'a> {
    since_ms: i64,
    day: i64,
    channel: &'a str,
}

struct Conversation<'a> {
    id: &'a str,
    channel: &'a str,
    closed: bool,
}

type Touch<'a> = (Option<&'a str>, &'a str, Option<&'a str>);

struct Pair<'a> {
    channel: &'a str,
    group: Option<&'a str>,
    last: i64,
    before: Option<i64>,
}

pub struct Contact<'a> {
    creation: Option<Creation<'a>>,
    created: bool,
    deleted: bool,
    merged: bool,
    group: Option<&'a str>,
    origin: Option<&'a str>,
    reached: bool,
    closed: bool,
    resolved: bool,
    bot: bool,
    wait: Option<Wait<'a>>,
    snoozed: bool,
    first_from_ms: Option<i64>,
    bot_wrote: bool,
    conversations: Vec<Conversation<'a>>,
    touch_day: i64,
    touches: Vec<Touch<'a>>,
    active_day: i64,
    pairs: Vec<Pair<'a>>,
}

/// What a step reads and writes beside the contact.
pub struct Scene<'r> {
    pub rules: &'r Rules,
    pub bin_uppers: &'r [i64],
    pub out: &'r mut Changes,
    /// What the entry was counted with, if it is an answer: as a response, and as a first response.
    pub counted: Vec<i64>,
}

impl<'a> Contact<'a> {
    pub fn unknown() -> Self {
        Contact {
            creation: None,
            created: false,
            deleted: false,
            merged: false,
            group: None,
            origin: None,
            reached: false,
            closed: false,
            resolved: false,
            bot: false,
            wait: None,
            snoozed: false,
            first_from_ms: None,
            bot_wrote: false,
            conversations: Vec::new(),
            touch_day: -EPOCH_DAY,
            touches: Vec::new(),
            active_day: -EPOCH_DAY,
            pairs: Vec::new(),
        }
    }

    /// A contact before its first entry, which is its creation.
    pub fn born_as(entry: &Entry<'a>) -> Self {
        let mut contact = Contact::unknown();
        contact.group = entry.group;
        contact.origin = entry.origin;
        if entry.actor == Some(Actor::Contact) {
            contact.first_from_ms = Some(entry.at_ms());
        }
        contact.creation = Some(Creation {
            at_us: entry.at_us,
            sequence: entry.sequence,
            id: entry.id,
            day: entry.day,
            hour: entry.hour,
            actor: entry.actor.map(Actor::name),
            channel: entry.channel,
            group: entry.group,
            origin: entry.origin,
        });
        contact
    }

    /// Apply one entry, and add what it made true to the changes. After a `Need` the contact is of no more use.
    pub fn step(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        match entry.kind {
            SENT => self.on_sent(entry, scene)?,
            RECEIVED => self.on_received(entry, scene)?,
            STARTED => self.on_started(entry, scene)?,
            CREATED => self.on_created(entry, scene)?,
            CONTACT_DELETED => self.set_gone(true, self.merged, scene),
            RESTORED => self.set_gone(false, self.merged, scene),
            CONTACT_MERGED => self.set_gone(self.deleted, true, scene),
            MOVED => self.move_to(entry.group, scene),
            CALLED => self.on_called(entry, scene)?,
            NOTED => self.act(entry, self.opening_channel(entry), scene),
            HANDED_OFF => self.on_handed_off(entry, scene),
            TRANSFERRED => self.on_transferred(entry, scene)?,
            CLOSED => self.on_closed(entry, scene)?,
            _ => return Err(Need::Python),
        }
        Ok(())
    }

    // --- the contact's own events ------------------------------------------------------------------------------------

    fn on_created(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        if self.created {
            return Ok(());
        }
        let channel = entry.channel.ok_or(Need::Python)?;
        self.act(entry, channel, scene);
        self.created = true;
        self.count_contact(1, scene);
        if entry.actor == Some(Actor::Contact) && !self.reached {
            self.begin_wait(entry, channel, scene);
        }
        Ok(())
    }

    fn set_gone(&mut self, deleted: bool, merged: bool, scene: &mut Scene<'_>) {
        self.count_contact(-1, scene);
        self.count_waiting(-1, scene);
        self.deleted = deleted;
        self.merged = merged;
        self.count_contact(1, scene);
        self.count_waiting(1, scene);
    }

    fn move_to(&mut self, group: Option<&'a str>, scene: &mut Scene<'_>) {
        self.count_origin(-1, scene);
        self.count_waiting(-1, scene);
        self.group = group;
        self.count_origin(1, scene);
        self.count_waiting(1, scene);
    }

    // --- conversations -----------------------------------------------------------------------------------------------

    fn on_started(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let channel = entry.channel.ok_or(Need::Python)?;
        self.act(entry, channel, scene);
        self.open(entry, entry.conversation, channel, actor_name(entry), scene)?;
        if entry.actor == Some(Actor::Bot) {
            self.bot = true;
        }
        Ok(())
    }

    fn on_received(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let channel = entry.channel.ok_or(Need::Python)?;
        self.act(entry, channel, scene);
        self.open(entry, entry.conversation, channel, Some("contact"), scene)?;
        self.set_snoozed(false, scene);
        self.begin_wait(entry, channel, scene);
        Ok(())
    }

    fn on_sent(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let channel = entry.channel.ok_or(Need::Python)?;
        self.act(entry, channel, scene);
        self.open(entry, entry.conversation, channel, actor_name(entry), scene)?;
        if entry.actor == Some(Actor::System) {
            return Ok(());
        }
        self.set_snoozed(false, scene);
        if entry.actor == Some(Actor::Bot) {
            self.bot = true;
            self.stop_waiting(scene);
            if !self.reached {
                self.bot_wrote = true;
                if self.first_from_ms.is_some() {
                    self.first_from_ms = Some(entry.at_ms());
                }
            }
            return Ok(());
        }
        self.reach(entry, scene)
    }

    fn on_called(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let channel = entry.channel.ok_or(Need::Python)?;
        self.act(entry, channel, scene);
        self.open(entry, entry.conversation, channel, actor_name(entry), scene)?;
        self.set_snoozed(false, scene);
        if entry.flags & WAITS != 0 {
            self.begin_wait(entry, channel, scene);
            return Ok(());
        }
        self.reach(entry, scene)
    }

    fn on_handed_off(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) {
        let channel = self.opening_channel(entry);
        self.act(entry, channel, scene);
        self.set_snoozed(false, scene);
        if !self.bot {
            return;
        }
        self.bot = false;
        self.stop_waiting(scene);
        self.begin_wait(entry, channel, scene);
        if !self.reached {
            self.first_from_ms = Some(entry.at_ms());
        }
    }

    fn on_transferred(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let channel = self.opening_channel(entry);
        self.act(entry, channel, scene);
        self.set_snoozed(false, scene);
        self.close(entry, true, scene)?;
        if entry.group.is_some() {
            self.move_to(entry.group, scene);
        }
        if entry.to_conversation.is_some() {
            self.open(entry, entry.to_conversation, channel, Some("transfer"), scene)?;
        }
        Ok(())
    }

    fn on_closed(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        self.act(entry, self.opening_channel(entry), scene);
        if entry.flags & SNOOZE != 0 {
            self.set_snoozed(true, scene);
            return Ok(());
        }
        self.close(entry, false, scene)?;
        self.stop_waiting(scene);
        self.bot = false;
        self.snoozed = false;
        Ok(())
    }

    fn opening_channel(&self, entry: &Entry<'a>) -> &'a str {
        let known = self.conversations.iter().find(|known| Some(known.id) == entry.conversation);
        known.map_or(UNKNOWN_CHANNEL, |known| known.channel)
    }

    fn open(
        &mut self,
        entry: &Entry<'a>,
        conversation: Option<&'a str>,
        channel: &'a str,
        opener: Option<&'a str>,
        scene: &mut Scene<'_>,
    ) -> Result<(), Need<'a>> {
        let id = conversation.ok_or(Need::Python)?;
        if self.conversations.iter().any(|known| known.id == id) {
            return Ok(());
        }
        self.conversations.push(Conversation { id, channel, closed: false });
        let (origin, group) = (self.origin, self.group);
        scene.out.count(EPOCH_DAY + entry.day, 1, |out| {
            put_field(out, "c", 6, origin);
            put_optional_str(out, group);
            put_str(out, channel);
            put_optional_str(out, opener);
            put_int(out, entry.hour);
        });
        Ok(())
    }

    fn close(&mut self, entry: &Entry<'a>, transferred: bool, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let id = entry.conversation.ok_or(Need::Python)?;
        let channel = match self.conversations.iter_mut().find(|known| known.id == id) {
            Some(known) if known.closed => return Ok(()),
            Some(known) => {
                known.closed = true;
                known.channel
            }
            None => {
                self.conversations.push(Conversation { id, channel: UNKNOWN_CHANNEL, closed: true });
                UNKNOWN_CHANNEL
            }
        };
        let (origin, group) = (self.origin, self.group);
        scene.out.count(EPOCH_DAY + entry.day, 1, |out| {
            put_field(out, "x", 6, origin);
            put_optional_str(out, group);
            put_str(out, channel);
            put_optional_str(out, entry.advisor);
            put_bool(out, transferred);
        });
        if !(self.closed && (self.resolved || transferred)) {
            self.count_origin(-1, scene);
            self.closed = true;
            self.resolved |= !transferred;
            self.count_origin(1, scene);
        }
        Ok(())
    }

    // --- the wait and its answer -------------------------------------------------------------------------------------

    fn begin_wait(&mut self, entry: &Entry<'a>, channel: &'a str, scene: &mut Scene<'_>) {
        if self.wait.is_some() {
            return;
        }
        self.wait = Some(Wait { since_ms: entry.at_ms(), day: entry.day, channel });
        self.count_waiting(1, scene);
        if !self.reached && (self.bot_wrote || self.first_from_ms.is_none()) {
            self.first_from_ms = Some(entry.at_ms());
            self.bot_wrote = false;
        }
    }

    fn stop_waiting(&mut self, scene: &mut Scene<'_>) {
        if self.wait.is_some() {
            self.count_waiting(-1, scene);
            self.wait = None;
        }
    }

    fn set_snoozed(&mut self, snoozed: bool, scene: &mut Scene<'_>) {
        if self.snoozed != snoozed {
            self.count_waiting(-1, scene);
            self.snoozed = snoozed;
            self.count_waiting(1, scene);
        }
    }

    fn reach(&mut self, entry: &Entry<'a>, scene: &mut Scene<'_>) -> Result<(), Need<'a>> {
        let channel = entry.channel.ok_or(Need::Python)?;
        let (origin, group, advisor) = (self.origin, self.group, entry.advisor);
        let put_dimensions = |out: &mut Vec<u8>, metric: &str| {
            put_field(out, metric, 5, origin);
            put_optional_str(out, group);
            put_str(out, channel);
            put_optional_str(out, advisor);
        };
        if entry.flags & EFFECTIVE == 0 {
            if entry.flags & UNCOUNTED != 0 {
                scene.out.count(EPOCH_DAY + entry.day, 1, |out| put_dimensions(out, "u"));
            }
            return Ok(());
        }
        self.touch(entry, (advisor, channel, group), scene);
        let rules = scene.rules;
        let clock = rules.clock_of(advisor);
        let answer_ms = entry.at_ms();
        let reckoned = |since_ms: i64, target_ms: Option<i64>| -> Result<i64, Need<'a>> {
            let business_ms = match clock {
                None => None,
                Some(clock) => Some(rules.between_ms(clock, since_ms, answer_ms)?),
            };
            Ok(reckoning(max(0, answer_ms - since_ms), business_ms, target_ms))
        };
        let bin_uppers = scene.bin_uppers;
        let vector_of = |since_ms: i64, number: i64| observation(max(0, answer_ms - since_ms), number, bin_uppers);
        let mut first = None;
        if !self.reached {
            self.count_origin(-1, scene);
            self.reached = true;
            self.count_origin(1, scene);
            if let (Some(creation), Some(from_ms)) = (&self.creation, self.first_from_ms) {
                first = Some((creation.day, max(from_ms, creation.at_us.div_euclid(1000))));
            }
        }
        if let Some(since_ms) = self.wait.as_ref().map(|wait| wait.since_ms).or(first.map(|(_, since_ms)| since_ms)) {
            let number = reckoned(since_ms, rules.response_target_ms)?;
            scene.counted.push(number);
            if let Some((day, first_ms)) = first {
                let number = reckoned(first_ms, rules.first_response_target_ms)?;
                scene.counted.push(number);
                scene.out.observe(EPOCH_DAY + day, vector_of(first_ms, number), |out| put_dimensions(out, "f"));
            }
            scene.out.observe(EPOCH_DAY + entry.day, vector_of(since_ms, number), |out| put_dimensions(out, "r"));
        }
        self.stop_waiting(scene);
        self.bot = false;
        Ok(())
    }

    // --- what a contact contributes as a whole -----------------------------------------------------------------------

    fn touch(&mut self, entry: &Entry<'a>, touch: Touch<'a>, scene: &mut Scene<'_>) {
        let day = max(entry.day, self.touch_day);
        if self.touch_day != day {
            self.touch_day = day;
            self.touches.clear();
        }
        if self.touches.contains(&touch) {
            return;
        }
        if !self.touches.is_empty() {
            self.count_touches(-1, scene);
        }
        self.touches.push(touch);
        self.touches.sort_by_key(|&(advisor, channel, group)| (nulls_last(advisor), channel, nulls_last(group)));
        self.count_touches(1, scene);
    }

    fn count_touches(&mut self, times: i64, scene: &mut Scene<'_>) {
        let (origin, touches) = (self.origin, &self.touches);
        scene.out.count(EPOCH_DAY + self.touch_day, times, |out| {
            put_field(out, "i", 3, origin);
            put_touches(out, touches);
        });
    }

    fn act(&mut self, entry: &Entry<'a>, channel: &'a str, scene: &mut Scene<'_>) {
        self.active_day = max(self.active_day, entry.day);
        let day = self.active_day;
        let group = self.group;
        let known = self.pairs.iter().position(|pair| pair.channel == channel && pair.group == group);
        if known.map_or(false, |place| self.pairs[place].last == day) {
            return;
        }
        self.count_active(day, -1, scene);
        match known {
            Some(place) => {
                let pair = &mut self.pairs[place];
                pair.before = Some(pair.last);
                pair.last = day;
            }
            None => {
                self.pairs.push(Pair { channel, group, last: day, before: None });
                self.pairs.sort_by_key(|pair| (pair.channel, nulls_last(pair.group)));
            }
        }
        self.count_active(day, 1, scene);
    }

    fn count_active(&mut self, day: i64, times: i64, scene: &mut Scene<'_>) {
        if !self.pairs.iter().any(|pair| pair.last == day) {
            return;
        }
        let (origin, pairs) = (self.origin, &self.pairs);
        scene.out.count(EPOCH_DAY + day, times, |out| {
            put_field(out, "a", 3, origin);
            put_array(out, pairs.len());
            for pair in pairs {
                let active = pair.last == day;
                let before = if active { pair.before } else { Some(pair.last) };
                put_array(out, 4);
                put_str(out, pair.channel);
                put_optional_str(out, pair.group);
                put_bool(out, active);
                put_optional(out, before.map(|before| EPOCH_DAY + before), put_int);
            }
        });
    }

    fn count_contact(&mut self, times: i64, scene: &mut Scene<'_>) {
        let creation = match &self.creation {
            Some(creation) if self.created => creation,
            _ => return,
        };
        let status = match (self.merged, self.deleted) {
            (true, _) => MERGED,
            (false, true) => DELETED,
            (false, false) => LIVE,
        };
        let origin = self.origin;
        scene.out.count(EPOCH_DAY + creation.day, times, |out| {
            put_field(out, "n", 5, origin);
            put_optional_str(out, creation.group);
            put_optional_str(out, creation.channel);
            put_int(out, status);
        });
        self.count_origin(times, scene);
    }

    fn count_origin(&mut self, times: i64, scene: &mut Scene<'_>) {
        let creation = match &self.creation {
            Some(creation) if self.created && !self.deleted && !self.merged => creation,
            _ => return,
        };
        scene.out.count(EPOCH_DAY + creation.day, times, |out| {
            put_field(out, "o", 7, self.origin);
            put_optional_str(out, self.group);
            put_optional_str(out, creation.channel);
            put_bool(out, self.reached);
            put_bool(out, self.closed);
            put_bool(out, self.resolved);
        });
    }

    fn count_waiting(&mut self, times: i64, scene: &mut Scene<'_>) {
        let wait = match &self.wait {
            Some(wait) if !self.deleted && !self.merged => wait,
            _ => return,
        };
        scene.out.count(EPOCH_DAY + wait.day, times, |out| {
            put_field(out, "w", 6, self.origin);
            put_optional_str(out, self.group);
            put_str(out, wait.channel);
            put_bool(out, self.snoozed);
            put_int(out, wait.since_ms);
        });
    }
}

fn actor_name(entry: &Entry<'_>) -> Option<&'static str> {
    entry.actor.map(Actor::name)
}

fn nulls_last(value: Option<&str>) -> (bool, &str) {
    (value.is_none(), value.unwrap_or(""))
}

/// The head of a field: its metric's letter, and the dimension that all have.
fn put_field(out: &mut Vec<u8>, metric: &str, items: usize, origin: Option<&str>) {
    put_array(out, items);
    put_str(out, metric);
    put_optional_str(out, origin);
}

fn put_touches(out: &mut Vec<u8>, touches: &[Touch<'_>]) {
    put_array(out, touches.len());
    for &(advisor, channel, group) in touches {
        put_array(out, 3);
        put_optional_str(out, advisor);
        put_str(out, channel);
        put_optional_str(out, group);
    }
}

// --- bytes: the twin of `aggregates/contact_bytes.py` ----------------------------------------------------------------

impl<'a> Contact<'a> {
    /// The contact of `put`'s bytes; `None` when they are damaged.
    pub fn read(reader: &mut Reader<'a>) -> Option<Contact<'a>> {
        reader.tuple(11)?;
        let flags = reader.int()?;
        let creation = reader.optional(read_creation)?;
        let group = reader.optional(Reader::str)?;
        let origin = reader.optional(Reader::str)?;
        let wait = reader.optional(|reader| {
            reader.tuple(3)?;
            Some(Wait { since_ms: reader.int()?, day: reader.int()?, channel: reader.str()? })
        })?;
        let first_from_ms = reader.optional(Reader::int)?;
        let count = reader.map()?;
        let mut conversations = Vec::with_capacity(room(count));
        for _ in 0..count {
            let id = reader.str()?;
            reader.tuple(2)?;
            conversations.push(Conversation { id, channel: reader.str()?, closed: reader.bool()? });
        }
        let touch_day = reader.int()?;
        let count = reader.array()?;
        let mut touches = Vec::with_capacity(room(count));
        for _ in 0..count {
            reader.tuple(3)?;
            touches.push((reader.optional(Reader::str)?, reader.str()?, reader.optional(Reader::str)?));
        }
        let active_day = reader.int()?;
        let count = reader.array()?;
        let mut pairs = Vec::with_capacity(room(count));
        for _ in 0..count {
            reader.tuple(4)?;
            pairs.push(Pair {
                channel: reader.str()?,
                group: reader.optional(Reader::str)?,
                last: reader.int()?,
                before: reader.optional(Reader::int)?,
            });
        }
        let has = |bit: i64| flags & bit != 0;
        Some(Contact {
            creation,
            created: has(1),
            deleted: has(2),
            merged: has(4),
            group,
            origin,
            reached: has(8),
            closed: has(16),
            resolved: has(32),
            bot: has(64),
            wait,
            snoozed: has(128),
            first_from_ms,
            bot_wrote: has(256),
            conversations,
            touch_day,
            touches,
            active_day,
            pairs,
        })
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        let flags = [
            self.created,
            self.deleted,
            self.merged,
            self.reached,
            self.closed,
            self.resolved,
            self.bot,
            self.snoozed,
            self.bot_wrote,
        ];
        put_array(out, 11);
        put_int(out, flags.iter().rev().fold(0, |bits, &flag| bits << 1 | i64::from(flag)));
        put_optional(out, self.creation.as_ref(), put_creation);
        put_optional_str(out, self.group);
        put_optional_str(out, self.origin);
        put_optional(out, self.wait.as_ref(), |out, wait| {
            put_array(out, 3);
            put_int(out, wait.since_ms);
            put_int(out, wait.day);
            put_str(out, wait.channel);
        });
        put_optional(out, self.first_from_ms, put_int);
        put_map(out, self.conversations.len());
        for conversation in &self.conversations {
            put_str(out, conversation.id);
            put_array(out, 2);
            put_str(out, conversation.channel);
            put_bool(out, conversation.closed);
        }
        put_int(out, self.touch_day);
        put_touches(out, &self.touches);
        put_int(out, self.active_day);
        put_array(out, self.pairs.len());
        for pair in &self.pairs {
            put_array(out, 4);
            put_str(out, pair.channel);
            put_optional_str(out, pair.group);
            put_int(out, pair.last);
            put_optional(out, pair.before, put_int);
        }
    }

    /// Whether it is kept in the usual way.
    pub fn is_small(&self) -> bool {
        self.conversations.len() < MANY_CONVERSATIONS
            && self.pairs.len() < MOST_PAIRS
            && self.touches.len() < MOST_TOUCHES
    }

    pub fn has_creation(&self) -> bool {
        self.creation.is_some()
    }
}

/// For so many items and a few more. What damaged bytes announce is not believed.
fn room(count: usize) -> usize {
    count.min(64) + 2
}

fn read_creation<'a>(reader: &mut Reader<'a>) -> Option<Creation<'a>> {
    reader.tuple(9)?;
    Some(Creation {
        at_us: reader.int()?,
        sequence: reader.int()?,
        id: reader.str()?,
        day: reader.int()?,
        hour: reader.int()?,
        actor: reader.optional(Reader::str)?,
        channel: reader.optional(Reader::str)?,
        group: reader.optional(Reader::str)?,
        origin: reader.optional(Reader::str)?,
    })
}

fn put_creation(out: &mut Vec<u8>, creation: &Creation<'_>) {
    put_array(out, 9);
    put_int(out, creation.at_us);
    put_int(out, creation.sequence);
    put_str(out, creation.id);
    put_int(out, creation.day);
    put_int(out, creation.hour);
    put_optional_str(out, creation.actor);
    put_optional_str(out, creation.channel);
    put_optional_str(out, creation.group);
    put_optional_str(out, creation.origin);
}
