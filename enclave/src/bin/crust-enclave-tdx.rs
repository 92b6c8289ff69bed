//! `crust-enclave-tdx`: the enclave in an Intel TDX guest. How it is built, measured and run: docs/operate/tee.md.

use std::{process::ExitCode, sync::Arc};

use crust_enclave::{platform::tdx::Tdx, program};

fn main() -> ExitCode {
    match program::run(Arc::new(Tdx::here())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
