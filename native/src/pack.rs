//! MessagePack, as far as states and counters use it. The writer chooses the shortest form, as Python's encoder does:
//! equal values have equal bytes on both sides.

/// Reads one value after the other; `None` where the bytes are not what is asked for.
pub struct Reader<'a> {
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader { data }
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        if count > self.data.len() {
            return None;
        }
        let (taken, rest) = self.data.split_at(count);
        self.data = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(first)
    }

    fn big_endian(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, bytes: usize) -> Option<usize> {
        usize::try_from(self.big_endian(bytes)?).ok()
    }

    /// Whether the next value is nil, which is then passed.
    pub fn nil(&mut self) -> bool {
        let is_nil = self.data.first() == Some(&0xc0);
        if is_nil {
            self.data = &self.data[1..];
        }
        is_nil
    }

    pub fn int(&mut self) -> Option<i64> {
        let head = self.byte()?;
        match head {
            0x00..=0x7f => Some(i64::from(head)),
            0xe0..=0xff => Some(i64::from(head as i8)),
            0xcc => self.big_endian(1).map(|n| n as i64),
            0xcd => self.big_endian(2).map(|n| n as i64),
            0xce => self.big_endian(4).map(|n| n as i64),
            0xcf => i64::try_from(self.big_endian(8)?).ok(),
            0xd0 => self.big_endian(1).map(|n| i64::from(n as u8 as i8)),
            0xd1 => self.big_endian(2).map(|n| i64::from(n as u16 as i16)),
            0xd2 => self.big_endian(4).map(|n| i64::from(n as u32 as i32)),
            0xd3 => self.big_endian(8).map(|n| n as i64),
            _ => None,
        }
    }

    pub fn bool(&mut self) -> Option<bool> {
        match self.byte()? {
            0xc2 => Some(false),
            0xc3 => Some(true),
            _ => None,
        }
    }

    pub fn str(&mut self) -> Option<&'a str> {
        let head = self.byte()?;
        let length = match head {
            0xa0..=0xbf => usize::from(head & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return None,
        };
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub fn bin(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            0xc4 => self.length(1)?,
            0xc5 => self.length(2)?,
            0xc6 => self.length(4)?,
            _ => return None,
        };
        self.take(length)
    }

    pub fn array(&mut self) -> Option<usize> {
        let head = self.byte()?;
        match head {
            0x90..=0x9f => Some(usize::from(head & 0x0f)),
            0xdc => self.length(2),
            0xdd => self.length(4),
            _ => None,
        }
    }

    /// An array of exactly so many items.
    pub fn tuple(&mut self, items: usize) -> Option<()> {
        (self.array()? == items).then_some(())
    }

    pub fn map(&mut self) -> Option<usize> {
        let head = self.byte()?;
        match head {
            0x80..=0x8f => Some(usize::from(head & 0x0f)),
            0xde => self.length(2),
            0xdf => self.length(4),
            _ => None,
        }
    }

    pub fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.nil() {
            return Some(None);
        }
        read(self).map(Some)
    }
}

pub fn put_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub fn put_int(out: &mut Vec<u8>, value: i64) {
    if value >= 0 {
        if value < 0x80 {
            out.push(value as u8);
        } else if value <= 0xff {
            out.extend_from_slice(&[0xcc, value as u8]);
        } else if value <= 0xffff {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        } else if value <= 0xffff_ffff {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        } else {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    } else if value >= -0x20 {
        out.push(value as u8);
    } else if value >= -0x80 {
        out.extend_from_slice(&[0xd0, value as u8]);
    } else if value >= -0x8000 {
        out.push(0xd1);
        out.extend_from_slice(&(value as i16).to_be_bytes());
    } else if value >= -0x8000_0000 {
        out.push(0xd2);
        out.extend_from_slice(&(value as i32).to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// The head of a string, bytes, array or map: short lengths in the head itself where `short` says how many fit there.
fn put_head(out: &mut Vec<u8>, length: usize, short: Option<(usize, u8)>, one_byte: Option<u8>, two_bytes: u8) {
    match (short, one_byte) {
        (Some((below, head)), _) if length < below => out.push(head | length as u8),
        (_, Some(head)) if length <= 0xff => out.extend_from_slice(&[head, length as u8]),
        _ if length <= 0xffff => {
            out.push(two_bytes);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(two_bytes + 1);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

pub fn put_str(out: &mut Vec<u8>, value: &str) {
    put_head(out, value.len(), Some((32, 0xa0)), Some(0xd9), 0xda);
    out.extend_from_slice(value.as_bytes());
}

pub fn put_bin(out: &mut Vec<u8>, value: &[u8]) {
    put_head(out, value.len(), None, Some(0xc4), 0xc5);
    out.extend_from_slice(value);
}

pub fn put_array(out: &mut Vec<u8>, items: usize) {
    put_head(out, items, Some((16, 0x90)), None, 0xdc);
}

pub fn put_map(out: &mut Vec<u8>, items: usize) {
    put_head(out, items, Some((16, 0x80)), None, 0xde);
}

pub fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => put(out, value),
        None => put_nil(out),
    }
}

pub fn put_optional_str(out: &mut Vec<u8>, value: Option<&str>) {
    put_optional(out, value, put_str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_in_the_shortest_form() {
        let edges = [
            (0, 1),
            (127, 1),
            (128, 2),
            (255, 2),
            (256, 3),
            (65_535, 3),
            (65_536, 5),
            (4_294_967_295, 5),
            (4_294_967_296, 9),
            (i64::MAX, 9),
            (-1, 1),
            (-32, 1),
            (-33, 2),
            (-128, 2),
            (-129, 3),
            (-32_768, 3),
            (-32_769, 5),
            (-2_147_483_648, 5),
            (-2_147_483_649, 9),
            (i64::MIN, 9),
        ];
        for (number, length) in edges {
            let mut out = Vec::new();
            put_int(&mut out, number);
            assert_eq!(out.len(), length, "{number}");
            assert_eq!(Reader::new(&out).int(), Some(number));
        }
    }

    #[test]
    fn strings_and_bytes_come_back_at_every_head() {
        for length in [0, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(length);
            let mut out = Vec::new();
            put_str(&mut out, &text);
            put_bin(&mut out, text.as_bytes());
            let mut reader = Reader::new(&out);
            assert_eq!(reader.str(), Some(text.as_str()));
            assert_eq!(reader.bin(), Some(text.as_bytes()));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let mut out = Vec::new();
        put_str(&mut out, "whatsapp");
        for end in 0..out.len() {
            assert_eq!(Reader::new(&out[..end]).str(), None);
        }
        assert_eq!(Reader::new(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).int(), None);
    }
}
