//! Randomness, from the operating system.

use rand::TryRng as _;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::error::StoreError;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, StoreError> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|error| StoreError::Random(Box::new(error)))?;
    Ok(bytes)
}
