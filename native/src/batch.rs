//! A batch's events, contact by contact: what can be done here is, the rest is told to Python.

use std::collections::HashMap;

use crate::contact::CLOSED;
use crate::counters::{put_value, sum, Changes, Deltas, Keyed};
use crate::history::History;
use crate::pack::*;
use crate::rules::{Need, Rules};
use crate::runs::Runs;

/// Of a record without an event, in place of its contact's.
pub const NO_CONTACT: u32 = u32::MAX;

/// The contacts of a batch's events, in the order they appear: `[[account id...], [account of each...], [key...]]`. The
/// place of each record's contact goes to `contact_of`.
pub fn contacts(runs: &Runs<'_>, records: &[u64], contact_of: &mut [u32]) -> Vec<u8> {
    let mut places: HashMap<(&[u8], &[u8]), u32, Keyed> = HashMap::default();
    let mut accounts: HashMap<&[u8], usize, Keyed> = HashMap::default();
    let mut names = Vec::new();
    let mut found = Vec::new();
    for (&record, contact) in records.iter().zip(contact_of) {
        *contact = match runs.account(record).zip(runs.key(record)) {
            None => NO_CONTACT,
            Some((account, key)) => *places.entry((account, key)).or_insert_with(|| {
                let account = *accounts.entry(account).or_insert_with(|| {
                    names.push(account);
                    names.len() - 1
                });
                found.push((account, key));
                found.len() as u32 - 1
            }),
        };
    }
    let mut out = Vec::with_capacity(64 * found.len());
    put_array(&mut out, 3);
    put_array(&mut out, names.len());
    for name in names {
        put_bin(&mut out, name);
    }
    put_array(&mut out, found.len());
    for &(account, _) in &found {
        put_int(&mut out, account as i64);
    }
    put_array(&mut out, found.len());
    for (_, key) in found {
        put_bin(&mut out, key);
    }
    out
}

/// What became of a contact.
const FOLDED: u8 = 0;
const PYTHON: u8 = 1;
const ASKED: u8 = 2;
const LEFT_OUT: u8 = 3;

pub struct Batch<'a> {
    pub runs: Runs<'a>,
    pub records: &'a [u64],
    /// Of each record the contact's place in `states`, or `NO_CONTACT`.
    pub contact_of: &'a [u32],
    /// Of each contact what is stored, empty for none, and its account's place in `rules`.
    pub states: Vec<(&'a [u8], u32)>,
    /// Of each contact, whether it is none of ours this time.
    pub is_left_out: &'a [u8],
    pub rules: Vec<&'a Rules>,
    pub bin_uppers: &'a [i64],
    pub lateness_ms: i64,
}

