//! A chain endpoint that lies: a WebSocket proxy between a daemon and its chain node.
//!
//! Honest at first, it passes everything on. Told to, it lies consistently, as a bad endpoint would: every header has
//! another number and therefore another hash, that hash is understood in every request, and block numbers in requests
//! mean the blocks that were shown under them. The states behind are true.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
};

use anyhow::{Context, bail};
use codec::{Compact, Encode};
use futures::io::{BufReader, BufWriter};
use serde_json::{Value, json};
use soketto::handshake::{Client, Server, ServerResponse, server::Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// The digits of a hash with `0x`.
const HASH: usize = 66;
/// The request that hands over a transaction and follows it.
const WATCHED: &str = "author_submitAndWatchExtrinsic";
/// The names that stand for those that go nowhere: said to be dropped, or refused.
const DROPPED: &str = "dropped";
const REFUSED: &str = "refused";

/// The endpoint. Dropped, it is gone, with all its connections.
pub struct Proxy {
    url: String,
    lies: Arc<Lies>,
    accepting: AbortHandle,
}

struct Lies {
    /// `host:port` of the true node.
    upstream: String,
    /// What is added to every block number.
    shift: AtomicI64,
    /// Whether a block's hash, asked for by number, is a wrong one.
    wrong_hashes: AtomicBool,
    /// What is made of the answer to those that are to be watched and are handed on.
    answering: Mutex<Option<Answering>>,
    /// How many of the next ones go nowhere, and are said to be dropped.
    dropping: AtomicU32,
    /// How many of the next ones go nowhere, and are refused; and why.
    refusing: AtomicU32,
    reason: Mutex<&'static str>,
    /// The true hash of each header that was made up.
    names: Mutex<HashMap<String, String>>,
    connections: Mutex<Vec<AbortHandle>>,
}

/// An answer to a transaction that was handed on.
#[derive(Clone, Copy)]
pub enum Answering {
    /// An error of the chain node's: its code and its text.
    Error(i32, &'static str),
    /// None: the connection ends.
    HangUp,
}

/// Requests on their way: method by id, and whether a number was asked for.
type Asked = Mutex<HashMap<String, (String, bool)>>;
type Socket = BufReader<BufWriter<Compat<TcpStream>>>;

impl Proxy {
    pub async fn start(chain: &str) -> anyhow::Result<Proxy> {
        let upstream = chain.trim_start_matches("ws://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let lies = Arc::new(Lies {
            upstream,
            shift: AtomicI64::new(0),
            wrong_hashes: AtomicBool::new(false),
            answering: Mutex::default(),
            dropping: AtomicU32::new(0),
            refusing: AtomicU32::new(0),
            reason: Mutex::default(),
            names: Mutex::default(),
            connections: Mutex::default(),
        });
        let shared = lies.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let lies = shared.clone();
                let connection = tokio::spawn(async move {
                    // It ends when either side hangs up.
                    let _ = serve(socket, lies).await;
                });
                lock(&shared.connections).push(connection.abort_handle());
            }
        });
        Ok(Proxy { url, lies, accepting: accepting.abort_handle() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on every block is said to have a number so much higher.
    pub fn shift(&self, blocks: i64) {
        self.lies.shift.store(blocks, Ordering::SeqCst);
    }

    /// From now on the hash of a block that is asked for by number is wrong, or right again.
    pub fn wrong_hashes(&self, wrong: bool) {
        self.lies.wrong_hashes.store(wrong, Ordering::SeqCst);
    }

    /// From now on a transaction that is to be watched is handed on, and this is what the one who watches hears of it.
    pub fn hand_on_and(&self, answer: Answering) {
        *lock(&self.lies.answering) = Some(answer);
    }

    /// So many of the next transactions that are to be watched go nowhere: each is taken in and said to be dropped, as a
    /// full pool does.
    pub fn drop_next(&self, transactions: u32) {
        self.lies.dropping.store(transactions, Ordering::SeqCst);
    }

    /// So many of the next ones go nowhere: each is refused as invalid, for this reason.
    pub fn refuse_next(&self, transactions: u32, reason: &'static str) {
        *lock(&self.lies.reason) = reason;
        self.lies.refusing.store(transactions, Ordering::SeqCst);
    }

    /// How many of those are still to come that are dropped.
    pub fn still_to_drop(&self) -> u32 {
        self.lies.dropping.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        lock(&self.lies.connections).iter().for_each(AbortHandle::abort);
    }
}

async fn serve(socket: TcpStream, lies: Arc<Lies>) -> anyhow::Result<()> {
    let mut server = Server::new(buffered(socket));
    let key = server.receive_request().await?.key();
    server.send_response(&Response::Accept { key, protocol: None }).await?;
    let (mut to_daemon, mut from_daemon) = server.into_builder().finish();

    let socket = TcpStream::connect(&lies.upstream).await?;
    let mut client = Client::new(buffered(socket), &lies.upstream, "/");
    if !matches!(client.handshake().await?, ServerResponse::Accepted { .. }) {
        bail!("the chain node refuses the connection");
    }
    let (mut to_chain, mut from_chain) = client.into_builder().finish();

    let asked = Asked::default();
    let requests = async {
        let mut message = Vec::new();
        loop {
            message.clear();
            from_daemon.receive_data(&mut message).await?;
            let request = lies.request(serde_json::from_slice(&message)?, &asked);
            to_chain.send_text(request.to_string()).await?;
            to_chain.flush().await?;
        }
    };
    let answers = async {
        let mut message = Vec::new();
        loop {
            message.clear();
            from_chain.receive_data(&mut message).await?;
            let answer = lies.answer(serde_json::from_slice(&message)?, &asked).await?;
            to_daemon.send_text(answer.to_string()).await?;
            if let Some(dropped) = news_of_dropped(&answer) {
                to_daemon.send_text(dropped.to_string()).await?;
            }
            to_daemon.flush().await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

fn buffered(socket: TcpStream) -> Socket {
    BufReader::new(BufWriter::new(socket.compat()))
}

impl Lies {
    /// What the true node is asked in the place of a request.
    fn request(&self, mut request: Value, asked: &Asked) -> Value {
        let mut method = text(&request, "method");
        let mut numbered = false;
        let less = |left: u32| left.checked_sub(1);
        let next = |left: &AtomicU32| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        let fates = [(&self.dropping, DROPPED), (&self.refusing, REFUSED)];
        if method == WATCHED
            && let Some((_, fate)) = fates.into_iter().find(|(left, _)| next(left))
        {
            // Something else is asked in its place, of which the answer is a name that nobody else has.
            method = fate.to_owned();
            request = json!({ "jsonrpc": "2.0", "id": request.get("id"), "method": "system_chain", "params": [] });
        }
        if method == "chain_getBlockHash"
            && let Some(number) = request.pointer_mut("/params/0")
            && let Some(shown) = number.as_i64().filter(|shown| *shown > 0)
        {
            numbered = true;
            *number = json!(shown.saturating_sub(self.shift.load(Ordering::SeqCst)).max(0));
        }
        if method == WATCHED
            && lock(&self.answering).is_some()
            && let Some(asked) = request.get_mut("method")
        {
            *asked = json!("author_submitExtrinsic");
        }
        lock(asked).insert(id(&request), (method, numbered));
        let names = lock(&self.names);
        if let Some(params) = request.get_mut("params") {
            truly(params, &names);
        }
        request
    }

    /// What the daemon is told in the place of an answer.
    async fn answer(&self, mut answer: Value, asked: &Asked) -> anyhow::Result<Value> {
        let subscribed = text(&answer, "method");
        if subscribed.ends_with("Head") {
            if let Some(header) = answer.pointer_mut("/params/result") {
                self.made_up(header)?;
            }
            return Ok(answer);
        }
        let Some((method, numbered)) = lock(asked).remove(&id(&answer)) else { return Ok(answer) };
        if method == DROPPED {
            let subscription = format!("{DROPPED} {}", id(&answer));
            return Ok(json!({ "jsonrpc": "2.0", "id": answer.get("id"), "result": subscription }));
        }
        if method == REFUSED {
            let error = json!({ "code": 1010, "message": "Invalid Transaction", "data": *lock(&self.reason) });
            return Ok(json!({ "jsonrpc": "2.0", "id": answer.get("id"), "error": error }));
        }
        let answering = *lock(&self.answering);
        match answering.filter(|_| method == WATCHED) {
            Some(Answering::Error(code, message)) => {
                let error = json!({ "code": code, "message": message });
                return Ok(json!({ "jsonrpc": "2.0", "id": answer.get("id"), "error": error }));
            }
            Some(Answering::HangUp) => bail!("hung up"),
            None => {}
        }
        let Some(result) = answer.get_mut("result").filter(|result| !result.is_null()) else { return Ok(answer) };
        match method.as_str() {
            "chain_getHeader" => {
                self.made_up(result)?;
            }
            "chain_getBlockHash" if numbered && self.wrong_hashes.load(Ordering::SeqCst) => {
                *result = json!(format!("0x{}", "5c".repeat(32)));
            }
            "chain_getBlockHash" | "chain_getFinalizedHead" if self.shift.load(Ordering::SeqCst) != 0 => {
                let mut header = self.header(result).await?;
                if number(&header)? > 0 {
                    *result = json!(self.made_up(&mut header)?);
                }
            }
            _ => {}
        }
        Ok(answer)
    }

    /// Gives a header the number that is told, and remembers which block it stands for; its hash then.
    fn made_up(&self, header: &mut Value) -> anyhow::Result<String> {
        let truth = hash(header)?;
        let (number, shift) = (number(header)?, self.shift.load(Ordering::SeqCst));
        if number == 0 || shift == 0 {
            return Ok(truth);
        }
        let told = number.saturating_add(shift).max(1);
        *header.get_mut("number").context("a header without a number")? = json!(format!("{told:#x}"));
        let name = hash(header)?;
        lock(&self.names).insert(name.clone(), truth);
        Ok(name)
    }

    /// The true header of a block, asked for beside the connection.
    async fn header(&self, hash: &Value) -> anyhow::Result<Value> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "chain_getHeader", "params": [hash] });
        let answer = reqwest::Client::new().post(format!("http://{}", self.upstream)).json(&call).send().await?;
        let mut answer: Value = answer.json().await?;
        answer.get_mut("result").map(Value::take).context("no header")
    }
}

/// What follows the answer to a transaction that went nowhere.
fn news_of_dropped(answer: &Value) -> Option<Value> {
    let subscription = answer.get("result")?.as_str().filter(|name| name.starts_with(DROPPED))?;
    let params = json!({ "subscription": subscription, "result": "dropped" });
    Some(json!({ "jsonrpc": "2.0", "method": "author_extrinsicUpdate", "params": params }))
}

/// Puts the true hashes in the place of made-up ones.
fn truly(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::String(text) if text.len() == HASH => {
            if let Some(truth) = names.get(text) {
                text.clone_from(truth);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| truly(item, names)),
        Value::Object(fields) => fields.values_mut().for_each(|field| truly(field, names)),
        _ => {}
    }
}

/// The hash of a header, from its JSON form.
fn hash(header: &Value) -> anyhow::Result<String> {
    let bytes = |key: &str| -> anyhow::Result<Vec<u8>> { unhex(&text(header, key)) };
    let logs = header.pointer("/digest/logs").and_then(Value::as_array).context("a header without a digest")?;
    let mut scale = bytes("parentHash")?;
    scale.extend(Compact(u32::try_from(number(header)?)?).encode());
    scale.extend(bytes("stateRoot")?);
    scale.extend(bytes("extrinsicsRoot")?);
    scale.extend(Compact(u32::try_from(logs.len())?).encode());
    for log in logs {
        scale.extend(unhex(log.as_str().unwrap_or_default())?);
    }
    Ok(format!("0x{}", hex::encode(crust_protocol::h(&[&scale]))))
}

fn number(header: &Value) -> anyhow::Result<i64> {
    let digits = text(header, "number");
    i64::from_str_radix(digits.trim_start_matches("0x"), 16).context("a header without a number")
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(hex::decode(text.trim_start_matches("0x"))?)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn id(message: &Value) -> String {
    message.get("id").map(Value::to_string).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
