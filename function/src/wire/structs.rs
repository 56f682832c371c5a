//! `google.protobuf.Struct`: as the bytes it came in, and as JSON.
//!
//! The generated type is a hash map of hash maps, filled and measured level by level; taking an answer apart and putting
//! it together again cost more than all decisions between. Here what is foreign stays bytes, what is looked at is read
//! once into JSON, and what is written is written once.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};
use serde_json::{Map, Number, Value};

/// How deep objects and lists may be nested. Those of Kubernetes stay far below; reading is recursive.
const MAX_DEPTH: usize = 256;

/// Up to here a protobuf number, which is a float, holds every integer.
const SAFE_INTEGER: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

/// The fields of a `Struct` and of what it is made of, as protobuf numbers them.
mod tag {
    pub(super) const FIELDS: u32 = 1;
    pub(super) const NAME: u32 = 1;
    pub(super) const VALUE: u32 = 2;
    pub(super) const NULL: u32 = 1;
    pub(super) const NUMBER: u32 = 2;
    pub(super) const STRING: u32 = 3;
    pub(super) const BOOL: u32 = 4;
    pub(super) const STRUCT: u32 = 5;
    pub(super) const LIST: u32 = 6;
    pub(super) const VALUES: u32 = 1;
}

/// Bytes that should be a `Struct` and are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no protobuf Struct, or nested deeper than {MAX_DEPTH} levels")]
pub struct Malformed;

/// A `Struct` as its bytes: one entry for each field, in the order of their arrival.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawStruct(Vec<u8>);

impl RawStruct {
    /// Reads an object of Kubernetes, without `metadata.managedFields`: who has written which field is often longer than
    /// the fields are, and nobody here asks for it. Otherwise as [`open`](Self::open).
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn open_object(&self) -> Result<Map<String, Value>, Malformed> {
        let mut object = Map::new();
        for entry in entries(&self.0) {
            let (_, name, value) = entry?;
            let value = if name == "metadata" { metadata(value) } else { json(value, MAX_DEPTH) };
            object.insert(name.to_owned(), value?);
        }
        Ok(object)
    }

    /// Reads it. Integers are restored from floats, a number that is none (NaN, infinity) becomes null.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn open(&self) -> Result<Map<String, Value>, Malformed> {
        object(&self.0, MAX_DEPTH)
    }

    /// One field, without reading the others; of several of one name the last.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn field(&self, name: &str) -> Result<Option<Value>, Malformed> {
        Ok(match self.find(name)? {
            Some(value) => Some(json(value, MAX_DEPTH)?),
            None => None,
        })
    }

    /// Puts fields below an object that is one of its fields, beside what is there and over what bears their names; what
    /// is there and no object gives way. Everything else keeps its bytes.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn extend_field(&mut self, name: &str, fields: &Map<String, Value>) -> Result<(), Malformed> {
        let mut inner = match self.find(name)? {
            Some(value) => as_struct(value)?.unwrap_or_default(),
            None => Self::default(),
        };
        inner.retain(|field| !fields.contains_key(field))?;
        let mut written = Backwards::default();
        written.fields(fields);
        inner.0.extend(written.finish());
        self.retain(|field| field != name)?;
        let mut entry = Backwards::default();
        entry.entry(name, |value| value.message(tag::STRUCT, |object| object.raw(&inner.0)));
        self.0.extend(entry.finish());
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Option<&[u8]>, Malformed> {
        let mut found = None;
        for entry in entries(&self.0) {
            let (_, field, value) = entry?;
            if field == name {
                found = Some(value);
            }
        }
        Ok(found)
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) -> Result<(), Malformed> {
        let mut kept = Vec::with_capacity(self.0.len());
        for entry in entries(&self.0) {
            let (whole, field, _) = entry?;
            if keep(field) {
                put(whole, &mut kept);
            }
        }
        self.0 = kept;
        Ok(())
    }
}

impl From<&Map<String, Value>> for RawStruct {
    fn from(object: &Map<String, Value>) -> Self {
        let mut written = Backwards::default();
        written.fields(object);
        Self(written.finish())
    }
}

/// Its length alone: an object may be a Secret.
impl fmt::Debug for RawStruct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawStruct({} bytes)", self.0.len())
    }
}

/// Entries are taken over unread. A `Struct` that comes in pieces is the sum of its pieces, as protobuf wants it.
impl Message for RawStruct {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != tag::FIELDS {
            return encoding::skip_field(wire_type, tag, buf, ctx);
        }
        let mut entry = Bytes::new();
        encoding::bytes::merge(wire_type, &mut entry, buf, ctx)?;
        put(&entry, &mut self.0);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Adds an entry of a `Struct`.
fn put(entry: &[u8], fields: &mut Vec<u8>) {
    encoding::encode_key(tag::FIELDS, WireType::LengthDelimited, fields);
    encoding::encode_varint(entry.len() as u64, fields);
    fields.extend_from_slice(entry);
}

/// One field of a message.
enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Other,
}

