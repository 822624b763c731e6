//! The sandbox against the client it is for, and against the people who use it.

mod control;
mod delivery;
mod device;
mod fault;
mod hostile;
mod pairing;
mod presence;
mod program;
