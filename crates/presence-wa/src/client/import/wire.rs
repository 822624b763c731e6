//! Two values that the client's store wrote as protobuf.

use std::collections::HashMap;

use ::whatsapp_rust::wacore::appstate::hash::HashState;
use ::whatsapp_rust::wacore::store::traits::AppStateSyncKey;

/// A value that is not what the client's store writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not written as the client library writes it")]
pub(super) struct Malformed;

pub(super) fn sync_key(mut message: &[u8]) -> Result<AppStateSyncKey, Malformed> {
    let mut key = AppStateSyncKey::default();
    while let Some((number, value)) = field(&mut message)? {
        match (number, value) {
            (1, Value::Bytes(data)) => key.key_data = data.to_vec(),
            (2, Value::Bytes(fingerprint)) => key.fingerprint = fingerprint.to_vec(),
            (3, Value::Number(timestamp)) => key.timestamp = timestamp.cast_signed(),
            _ => {}
        }
    }
    Ok(key)
}

pub(super) fn hash_state(mut message: &[u8]) -> Result<HashState, Malformed> {
    let mut state = HashState::default();
    while let Some((number, value)) = field(&mut message)? {
        match (number, value) {
            (1, Value::Number(version)) => state.version = version,
            (2, Value::Bytes(hash)) => state.hash = hash.try_into().map_err(|_| Malformed)?,
            (3, Value::Bytes(entry)) => state.index_value_map.extend(map_entry(entry)?),
            (4, Value::Number(fatal)) => state.mac_mismatch_fatal = fatal != 0,
            _ => {}
        }
    }
    Ok(state)
}

fn map_entry(mut entry: &[u8]) -> Result<HashMap<String, Vec<u8>>, Malformed> {
    let (mut key, mut mac) = (String::new(), Vec::new());
    while let Some((number, value)) = field(&mut entry)? {
        match (number, value) {
            (1, Value::Bytes(text)) => key = str::from_utf8(text).map_err(|_| Malformed)?.to_owned(),
            (2, Value::Bytes(bytes)) => mac = bytes.to_vec(),
            _ => {}
        }
    }
    Ok(HashMap::from([(key, mac)]))
}

enum Value<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

/// The next field of `message`, with its number.
fn field<'m>(message: &mut &'m [u8]) -> Result<Option<(u64, Value<'m>)>, Malformed> {
    if message.is_empty() {
        return Ok(None);
    }
    let tag = varint(message)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(message)?),
        2 => {
            let length = usize::try_from(varint(message)?).map_err(|_| Malformed)?;
            let (bytes, rest) = message.split_at_checked(length).ok_or(Malformed)?;
            *message = rest;
            Value::Bytes(bytes)
        }
        _ => return Err(Malformed),
    };
    Ok(Some((tag >> 3, value)))
}

fn varint(message: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().ok_or(Malformed)?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_key_is_read() {
        let key = sync_key(b"\x0a\x02ab\x12\x01f\x18\x80\x01").unwrap();
        assert_eq!(
            (key.key_data, key.fingerprint, key.timestamp),
            (b"ab".to_vec(), b"f".to_vec(), 128)
        );
    }

    #[test]
    fn a_collection_is_read() {
        let message = [
            &b"\x08\x05\x12\x80\x01"[..],
            &[7; 128],
            b"\x1a\x07\x0a\x02ix\x12\x01m\x20\x01",
        ]
        .concat();
        let state = hash_state(&message).unwrap();
        assert_eq!(
            (state.version, state.hash, state.mac_mismatch_fatal),
            (5, [7; 128], true)
        );
        assert_eq!(state.index_value_map["ix"], b"m");
    }

    #[test]
    fn what_is_cut_off_is_malformed() {
        let whole = b"\x0a\x02ab\x18\x80\x01";
        for length in [1, 2, 3, 5, 6] {
            assert_eq!(sync_key(&whole[..length]).err(), Some(Malformed), "{length}");
        }
        assert_eq!(hash_state(b"\x12\x01x").err(), Some(Malformed));
        assert_eq!(sync_key(b"\x0d\0\0\0\0").err(), Some(Malformed), "a fixed number");
        assert_eq!(sync_key(&[0x80; 11]).err(), Some(Malformed));
    }
}