/// Takes the first field off a message.
fn field<'a>(message: &mut &'a [u8]) -> Result<(u32, Field<'a>), Malformed> {
    let key = varint(message)?;
    let tag = u32::try_from(key >> 3).map_err(|_| Malformed)?;
    let wire_type = WireType::try_from(key & 7).map_err(|_| Malformed)?;
    let field = match wire_type {
        WireType::Varint => Field::Varint(varint(message)?),
        WireType::SixtyFourBit => Field::Fixed64(take(message, 8)?.try_into().map_err(|_| Malformed)?),
        WireType::LengthDelimited => {
            let length = varint(message)?.try_into().map_err(|_| Malformed)?;
            Field::Bytes(take(message, length)?)
        }
        WireType::ThirtyTwoBit => {
            take(message, 4)?;
            Field::Other
        }
        WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
    };
    Ok((tag, field))
}

fn varint(message: &mut &[u8]) -> Result<u64, Malformed> {
    match *message {
        // Nearly all: tags and lengths are small.
        [byte @ ..0x80, rest @ ..] => {
            *message = rest;
            Ok(u64::from(*byte))
        }
        _ => encoding::decode_varint(message).map_err(|_| Malformed),
    }
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = message.split_at_checked(length).ok_or(Malformed)?;
    *message = rest;
    Ok(taken)
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

/// The entries of a `Struct`: each whole, its name and its value.
fn entries(mut message: &[u8]) -> impl Iterator<Item = Result<(&[u8], &str, &[u8]), Malformed>> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            let entry = match field(&mut message) {
                Ok((tag::FIELDS, Field::Bytes(entry))) => entry,
                Ok((tag::FIELDS, _)) => return Some(Err(Malformed)),
                Ok(_) => continue,
                Err(malformed) => {
                    message = &[];
                    return Some(Err(malformed));
                }
            };
            return Some(name_and_value(entry).map(|(name, value)| (entry, name, value)));
        }
        None
    })
}

