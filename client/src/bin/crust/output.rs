//! What commands print: results on stdout, as text or JSON; progress on stderr, on a terminal only.

use std::{fmt::Display, io::Write, time::Duration};

use crust_client::chain::Order;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Says nothing unless CRUST_LOG asks for it.
pub fn log() {
    let filter = EnvFilter::try_from_env("CRUST_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// A line on stdout. Whoever reads it may have gone, which is an error and no reason to panic.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", plain(&text.to_string()))?)
}

/// A line on stderr, for whoever is there to read it.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", plain(&text.to_string()));
}

/// One JSON value on a line of its own.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(value)?)?)
}

/// Text for a terminal: names in a directory, addresses and errors of nodes are strangers' words, and none of them may
/// move the cursor or hide a line.
fn plain(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// A bar that counts bytes; not shown if stderr is no terminal.
pub fn bytes_bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = "{msg:12} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}";
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// `0x` and hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// An order, for scripts.
pub fn order(order: &Order) -> serde_json::Value {
    let takes: Vec<_> =
        order.takes.iter().map(|take| serde_json::json!({ "node": take.node, "until": take.until })).collect();
    let replicas: Vec<_> = order
        .replicas
        .iter()
        .map(|replica| {
            serde_json::json!({
                "node": replica.node,
                "provider": crust_client::wallet::address(&replica.provider),
                "sealed_at": replica.since,
                "peer": replica.peer_id,
                "addresses": replica.addresses,
                "good_files": replica.health.map(|(_, good)| good),
                "last_report": replica.health.map(|(slot, _)| slot),
            })
        })
        .collect();
    serde_json::json!({
        "order": hex(&order.id),
        "cid": order.cid.to_string(),
        "client": crust_client::wallet::address(&order.client),
        "size": order.size,
        "audit_root": hex(&order.audit_root),
        "wanted": order.wanted,
        "term": order.term,
        "placed": order.placed,
        "start": order.start,
        "end": order.end,
        "rate": order.rate.to_string(),
        "balance": order.balance.to_string(),
        "deposit": order.deposit.to_string(),
        "cancelled": order.cancelled,
        "takes": takes,
        "replicas": replicas,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_words_do_not_move_the_cursor() {
        assert_eq!(plain("a name\t7\nönly"), "a name\t7\nönly");
        assert_eq!(plain("\u{1b}[2Jgone\r\u{9b}1A\u{7}"), "\u{fffd}[2Jgone\u{fffd}\u{fffd}1A\u{fffd}");
    }
}
