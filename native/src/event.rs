//! Reads an event out of a record's value, where it is certain that Python would read the same: the fast half of
//! `decode_timed_record` in `schemas/events.py`.
//!
//! On any doubt the answer is `None`, and Python decides and words the refusal: escapes in a value that is kept, numbers
//! that are no plain integers, a key that stands twice, unusual forms of an instant, lengths near the limits.

use crate::contact::*;

const MAX_RECORD_BYTES: usize = 1 << 20;
const MAX_FUTURE_MS: i64 = 3_600_000;

/// Bytes, where Python counts characters: there are never fewer.
const MAX_ID_BYTES: usize = 256;
const MAX_NAME_BYTES: usize = 1024;
const MAX_CHANNEL_BYTES: usize = 64;

const MAX_SEQUENCE: i64 = 1 << 53;

/// How deep objects and arrays that are ignored may go.
const MAX_DEPTH: usize = 16;

/// Who created, opened, wrote or called. The numbers are those of a journal's rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Actor {
    Contact = 1,
    Advisor = 2,
    Import = 3,
    Bot = 4,
    System = 5,
}

impl Actor {
    pub fn name(self) -> &'static str {
        match self {
            Actor::Contact => "contact",
            Actor::Advisor => "advisor",
            Actor::Import => "import",
            Actor::Bot => "bot",
            Actor::System => "system",
        }
    }

    fn named(name: &str, allowed: &[Actor]) -> Option<Actor> {
        allowed.iter().copied().find(|actor| actor.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Accepted,
    Rejected,
    Missed,
}

/// What the fold needs of an event; `None` where its type has no such field, or it is missing.
#[derive(Debug, PartialEq)]
pub struct Event<'a> {
    /// The type's place in the contract's order.
    pub kind: u8,
    pub id: &'a str,
    pub account: &'a str,
    pub contact: &'a str,
    pub at_us: i64,
    pub sequence: i64,
    pub conversation: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub actor: Option<Actor>,
    pub advisor: Option<&'a str>,
    pub group: Option<&'a str>,
    pub to_conversation: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub inbound: bool,
    pub outcome: Option<Outcome>,
}

/// The event of a record: its value, held to the record's key, topic (0 contacts, 1 conversations) and timestamp.
pub fn scan<'a>(topic: u8, key: &[u8], value: &'a [u8], timestamp_ms: i64) -> Option<Event<'a>> {
    let event = parse(value)?;
    let own_topic = u8::from(event.kind >= STARTED);
    let in_time = event.at_us <= timestamp_ms.checked_add(MAX_FUTURE_MS)?.checked_mul(1000)?;
    (own_topic == topic && event.contact.as_bytes() == key && in_time).then_some(event)
}

