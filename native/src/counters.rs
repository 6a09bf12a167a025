//! Counters' deltas: the twin of `aggregates/counters.py`. A field is the bytes it has in Redis.

use std::collections::hash_map::RandomState;
use std::collections::HashMap;

use crate::pack::{put_array, put_int, Reader};

/// Slots of a vector, as in `aggregates/counters.py`.
const COUNT: i64 = 0;
const WITHOUT_SCHEDULE: i64 = 1;
const TARGETED: i64 = 2;
const WITHIN_ELAPSED: i64 = 3;
const WITHIN_BUSINESS: i64 = 4;
const FIRST_BIN: i64 = 8;

/// A sparse vector: slots, rising, and their counts.
pub type Vector = Vec<(i64, i64)>;

pub enum Value {
    Count(i64),
    Vector(Vector),
}

// Bits of a reckoning.
const HAS_TARGET: i64 = 1;
const IN_ELAPSED: i64 = 2;
const IN_BUSINESS: i64 = 4;
const FLAG_BITS: i64 = 3;

/// What an answer is counted with, but for its elapsed time, as its entry keeps it.
pub fn reckoning(elapsed_ms: i64, business_ms: Option<i64>, target_ms: Option<i64>) -> i64 {
    let mut flags = 0;
    if let Some(target_ms) = target_ms {
        flags = HAS_TARGET;
        if elapsed_ms <= target_ms {
            flags |= IN_ELAPSED;
        }
        if business_ms.unwrap_or(elapsed_ms) <= target_ms {
            flags |= IN_BUSINESS;
        }
    }
    business_ms.map_or(-1 - flags, |business_ms| business_ms << FLAG_BITS | flags)
}

/// The vector of one duration and its reckoning; `uppers` are the upper boundaries of the sketch's bins.
pub fn observation(elapsed_ms: i64, number: i64, uppers: &[i64]) -> Vector {
    let mut vector = vec![(COUNT, 1)];
    let (business_ms, flags) = if number < 0 {
        vector.push((WITHOUT_SCHEDULE, 1));
        (elapsed_ms, -1 - number)
    } else {
        (number >> FLAG_BITS, number)
    };
    if flags & HAS_TARGET != 0 {
        vector.push((TARGETED, 1));
        if flags & IN_ELAPSED != 0 {
            vector.push((WITHIN_ELAPSED, 1));
        }
        if flags & IN_BUSINESS != 0 {
            vector.push((WITHIN_BUSINESS, 1));
        }
    }
    let elapsed = FIRST_BIN + 2 * bin_of(elapsed_ms, uppers);
    let business = FIRST_BIN + 2 * bin_of(business_ms, uppers) + 1;
    vector.push((elapsed.min(business), 1));
    vector.push((elapsed.max(business), 1));
    vector
}

fn bin_of(duration_ms: i64, uppers: &[i64]) -> i64 {
    if duration_ms <= 0 {
        return 0;
    }
    let bin = uppers.partition_point(|&upper| upper < duration_ms);
    bin.min(uppers.len() - 1) as i64
}

/// What contacts changed, by account (its place in the batch), day and field.
#[derive(Default)]
pub struct Deltas {
    days: HashMap<(u32, i64), Fields, Keyed>,
}

pub type Fields = HashMap<Box<[u8]>, Value, Keyed>;

impl Deltas {
    /// Add what one contact, folded to its last event, made true.
    pub fn add(&mut self, account: u32, changes: &mut Changes) {
        for change in changes.list.drain(..).filter(|change| !matches!(change.by, By::Times(0))) {
            let fields = self.days.entry((account, change.day)).or_default();
            let field = &changes.fields[change.field.0..change.field.1];
            match (fields.get_mut(field), change.by) {
                (Some(Value::Count(total)), By::Times(times)) => *total += times,
                (Some(Value::Vector(total)), By::Observation(vector)) => add_vector(total, &vector),
                (None, By::Times(times)) => {
                    fields.insert(field.into(), Value::Count(times));
                }
                (None, By::Observation(vector)) => {
                    fields.insert(field.into(), Value::Vector(vector));
                }
                _ => unreachable!("a field is always of one kind"),
            }
        }
    }

    /// All days with their fields that did not add up to nothing: account, day, fields and values.
    pub fn days(&self) -> impl Iterator<Item = (u32, i64, Vec<(&[u8], &Value)>)> {
        self.days.iter().filter_map(|(&(account, day), fields)| {
            let changed: Vec<(&[u8], &Value)> = fields
                .iter()
                .filter(|(_, value)| !matches!(value, Value::Count(0)))
                .map(|(field, value)| (&**field, value))
                .collect();
            (!changed.is_empty()).then_some((account, day, changed))
        })
    }
}

