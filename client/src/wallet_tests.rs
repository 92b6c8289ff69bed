//! Key files: what is on disk, who can open it, and which secrets are refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use super::*;

const PHRASE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";
/// Little work, or the tests are slow.
const FAST: u8 = 4;

#[test]
fn a_key_file_opens_with_its_password_and_with_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/key.json");
    let (wallet, secret) = Wallet::generate().unwrap();
    secret.store_with(&path, "correct", FAST).unwrap();
    let opened = Wallet::open(&path, "correct").unwrap();
    assert_eq!(opened.account(), wallet.account());
    assert!(matches!(Wallet::open(&path, "wrong"), Err(Error::WrongPassword(_))));
    assert!(matches!(Wallet::open(&path, ""), Err(Error::WrongPassword(_))));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_file_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    Secret::parse(PHRASE).unwrap().store_with(&path, "a", FAST).unwrap();
    let before = std::fs::read(&path).unwrap();
    let other = Wallet::generate().unwrap().1;
    assert!(matches!(other.store_with(&path, "b", FAST), Err(Error::Exists(_))));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn lesson_22_no_seed_is_on_disk_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    let seed = "1f2e3d4c5b6a79880f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";
    for (name, text) in [("phrase", PHRASE.to_string()), ("seed", format!("0x{seed}"))] {
        let path = directory.path().join(name);
        Secret::parse(&text).unwrap().store_with(&path, "password", FAST).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let stored = String::from_utf8_lossy(&bytes);
        for word in text.split_whitespace().chain([seed, &hex::encode(text.as_bytes())]) {
            assert!(!stored.contains(word), "{word} is readable in the key file");
        }
        assert!(!bytes.windows(32).any(|window| window == hex::decode(seed).unwrap()));
    }
}

#[test]
fn a_changed_key_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    Secret::parse(PHRASE).unwrap().store_with(&path, "a", FAST).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut file: KeyFile = serde_json::from_str(&text).unwrap();
    *file.secret.first_mut().unwrap() ^= 1;
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    assert!(matches!(Wallet::open(&path, "a"), Err(Error::WrongPassword(_))));

    let mut greedy: KeyFile = serde_json::from_str(&text).unwrap();
    greedy.kdf.log_n = 40;
    std::fs::write(&path, serde_json::to_vec(&greedy).unwrap()).unwrap();
    assert!(matches!(Wallet::open(&path, "a"), Err(Error::Malformed { .. })));
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(Wallet::open(&path, "a"), Err(Error::Malformed { .. })));
    assert!(matches!(Wallet::open(&directory.path().join("none"), "a"), Err(Error::NoFile(_))));
}

#[test]
fn secrets_that_everybody_knows_are_not_stored() {
    assert!(matches!(Secret::parse("//Alice"), Err(Error::Published)));
    let published = "bottom drive obey lake curtain smoke basket hold race lonely fit walk//Alice";
    assert!(matches!(Secret::parse(published), Err(Error::Published)));
    for nonsense in ["", "hello", "0x12", "0xzz", "bottom drive"] {
        assert!(matches!(Secret::parse(nonsense), Err(Error::BadSecret)), "{nonsense}");
    }
}

#[test]
fn development_accounts_are_those_of_every_substrate_chain() {
    let alice = Wallet::published("//Alice").unwrap();
    assert_eq!(alice.address(), "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
    assert_eq!(parse_address(&alice.address()), Some(alice.account()));
    assert_eq!(format!("{alice:?}"), "Wallet(5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY)");
    for name in ["Alice", "/Alice", "//", "", "0x00//Alice"] {
        assert!(matches!(Wallet::published(name), Err(Error::BadName(_))), "{name}");
    }
}
