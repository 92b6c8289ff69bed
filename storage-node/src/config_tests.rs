//! The configuration: what is accepted, and how what is wrong is named.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;

fn load(text: &str) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("storage.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path)
}

/// A configuration with what there must be, of the tests over a real enclave too.
const GOOD: &str = include_str!("../tests/storage.toml");

#[test]
fn the_example_file_is_a_configuration() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("storage.example.toml");
    let config = Config::load(&path).unwrap();
    assert_eq!(config.disks.len(), 2);
    assert_eq!(config.disks.first().unwrap().capacity, Bytes(4_000_000_000_000));
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let error = load(&GOOD.replace("listen =", "listen = []\nlisten =")).unwrap_err().to_string();
    assert!(error.contains("`listen`"), "{error}");
    let error = load(&format!("{GOOD}\ncapacitty = 1")).unwrap_err().to_string();
    assert!(error.contains("`capacitty`"), "{error}");
}

#[test]
fn wrong_values_are_named() {
    for (from, to, key) in [
        ("ws://127.0.0.1:1", "http://x", "chain"),
        ("127.0.0.1:0\"", "0.0.0.0:80\"", "admin"),
        ("{ dev = \"//Provider0\" }", "{ key_file = \"k\" }", "provider"),
        ("[\"/ip4/127.0.0.1/tcp/0\"]", "[]", "listen"),
        ("256MiB", "2 bananas", "capacity"),
        ("256MiB", "99999999 TiB", "capacity"),
    ] {
        let error = load(&GOOD.replace(from, to)).expect_err(to).to_string();
        assert!(error.contains(key), "{to}: {error}");
    }
    assert!(load("").unwrap_err().to_string().contains("chain"));
    assert!(
        Config::load(Path::new("/nowhere/storage.toml")).unwrap_err().to_string().contains("/nowhere/storage.toml")
    );
}

#[test]
fn a_secret_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "secret\n").unwrap();
    let path = dir.path().join("storage.toml");
    let text = GOOD.replace("127.0.0.1:0\"", "0.0.0.0:80\"\nadmin_token_file = \"token\"");
    fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.admin_token.as_deref(), Some("secret"));
    for empty in ["", "\n"] {
        fs::write(dir.path().join("token"), empty).unwrap();
        assert!(Config::load(&path).unwrap_err().to_string().contains("`admin_token_file`"), "{empty:?}");
    }
    assert_eq!(config.state, dir.path().join("state"));
}

#[test]
fn another_daemon_is_asked_over_http_alone() {
    for (url, good) in [("http://a:1", true), ("https://a:1", true), ("a:1", false), ("ftp://a", false)] {
        for (key, value) in [
            ("standby", format!("{{ node = 7, admin = \"{url}\" }}")),
            ("key_from", format!("{{ admin = \"{url}\" }}")),
        ] {
            let loaded = load(&format!("releases = \".\"\n{key} = {value}\n{GOOD}"));
            assert_eq!(loaded.is_ok(), good, "{key}: {loaded:?}");
        }
    }
}

#[test]
fn bytes_are_read() {
    for (text, bytes) in [("7", 7), ("2GiB", 2 << 30), ("1_000 MB", 1_000_000_000), ("3k", 3072)] {
        assert_eq!(text.parse(), Ok(Bytes(bytes)));
    }
    assert!("".parse::<Bytes>().is_err());
    assert!("-1".parse::<Bytes>().is_err());
}
