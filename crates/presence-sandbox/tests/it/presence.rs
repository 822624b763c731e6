//! What phones show.
