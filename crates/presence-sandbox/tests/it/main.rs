//! The sandbox against the client it is for.

mod device;
mod pairing;
mod presence;
