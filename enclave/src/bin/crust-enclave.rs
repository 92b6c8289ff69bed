//! `crust-enclave`: the enclave on Intel SGX, under Gramine. How it is built, measured and run: docs/operate/tee.md.

use std::{process::ExitCode, sync::Arc};

use crust_enclave::{platform::gramine::Gramine, program};

fn main() -> ExitCode {
    match program::run(Arc::new(Gramine::here())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