fn name_and_value(mut entry: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut name, mut value): (&str, &[u8]) = ("", &[]);
    while !entry.is_empty() {
        match field(&mut entry)? {
            (tag::NAME, Field::Bytes(bytes)) => name = text(bytes)?,
            (tag::VALUE, Field::Bytes(bytes)) => value = bytes,
            (tag::NAME | tag::VALUE, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok((name, value))
}

fn object(message: &[u8], depth: usize) -> Result<Map<String, Value>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut object = Map::new();
    for entry in entries(message) {
        let (_, name, value) = entry?;
        object.insert(name.to_owned(), json(value, depth)?);
    }
    Ok(object)
}

fn metadata(value: &[u8]) -> Result<Value, Malformed> {
    let Some(mut fields) = as_struct(value)? else { return json(value, MAX_DEPTH) };
    fields.retain(|field| field != "managedFields")?;
    fields.open().map(Value::Object)
}

fn list(mut message: &[u8], depth: usize) -> Result<Vec<Value>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut values = Vec::new();
    while !message.is_empty() {
        match field(&mut message)? {
            (tag::VALUES, Field::Bytes(value)) => values.push(json(value, depth)?),
            (tag::VALUES, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(values)
}

/// A `Value`; without a kind it is null.
fn json(mut message: &[u8], depth: usize) -> Result<Value, Malformed> {
    let mut json = Value::Null;
    while !message.is_empty() {
        json = match field(&mut message)? {
            (tag::NULL, Field::Varint(_)) => Value::Null,
            (tag::NUMBER, Field::Fixed64(bytes)) => number(f64::from_le_bytes(bytes)),
            (tag::STRING, Field::Bytes(bytes)) => Value::String(text(bytes)?.to_owned()),
            (tag::BOOL, Field::Varint(bit)) => Value::Bool(bit != 0),
            (tag::STRUCT, Field::Bytes(fields)) => Value::Object(object(fields, depth)?),
            (tag::LIST, Field::Bytes(values)) => Value::Array(list(values, depth)?),
            (tag::NULL..=tag::LIST, _) => return Err(Malformed),
            _ => continue,
        };
    }
    Ok(json)
}

/// The object a `Value` is, unread.
fn as_struct(mut message: &[u8]) -> Result<Option<RawStruct>, Malformed> {
    let mut object = None;
    while !message.is_empty() {
        object = match field(&mut message)? {
            (tag::STRUCT, Field::Bytes(fields)) => Some(RawStruct(fields.to_vec())),
            (tag::NULL..=tag::LIST, _) => None,
            _ => continue,
        };
    }
    Ok(object)
}

fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= SAFE_INTEGER {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Written from the end: how long a message is stands before it and is known behind it. Every byte is written once,
/// and all of them are turned round at the end.
#[derive(Default)]
struct Backwards(Vec<u8>);

impl Backwards {
    fn finish(mut self) -> Vec<u8> {
        self.0.reverse();
        self.0
    }

    /// What is written forwards.
    fn forwards(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.0.len();
        write(&mut self.0);
        self.0[from..].reverse();
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().rev());
    }

    fn message(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        let from = self.0.len();
        write(self);
        let length = self.0.len() - from;
        self.forwards(|buf| {
            encoding::encode_key(tag, WireType::LengthDelimited, buf);
            encoding::encode_varint(length as u64, buf);
        });
    }

    fn fields(&mut self, object: &Map<String, Value>) {
        for (name, value) in object.iter().rev() {
            self.entry(name, |message| message.value(value));
        }
    }

    fn entry(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.message(tag::FIELDS, |entry| {
            entry.message(tag::VALUE, value);
            entry.message(tag::NAME, |key| key.raw(name.as_bytes()));
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.forwards(|buf| encoding::uint64::encode(tag::NULL, &0, buf)),
            Value::Bool(bit) => self.forwards(|buf| encoding::bool::encode(tag::BOOL, bit, buf)),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                self.forwards(|buf| encoding::double::encode(tag::NUMBER, &number, buf));
            }
            Value::String(text) => self.message(tag::STRING, |message| message.raw(text.as_bytes())),
            Value::Array(values) => self.message(tag::LIST, |list| {
                for value in values.iter().rev() {
                    list.message(tag::VALUES, |message| message.value(value));
                }
            }),
            Value::Object(object) => self.message(tag::STRUCT, |message| message.fields(object)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(json: &Value) -> RawStruct {
        RawStruct::from(json.as_object().expect("an object"))
    }

    #[test]
    fn pieces_of_a_struct_add_up_and_the_last_of_one_name_counts() {
        let mut bytes = raw(&json!({"a": 1, "b": {"c": true}})).encode_to_vec();
        bytes.extend(raw(&json!({"b": [null, "x"], "d": 1.5})).encode_to_vec());
        let sum = RawStruct::decode(bytes.as_slice()).expect("a Struct");
        assert_eq!(Value::Object(sum.open().expect("well formed")), json!({"a": 1, "b": [null, "x"], "d": 1.5}));
        assert_eq!(sum.field("b"), Ok(Some(json!([null, "x"]))));
        assert_eq!(sum.field("z"), Ok(None));
    }

    #[test]
    fn nesting_is_read_down_to_its_limit() {
        let nested = |levels: usize| {
            let value = (1..levels).fold(json!({}), |inner, level| match level % 2 {
                0 => json!([inner]),
                _ => json!({ "in": inner }),
            });
            raw(&json!({ "in": value }))
        };
        let deepest = nested(MAX_DEPTH - 1);
        assert!(deepest.open().is_ok());
        assert_eq!(nested(MAX_DEPTH).open(), Err(Malformed));
        // What nobody looks at may be as deep as it likes.
        let mut foreign = nested(MAX_DEPTH);
        foreign.extend_field("status", &Map::new()).expect("well formed");
        assert_eq!(foreign.field("status"), Ok(Some(json!({}))));
    }

    #[test]
    fn what_is_no_struct_is_said() {
        let good = raw(&json!({"text": "ä", "number": 7, "list": [true]})).encode_to_vec();
        for cut in 1..good.len() {
            // A cut between two fields leaves a Struct.
            if let Ok(raw) = RawStruct::decode(&good[..cut]) {
                assert!(raw.open().expect("whole entries").len() < 3);
            }
        }
        let not_utf8 = RawStruct(vec![0x0a, 0x07, 0x0a, 0x01, b'a', 0x12, 0x02, 0x1a, 0xff]);
        assert_eq!(not_utf8.open(), Err(Malformed));
        let group = RawStruct(vec![0x0a, 0x02, 0x0b, 0x0c]);
        assert_eq!(group.open(), Err(Malformed));
    }

    #[test]
    fn an_object_is_read_without_the_list_of_who_wrote_what() {
        let fields = json!([{"manager": "crossplane", "fieldsV1": {"f:spec": {}}}]);
        let values = json!({"managedFields": 1, "metadata": {"managedFields": 2}});
        let object = json!({"metadata": {"name": "a", "managedFields": fields}, "spec": values});
        let read = raw(&object).open_object().expect("well formed");
        assert_eq!(Value::Object(read), json!({"metadata": {"name": "a"}, "spec": values}));
        let odd = json!({"metadata": "none", "kind": 1.5});
        assert_eq!(raw(&odd).open_object().map(Value::Object), Ok(odd));
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert!(!format!("{:?}", raw(&json!({"password": "hunter2"}))).contains("hunter2"));
    }
}