fn parse(value: &[u8]) -> Option<Event<'_>> {
    if value.len() > MAX_RECORD_BYTES {
        return None;
    }
    let fields = read_fields(std::str::from_utf8(value).ok()?)?;
    let kind = kind_of(fields.of_type.text()?)?;
    let mut event = Event {
        kind,
        id: fields.id.id()?,
        account: fields.account_id.id()?,
        contact: fields.contact_id.id()?,
        at_us: instant_us(fields.occurred_at.text()?)?,
        sequence: match fields.sequence {
            Field::Missing | Field::Null => 0,
            Field::Integer(number) if (-MAX_SEQUENCE..=MAX_SEQUENCE).contains(&number) => number,
            _ => return None,
        },
        conversation: None,
        channel: None,
        actor: None,
        advisor: None,
        group: None,
        to_conversation: None,
        origin: None,
        reason: None,
        inbound: false,
        outcome: None,
    };
    if kind >= STARTED {
        event.conversation = Some(fields.conversation_id.id()?);
    }
    match kind {
        CREATED => {
            event.origin = fields.origin.nullable_name()?;
            event.channel = Some(fields.channel.channel()?);
            event.group = fields.group_id.optional_id()?;
            event.actor = match fields.by.optional_text()? {
                Some(by) => Some(Actor::named(by, &[Actor::Contact, Actor::Advisor, Actor::Import])?),
                None => None,
            };
        }
        MOVED => {
            if matches!(fields.group_id, Field::Missing) {
                return None;
            }
            event.group = fields.group_id.optional_id()?;
        }
        CONTACT_MERGED => {
            fields.into.id()?;
        }
        STARTED => {
            event.channel = Some(fields.channel.channel()?);
            let openers = [Actor::Contact, Actor::Advisor, Actor::Bot, Actor::System];
            event.actor = Some(Actor::named(fields.by.text()?, &openers)?);
        }
        RECEIVED => event.channel = Some(fields.channel.channel()?),
        SENT => {
            event.channel = Some(fields.channel.channel()?);
            let author = fields.author?;
            let actor = Actor::named(author.kind.text()?, &[Actor::Advisor, Actor::Bot, Actor::System])?;
            event.actor = Some(actor);
            event.advisor = author.id.optional_id()?;
            if actor == Actor::Advisor && event.advisor.is_none() {
                return None;
            }
        }
        CALLED => {
            event.inbound = match fields.direction.text()? {
                "inbound" => true,
                "outbound" => false,
                _ => return None,
            };
            event.outcome = Some(match fields.outcome.text()? {
                "accepted" => Outcome::Accepted,
                "rejected" => Outcome::Rejected,
                "missed" => Outcome::Missed,
                _ => return None,
            });
            event.advisor = fields.advisor_id.optional_id()?;
            if event.advisor.is_none() && event.outcome != Some(Outcome::Missed) {
                return None;
            }
        }
        NOTED => event.advisor = fields.advisor_id.optional_id()?,
        HANDED_OFF => {
            fields.to_advisor_id.optional_id()?;
        }
        TRANSFERRED => {
            event.advisor = fields.advisor_id.optional_id()?;
            event.to_conversation = fields.to_conversation_id.optional_id()?;
            event.group = fields.to_group_id.optional_id()?;
            fields.to_advisor_id.optional_id()?;
        }
        CLOSED => {
            event.reason = Some(fields.reason.name()?);
            event.advisor = fields.advisor_id.optional_id()?;
        }
        _ => {}
    }
    Some(event)
}

fn kind_of(name: &str) -> Option<u8> {
    Some(match name {
        "contact.created" => CREATED,
        "contact.deleted" => CONTACT_DELETED,
        "contact.restored" => RESTORED,
        "contact.moved" => MOVED,
        "contact.merged" => CONTACT_MERGED,
        "conversation.started" => STARTED,
        "message.received" => RECEIVED,
        "message.sent" => SENT,
        "call.logged" => CALLED,
        "note.added" => NOTED,
        "conversation.handed_off" => HANDED_OFF,
        "conversation.transferred" => TRANSFERRED,
        "conversation.closed" => CLOSED,
        _ => return None,
    })
}

// --- fields ----------------------------------------------------------------------------------------------------------

/// The value of a known key.
#[derive(Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Missing,
    Null,
    Text(&'a str),
    Integer(i64),
    /// Sound JSON, but of no use to any field.
    Other,
}

impl<'a> Field<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `Some(None)` where it is missing or null.
    fn optional_text(self) -> Option<Option<&'a str>> {
        match self {
            Field::Missing | Field::Null => Some(None),
            Field::Text(text) => Some(Some(text)),
            _ => None,
        }
    }

    fn id(self) -> Option<&'a str> {
        self.text().filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES)
    }

    fn optional_id(self) -> Option<Option<&'a str>> {
        match self {
            Field::Missing | Field::Null => Some(None),
            _ => self.id().map(Some),
        }
    }

    fn name(self) -> Option<&'a str> {
        self.text().filter(|name| name.len() <= MAX_NAME_BYTES)
    }

    /// A name that may be null, but not missing.
    fn nullable_name(self) -> Option<Option<&'a str>> {
        match self {
            Field::Null => Some(None),
            _ => self.name().map(Some),
        }
    }

    fn channel(self) -> Option<&'a str> {
        let channel = self.text()?;
        let (&first, rest) = channel.as_bytes().split_first()?;
        let is_inner = |&byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        let is_channel = first.is_ascii_lowercase() && rest.iter().all(is_inner) && channel.len() <= MAX_CHANNEL_BYTES;
        is_channel.then_some(channel)
    }
}

#[derive(Default)]
struct Fields<'a> {
    of_type: Field<'a>,
    id: Field<'a>,
    account_id: Field<'a>,
    contact_id: Field<'a>,
    occurred_at: Field<'a>,
    sequence: Field<'a>,
    conversation_id: Field<'a>,
    channel: Field<'a>,
    by: Field<'a>,
    origin: Field<'a>,
    group_id: Field<'a>,
    into: Field<'a>,
    direction: Field<'a>,
    outcome: Field<'a>,
    advisor_id: Field<'a>,
    to_advisor_id: Field<'a>,
    to_conversation_id: Field<'a>,
    to_group_id: Field<'a>,
    reason: Field<'a>,
    author: Option<Author<'a>>,
}

