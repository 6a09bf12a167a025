//! The compiled fold: what of a worker's work is done for every single event, in front of the same in Python.
//!
//! Python decides and explains; this is fast. It takes bytes and gives bytes (records, states and counters as Kafka and
//! Redis hold them), keeps nothing but compiled settings, and leaves to Python whatever it is not certain of. Each file
//! has a twin in `aggregates/` or `schemas/`, named at its head. A change of a rule is a change of both, and of `ABI`
//! there and here: a library left from before must not be asked. `tests/laws` compares the two, byte by byte.
//!
//! All that is unsafe is in this file, at the boundary to C.

mod batch;
mod contact;
mod counters;
mod event;
mod history;
mod journal;
mod pack;
mod rules;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

use batch::{scan_all, sums, Batch};
use rules::Rules;

/// See `streams/compiled.py`.
const ABI: u32 = 1;

#[no_mangle]
pub extern "C" fn mediana_abi() -> u32 {
    ABI
}

/// Look at records of a topic (0 contacts, 1 conversations). Per record, the event's instant or -1 for Python to decode
/// it, and its account's place in the answer, `[account id...]`, to be freed by `mediana_free`.
///
/// # Safety
/// Each array has `count` items. Ends rise, up to the length of the bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_scan(
    topic: u8,
    count: usize,
    keys: *const u8,
    key_ends: *const u32,
    values: *const u8,
    value_ends: *const u32,
    timestamps_ms: *const i64,
    instants_us: *mut i64,
    account_of: *mut u32,
    answer: *mut *mut u8,
    length: *mut usize,
) -> i32 {
    let scanned = catch_unwind(|| {
        let keys = parts(keys, slice(key_ends, count));
        let values = parts(values, slice(value_ends, count));
        let records = keys.zip(values).zip(slice(timestamps_ms, count));
        let records = records.map(|((key, value), &timestamp_ms)| (key, value, timestamp_ms));
        scan_all(topic, records, slice_mut(instants_us, count), slice_mut(account_of, count))
    });
    give(scanned.ok(), answer, length)
}

/// Settings of an account, in the form of `Rules::read`; null when they are none. To be freed once.
///
/// # Safety
/// `data` points to `length` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_rules(data: *const u8, length: usize) -> *mut Rules {
    let rules = catch_unwind(|| Rules::read(slice(data, length))).ok().flatten();
    rules.map_or(null_mut(), |rules| Box::into_raw(Box::new(rules)))
}

/// Tell settings what they lacked, in the form of `Rules::learn`.
///
/// # Safety
/// `rules` is of `mediana_rules`, and nothing else uses it meanwhile; `data` points to `length` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_rules_learn(rules: *mut Rules, data: *const u8, length: usize) -> i32 {
    let rules = &mut *rules;
    let learned = catch_unwind(AssertUnwindSafe(|| rules.learn(slice(data, length))));
    status(learned.ok().flatten())
}

/// Forget settings.
///
/// # Safety
/// `rules` is of `mediana_rules`, and is not used again.
#[no_mangle]
pub unsafe extern "C" fn mediana_rules_free(rules: *mut Rules) {
    drop(Box::from_raw(rules));
}

/// Fold a batch; the answer is that of `Batch::fold`, to be freed by `mediana_free`.
///
/// # Safety
/// Each array has as many items as its count says: `value_ends` and `contact_of` one per event, `state_ends` and
/// `account_of` one per contact, `rules` (of `mediana_rules`) one per account. Ends rise, up to the length of the bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_fold(
    events: usize,
    values: *const u8,
    value_ends: *const u32,
    contact_of: *const u32,
    contacts: usize,
    states: *const u8,
    state_ends: *const u32,
    account_of: *const u32,
    accounts: usize,
    rules: *const *const Rules,
    bin_uppers: *const i64,
    bins: usize,
    lateness_ms: i64,
    answer: *mut *mut u8,
    length: *mut usize,
) -> i32 {
    let folded = catch_unwind(|| {
        let batch = Batch {
            events: parts(values, slice(value_ends, events)).zip(slice(contact_of, events).iter().copied()).collect(),
            states: parts(states, slice(state_ends, contacts))
                .zip(slice(account_of, contacts).iter().copied())
                .collect(),
            rules: slice(rules, accounts).iter().map(|&rules| &*rules).collect(),
            bin_uppers: slice(bin_uppers, bins),
            lateness_ms,
        };
        batch.fold()
    });
    give(folded.ok().flatten(), answer, length)
}

/// Add counters; the answer is that of `sums`, to be freed by `mediana_free`.
///
/// # Safety
/// `held_ends` and `delta_ends` have `count` items, which rise up to the length of the bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_sums(
    count: usize,
    held: *const u8,
    held_ends: *const u32,
    deltas: *const u8,
    delta_ends: *const u32,
    answer: *mut *mut u8,
    length: *mut usize,
) -> i32 {
    let totals = catch_unwind(|| {
        let held: Vec<&[u8]> = parts(held, slice(held_ends, count)).collect();
        let deltas: Vec<&[u8]> = parts(deltas, slice(delta_ends, count)).collect();
        sums(&held, &deltas)
    });
    give(totals.ok().flatten(), answer, length)
}

/// Free an answer.
///
/// # Safety
/// `answer` and `length` are of one answer, which is not used again.
#[no_mangle]
pub unsafe extern "C" fn mediana_free(answer: *mut u8, length: usize) {
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(answer, length)));
}

unsafe fn give(found: Option<Vec<u8>>, answer: *mut *mut u8, length: *mut usize) -> i32 {
    status(found.map(|bytes| {
        let bytes = bytes.into_boxed_slice();
        *length = bytes.len();
        *answer = Box::into_raw(bytes).cast();
    }))
}

fn status(done: Option<()>) -> i32 {
    if done.is_some() {
        0
    } else {
        -1
    }
}

unsafe fn slice_mut<'a, T>(data: *mut T, length: usize) -> &'a mut [T] {
    if length == 0 {
        return &mut [];
    }
    std::slice::from_raw_parts_mut(data, length)
}

/// A caller's array; an empty one may have no address.
unsafe fn slice<'a, T>(data: *const T, length: usize) -> &'a [T] {
    if length == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, length)
}

/// What was joined, part by part.
unsafe fn parts<'a>(data: *const u8, ends: &'a [u32]) -> impl Iterator<Item = &'a [u8]> {
    let all: &'a [u8] = slice(data, ends.last().map_or(0, |&end| end as usize));
    let mut start = 0;
    ends.iter().map(move |&end| {
        let part = &all[start..end as usize];
        start = end as usize;
        part
    })
}
