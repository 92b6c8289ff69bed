//! The production programs where there is no hardware: they say so and serve nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

/// Gramine brings the C library; every other file that the program loads must be in the manifest, or it does not start.
#[test]
fn the_manifest_lists_what_the_program_loads() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_crust-enclave")).output().unwrap();
    let loads = String::from_utf8(output.stdout).unwrap();
    let brought = ["linux-vdso.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"];
    let names = loads.lines().filter_map(|line| line.split_whitespace().next()?.rsplit('/').next());
    let missing: Vec<&str> = names.filter(|name| !brought.contains(name)).collect();
    assert!(!missing.is_empty() && loads.contains("libc.so.6"), "{loads}");
    let manifest = include_str!("../../deploy/gramine/crust-enclave.manifest.template");
    for name in missing {
        let uses = manifest.lines().filter(|line| line.contains(&format!("{name}\""))).count();
        assert_eq!(uses, 2, "{name} is mounted and trusted");
    }
}

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
