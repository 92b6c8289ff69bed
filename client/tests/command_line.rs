//! The real command, misused and without a chain: its exit status, and that it says what to do. With a chain it is
//! tested in the whole system.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
const PHRASE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

fn crust(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crust"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CRUST_")) {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    text(crust(arguments).output().unwrap())
}

fn text(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// On a quote that Intel's hardware signed: what the chain hashes, and what its approval would be.
#[test]
fn a_quote_is_measured() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain/evidence/tests/data");
    let quote = std::fs::read(data.join("tdx_quote")).unwrap();
    let path = data.join("tdx_quote").display().to_string();
    let (status, out, _) = run(&["measure", "quote", &path, "--json"]);
    assert_eq!(status, Some(0));
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    let field = |at: usize| hex::encode(quote.get(48 + at..48 + at + 48).unwrap());
    assert_eq!(said["mrtd"], format!("0x{}", field(136)));
    assert_eq!(said["rtmr"][3], format!("0x{}", field(472)));
    let parts = [136, 376, 424, 472, 184, 232, 280].map(|at| hex::decode(field(at)).unwrap());
    let program = crust_protocol::h(&parts.each_ref().map(Vec::as_slice));
    assert_eq!(said["program"], format!("0x{}", hex::encode(program)));
    // The second kind of measurement; the program; one shape of machine.
    assert_eq!(said["measurement"], format!("0x01{}04{}", hex::encode(program), field(328)));
    let (status, out, _) = run(&["measure", "quote", &data.join("sgx_quote").display().to_string()]);
    assert_eq!(status, Some(0));
    assert!(out.contains("SGX enclave") && out.contains("product        0"), "{out}");
    let (status, _, error) = run(&["measure", "quote", "/dev/null"]);
    assert!(status == Some(2) && error.contains("too short"), "{error}");
}

/// Registers by hand: SHA-384 over the register and each digest, and the program over all of them.
#[test]
fn a_guest_is_measured_before_it_runs() {
    use sha2::{Digest, Sha384};
    let digest = |byte: u8| [byte; 48];
    let hex = |byte: u8| hex::encode(digest(byte));
    let extended = |before: [u8; 48], byte| -> [u8; 48] {
        Sha384::new().chain_update(before).chain_update(digest(byte)).finalize().into()
    };
    let (one, two) = (extended([0; 48], 1), extended(extended([0; 48], 2), 3));
    let events = [format!("1:0x{}", hex(1)), format!("2:{}", hex(2)), format!("2:{}", hex(3))];
    let mrtd = hex(9);
    let mut arguments = vec!["measure", "guest", "--json", "--mrtd", &mrtd];
    events.iter().for_each(|event| arguments.extend(["--event", event]));
    let (status, out, _) = run(&arguments);
    assert_eq!(status, Some(0));
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["rtmr2"], format!("0x{}", hex::encode(two)));
    let zeros = [0; 48];
    let program = crust_protocol::attestation::tdx_image([&digest(9), &one, &two, &zeros, &zeros, &zeros, &zeros]);
    assert_eq!(said["program"], format!("0x{}", hex::encode(program)));
    let (status, _, error) = run(&["measure", "guest", "--mrtd", &mrtd, "--event", &format!("0:{}", hex(1))]);
    assert!(status == Some(2) && error.contains("shape"), "{error}");
}

#[test]
fn misuse_ends_with_status_2() {
    for arguments in [
        &["nonsense"][..],
        &["put"],
        &["put", "a", "b"],
        &["put", "a", "--replicas", "0"],
        &["put", "a", "--replicas", "21"],
        &["put", "a", "--term", "soon"],
        &["put", "/dev/null", "--private"],
        &["get"],
        &["get", "not-a-cid"],
        // An identity CID, and one of a codec that nobody stores.
        &["get", "bafkqaaa"],
        &["ls", "bafkrei"],
        &["quote"],
        &["quote", "--size", "big"],
        &["order", "show", "0x12"],
        &["order", "fund", CID],
        &["account", "balance", "nobody"],
        &["provider", "collateral", "7"],
        &["provider", "collateral", "7", "much"],
        &["provider", "retire", "7", "--order", "0x12"],
        &["provider", "abandon", "it"],
        &["dev"],
        &["dev", "--dir", "/no/such/place", "--capacity", "plenty"],
        &[],
    ] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty(), "{arguments:?}: {stdout}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_has_an_example_for_every_command() {
    for command in [
        &["put"][..],
        &["get"],
        &["quote"],
        &["ls"],
        &["order"],
        &["order", "list"],
        &["order", "show"],
        &["order", "cancel"],
        &["order", "fund"],
        &["account"],
        &["account", "new"],
        &["account", "import"],
        &["account", "balance"],
        &["provider"],
        &["provider", "status"],
        &["provider", "collateral"],
        &["provider", "retire"],
        &["provider", "abandon"],
        &["dev"],
        &["doctor"],
        &[],
    ] {
        let (status, help, _) = run(&[command, &["--help"]].concat());
        assert_eq!(status, Some(0), "{command:?}");
        assert!(help.contains("Example"), "{command:?}: {help}");
    }
    let (status, version, _) = run(&["--version"]);
    assert_eq!(status, Some(0));
    assert!(version.starts_with("crust 0"), "{version}");
}

