//! The form of ECDSA signatures: strict DER, both numbers positive, S in the lower half.
//!
//! For every valid ECDSA signature (r, s) the pair (r, n - s) is valid too, so without a rule
//! anyone could turn one accepted signature into another. The rule is that s is at most n/2.
//! ring neither makes nor demands such signatures, so both is done here.

use thiserror::Error;

/// A curve whose signatures certificates and identities carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256, the curve of identities and votes.
    P256,
    /// NIST P-384, for certification authorities only.
    P384,
}

impl Curve {
    /// The group's order n, big-endian and right-aligned.
    fn order(self) -> &'static Scalar {
        match self {
            Self::P256 => &P256_ORDER,
            Self::P384 => &P384_ORDER,
        }
    }

    /// n/2 rounded down: the largest s that counts as low.
    fn half_order(self) -> &'static Scalar {
        match self {
            Self::P256 => &P256_HALF_ORDER,
            Self::P384 => &P384_HALF_ORDER,
        }
    }
}

/// Why bytes are no ECDSA signature that can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureForm {
    /// Not exactly one DER SEQUENCE of two INTEGERs in their shortest encoding.
    #[error("the ECDSA signature is not a DER sequence of two integers in their shortest form")]
    NotDer,
    /// r or s is zero, negative, or not below the group's order.
    #[error("a number of the ECDSA signature is outside 1 to n-1")]
    OutOfRange,
}

/// An ECDSA signature's two numbers, both from 1 to n-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcdsaSignature {
    curve: Curve,
    r: Scalar,
    s: Scalar,
}

impl EcdsaSignature {
    /// Reads strict DER `SEQUENCE { INTEGER r, INTEGER s }`, with nothing after it.
    pub fn from_der(curve: Curve, der: &[u8]) -> Result<Self, SignatureForm> {
        // Both numbers of both curves together stay below 128 bytes, so a length is one byte.
        let [SEQUENCE, length, content @ ..] = der else {
            return Err(SignatureForm::NotDer);
        };
        if *length >= 0x80 || usize::from(*length) != content.len() {
            return Err(SignatureForm::NotDer);
        }
        let (r, rest) = positive_integer(content)?;
        let (s, rest) = positive_integer(rest)?;
        if !rest.is_empty() {
            return Err(SignatureForm::NotDer);
        }
        let in_range = |number: &Scalar| *number != ZERO && number < curve.order();
        if !in_range(&r) || !in_range(&s) {
            return Err(SignatureForm::OutOfRange);
        }
        Ok(Self { curve, r, s })
    }

    /// Reads the P-256 form `r || s` of 64 bytes.
    pub(super) fn from_p256_fixed(fixed: &[u8; 64]) -> Result<Self, SignatureForm> {
        let (mut r, mut s) = (ZERO, ZERO);
        r[WIDTH - 32..].copy_from_slice(&fixed[..32]);
        s[WIDTH - 32..].copy_from_slice(&fixed[32..]);
        let in_range = |number: &Scalar| *number != ZERO && *number < P256_ORDER;
        if !in_range(&r) || !in_range(&s) {
            return Err(SignatureForm::OutOfRange);
        }
        Ok(Self { curve: Curve::P256, r, s })
    }

    /// Whether s is at most n/2, as every signature that counts must have it.
    pub fn has_low_s(&self) -> bool {
        self.s <= *self.curve.half_order()
    }

    /// The signature with the lower of s and n - s.
    #[must_use]
    pub fn with_low_s(mut self) -> Self {
        if !self.has_low_s() {
            self.s = subtract(self.curve.order(), &self.s);
        }
        self
    }

    /// The other signature that is as valid as this one.
    #[cfg(test)]
    pub(crate) fn with_other_s(mut self) -> Self {
        self.s = subtract(self.curve.order(), &self.s);
        self
    }

    /// DER, in the one form that [`Self::from_der`] accepts.
    pub fn to_der(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(2 * (WIDTH + 3));
        for number in [&self.r, &self.s] {
            let zeros = number.iter().take_while(|byte| **byte == 0).count().min(WIDTH - 1);
            let digits = &number[zeros..];
            // A set top bit would make it negative.
            let sign = usize::from(digits[0] >= 0x80);
            content.push(INTEGER);
            content.push((digits.len() + sign) as u8);
            content.extend_from_slice(&[0][..sign]);
            content.extend_from_slice(digits);
        }
        let mut der = Vec::with_capacity(content.len() + 2);
        der.push(SEQUENCE);
        der.push(content.len() as u8);
        der.extend_from_slice(&content);
        der
    }

    /// `r || s`, 32 bytes each; the numbers of a P-256 signature have no more.
    pub(super) fn to_p256_fixed(&self) -> [u8; 64] {
        let mut fixed = [0; 64];
        fixed[..32].copy_from_slice(&self.r[WIDTH - 32..]);
        fixed[32..].copy_from_slice(&self.s[WIDTH - 32..]);
        fixed
    }
}

/// Reads one positive INTEGER in its shortest form of at most [`WIDTH`] bytes, and what follows.
fn positive_integer(der: &[u8]) -> Result<(Scalar, &[u8]), SignatureForm> {
    let [INTEGER, length, rest @ ..] = der else {
        return Err(SignatureForm::NotDer);
    };
    let length = usize::from(*length);
    if length == 0 || length >= 0x80 || length > rest.len() {
        return Err(SignatureForm::NotDer);
    }
    let (encoded, rest) = rest.split_at(length);
    let digits = match encoded {
        [0] => return Err(SignatureForm::OutOfRange),
        [0, second, ..] if *second < 0x80 => return Err(SignatureForm::NotDer),
        [0, digits @ ..] => digits,
        [first, ..] if *first >= 0x80 => return Err(SignatureForm::OutOfRange),
        digits => digits,
    };
    if digits.len() > WIDTH {
        return Err(SignatureForm::OutOfRange);
    }
    let mut number = ZERO;
    number[WIDTH - digits.len()..].copy_from_slice(digits);
    Ok((number, rest))
}

/// `high - low`, which must not be negative.
fn subtract(high: &Scalar, low: &Scalar) -> Scalar {
    assert!(high >= low, "s is below the order");
    let mut difference = ZERO;
    let mut borrow = false;
    for index in (0..WIDTH).rev() {
        let (byte, first) = high[index].overflowing_sub(low[index]);
        let (byte, second) = byte.overflowing_sub(u8::from(borrow));
        difference[index] = byte;
        borrow = first || second;
    }
    difference
}

/// A big-endian number, right-aligned; wide enough for P-384.
type Scalar = [u8; WIDTH];

const WIDTH: usize = 48;
const ZERO: Scalar = [0; WIDTH];
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

const P256_ORDER: Scalar = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9,
    0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

const P384_ORDER: Scalar = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

const P256_HALF_ORDER: Scalar = half(&P256_ORDER);
const P384_HALF_ORDER: Scalar = half(&P384_ORDER);

const fn half(number: &Scalar) -> Scalar {
    let mut halved = [0; WIDTH];
    let mut index = 0;
    let mut carry = 0;
    while index < WIDTH {
        halved[index] = (number[index] >> 1) | (carry << 7);
        carry = number[index] & 1;
        index += 1;
    }
    halved
}
