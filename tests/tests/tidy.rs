//! What the repository promises about itself: the map is true, the house rules hold, licences fit, and every lesson
//! that is due has a test that names it. Reads the sources and `cargo metadata`; starts nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Lines of a source file, at most.
const LONGEST_FILE: usize = 800;
/// Lessons of earlier systems (docs/threat-model.md) whose tests exist by now.
const LESSONS_DUE: [u32; 19] = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23];
/// Hosts that sources and documents may name.
const HOSTS: [&str; 4] = ["127.0.0.1", "localhost", "www.apache.org", "{"];
/// The crates of the chain that use no GPL code: all but the node and the program that measures it.
const GPL_FREE: [&str; 5] = ["crust-evidence", "crust-runtime", "pallet-mpow", "pallet-storage-market", "wasm-opt"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files that are or would be in git.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files failed");
    let paths = String::from_utf8(listed.stdout).unwrap();
    let paths = paths.split('\0').filter(|path| !path.is_empty()).map(|path| root().join(path));
    paths.filter(|path| path.is_file()).collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

fn metadata(workspace: &str) -> Value {
    let done = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root().join(workspace))
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Names of the workspace's own crates, by package id.
fn members(metadata: &Value) -> BTreeMap<String, String> {
    let ids: BTreeSet<&str> = list(metadata, "workspace_members").iter().filter_map(Value::as_str).collect();
    let own = list(metadata, "packages").iter().filter(|package| ids.contains(text(package, "id")));
    own.map(|package| (text(package, "id").to_owned(), text(package, "name").to_owned())).collect()
}

fn fail_with(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_path_on_the_map_exists() {
    let text = architecture();
    let spans = text.split('`').skip(1).step_by(2);
    let paths = spans.filter(|span| {
        let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        let file = [".rs", ".md", ".toml", ".scale"].iter().any(|end| span.ends_with(end));
        plain && !span.starts_with('/') && (span.ends_with('/') || (span.contains('/') && file))
    });
    fail_with(
        &paths
            .filter(|path| !root().join(path).exists())
            .map(|path| format!("ARCHITECTURE.md names {path}, which does not exist"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_crate_has_its_paragraph_and_invariant() {
    let text = architecture();
    let mut problems = Vec::new();
    for name in [".", "chain"].iter().flat_map(|workspace| members(&metadata(workspace)).into_values()) {
        match text.split("\n\n").find(|paragraph| paragraph.starts_with(&format!("**`{name}`**"))) {
            None => problems.push(format!("ARCHITECTURE.md has no paragraph that begins with **`{name}`**")),
            Some(paragraph) if !paragraph.contains("nothing of") => {
                problems.push(format!("the paragraph of {name} does not say what it knows nothing of"));
            }
            Some(_) => {}
        }
    }
    fail_with(&problems);
}

/// The edges drawn in ARCHITECTURE.md (`from -> to, to`) are those between the crates, no more and no fewer.
#[test]
fn crates_depend_on_each_other_as_drawn() {
    let map = architecture();
    let drawn: BTreeMap<String, BTreeSet<String>> = map
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(from, to)| {
            let to = to.split(", ").map(str::trim).filter(|to| *to != "nothing");
            (from.trim().to_owned(), to.map(str::to_owned).collect())
        })
        .collect();
    let mut problems = Vec::new();
    for workspace in [".", "chain"] {
        let metadata = metadata(workspace);
        let own = members(&metadata);
        for package in list(&metadata, "packages").iter().filter(|package| own.contains_key(text(package, "id"))) {
            let name = text(package, "name");
            let built = list(package, "dependencies").iter().filter(|dependency| {
                let path = dependency.get("path").is_some_and(|path| !path.is_null());
                path && text(dependency, "kind").is_empty()
            });
            let built: BTreeSet<String> = built.map(|dependency| text(dependency, "name").to_owned()).collect();
            match drawn.get(name) {
                None => problems.push(format!("no edges of {name} are drawn")),
                Some(edges) if *edges != built => {
                    problems.push(format!("{name} depends on {built:?}, drawn is {edges:?}"));
                }
                Some(_) => {}
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn every_source_opens_with_what_it_is_for() {
    let mute = sources().into_iter().filter(|(_, text)| {
        let first = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        !first.starts_with("//! ") || first.len() < 12
    });
    fail_with(&mute.map(|(path, _)| format!("{} does not open with //!", path.display())).collect::<Vec<_>>());
}

#[test]
fn no_source_is_too_long() {
    let tests = |path: &Path| path.to_string_lossy().ends_with("tests.rs");
    let long = sources().into_iter().filter(|(path, text)| !tests(path) && text.lines().count() > LONGEST_FILE);
    fail_with(&long.map(|(path, _)| format!("{} is over {LONGEST_FILE} lines", path.display())).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not find itself.
    let marks = ["TO DO", "FIX ME", "XX X", "to do!(", "unimple mented!(", "#[ig nore"];
    let marks = marks.map(|mark| mark.replace(' ', ""));
    let mut problems = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                problems.push(format!("{}:{}: {mark}", path.display(), number + 1));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn no_foreign_host_and_no_home_folder_is_named() {
    let mut problems = Vec::new();
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if ["Cargo.lock", "package-lock.json"].contains(&&*name) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let urls = line.match_indices("://").map(|(at, mark)| line.split_at(at + mark.len()).1);
            let hosts = urls.filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.contains('.'));
            for host in hosts {
                let end = host.find(|c: char| !c.is_ascii_alphanumeric() && !".-".contains(c)).unwrap_or(host.len());
                let host = host.split_at(end).0.trim_end_matches('.');
                if host.contains('.') && !HOSTS.contains(&host) {
                    problems.push(format!("{}:{}: the host {host}", path.display(), number + 1));
                }
            }
            if line.contains(concat!("/ro", "ot/")) || line.contains(concat!("/ho", "me/")) {
                problems.push(format!("{}:{}: somebody's home folder", path.display(), number + 1));
            }
        }
    }
    fail_with(&problems);
}

/// GPL and AGPL code is used by the chain node alone (Substrate's client, with the Classpath exception): no other crate
/// links it, builds with it or tests with it.
#[test]
fn licences_fit() {
    let every = "normal,build,dev";
    let used = tree(".", &[], every).into_iter().chain(tree("chain", &GPL_FREE, every));
    let refused = used.filter(|(_, licence)| !acceptable(licence));
    let mut problems: Vec<String> = refused.map(|(name, licence)| format!("{name} is under `{licence}`")).collect();
    for metadata in [metadata("."), metadata("chain")] {
        let own = members(&metadata);
        for package in list(&metadata, "packages").iter().filter(|package| own.contains_key(text(package, "id"))) {
            if text(package, "license") != "Apache-2.0" {
                problems.push(format!("{} is not under Apache-2.0", text(package, "name")));
            }
        }
    }
    fail_with(&problems);
}

/// What these crates of a workspace depend on by such edges, or all of them, themselves included: name and licence.
fn tree(workspace: &str, of: &[&str], edges: &str) -> BTreeMap<String, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--edges", edges, "--prefix", "none", "--format", "{p}|{l}"]);
    match of {
        [] => command.arg("--workspace"),
        some => command.args(some.iter().flat_map(|name| ["--package", name])),
    };
    let done = command.current_dir(root().join(workspace)).env_remove("RUSTC_WORKSPACE_WRAPPER").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once('|'));
    let found: BTreeMap<String, String> =
        lines.map(|(name, licence)| (name.to_owned(), licence.trim_end_matches(" (*)").to_owned())).collect();
    assert!(found.len() > 10, "cargo's tree has another form than expected");
    found
}

/// Whether a licence leaves a choice without the GPL.
fn acceptable(licence: &str) -> bool {
    let choices = licence.split('/').flat_map(|part| part.split(" OR "));
    choices.map(str::trim).any(|choice| !choice.is_empty() && !choice.contains("GPL"))
}

/// Not any function of that name counts: it must be a test.
#[test]
fn every_lesson_that_is_due_has_a_test() {
    let mut tested = BTreeSet::new();
    for (_, text) in sources() {
        let mut attributes = Vec::new();
        for line in text.lines().map(str::trim) {
            let name = line.trim_start_matches("async ").strip_prefix("fn lesson_");
            if let Some(number) = name.and_then(|name| name.split('_').next()?.parse::<u32>().ok())
                && attributes.iter().any(|attribute: &&str| is_test(attribute))
            {
                tested.insert(number);
            }
            match line.starts_with("#[") || line.starts_with("///") {
                true => attributes.push(line),
                false => attributes.clear(),
            }
        }
    }
    let missing = LESSONS_DUE.iter().filter(|lesson| !tested.contains(lesson));
    fail_with(&missing.map(|lesson| format!("no test is called lesson_{lesson}_…")).collect::<Vec<_>>());
}

fn is_test(attribute: &str) -> bool {
    attribute == "#[test]" || attribute.starts_with("#[tokio::test")
}

/// `crust-enclave`, the measured code, links nothing of ours but the protocol; above all not the development platform.
#[test]
fn the_measured_code_cannot_link_the_development_platform() {
    let linked = tree(".", &["crust-enclave"], "normal");
    let names: BTreeSet<&str> = linked.keys().filter_map(|package| package.split(' ').next()).collect();
    let own: Vec<&&str> = names.iter().filter(|name| name.starts_with("crust-")).collect();
    assert_eq!(own, [&"crust-enclave", &"crust-protocol"]);
    assert!(!names.contains("tokio") && !names.iter().any(|name| name.starts_with("libp2p")));
}

/// The enclave hashes every block that it is given: the way past that is for those who have hashed it already.
#[test]
fn the_measured_code_checks_every_block_for_itself() {
    // Put together here, so that this file does not find itself.
    let shortcut = ["checked", "before"].join("_");
    let measured = root().join("enclave");
    let taken = sources().into_iter().filter(|(path, text)| path.starts_with(&measured) && text.contains(&shortcut));
    fail_with(&taken.map(|(path, _)| format!("{} calls {shortcut}", path.display())).collect::<Vec<_>>());
}