#[derive(Default)]
struct Author<'a> {
    kind: Field<'a>,
    id: Field<'a>,
}

fn read_fields(value: &str) -> Option<Fields<'_>> {
    let mut json = Json { text: value, at: 0 };
    let mut fields = Fields::default();
    let mut has_author = false;
    json.object(|json, key| {
        let field = match key {
            "type" => &mut fields.of_type,
            "id" => &mut fields.id,
            "account_id" => &mut fields.account_id,
            "contact_id" => &mut fields.contact_id,
            "occurred_at" => &mut fields.occurred_at,
            "sequence" => &mut fields.sequence,
            "conversation_id" => &mut fields.conversation_id,
            "channel" => &mut fields.channel,
            "by" => &mut fields.by,
            "origin" => &mut fields.origin,
            "group_id" => &mut fields.group_id,
            "into" => &mut fields.into,
            "direction" => &mut fields.direction,
            "outcome" => &mut fields.outcome,
            "advisor_id" => &mut fields.advisor_id,
            "to_advisor_id" => &mut fields.to_advisor_id,
            "to_conversation_id" => &mut fields.to_conversation_id,
            "to_group_id" => &mut fields.to_group_id,
            "reason" => &mut fields.reason,
            "author" => {
                if has_author {
                    return None;
                }
                has_author = true;
                fields.author = read_author(json)?;
                return Some(());
            }
            _ => return json.skip(MAX_DEPTH),
        };
        read_field(json, field)
    })?;
    json.space();
    (json.at == value.len()).then_some(fields)
}

/// `Some(None)` where it is no object, which is for Python to refuse if the type has an author.
fn read_author<'a>(json: &mut Json<'a>) -> Option<Option<Author<'a>>> {
    if json.peek()? != b'{' {
        json.skip(MAX_DEPTH)?;
        return Some(None);
    }
    let mut author = Author::default();
    json.object(|json, key| match key {
        "kind" => read_field(json, &mut author.kind),
        "id" => read_field(json, &mut author.id),
        _ => json.skip(MAX_DEPTH),
    })?;
    Some(Some(author))
}

/// Of a key that stands twice, which value counts is not for us to know.
fn read_field<'a>(json: &mut Json<'a>, field: &mut Field<'a>) -> Option<()> {
    if !matches!(field, Field::Missing) {
        return None;
    }
    *field = json.field()?;
    Some(())
}

// --- JSON ------------------------------------------------------------------------------------------------------------

/// A cursor over a text; each method reads one thing, after any space, or returns `None`.
struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.byte()
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    /// An object; `member` reads the value of each key. Keys with escapes are nobody's.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.plain_string()?;
            self.expect(b':')?;
            member(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn field(&mut self) -> Option<Field<'a>> {
        match self.peek()? {
            b'"' => self.plain_string().map(Field::Text),
            b'n' => self.word("null").map(|()| Field::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.skip(MAX_DEPTH).map(|()| Field::Other),
        }
    }

    /// A string without escapes.
    fn plain_string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        let length = plain_length(&self.text.as_bytes()[start..]);
        self.at = start + length + 1;
        (self.text.as_bytes().get(start + length) == Some(&b'"')).then(|| &self.text[start..start + length])
    }

    /// A plain integer, or a plain decimal number, which is of no use; exponents are for Python.
    fn number(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        if self.byte()? == b'-' {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && self.text.as_bytes()[self.at - whole] == b'0' {
            return None;
        }
        let text = &self.text[start..self.at];
        match self.byte() {
            Some(b'.') => {
                self.at += 1;
                self.digits()?;
                match self.byte() {
                    Some(b'e' | b'E') => None,
                    _ => Some(Field::Other),
                }
            }
            Some(b'e' | b'E') => None,
            _ if text == "-0" => None,
            _ => text.parse().ok().map(Field::Integer),
        }
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then(|| self.at - start)
    }

    /// A value that nobody keeps.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b'{' if depth > 0 => {
                self.expect(b'{')?;
                if self.peek()? == b'}' {
                    self.at += 1;
                    return Some(());
                }
                loop {
                    self.peek()?;
                    self.skip_string()?;
                    self.expect(b':')?;
                    self.skip(depth - 1)?;
                    match self.peek()? {
                        b',' => self.at += 1,
                        b'}' => {
                            self.at += 1;
                            return Some(());
                        }
                        _ => return None,
                    }
                }
            }
            b'[' if depth > 0 => {
                self.expect(b'[')?;
                if self.peek()? == b']' {
                    self.at += 1;
                    return Some(());
                }
                loop {
                    self.skip(depth - 1)?;
                    match self.peek()? {
                        b',' => self.at += 1,
                        b']' => {
                            self.at += 1;
                            return Some(());
                        }
                        _ => return None,
                    }
                }
            }
            _ => None,
        }
    }

    /// A string that nobody keeps. Halves of code points, which must come in pairs, are for Python to check.
    fn skip_string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            match self.byte()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    self.at += 1;
                    self.at += match self.byte()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 1,
                        b'u' if self
                            .text
                            .as_bytes()
                            .get(self.at + 1..self.at + 5)
                            .map_or(false, is_whole_code_point) =>
                        {
                            5
                        }
                        _ => return None,
                    };
                }
                byte if byte < b' ' => return None,
                _ => self.at += 1,
            }
        }
    }
}

