//! The compiled fold: what of a worker's work is done for every single event, in front of the same in Python.
//!
//! Python decides and explains; this is fast. It takes bytes and gives bytes (records, states and counters as Kafka and
//! Redis hold them), keeps nothing but compiled settings, and leaves to Python whatever it is not certain of. Each file
//! has a twin in `aggregates/` or `schemas/`, named at its head. A change of a rule is a change of both, and of `ABI`
//! there and here: a library left from before must not be asked. `tests/laws` compares the two, byte by byte.
//!
//! All that is unsafe is in this file, at the boundary to C, but for one instruction in `checksum.rs`.

mod batch;
mod checksum;
mod contact;
mod counters;
mod event;
mod history;
mod journal;
mod kafka;
mod pack;
mod rules;
mod runs;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

use batch::{contacts, sums, Batch};
use pack::{put_array, put_bin, put_int};
use rules::Rules;
use runs::{scan_all, spans_of, Runs, SPANS};

/// See `streams/compiled.py`.
const ABI: u32 = 4;

#[no_mangle]
pub extern "C" fn mediana_abi() -> u32 {
    ABI
}

/// Find the records from an offset on in what a broker sent of a topic's partition (0 contacts, 1 conversations), and
/// look at them. The answer is `[offset after all, spans, offsets, timestamps, instants, sizes]`, the columns as arrays
/// of the machine's integers, spans and instants as in `mediana_scan`; to be freed by `mediana_free`.
///
/// # Safety
/// `data` points to `size` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_read(
    topic: u8,
    data: *const u8,
    size: usize,
    from_offset: i64,
    answer: *mut *mut u8,
    length: *mut usize,
) -> i32 {
    let read = catch_unwind(|| {
        let data = slice(data, size);
        let (records, next_offset) = kafka::records(data, from_offset)?;
        let mut spans = spans_of(&records)?;
        let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
        let timestamps_ms: Vec<i64> = records.iter().map(|record| record.timestamp_ms).collect();
        let mut instants_us = vec![0; records.len()];
        scan_all(topic, data, &mut spans, &timestamps_ms, &mut instants_us);
        let length_of = |part: Option<kafka::Span>| part.map_or(0, |(from, to)| to - from);
        let sizes: Vec<i64> =
            records.iter().map(|record| (length_of(record.key) + length_of(record.value)) as i64).collect();
        let mut out = Vec::with_capacity(64 + records.len() * (4 * SPANS + 32));
        put_array(&mut out, 6);
        put_int(&mut out, next_offset);
        put_bin(&mut out, bytes_of(&spans));
        for column in [&offsets, &timestamps_ms, &instants_us, &sizes] {
            put_bin(&mut out, bytes_of(column));
        }
        Some(out)
    });
    give(read.ok().flatten(), answer, length)
}

/// Look at records of a topic (0 contacts, 1 conversations): per record what its event is, and the event's instant, or
/// -1 for Python to decode it.
///
/// # Safety
/// `data` points to `size` readable bytes. `timestamps_ms` and `instants_us` have `count` items, `spans` `SPANS` times
/// as many: from and to of the key, and of the value, nothing where from is after to; the others are written.
#[no_mangle]
pub unsafe extern "C" fn mediana_scan(
    topic: u8,
    data: *const u8,
    size: usize,
    count: usize,
    spans: *mut u32,
    timestamps_ms: *const i64,
    instants_us: *mut i64,
) -> i32 {
    let scanned = catch_unwind(|| {
        let spans = slice_mut(spans, SPANS * count);
        scan_all(topic, slice(data, size), spans, slice(timestamps_ms, count), slice_mut(instants_us, count));
    });
    status(scanned.ok())
}

/// Runs, as Python keeps them: each one's bytes and spans.
#[repr(C)]
pub struct RunTable {
    count: usize,
    first: u32,
    data: *const *const u8,
    sizes: *const usize,
    spans: *const *const u32,
    /// Items of each one's spans.
    lengths: *const usize,
}

impl RunTable {
    /// Safe where each of its arrays has `count` items, and each of those is what it says.
    unsafe fn runs<'a>(&self) -> Runs<'a> {
        let data = slice(self.data, self.count).iter().zip(slice(self.sizes, self.count));
        let spans = slice(self.spans, self.count).iter().zip(slice(self.lengths, self.count));
        let runs = data.zip(spans).map(|((&data, &size), (&spans, &length))| (slice(data, size), slice(spans, length)));
        Runs { first: self.first, runs: runs.collect() }
    }
}

/// Find the contacts of a batch; the answer is that of `contacts`, to be freed by `mediana_free`.
///
/// # Safety
/// `table` is as `RunTable::runs` says; `records` and `contact_of` have `count` items.
#[no_mangle]
pub unsafe extern "C" fn mediana_contacts(
    table: *const RunTable,
    count: usize,
    records: *const u64,
    contact_of: *mut u32,
    answer: *mut *mut u8,
    length: *mut usize,
) -> i32 {
    let found = catch_unwind(|| contacts(&(*table).runs(), slice(records, count), slice_mut(contact_of, count)));
    give(found.ok(), answer, length)
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
/// `table` is as `RunTable::runs` says. Each array has as many items as its count says: `records` and `contact_of` one
/// per record, `state_ends`, `account_of` and `is_left_out` one per contact, `rules` (of `mediana_rules`) one per
/// account. Ends rise, up to the length of the bytes.
#[no_mangle]
pub unsafe extern "C" fn mediana_fold(
    table: *const RunTable,
    count: usize,
    records: *const u64,
    contact_of: *const u32,
    contacts: usize,
    states: *const u8,
    state_ends: *const u32,
    account_of: *const u32,
    is_left_out: *const u8,
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
            runs: (*table).runs(),
            records: slice(records, count),
            contact_of: slice(contact_of, count),
            states: parts(states, slice(state_ends, contacts))
                .zip(slice(account_of, contacts).iter().copied())
                .collect(),
            is_left_out: slice(is_left_out, contacts),
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

/// Numbers as they lie in memory.
fn bytes_of<T: Copy>(numbers: &[T]) -> &[u8] {
    // SAFETY: of integers, all bytes may be read.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), std::mem::size_of_val(numbers)) }
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
