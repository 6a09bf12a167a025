//! A contact's entries in few bytes: the appending half of `aggregates/journal.py`, which tells what a row holds.

use std::borrow::Cow;

use crate::contact::Entry;
use crate::pack::*;
use crate::rules::{Version, DAY_MS};

pub struct Journal<'a> {
    start_ms: i64,
    last_ms: i64,
    pub count: i64,
    words: Vec<&'a str>,
    versions: Vec<Version>,
    rows: Cow<'a, [u8]>,
}

impl<'a> Journal<'a> {
    pub fn empty() -> Self {
        Journal { start_ms: 0, last_ms: 0, count: 0, words: Vec::new(), versions: Vec::new(), rows: Cow::Borrowed(&[]) }
    }

    pub fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.tuple(6)?;
        let (start_ms, last_ms, count) = (reader.int()?, reader.int()?, reader.int()?);
        let mut words = Vec::new();
        for _ in 0..reader.array()? {
            words.push(reader.str()?);
        }
        let mut versions = Vec::new();
        for _ in 0..reader.array()? {
            versions.push(reader.bin()?.try_into().ok()?);
        }
        Some(Journal { start_ms, last_ms, count, words, versions, rows: Cow::Borrowed(reader.bin()?) })
    }

    pub fn word_count(&self) -> usize {
        self.words.len()
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        put_array(out, 6);
        put_int(out, self.start_ms);
        put_int(out, self.last_ms);
        put_int(out, self.count);
        put_array(out, self.words.len());
        for word in &self.words {
            put_str(out, word);
        }
        put_array(out, self.versions.len());
        for version in &self.versions {
            put_bin(out, version);
        }
        put_bin(out, &self.rows);
    }

    /// Whether an event of this id may be here: if not, it is not.
    pub fn may_have(&self, id: &str) -> bool {
        let mut needle = Vec::with_capacity(id.len() + 5);
        put_str(&mut needle, id);
        contains(&self.rows, &needle)
    }

    /// Add an entry behind all others, which was read under that version of the rules, and what it was counted with.
    pub fn append(&mut self, entry: &Entry<'a>, rules: &Version, counted: &[i64]) {
        let at_ms = entry.at_ms();
        let day = entry.day - at_ms.div_euclid(DAY_MS); // -1, 0 or 1, by the zone
        let actor = entry.actor.map_or(0, |actor| actor as i64);
        let mut code = i64::from(entry.kind) | entry.flags << 4 | actor << 8 | entry.hour << 11;
        if day != 0 {
            code |= (if day > 0 { 2 * day } else { -2 * day - 1 }) << 16;
        }
        let version = self.version(rules);
        let mut place = |word| self.words_place(word);
        // Learned in this order, whichever of them the row will name.
        let channel = place(entry.channel);
        let conversation = place(entry.conversation);
        let advisor = place(entry.advisor);
        let group = place(entry.group);
        let to_conversation = place(entry.to_conversation);
        let origin = place(entry.origin);
        let rest_us = entry.at_us.rem_euclid(1000);
        let moves = entry.group.is_some() || entry.to_conversation.is_some();
        let wide = moves || entry.origin.is_some() || entry.sequence != 0 || rest_us != 0;
        let narrow = !wide && (entry.advisor.is_some() || !counted.is_empty());
        let rows = self.rows.to_mut();
        put_array(rows, if wide { 12 } else { 6 + usize::from(narrow) } + counted.len());
        put_int(rows, at_ms - self.last_ms);
        put_int(rows, code);
        put_str(rows, entry.id);
        put_int(rows, version);
        put_int(rows, channel);
        put_int(rows, conversation);
        if wide || narrow {
            put_int(rows, advisor);
        }
        if wide {
            put_int(rows, group);
            put_int(rows, to_conversation);
            put_int(rows, origin);
            put_int(rows, rest_us);
            put_int(rows, entry.sequence);
        }
        for &number in counted {
            put_int(rows, number);
        }
        self.count += 1;
        self.last_ms = at_ms;
    }

    /// The word's place in the table, from 1; 0 is none.
    fn words_place(&mut self, word: Option<&'a str>) -> i64 {
        let word = match word {
            Some(word) => word,
            None => return 0,
        };
        let known = self.words.iter().position(|&known| known == word);
        let place = known.unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        });
        place as i64 + 1
    }

    fn version(&mut self, rules: &Version) -> i64 {
        if self.versions.last() == Some(rules) {
            return self.versions.len() as i64 - 1;
        }
        let known = self.versions.iter().position(|known| known == rules);
        let place = known.unwrap_or_else(|| {
            self.versions.push(*rules);
            self.versions.len() - 1
        });
        place as i64
    }

    /// The place in the event order of the entry that so many others stand before; `None` when the rows are damaged.
    pub fn order(&self, place: i64) -> Option<Order<'_>> {
        let mut reader = Reader::new(&self.rows);
        let mut at_ms = self.start_ms;
        for row in 0..=place {
            let width = reader.array()?;
            at_ms += reader.int()?;
            let code = reader.int()?;
            let id = reader.str()?;
            let (mut rest_us, mut sequence) = (0, 0);
            for column in 3..width {
                match (column, reader.int()?) {
                    (10, number) => rest_us = number,
                    (11, number) => sequence = number,
                    _ => {}
                }
            }
            if row == place {
                return Some(Order { at_us: at_ms * 1000 + rest_us, sequence, kind: (code & 15) as u8, id });
            }
        }
        None
    }
}

/// The event order of one contact: instant, sequence, type in the contract's order, id as text.
#[derive(PartialEq, PartialOrd)]
pub struct Order<'a> {
    pub at_us: i64,
    pub sequence: i64,
    pub kind: u8,
    pub id: &'a str,
}

/// Whether the needle is somewhere in the data. Its last bytes are looked for first: ids differ there.
fn contains(data: &[u8], needle: &[u8]) -> bool {
    const WORD: usize = 8;
    if needle.len() > data.len() {
        return false;
    }
    if needle.len() < WORD {
        return data.windows(needle.len()).any(|window| window == needle);
    }
    let (head, tail) = needle.split_at(needle.len() - WORD);
    let ends_alike = |(at, window): (usize, &[u8])| window == tail && data[at..at + head.len()] == *head;
    data[head.len()..].windows(WORD).enumerate().any(ends_alike)
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        let data = b"abcdefghijklmnopqrstuvwxyz";
        for length in 1..=data.len() {
            for start in 0..=data.len() - length {
                assert!(contains(data, &data[start..start + length]));
            }
        }
        assert!(!contains(data, b"abcdefghijklmnopqrstuvwxyz0"));
        assert!(!contains(data, b"bbcdefghij"));
        assert!(!contains(data, b"0"));
        assert!(!contains(b"", b"0123456789"));
    }
}