#[test]
fn what_cannot_be_put_is_refused_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let (status, _, stderr) = run(&["put", directory.path().to_str().unwrap()]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("not yet directories"), "{stderr}");
    let (status, _, stderr) = run(&["put", "/no/such/file"]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("/no/such/file does not exist"), "{stderr}");
}

#[test]
fn a_chain_that_is_not_there_is_said_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    for arguments in [&["put", file][..], &["get", CID], &["ls", CID], &["quote", file], &["order", "list"]] {
        let start = Instant::now();
        let (status, _, stderr) = run(&[arguments, &["--chain", &url]].concat());
        assert_eq!(status, Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&url) && stderr.contains("cannot be reached"), "{arguments:?}: {stderr}");
        assert!(start.elapsed() < Duration::from_secs(10), "{arguments:?}");
    }
    let (status, _, stderr) = run(&["ls", CID, "--chain", "http://127.0.0.1:1"]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("ws://"), "{stderr}");
}

#[test]
fn a_server_that_is_no_chain_is_an_error_and_no_wait() {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let start = Instant::now();
    let (status, _, stderr) = run(&["ls", CID, "--chain", &url]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("cannot be reached"), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let (status, _, stderr) = run(&["ls", CID, "--chain", &url]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("cannot be reached"), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_development_network_that_is_not_ready_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (status, _, stderr) = text(crust(&["order", "list"]).env("CRUST_DEV", directory.path()).output().unwrap());
    assert_eq!(status, Some(1));
    assert!(stderr.contains("CRUST_DEV"), "{stderr}");
    // A chain that is named needs no network to name it.
    let mut named = crust(&["ls", CID, "--chain", "ws://127.0.0.1:1"]);
    let (status, _, stderr) = text(named.env("CRUST_DEV", directory.path()).output().unwrap());
    assert_eq!(status, Some(1));
    assert!(stderr.contains("cannot be reached"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name: &str| directory.path().join(name);
    std::fs::write(in_it("password"), "a password\n").unwrap();
    let mut command = crust(&["account", "new"]);
    command.env("CRUST_KEY_FILE", in_it("key.json")).env("CRUST_PASSWORD_FILE", in_it("password"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (status, _, stderr) = text(child.wait_with_output().unwrap());
    assert_eq!((status, &*stderr), (Some(1), ""));
    assert!(in_it("key.json").exists());
}

#[test]
fn lesson_22_accounts_are_made_and_imported_encrypted() {
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name: &str| directory.path().join(name);
    std::fs::write(in_it("password"), "a password\n").unwrap();
    std::fs::write(in_it("phrase"), PHRASE).unwrap();
    let make = |what: &str, key: &Path| {
        let mut command = crust(&["account", what, "--json"]);
        command.env("CRUST_KEY_FILE", key).env("CRUST_PASSWORD_FILE", in_it("password"));
        command.stdin(std::fs::File::open(in_it("phrase")).unwrap());
        text(command.output().unwrap())
    };
    let (status, stdout, stderr) = make("import", &in_it("key.json"));
    assert_eq!(status, Some(0), "{stderr}");
    let made: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let account = made.get("account").unwrap().as_str().unwrap().to_string();
    assert!(account.starts_with('5'), "{account}");
    let stored = std::fs::read_to_string(in_it("key.json")).unwrap();
    assert!(stored.contains(&account));
    assert!(PHRASE.split(' ').all(|word| !stored.contains(word) && !stdout.contains(word)));

    // Never twice, and nothing is lost by trying.
    for what in ["import", "new"] {
        let (status, _, stderr) = make(what, &in_it("key.json"));
        assert_eq!(status, Some(1));
        assert!(stderr.contains("never overwritten"), "{stderr}");
    }
    assert_eq!(std::fs::read_to_string(in_it("key.json")).unwrap(), stored);
    let (status, stdout, _) = make("new", &in_it("other.json"));
    assert_eq!(status, Some(0));
    // Account and file, and no key.
    let made: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(made.as_object().unwrap().len(), 2, "{stdout}");
    assert!(made["account"].as_str().is_some_and(|other| other.starts_with('5') && other != account), "{stdout}");
    assert_eq!(made["key_file"].as_str(), in_it("other.json").to_str());

    // Without a terminal and without a password file there is no way to ask.
    let (status, _, stderr) = run(&["account", "new", "--key-file", in_it("third.json").to_str().unwrap()]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("CRUST_PASSWORD_FILE"), "{stderr}");
    assert!(!in_it("third.json").exists());
}
