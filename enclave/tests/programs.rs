//! The production programs where there is no hardware: they say so and serve nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

#[test]
fn without_the_hardware_they_name_what_is_missing() {
    for (program, device) in [
        (env!("CARGO_BIN_EXE_crust-enclave"), "/dev/attestation/"),
        (env!("CARGO_BIN_EXE_crust-enclave-tdx"), "/sys/kernel/config/tsm/report/"),
    ] {
        if std::path::Path::new(device).exists() {
            continue;
        }
        let output = Command::new(program).arg("127.0.0.1:0").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(device), "{said}");
        for arguments in [&[][..], &["nowhere"], &["127.0.0.1:0", "--platform"]] {
            let output = Command::new(program).args(arguments).output().unwrap();
            assert!(!output.status.success() && String::from_utf8(output.stderr).unwrap().contains("usage"));
        }
    }
}