/// What one contact changed, kept apart until it is certain that all of its events could be folded.
#[derive(Default)]
pub struct Changes {
    fields: Vec<u8>,
    list: Vec<Change>,
}

const LOOK_BACK: usize = 16;

struct Change {
    day: i64,
    field: (usize, usize),
    by: By,
}

enum By {
    Times(i64),
    Observation(Vector),
}

impl Changes {
    pub fn clear(&mut self) {
        self.fields.clear();
        self.list.clear();
    }

    pub fn count(&mut self, day: i64, times: i64, put_field: impl FnOnce(&mut Vec<u8>)) {
        let (start, end) = self.field(put_field);
        let field = &self.fields[start..end];
        // Most of what one event adds, the next one takes away: a glance at the last changes saves looking up both.
        for change in self.list.iter_mut().rev().take(LOOK_BACK) {
            if let By::Times(total) = &mut change.by {
                if change.day == day && &self.fields[change.field.0..change.field.1] == field {
                    *total += times;
                    self.fields.truncate(start);
                    return;
                }
            }
        }
        self.list.push(Change { day, field: (start, end), by: By::Times(times) });
    }

    pub fn observe(&mut self, day: i64, vector: Vector, put_field: impl FnOnce(&mut Vec<u8>)) {
        let field = self.field(put_field);
        self.list.push(Change { day, field, by: By::Observation(vector) });
    }

    fn field(&mut self, put_field: impl FnOnce(&mut Vec<u8>)) -> (usize, usize) {
        let start = self.fields.len();
        put_field(&mut self.fields);
        (start, self.fields.len())
    }
}

fn add_vector(total: &mut Vector, other: &Vector) {
    for &(slot, n) in other {
        match total.binary_search_by_key(&slot, |&(slot, _)| slot) {
            Ok(place) => total[place].1 += n,
            Err(place) => total.insert(place, (slot, n)),
        }
    }
}

/// As `add_vector`, for numbers that were stored and may be damaged.
fn add_vector_checked(total: &mut Vector, other: &Vector) -> Option<()> {
    if total.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return None;
    }
    for &(slot, n) in other {
        match total.binary_search_by_key(&slot, |&(slot, _)| slot) {
            Ok(place) => total[place].1 = total[place].1.checked_add(n)?,
            Err(place) => total.insert(place, (slot, n)),
        }
    }
    Some(())
}

pub fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Count(count) => put_int(out, *count),
        Value::Vector(vector) => {
            put_array(out, 2 * vector.len());
            let mut before = 0;
            for &(slot, n) in vector {
                put_int(out, slot - before);
                put_int(out, n);
                before = slot;
            }
        }
    }
}

fn read_value(data: &[u8]) -> Option<Value> {
    let mut reader = Reader::new(data);
    let mut tried = Reader::new(data);
    let value = match tried.array() {
        None => Value::Count(reader.int()?),
        Some(items) => {
            reader = tried;
            if items % 2 != 0 {
                return None;
            }
            // What damaged bytes announce is not believed.
            let mut vector = Vector::with_capacity((items / 2).min(data.len()) + 8);
            let mut slot = 0_i64;
            for _ in 0..items / 2 {
                slot = slot.checked_add(reader.int()?)?;
                vector.push((slot, reader.int()?));
            }
            Value::Vector(vector)
        }
    };
    reader.is_empty().then_some(value)
}

/// `held + delta`, `held` empty where nothing is held; `Some(None)` when nothing is left. `None` when it would be
/// negative, or the bytes are damaged or of two kinds.
pub fn sum(held: &[u8], delta: &[u8]) -> Option<Option<Value>> {
    let delta = read_value(delta)?;
    let total = match (if held.is_empty() { None } else { Some(read_value(held)?) }, delta) {
        (None, delta) => delta,
        (Some(Value::Count(held)), Value::Count(delta)) => Value::Count(held.checked_add(delta)?),
        (Some(Value::Vector(mut held)), Value::Vector(delta)) => {
            add_vector_checked(&mut held, &delta)?;
            Value::Vector(held)
        }
        _ => return None,
    };
    match total {
        Value::Count(count) if count < 0 => None,
        Value::Count(0) => Some(None),
        Value::Vector(vector) if vector.iter().any(|&(_, n)| n < 0) => None,
        Value::Vector(mut vector) => {
            vector.retain(|&(_, n)| n != 0);
            Some(if vector.is_empty() { None } else { Some(Value::Vector(vector)) })
        }
        count => Some(Some(count)),
    }
}

/// Keyed by chance in each process: names come from outside, and chosen ones must not all meet in one place of a table.
pub type Keyed = RandomState;
