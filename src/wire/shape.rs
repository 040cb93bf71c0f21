//! Walks protobuf bytes and finds whether they have exactly the shape that a schema allows,
//! before anything is allocated for them.
//!
//! Protobuf by itself lets one value be encoded in many ways, lets unknown fields hide in a
//! message, and lets two bytes of input become a hundred in memory. What passes here is
//! canonical (known fields only, in order, shortest numbers, no spelled-out defaults) and keeps
//! the schema's counts and lengths, so decoding it afterwards is safe and unambiguous.

use super::error::{Problem, WireError};

/// A message's fields.
pub(super) struct Shape {
    /// In order of number.
    pub(super) fields: &'static [Field],
    /// Of the fields from this number on only one may occur: they are a oneof.
    pub(super) oneof_from: u64,
}

impl Shape {
    /// A message without a oneof.
    pub(super) const fn of(fields: &'static [Field]) -> Self {
        Self { fields, oneof_from: u64::MAX }
    }

    /// A message whose fields from `number` on are a oneof.
    pub(super) const fn oneof_from(number: u64, fields: &'static [Field]) -> Self {
        Self { fields, oneof_from: number }
    }
}

/// One field.
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// How many times it may occur; 1 for a singular field.
    pub(super) count: usize,
}

/// What a field holds.
pub(super) enum Kind {
    /// A number up to the given one; 0 is left out.
    Uint(u64),
    /// A number in a oneof: 0 is spelled out.
    OneofUint,
    /// Bytes of a length between the two, both inclusive.
    Bytes(usize, usize),
    /// A message.
    Message(&'static Shape),
}

/// Whether `bytes` have this shape.
pub(super) fn check(bytes: &[u8], shape: &Shape) -> Result<(), WireError> {
    let mut cursor = Cursor::new(bytes);
    let mut at = 0; // index into shape.fields of the field last seen
    let mut count = 0; // how often it was seen
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.tag().map_err(|problem| WireError::at("", problem))?;
        let Some(index) = shape.fields.iter().position(|field| field.number == number) else {
            return Err(WireError::at("", Problem::UnknownField(number)));
        };
        let field = &shape.fields[index];
        let error = |problem| WireError::at(field.name, problem);
        let second_of_oneof = number >= shape.oneof_from && shape.fields[at].number >= shape.oneof_from;
        let repeated = index == at && field.count == 1;
        if count > 0 && (index < at || repeated || second_of_oneof) {
            return Err(error(Problem::Order));
        }
        count = if count > 0 && index == at { count + 1 } else { 1 };
        at = index;
        if count > field.count {
            return Err(error(Problem::TooMany { max: field.count }));
        }
        field.kind.check(&mut cursor, wire_type).map_err(|inner| match (field.count, &field.kind) {
            (1, _) => inner.inside(field.name),
            (_, _) => inner.inside(format_args!("{}[{}]", field.name, count - 1)),
        })?;
    }
    Ok(())
}

impl Kind {
    fn check(&self, cursor: &mut Cursor<'_>, wire_type: u8) -> Result<(), WireError> {
        let error = |problem| WireError::at("", problem);
        let expected = match self {
            Self::Uint(_) | Self::OneofUint => Cursor::VARINT,
            Self::Bytes(..) | Self::Message(_) => Cursor::LENGTH_DELIMITED,
        };
        if wire_type != expected {
            return Err(error(Problem::WireType(wire_type)));
        }
        match self {
            Self::Uint(max) => match cursor.varint().map_err(error)? {
                0 => Err(error(Problem::Default)),
                value if value > *max => Err(error(Problem::Range { value, max: *max })),
                _ => Ok(()),
            },
            Self::OneofUint => cursor.varint().map(|_| ()).map_err(error),
            Self::Bytes(min, max) => {
                let length = cursor.delimited().map_err(error)?.len();
                match (*min..=*max).contains(&length) {
                    true => Ok(()),
                    false => Err(error(Problem::Length { length, min: *min, max: *max })),
                }
            }
            Self::Message(shape) => check(cursor.delimited().map_err(error)?, shape),
        }
    }
}

/// A place in protobuf bytes. Reads canonical encodings only.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const VARINT: u8 = 0;
    pub(super) const LENGTH_DELIMITED: u8 = 2;

    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A field's number and wire type.
    pub(super) fn tag(&mut self) -> Result<(u64, u8), Problem> {
        let tag = self.varint()?;
        Ok((tag >> 3, (tag & 7) as u8))
    }

    /// A number in its shortest encoding.
    pub(super) fn varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0;
        for index in 0..10 {
            let byte = *self.rest.get(index).ok_or(Problem::Truncated)?;
            if index == 9 && byte > 1 {
                return Err(Problem::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return Err(Problem::Varint);
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Problem::Varint)
    }

    /// A length and that many bytes.
    pub(super) fn delimited(&mut self) -> Result<&'a [u8], Problem> {
        let length = usize::try_from(self.varint()?).map_err(|_| Problem::Truncated)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(value)
    }
}
