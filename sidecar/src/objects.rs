//! What a restore changes in single objects: a pod must not claim to run where nobody runs it. Pure: bytes in, bytes out.
//!
//! The API server stores `k8s\0` and a message `Unknown` (2: the object), or JSON. Of the object only the fields that
//! matter are found and left out, the rest is copied byte for byte: fields of later Kubernetes versions stay. What is
//! not understood to its end is not touched at all, and that is said.

const MAGIC: &[u8] = b"k8s\0";

/// `Unknown.raw`.
const RAW: u64 = 2;
/// `Pod.metadata`, `.spec`, `.status`.
const METADATA: u64 = 1;
const SPEC: u64 = 2;
const STATUS: u64 = 3;
/// `ObjectMeta.deletionTimestamp`.
const DELETION_TIMESTAMP: u64 = 9;
/// `PodSpec.nodeName`.
const NODE_NAME: u64 = 10;

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// It has neither node nor status now.
    Changed(Vec<u8>),
    /// It had none, or is on its way out and stays as it is.
    AsItWas,
    /// These bytes are no pod we can read: encrypted, or bent.
    Unknown,
}

/// Takes node name and status from a stored pod. vcluster's syncer deletes virtual pods that name a node and have no
/// host pod; without a node they are scheduled, or bound to the host pod that is there.
#[must_use]
pub fn unbind_pod(stored: &[u8]) -> Unbound {
    let changed = match stored {
        [b'{', ..] => unbind_json(stored),
        _ => stored.strip_prefix(MAGIC).and_then(|message| {
            let changed = unbind_message(message)?;
            Some(changed.map(|message| [MAGIC, &message].concat()))
        }),
    };
    match changed {
        Some(Some(bytes)) => Unbound::Changed(bytes),
        Some(None) => Unbound::AsItWas,
        None => Unbound::Unknown,
    }
}

fn unbind_json(stored: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut pod: serde_json::Value = serde_json::from_slice(stored).ok()?;
    if !pod.pointer("/metadata/deletionTimestamp").is_none_or(serde_json::Value::is_null) {
        return Some(None);
    }
    let status = pod.as_object_mut()?.remove("status").is_some();
    let node = pod.get_mut("spec")?.as_object_mut()?.remove("nodeName").is_some();
    if status || node { serde_json::to_vec(&pod).ok().map(Some) } else { Some(None) }
}

/// `None`: not understood. `Some(None)`: as it was.
fn unbind_message(unknown: &[u8]) -> Option<Option<Vec<u8>>> {
    let pod = only(unknown, RAW)?;
    if fields(only(pod, METADATA)?)?.iter().any(|field| field.number == DELETION_TIMESTAMP) {
        return Some(None);
    }
    let spec = only(pod, SPEC)?;
    let unbound_spec = without(spec, NODE_NAME)?;
    let unbound = replaced(&without(pod, STATUS)?, SPEC, &unbound_spec)?;
    if unbound == pod { Some(None) } else { replaced(unknown, RAW, &unbound).map(Some) }
}

/// A field of a message: its number, its content if that is bytes, and all of it with its tag.
struct Field<'a> {
    number: u64,
    content: Option<&'a [u8]>,
    whole: &'a [u8],
}

/// The fields of a message in order, if every byte of it belongs to one.
fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let (tag, after) = varint(rest)?;
        let (content, after) = match tag & 7 {
            0 => (None, varint(after)?.1),
            1 => (None, after.get(8..)?),
            2 => {
                let (length, after) = varint(after)?;
                let (content, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(content), after)
            }
            5 => (None, after.get(4..)?),
            // Groups are of proto2 and in no Kubernetes object.
            _ => return None,
        };
        let number = Some(tag >> 3).filter(|number| *number != 0)?;
        found.push(Field { number, content, whole: &start[..start.len() - after.len()] });
        rest = after;
    }
    Some(found)
}

/// The content of the one field with this number; two would have to be merged, which nobody writes.
fn only(message: &[u8], number: u64) -> Option<&[u8]> {
    let fields = fields(message)?;
    let mut matching = fields.iter().filter(|field| field.number == number);
    let content = matching.next()?.content?;
    matching.next().is_none().then_some(content)
}

fn without(message: &[u8], number: u64) -> Option<Vec<u8>> {
    let kept = fields(message)?.into_iter().filter(|field| field.number != number);
    Some(kept.flat_map(|field| field.whole).copied().collect())
}

