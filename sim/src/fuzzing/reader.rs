//! Takes small decisions out of a string of bytes. When it is used up, every decision is 0.

/// Bytes that decide something.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Decisions from these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// Below `bound`, of one byte; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let byte = usize::from(self.byte());
        if bound == 0 { 0 } else { byte % bound }
    }

    /// Mostly small, at times very large: 0 to 239, or a power of two (or one less) up to 2^64.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..240 => u64::from(small),
            240 => u64::MAX,
            _ => (1u64 << self.below(64)) - u64::from(self.byte() & 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gives_each_byte_once_and_then_zeros() {
        let mut reader = Reader::new(&[7, 240, 9, 250, 10, 1]);
        assert_eq!((reader.byte(), reader.number(), reader.below(4)), (7, u64::MAX, 1));
        assert_eq!(reader.number(), (1 << 10) - 1);
        assert!(reader.is_empty());
        assert_eq!((reader.byte(), reader.below(9), reader.number()), (0, 0, 0));
    }
}
