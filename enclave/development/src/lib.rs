//! A platform in software: it makes quotes that are genuine in form, under a root whose private key stands in this
//! source. Whoever trusts the root trusts everybody, so a quote of it proves nothing; it lets a development chain run
//! the same code as a production chain, which refuses this root and its measurement.
//!
//! Knows nothing of chains and orders. The measured code (`crust-enclave`) cannot link this crate: it depends on it.

pub mod authority;
pub mod collateral;
pub mod platform;
pub mod quote;
pub mod release;
