//! The measured code: it seals files, makes filler, checks both and signs what it found. All outside it is hostile, its
//! own host first of all.
//!
//! The library does no I/O and knows no clock: sealed bytes and log records pass through its caller, who makes them
//! durable. [`server`] alone touches a socket, [`platform`] alone stands for the hardware.

pub mod platform;
pub mod rpc;