/// How many bytes stand before the first quote, backslash or control character.
///
/// Eight at a time: in a word, a byte below `n` is the only kind whose top bit is set by subtracting `n` from each byte
/// while its own was not (S. Anderson, "Bit Twiddling Hacks", "determine if a word has a byte less than n"). A borrow
/// may mark bytes behind the first true one, never before it.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & TOPS;
    let mut length = 0;
    let mut words = bytes.chunks_exact(8);
    for chunk in &mut words {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        let word = u64::from_le_bytes(eight);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let marked = quote | backslash | below(word, u64::from(b' '));
        if marked != 0 {
            return length + marked.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let is_end = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < b' ';
    length + words.remainder().iter().position(is_end).unwrap_or(words.remainder().len())
}

/// Whether these are four digits of a code point, and of no half of one (D800 to DFFF).
fn is_whole_code_point(digits: &[u8]) -> bool {
    let is_half = matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', _, _]);
    digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit) && !is_half
}

// --- instants --------------------------------------------------------------------------------------------------------

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.ffffff](Z|±HH:MM)`, from 1970 to 9990.
fn instant_us(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20
        || bytes[4] != b'-'
        || bytes[7] != b'-'
        || bytes[10] != b'T'
        || bytes[13] != b':'
        || bytes[16] != b':'
    {
        return None;
    }
    let (year, month, day) = (number(&bytes[0..4])?, number(&bytes[5..7])?, number(&bytes[8..10])?);
    let (hour, minute, second) = (number(&bytes[11..13])?, number(&bytes[14..16])?, number(&bytes[17..19])?);
    let is_date =
        (1970..=9990).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_us, zone) = match bytes[19..].split_first()? {
        (b'.', rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=6).contains(&digits) {
                return None;
            }
            (number(&rest[..digits])? * 10_i64.pow(6 - digits as u32), &rest[digits..])
        }
        _ => (0, &bytes[19..]),
    };
    let ahead_minutes = match zone {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(&zone[1..3])?, number(&zone[4..6])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - ahead_minutes;
    let at_us = (minutes * 60 + second) * 1_000_000 + fraction_us;
    (at_us >= 0).then_some(at_us)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400 - 477; // 477 up to the end of 1969
    let this_year = BEFORE_MONTH[month as usize - 1] + i64::from(month > 2 && is_leap(year));
    (year - 1970) * 365 + leap_days + this_year + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_those_of_the_calendar() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T01:00:00.000001+01:00", Some(1)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000_000)),
            ("2026-03-01T00:00:00.5-03:00", Some(1_772_334_000_500_000)),
            ("2100-02-28T23:59:59.999999Z", Some(4_107_542_399_999_999)),
            ("2100-02-29T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("2026-03-01T24:00:00Z", None),
            ("2026-03-01T10:00:60Z", None),
            ("2026-03-01T10:00:00", None),
            ("2026-03-01 10:00:00Z", None),
            ("2026-03-01T10:00:00.1234567Z", None),
            ("2026-03-01T10:00:00.Z", None),
            ("2026-03-01T10:00:00+24:00", None),
            ("2026-03-01T10:00:00+0100", None),
            ("2026-13-01T10:00:00Z", None),
            ("2026-00-01T10:00:00Z", None),
            ("2026-04-31T10:00:00Z", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(instant_us(text), wanted, "{text}");
        }
    }

    const MESSAGE: &str = r#"{"id":"e1","type":"message.sent","account_id":"acme","contact_id":"ana","occurred_at":"2026-03-01T00:00:00Z","conversation_id":"k","channel":"email","author":{"kind":"advisor","id":"eva"}}"#;

    #[test]
    fn a_message_is_read_field_by_field() {
        let event = parse(MESSAGE.as_bytes()).unwrap();
        assert_eq!((event.kind, event.id, event.account, event.contact), (SENT, "e1", "acme", "ana"));
        assert_eq!((event.conversation, event.channel), (Some("k"), Some("email")));
        assert_eq!((event.actor, event.advisor, event.sequence), (Some(Actor::Advisor), Some("eva"), 0));
    }

    /// An event of the fields that all have, and more.
    fn event_of(kind: &str, more: &str) -> String {
        let head = r#""id":"e1","account_id":"acme","contact_id":"ana","occurred_at":"1970-01-01T00:00:00.000001Z""#;
        format!(r#"{{"type":"{kind}",{head}{more}}}"#)
    }

    #[test]
    fn every_type_gives_the_fields_it_has() {
        let none = Event {
            kind: CONTACT_DELETED,
            id: "e1",
            account: "acme",
            contact: "ana",
            at_us: 1,
            sequence: 0,
            conversation: None,
            channel: None,
            actor: None,
            advisor: None,
            group: None,
            to_conversation: None,
            origin: None,
            reason: None,
            inbound: false,
            outcome: None,
        };
        let talk = Event { conversation: Some("k"), ..none };
        let call = Event { kind: CALLED, ..talk };
        let eva = Some("eva");
        let cases = [
            (
                "contact.created",
                r#","origin":"web","channel":"sms","group_id":"north","by":"import""#,
                Event {
                    kind: CREATED,
                    origin: Some("web"),
                    channel: Some("sms"),
                    group: Some("north"),
                    actor: Some(Actor::Import),
                    ..none
                },
            ),
            (
                "contact.created",
                r#","origin":null,"channel":"sms""#,
                Event { kind: CREATED, channel: Some("sms"), ..none },
            ),
            ("contact.deleted", r#","sequence":-9007199254740992"#, Event { sequence: -(1 << 53), ..none }),
            ("contact.restored", r#","sequence":null,"group_id":"north""#, Event { kind: RESTORED, ..none }),
            ("contact.moved", r#","group_id":"north""#, Event { kind: MOVED, group: Some("north"), ..none }),
            ("contact.moved", r#","group_id":null"#, Event { kind: MOVED, ..none }),
            ("contact.merged", r#","into":"bob""#, Event { kind: CONTACT_MERGED, ..none }),
            (
                "conversation.started",
                r#","conversation_id":"k","channel":"sms","by":"system""#,
                Event { kind: STARTED, channel: Some("sms"), actor: Some(Actor::System), ..talk },
            ),
            (
                "message.received",
                r#","conversation_id":"k","channel":"a.b_c-9""#,
                Event { kind: RECEIVED, channel: Some("a.b_c-9"), ..talk },
            ),
            (
                "message.sent",
                r#","conversation_id":"k","channel":"sms","author":{"id":"welcome","kind":"bot"}"#,
                Event { kind: SENT, channel: Some("sms"), actor: Some(Actor::Bot), advisor: Some("welcome"), ..talk },
            ),
            (
                "call.logged",
                r#","conversation_id":"k","direction":"inbound","outcome":"rejected","advisor_id":"eva""#,
                Event { inbound: true, outcome: Some(Outcome::Rejected), advisor: eva, ..call },
            ),
            (
                "call.logged",
                r#","conversation_id":"k","direction":"outbound","outcome":"accepted","advisor_id":"eva""#,
                Event { outcome: Some(Outcome::Accepted), advisor: eva, ..call },
            ),
            (
                "call.logged",
                r#","conversation_id":"k","direction":"outbound","outcome":"missed""#,
                Event { outcome: Some(Outcome::Missed), ..call },
            ),
            ("note.added", r#","conversation_id":"k","advisor_id":"eva""#, Event { kind: NOTED, advisor: eva, ..talk }),
            (
                "conversation.handed_off",
                r#","conversation_id":"k","to_advisor_id":"eva""#,
                Event { kind: HANDED_OFF, ..talk },
            ),
            (
                "conversation.transferred",
                r#","conversation_id":"k","advisor_id":"eva","to_conversation_id":"l","to_group_id":"south""#,
                Event { kind: TRANSFERRED, advisor: eva, to_conversation: Some("l"), group: Some("south"), ..talk },
            ),
            (
                "conversation.closed",
                r#","conversation_id":"k","reason":"","advisor_id":"eva""#,
                Event { kind: CLOSED, reason: Some(""), advisor: eva, ..talk },
            ),
        ];
        for (kind, more, wanted) in cases {
            let value = event_of(kind, more);
            assert_eq!(parse(value.as_bytes()), Some(wanted), "{value}");
        }
    }

    #[test]
    fn a_record_is_held_to_its_key_topic_and_timestamp() {
        let at_ms = 1_772_323_200_000;
        let found = |topic, key: &str, stamp_ms| scan(topic, key.as_bytes(), MESSAGE.as_bytes(), stamp_ms).is_some();
        assert!(found(1, "ana", at_ms));
        assert!(found(1, "ana", at_ms - 3_600_000));
        assert!(!found(1, "ana", at_ms - 3_600_001));
        assert!(!found(0, "ana", at_ms));
        assert!(!found(1, "eva", at_ms));
    }

    #[test]
    fn what_is_not_certain_is_left_to_python() {
        for (part, instead) in [
            (r#""id":"e1""#, r#""id":"""#),
            (r#""id":"e1""#, r#""id":"\u0065""#),
            (r#""id":"e1""#, r#""id":"e1","id":"e2""#),
            (r#""id":"e1""#, r#""id":7"#),
            (r#""id":"e1","#, ""),
            (r#""kind":"advisor","id":"eva""#, r#""kind":"advisor""#),
            (r#""kind":"advisor""#, r#""kind":"nobody""#),
            (r#""channel":"email""#, r#""channel":"E-mail""#),
            (r#""channel":"email""#, r#""channel":"email","sequence":1.0"#),
            (r#""channel":"email""#, r#""channel":"email","sequence":01"#),
            (r#""channel":"email""#, r#""channel":"email","sequence":9007199254740993"#),
            (r#""channel":"email""#, r#""channel":"email","more":"\u00e""#),
            (r#""channel":"email""#, r#""channel":"email","more":"\ud83d\ude00""#),
            (r#""channel":"email""#, r#""channel":"email","more":"\uDFFF""#),
            (r#""channel":"email""#, r#""channel":"email","more":[1,]"#),
            (r#""channel":"email""#, r#""channel":"email","more":truth"#),
            (r#""message.sent""#, r#""message.gone""#),
            (r#"}}"#, r#"}}x"#),
            (r#"}}"#, r#"},}"#),
        ] {
            let value = MESSAGE.replacen(part, instead, 1);
            assert_ne!(value, MESSAGE);
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn what_is_ignored_may_be_any_sound_value() {
        for more in [
            "1",
            "-1.5",
            "null",
            "true",
            "\"a\\n\\\"b\"",
            "\"\\u00e1\\ud7ff\\uE000\"",
            "[]",
            "{}",
            "[1,{\"a\":[\"b\"]}]",
            "{\"kind\":\"x\"}",
        ] {
            let value = MESSAGE.replacen("\"id\":\"e1\"", &format!("\"more\" : {more} , \"id\":\"e1\""), 1);
            assert_eq!(parse(value.as_bytes()), parse(MESSAGE.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_plain_part_ends_before_the_first_byte_that_is_not_plain() {
        for length in 0..40 {
            for end in [b'"', b'\\', b'\n', 0x1f, 0] {
                let mut text = vec![b'x'; length];
                text.push(end);
                text.extend_from_slice("\"\u{e1}x\\\u{7f}abcdefgh".as_bytes());
                assert_eq!(plain_length(&text), length);
            }
            let text = "\u{e1}\u{ff} !#[]\u{7f}".repeat(length);
            assert_eq!(plain_length(text.as_bytes()), text.len());
        }
    }

    #[test]
    fn no_beginning_of_a_value_is_an_event() {
        for end in 0..MESSAGE.len() {
            assert_eq!(parse(&MESSAGE.as_bytes()[..end]), None);
        }
    }
}