impl<'a> Batch<'a> {
    /// `[what became of each contact, [new state of each folded one…], [[account, kind, reason, clock, from, to]…],
    /// [[account, day, [field…], [value…]]…], [events folded of each type]]`; `None` when places are out of range.
    pub fn fold(&self) -> Option<Vec<u8>> {
        let (records, ends) = self.by_contact()?;
        let mut first = 0;
        let mut became = Vec::with_capacity(self.states.len());
        let mut states = Vec::new();
        let mut state_ends = Vec::new();
        let mut needs = Vec::new();
        let mut deltas = Deltas::default();
        let mut kinds = [0_i64; CLOSED as usize + 1];
        let mut changes = Changes::default();
        let mut contact_kinds = Vec::new();
        for (place, (&(state, account), &end)) in self.states.iter().zip(&ends).enumerate() {
            let records = &records[std::mem::replace(&mut first, end)..end];
            if *self.is_left_out.get(place)? != 0 {
                became.push(LEFT_OUT);
                continue;
            }
            let rules = *self.rules.get(account as usize)?;
            changes.clear();
            contact_kinds.clear();
            let start = states.len();
            match self.fold_contact(state, records, rules, &mut changes, &mut contact_kinds, &mut states) {
                Ok(()) => {
                    state_ends.push((start, states.len()));
                    deltas.add(account, &mut changes);
                    for &kind in &contact_kinds {
                        kinds[usize::from(kind)] += 1;
                    }
                    became.push(FOLDED);
                }
                Err(need) => {
                    states.truncate(start);
                    became.push(if need == Need::Python { PYTHON } else { ASKED });
                    if need != Need::Python {
                        needs.push((account, need));
                    }
                }
            }
        }
        let mut out = Vec::with_capacity(states.len() + 64 * self.records.len());
        put_array(&mut out, 5);
        put_bin(&mut out, &became);
        put_array(&mut out, state_ends.len());
        for &(start, end) in &state_ends {
            put_bin(&mut out, &states[start..end]);
        }
        put_array(&mut out, needs.len());
        for (account, need) in &needs {
            put_need(&mut out, *account, need);
        }
        let days: Vec<_> = deltas.days().collect();
        put_array(&mut out, days.len());
        let mut value = Vec::new();
        for (account, day, fields) in days {
            put_array(&mut out, 4);
            put_int(&mut out, i64::from(account));
            put_int(&mut out, day);
            put_array(&mut out, fields.len());
            for (field, _) in &fields {
                put_bin(&mut out, field);
            }
            put_array(&mut out, fields.len());
            for (_, delta) in &fields {
                value.clear();
                put_value(&mut value, delta);
                put_bin(&mut out, &value);
            }
        }
        put_array(&mut out, kinds.len());
        for &count in &kinds {
            put_int(&mut out, count);
        }
        Some(out)
    }

    /// All records with an event, contact by contact, and where each contact's end.
    fn by_contact(&self) -> Option<(Vec<u64>, Vec<usize>)> {
        let mut ends = vec![0; self.states.len()];
        for &contact in self.contact_of.iter().filter(|&&contact| contact != NO_CONTACT) {
            *ends.get_mut(contact as usize)? += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            total += std::mem::replace(end, total);
        }
        let mut sorted = vec![0; total];
        for (&record, &contact) in self.records.iter().zip(self.contact_of) {
            if contact != NO_CONTACT {
                let end = &mut ends[contact as usize];
                sorted[*end] = record;
                *end += 1;
            }
        }
        Some((sorted, ends))
    }

    fn fold_contact(
        &self,
        state: &'a [u8],
        records: &[u64],
        rules: &Rules,
        changes: &mut Changes,
        kinds: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Need<'a>> {
        let mut history = History::read(state).ok_or(Need::Python)?;
        for &record in records {
            let event = self.runs.event(record).ok_or(Need::Python)?;
            history.fold(&event, rules, self.bin_uppers, changes)?;
            kinds.push(event.kind);
        }
        history.put(self.lateness_ms, out).ok_or(Need::Python)
    }
}

fn put_need(out: &mut Vec<u8>, account: u32, need: &Need<'_>) {
    let (kind, reason, clock, first, last) = match *need {
        Need::Offset(day) => (0, "", 0, day, day),
        Need::Reason(reason) => (1, reason, 0, 0, 0),
        Need::Clock(clock, first, last) => (2, "", clock, first, last),
        Need::Python => unreachable!("asked for no data"),
    };
    put_array(out, 6);
    put_int(out, i64::from(account));
    put_int(out, kind);
    put_str(out, reason);
    put_int(out, clock as i64);
    put_int(out, first);
    put_int(out, last);
}

/// What each counter shall hold: `[value…]`, empty where nothing is left. `None` when one would be negative, or bytes are
/// damaged: Python says which.
pub fn sums(held: &[&[u8]], deltas: &[&[u8]]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(16 * deltas.len());
    let mut value = Vec::new();
    put_array(&mut out, deltas.len());
    for (held, delta) in held.iter().zip(deltas) {
        value.clear();
        if let Some(total) = sum(held, delta)? {
            put_value(&mut value, &total);
        }
        put_bin(&mut out, &value);
    }
    Some(out)
}
