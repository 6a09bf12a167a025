//! One version of an account's settings, as far as Python has worked them out: the twin of `aggregates/rules.py`.
//!
//! Time zones, shifts and the comparison of reasons stay Python's. What it found, day by day and reason by reason, is
//! learned here when it is first needed; until then a fold says what it lacks (`Need`).

use std::collections::HashMap;

use crate::counters::Keyed;
use crate::pack::Reader;

pub const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Entries of each table, beyond which it begins anew: a year of history fits, free texts must not pile up.
const MOST_DAYS: usize = 4_096;
const MOST_REASONS: usize = 1_000;

/// The longest wait whose days are asked for at once, in days; a longer one is Python's, which sums up weeks.
const LONGEST_DAYS: i64 = 62;

/// Periods of all remembered days together, beyond which they begin anew: some hours of a day, every minute of a few.
const MOST_SPANS: usize = 65_536;

/// What Python has to work out, or do itself.
#[derive(Debug, PartialEq)]
pub enum Need<'a> {
    /// The offset of a UTC day.
    Offset(i64),
    /// Whether a close with this reason snoozes.
    Reason(&'a str),
    /// The open periods of a clock on UTC days, both included.
    Clock(usize, i64, i64),
    /// The contact: here it cannot be folded.
    Python,
}

struct OpenDay {
    total_ms: i64,
    spans: Vec<(i64, i64)>,
}

/// What names a version of settings, in journals and in the shard's hash.
pub type Version = [u8; 16];

pub struct Rules {
    pub version: Version,
    pub first_response_target_ms: Option<i64>,
    pub response_target_ms: Option<i64>,
    effective_channels: Vec<String>,
    default_clock: Option<usize>,
    clocks_of_advisors: HashMap<String, Option<usize>, Keyed>,
    /// By UTC day: the offset, until when, and the offset from then on.
    offsets: HashMap<i64, (i64, i64, i64), Keyed>,
    snoozing: HashMap<String, bool, Keyed>,
    open_days: HashMap<(usize, i64), OpenDay, Keyed>,
    /// Periods learned since `open_days` was last empty.
    spans: usize,
}

impl Rules {
    /// `[version, first target, target, [channel…], default clock, {advisor: clock}]`, missing things nil.
    pub fn read(data: &[u8]) -> Option<Rules> {
        let mut reader = Reader::new(data);
        reader.tuple(6)?;
        let version = reader.bin()?.try_into().ok()?;
        let first_response_target_ms = reader.optional(Reader::int)?;
        let response_target_ms = reader.optional(Reader::int)?;
        let mut effective_channels = Vec::new();
        for _ in 0..reader.array()? {
            effective_channels.push(reader.str()?.to_owned());
        }
        let default_clock = reader.optional(read_usize)?;
        let mut clocks_of_advisors = HashMap::default();
        for _ in 0..reader.map()? {
            let advisor = reader.str()?.to_owned();
            clocks_of_advisors.insert(advisor, reader.optional(read_usize)?);
        }
        Some(Rules {
            version,
            first_response_target_ms,
            response_target_ms,
            effective_channels,
            default_clock,
            clocks_of_advisors,
            offsets: HashMap::default(),
            snoozing: HashMap::default(),
            open_days: HashMap::default(),
            spans: 0,
        })
    }

    /// `[[[day, offset, until, offset]…], [[reason, snoozes]…], [[clock, day, total, [opens, closes…]]…]]`.
    pub fn learn(&mut self, data: &[u8]) -> Option<()> {
        let mut reader = Reader::new(data);
        reader.tuple(3)?;
        for _ in 0..reader.array()? {
            reader.tuple(4)?;
            let day = reader.int()?;
            let offsets = (reader.int()?, reader.int()?, reader.int()?);
            make_room(&mut self.offsets, MOST_DAYS);
            self.offsets.insert(day, offsets);
        }
        for _ in 0..reader.array()? {
            reader.tuple(2)?;
            let reason = reader.str()?.to_owned();
            let snoozes = reader.bool()?;
            make_room(&mut self.snoozing, MOST_REASONS);
            self.snoozing.insert(reason, snoozes);
        }
        for _ in 0..reader.array()? {
            reader.tuple(4)?;
            let clock = read_usize(&mut reader)?;
            let day = reader.int()?;
            let total_ms = reader.int()?;
            let mut spans = Vec::new();
            for _ in 0..reader.array()? / 2 {
                spans.push((reader.int()?, reader.int()?));
            }
            make_room(&mut self.open_days, MOST_DAYS);
            if self.spans + spans.len() > MOST_SPANS {
                self.open_days.clear();
                self.spans = 0;
            }
            self.spans += spans.len();
            self.open_days.insert((clock, day), OpenDay { total_ms, spans });
        }
        Some(())
    }

    /// The local day, counted from 1970, and the hour.
    pub fn day_and_hour<'a>(&self, at_ms: i64) -> Result<(i64, i64), Need<'a>> {
        let utc_day = at_ms.div_euclid(DAY_MS);
        let &(first, until_ms, last) = self.offsets.get(&utc_day).ok_or(Need::Offset(utc_day))?;
        let local_ms = at_ms + if at_ms < until_ms { first } else { last };
        Ok((local_ms.div_euclid(DAY_MS), local_ms.rem_euclid(DAY_MS) / HOUR_MS))
    }

    pub fn is_effective(&self, channel: &str) -> bool {
        self.effective_channels.iter().any(|effective| effective == channel)
    }

    pub fn snoozes<'a>(&self, reason: &'a str) -> Result<bool, Need<'a>> {
        self.snoozing.get(reason).copied().ok_or(Need::Reason(reason))
    }

    pub fn clock_of(&self, advisor: Option<&str>) -> Option<usize> {
        match advisor.and_then(|advisor| self.clocks_of_advisors.get(advisor)) {
            Some(clock) => *clock,
            None => self.default_clock,
        }
    }

    /// The milliseconds of `[start_ms, end_ms)` inside a clock's working hours.
    pub fn between_ms<'a>(&self, clock: usize, start_ms: i64, end_ms: i64) -> Result<i64, Need<'a>> {
        if end_ms <= start_ms {
            return Ok(0);
        }
        let (first, last) = (start_ms.div_euclid(DAY_MS), (end_ms - 1).div_euclid(DAY_MS));
        if last - first > LONGEST_DAYS {
            return Err(Need::Python);
        }
        let mut counted = 0;
        for day in first..=last {
            let open = self.open_days.get(&(clock, day)).ok_or(Need::Clock(clock, first, last))?;
            if day == first || day == last {
                for &(opens, closes) in &open.spans {
                    counted += (closes.min(end_ms) - opens.max(start_ms)).max(0);
                }
            } else {
                counted += open.total_ms;
            }
        }
        Ok(counted)
    }
}

fn read_usize(reader: &mut Reader<'_>) -> Option<usize> {
    usize::try_from(reader.int()?).ok()
}

fn make_room<K, V>(table: &mut HashMap<K, V, Keyed>, most: usize) {
    if table.len() >= most {
        table.clear();
    }
}