fn replaced(message: &[u8], number: u64, content: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len());
    for field in fields(message)? {
        if field.number == number {
            push_varint(&mut out, number << 3 | 2);
            push_varint(&mut out, content.len() as u64);
            out.extend_from_slice(content);
        } else {
            out.extend_from_slice(field.whole);
        }
    }
    Some(out)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (place, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(u32::try_from(place).ok()? * 7).filter(|v| v >> (place * 7) == bits)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_varint(&mut out, number << 3 | 2);
        push_varint(&mut out, content.len() as u64);
        out.extend_from_slice(content);
        out
    }

    fn stored(metadata: &[u8], spec: &[u8], status: Option<&[u8]>) -> Vec<u8> {
        let mut pod = [field(METADATA, metadata), field(SPEC, spec)].concat();
        pod.extend(status.map(|status| field(STATUS, status)).unwrap_or_default());
        let kind = field(1, &[field(1, b"v1"), field(2, b"Pod")].concat());
        // The API server writes two empty strings behind the object.
        [MAGIC, &kind, &field(RAW, &pod), &field(3, b""), &field(4, b"")].concat()
    }

    #[test]
    fn node_and_status_go_and_everything_else_stays_byte_for_byte() {
        let metadata = [field(1, b"web"), field(3, b"default")].concat();
        // A number, a fixed64 and a fixed32, as a later version may have them.
        let odd =
            [&[0x08 | 0x80, 0x7d, 0x05][..], &[0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8], &[0xfd, 0x01, 1, 2, 3, 4]].concat();
        let spec = [field(2, b"containers"), field(NODE_NAME, b"node-1"), odd.clone()].concat();
        let bound = stored(&metadata, &spec, Some(b"\x0a\x07Running"));
        let free = stored(&metadata, &[field(2, b"containers"), odd].concat(), None);
        assert_eq!(unbind_pod(&bound), Unbound::Changed(free.clone()));
        assert_eq!(unbind_pod(&free), Unbound::AsItWas);
    }

    #[test]
    fn a_pod_on_its_way_out_stays_as_it_is() {
        let leaving = [field(1, b"web"), field(DELETION_TIMESTAMP, b"\x08\x01")].concat();
        assert_eq!(unbind_pod(&stored(&leaving, &field(NODE_NAME, b"n"), Some(b""))), Unbound::AsItWas);
        let json = br#"{"metadata":{"deletionTimestamp":"2026-11-22T08:00:00Z"},"spec":{"nodeName":"n"}}"#;
        assert_eq!(unbind_pod(json), Unbound::AsItWas);
    }

    #[test]
    fn json_is_understood_too() {
        let json =
            br#"{"kind":"Pod","metadata":{"name":"web"},"spec":{"nodeName":"n","x":1},"status":{"phase":"Running"}}"#;
        let want = br#"{"kind":"Pod","metadata":{"name":"web"},"spec":{"x":1}}"#;
        assert_eq!(unbind_pod(json), Unbound::Changed(want.to_vec()));
        assert_eq!(unbind_pod(want), Unbound::AsItWas);
    }

    #[test]
    fn what_is_no_pod_is_left_alone() {
        let good = stored(&field(1, b"web"), &field(NODE_NAME, b"n"), None);
        let twice = [MAGIC, &field(RAW, &[field(METADATA, b""), field(SPEC, b""), field(SPEC, b"")].concat())].concat();
        let cases: [(&str, &[u8]); 6] = [
            ("nothing", b""),
            ("encrypted", b"k8s:enc:aescbc:v1:key1:xxxx"),
            ("bent JSON", b"{\"spec\":"),
            ("cut", &good[..good.len() - 5]),
            ("a group", b"k8s\0\x13\x14"),
            ("two specs", &twice),
        ];
        for (name, bytes) in cases {
            assert_eq!(unbind_pod(bytes), Unbound::Unknown, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_once_is_enough(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
            let bytes = if magic { [MAGIC, &bytes].concat() } else { bytes };
            if let Unbound::Changed(changed) = unbind_pod(&bytes) {
                prop_assert_eq!(unbind_pod(&changed), Unbound::AsItWas);
            }
        }

        #[test]
        fn numbers_are_read_as_they_are_written(value: u64) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            prop_assert_eq!(varint(&bytes), Some((value, &[][..])));
        }
    }
}
