//! The admin API: health, metrics, status and the few things that an operator may change while the node runs.
//!
//! Listens on loopback, or asks for a token. It is up before the node is, so that a node that waits for its chain or
//! its enclave says so. Nothing here is ever sent anywhere by itself.

#![expect(unused_qualifications, reason = "the macro that describes a path writes them")]

mod leaving;
mod succession;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::JsonRejection, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use crust_protocol::order::OrderId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::{
    config::{Bytes, Config},
    giving_up,
    host::Host,
    store::{Usage, disks::DiskId, index, index::Record, log::Overview},
    succession::standby::Standby,
    workers::{Board, Status as Worker},
};

/// Bytes of a request's body.
const BODY: usize = 16 << 10;
/// Files of one page.
const PAGE: usize = 1_000;

#[derive(OpenApi)]
#[openapi(
    info(title = "Crust storage node", description = "Admin API of a storage node; loopback, or with a bearer token"),
    paths(
        health,
        ready,
        prometheus,
        status,
        files,
        capacity,
        lost,
        snapshot,
        leaving::retire,
        succession::upgrade,
        succession::begin_upgrade,
        succession::standby,
        succession::succeed,
        succession::challenge,
        succession::hand_over,
        succession::name
    )
)]
struct Api;

/// The API's server.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    host: OnceLock<Arc<Host>>,
    /// Instead of the host, of a daemon that stands by.
    standby: OnceLock<Arc<Standby>>,
    stage: Mutex<&'static str>,
    board: Board,
    token: Option<String>,
    metrics: PrometheusHandle,
}

impl Admin {
    /// Binds the address and serves until `stop`.
    pub async fn start(config: &Config, board: Board, stop: CancellationToken) -> anyhow::Result<Admin> {
        let listener = TcpListener::bind(config.admin).await.with_context(|| {
            format!("the admin API cannot listen on {} (`admin`); is the port in use?", config.admin)
        })?;
        let address: SocketAddr = listener.local_addr()?;
        let token = config.admin_token.clone();
        let inner = Inner {
            host: OnceLock::new(),
            standby: OnceLock::new(),
            stage: Mutex::new("starting"),
            board,
            token,
            metrics: recorder(),
        };
        let admin = Admin { inner: Arc::new(inner) };
        let router = admin.router();
        tracing::info!(%address, "admin API");
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!("the admin API ended: {error}");
            }
        });
        Ok(admin)
    }

    /// Says how far the start is; with the node, once it is up.
    pub fn stage(&self, stage: &'static str, host: Option<Arc<Host>>) {
        tracing::debug!("{stage}");
        if let Ok(mut slot) = self.inner.stage.lock() {
            *slot = stage;
        }
        if let Some(host) = host {
            self.inner.host.set(host).ok();
        }
    }

    /// Says that this daemon stands by.
    pub fn stand_by(&self, standby: Arc<Standby>) {
        self.stage("standing by for another node", None);
        self.inner.standby.set(standby).ok();
    }

    fn router(&self) -> Router {
        let guarded = Router::new()
            .route("/metrics", get(prometheus))
            .route("/v1/status", get(status))
            .route("/v1/files", get(files))
            .route("/v1/capacity", post(capacity))
            .route("/v1/lost", post(lost))
            .route("/v1/snapshot", post(snapshot))
            .route("/v1/retire", post(leaving::retire))
            .merge(succession::router())
            .layer(middleware::from_fn_with_state(self.clone(), authorise));
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/openapi.json", get(async || Json(Api::openapi())))
            .merge(guarded)
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(self.clone())
    }

    fn host(&self) -> Result<&Arc<Host>, Failure> {
        self.inner.host.get().ok_or_else(|| Failure(StatusCode::SERVICE_UNAVAILABLE, self.stage_now().to_owned()))
    }

    fn stage_now(&self) -> &'static str {
        self.inner.stage.lock().map_or("starting", |stage| *stage)
    }
}

/// An error, as every endpoint answers it.
#[derive(Debug)]
struct Failure(StatusCode, String);

#[derive(Serialize, ToSchema)]
struct Problem {
    error: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<crate::store::Error> for Failure {
    fn from(error: crate::store::Error) -> Self {
        Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

async fn authorise(State(admin): State<Admin>, request: Request, next: Next) -> Result<Response, Failure> {
    if let Some(token) = &admin.inner.token {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Hashes, so that the time of the comparison tells nothing.
        if crust_protocol::h(&[given.as_bytes()]) != crust_protocol::h(&[token.as_bytes()]) {
            let message = "send the admin token: `Authorization: Bearer …`";
            return Err(Failure(StatusCode::UNAUTHORIZED, message.to_owned()));
        }
    }
    Ok(next.run(request).await)
}

/// The process lives.
#[utoipa::path(get, path = "/health", responses((status = 200, body = String)))]
async fn health() -> &'static str {
    "ok"
}

/// The node is registered, its collateral deposited, its enclave open, its chain heard; of a standby, that it could follow
/// its node.
#[utoipa::path(get, path = "/ready", responses((status = 200, body = String), (status = 503, body = Problem)))]
async fn ready(State(admin): State<Admin>) -> Result<&'static str, Failure> {
    let not_yet = |what: String| Err(Failure(StatusCode::SERVICE_UNAVAILABLE, what));
    if let Some(standby) = admin.inner.standby.get() {
        return match standby.ready() {
            true => Ok("standing by"),
            false => not_yet(format!("the standby is not ready: {}", standby.progress().stage)),
        };
    }
    let host = admin.host()?;
    if host.best.borrow().is_none() {
        return not_yet("no block of the chain was seen yet".to_owned());
    }
    if host.number.borrow().is_none() {
        return not_yet("the node is not registered yet".to_owned());
    }
    if host.collateral.borrow().is_none() {
        return not_yet("the node's collateral is not deposited yet; the worker `collateral` says why".to_owned());
    }
    match &host.enclave.log().borrow().error {
        Some(error) => not_yet(format!("the enclave's log cannot be written: {error}")),
        None => Ok("ready"),
    }
}

/// Metrics in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
async fn prometheus(State(admin): State<Admin>) -> String {
    if let Ok(host) = admin.host() {
        let disks = host.store.usage();
        for disk in &disks {
            let label = disk.path.clone();
            metrics::gauge!("crust_disk_present", "disk" => label.clone()).set(if disk.present { 1.0 } else { 0.0 });
            metrics::gauge!("crust_capacity_bytes", "disk" => label.clone()).set(float(disk.capacity));
            metrics::gauge!("crust_filler_bytes", "disk" => label.clone()).set(float(disk.filler_bytes));
            metrics::gauge!("crust_stored_bytes", "disk" => label.clone()).set(float(disk.stored_bytes));
            metrics::gauge!("crust_files", "disk" => label).set(float(disk.files));
        }
        metrics::gauge!("crust_enclave_sessions").set(float(host.enclave.session()));
    }
    for worker in admin.inner.board.all() {
        metrics::gauge!("crust_worker_queue", "worker" => worker.name).set(float(worker.queue));
        let failing = if worker.error.is_some() { 1.0 } else { 0.0 };
        metrics::gauge!("crust_worker_failing", "worker" => worker.name).set(failing);
    }
    admin.inner.metrics.run_upkeep();
    admin.inner.metrics.render()
}

/// The node at a glance.
#[derive(Serialize, ToSchema)]
struct Status {
    /// How far the node is: `running`, or what it waits for.
    stage: &'static str,
    /// Its number on the chain.
    node: Option<u32>,
    /// The block from which it is out, if its program or platform is approved no more, or it cannot renew its
    /// registration; absent if it stays. The worker `watch_orders` says more.
    leaves: Option<u32>,
    provider: String,
    /// The enclave's key, in hexadecimal.
    key: String,
    peer: String,
    addresses: Vec<String>,
    capacity: u64,
    filler_bytes: u64,
    stored_bytes: u64,
    files: u64,
    last_report: Option<LastReport>,
    last_receipt: Option<LastReceipt>,
    /// Absent until the node is registered and what its provider wants is deposited.
    collateral: Option<CollateralStatus>,
    /// What the node owes to audits, as its last report found it.
    audit: Option<AuditStatus>,
    chain: ChainStatus,
    enclave: EnclaveStatus,
    disks: Vec<Usage>,
    workers: Vec<Worker>,
}

/// The last report that the chain accepted.
#[derive(Serialize, ToSchema)]
struct LastReport {
    slot: u32,
    root: String,
}

/// The block of the last receipt that the chain accepted since the daemon started.
#[derive(Serialize, ToSchema)]
struct LastReceipt {
    block: u32,
    hash: String,
}

/// The node's collateral in plancks, as decimal texts.
#[derive(Serialize, ToSchema)]
struct CollateralStatus {
    deposited: String,
    reserved: String,
    taken: String,
    free: String,
}

#[derive(Serialize, ToSchema)]
struct AuditStatus {
    /// The order that is drawn.
    due: Option<String>,
    /// Answers until the node earns again; 0 if it does.
    probation: u32,
}

#[derive(Serialize, ToSchema)]
struct ChainStatus {
    url: String,
    genesis: String,
    best: Option<u32>,
    finalized: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct EnclaveStatus {
    release: u32,
    measurement: String,
    /// A development enclave proves nothing.
    development: bool,
    /// Times that an enclave process was opened since the daemon started.
    sessions: u64,
    /// Why its log cannot be written, if so.
    log_error: Option<String>,
    log: LogStatus,
}

/// The enclave's log.
#[derive(Serialize, ToSchema)]
struct LogStatus {
    /// Bytes on disk.
    bytes: u64,
    /// Copies that are kept.
    copies: u8,
    /// What it begins with, if it ever began anew.
    snapshot: Option<LastSnapshot>,
}

/// What takes the place of the log's older records.
#[derive(Serialize, ToSchema)]
struct LastSnapshot {
    /// Number of the last record that it stands for.
    record: u64,
    bytes: u64,
    /// When it was taken, in seconds since 1970.
    taken: u32,
}

impl From<Overview> for LogStatus {
    fn from(overview: Overview) -> Self {
        let Overview { bytes, copies, snapshot } = overview;
        let snapshot = snapshot.map(|it| LastSnapshot { record: it.record, bytes: it.end, taken: it.taken });
        LogStatus { bytes, copies, snapshot }
    }
}

/// The node, its disks and its workers.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status), (status = 503, body = Problem)))]
async fn status(State(admin): State<Admin>) -> Result<Json<Status>, Failure> {
    let host = admin.host()?;
    let disks = host.store.usage();
    let sum = |of: fn(&Usage) -> u64| disks.iter().map(of).fold(0, u64::saturating_add);
    let said = host.said.lock().map(|said| said.clone()).unwrap_or_default();
    let about = &host.identity.about;
    let log = host.enclave.log().borrow().clone();
    Ok(Json(Status {
        stage: admin.stage_now(),
        node: *host.number.borrow(),
        leaves: host.board.leaves(),
        provider: host.wallet.address(),
        key: text(&host.identity.sign_pk),
        peer: host.network.peer_id().to_string(),
        addresses: host.network.listen_addresses().iter().map(ToString::to_string).collect(),
        capacity: sum(|disk| disk.capacity),
        filler_bytes: sum(|disk| disk.filler_bytes),
        stored_bytes: sum(|disk| disk.stored_bytes),
        files: sum(|disk| disk.files),
        last_report: said.report.map(|(slot, root)| LastReport { slot, root: text(&root) }),
        last_receipt: said.receipt.map(|block| LastReceipt { block: block.number, hash: text(&block.hash) }),
        collateral: host.collateral.borrow().as_ref().map(|collateral| CollateralStatus {
            deposited: collateral.deposited.to_string(),
            reserved: collateral.reserved.to_string(),
            taken: collateral.taken.to_string(),
            free: collateral.free.to_string(),
        }),
        audit: said
            .audit
            .map(|audit| AuditStatus { due: audit.due.map(|due| text(&due.order)), probation: audit.probation }),
        chain: ChainStatus {
            url: host.chain.url().to_owned(),
            genesis: text(&host.chain.genesis()),
            best: host.best.borrow().map(|block| block.number),
            finalized: host.finalized.borrow().map(|block| block.number),
        },
        enclave: EnclaveStatus {
            release: about.release,
            measurement: text(&about.measurement),
            development: about.development,
            sessions: host.enclave.session(),
            log_error: log.error,
            log: log.overview.into(),
        },
        disks,
        workers: admin.inner.board.all(),
    }))
}

/// Where a list goes on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Page {
    /// The order after which to go on, as `next` of the page before gave it.
    after: Option<String>,
    /// Files of the page, at most 1,000.
    limit: Option<usize>,
}

/// Files, in the order of their orders' ids.
#[derive(Serialize, ToSchema)]
struct Files {
    files: Vec<File>,
    /// Where the next page begins; absent on the last.
    next: Option<String>,
}

/// What the node knows of an order and its file.
#[derive(Serialize, ToSchema)]
struct File {
    order: String,
    cid: String,
    size: u64,
    state: index::State,
    /// Slot in which the order's term ends, as last seen.
    end: u32,
    disk: Option<String>,
    /// Takes that came to nothing.
    attempts: u32,
    /// Chunks found damaged, at most 16 of them.
    damaged: Vec<u64>,
    lost: bool,
    /// Why it is refused, or what else there is to know.
    note: Option<String>,
}

impl From<(OrderId, Record)> for File {
    fn from((order, record): (OrderId, Record)) -> Self {
        File {
            order: text(&order),
            cid: record.content.cid.to_string(),
            size: record.content.size,
            state: record.state,
            end: record.end,
            disk: record.disk.map(hex::encode),
            attempts: record.attempts,
            damaged: record.damaged,
            lost: record.lost,
            note: record.note,
        }
    }
}

/// Every order that this node took, with its state and the reason if it was refused.
#[utoipa::path(get, path = "/v1/files", params(Page),
    responses((status = 200, body = Files), (status = 400, body = Problem), (status = 503, body = Problem)))]
async fn files(State(admin): State<Admin>, page: Result<Query<Page>, QueryRejection>) -> Result<Json<Files>, Failure> {
    let Query(page) = page.map_err(|rejection| Failure(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let after = page.after.as_deref().map(|text| order_id("after", text)).transpose()?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let records = admin.host()?.store.run(move |index| index.records(after, limit)).await?;
    let next = records.last().filter(|_| records.len() >= limit).map(|(id, _)| text(id));
    Ok(Json(Files { files: records.into_iter().map(File::from).collect(), next }))
}

/// Reads an order's id out of a request.
fn order_id(key: &str, text: &str) -> Result<OrderId, Failure> {
    let id = bytes(text).and_then(|id| OrderId::try_from(id).ok());
    id.ok_or_else(|| Failure(StatusCode::BAD_REQUEST, format!("`{key}`: `{text}` is not the id of an order")))
}

/// Bytes in hexadecimal, with or without `0x`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()
}

/// How much of a disk to use.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Capacity {
    /// The disk's path or id. May be left out where there is one disk only.
    #[serde(default)]
    disk: Option<String>,
    /// Bytes, or a text such as `500GB`.
    #[schema(value_type = String, example = "500GB")]
    capacity: Bytes,
}

/// Changes a disk's capacity, until the configuration says another. Filler follows; files stay.
#[utoipa::path(post, path = "/v1/capacity", request_body = Capacity,
    responses((status = 200, body = Vec<Usage>), (status = 400, body = Problem), (status = 503, body = Problem)))]
async fn capacity(
    State(admin): State<Admin>,
    body: Result<Json<Capacity>, JsonRejection>,
) -> Result<Json<Vec<Usage>>, Failure> {
    let Json(wanted) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let host = admin.host()?;
    let disks = host.store.disks();
    let found = match &wanted.disk {
        None => disks.first().filter(|_| disks.len() == 1),
        Some(name) => disks.iter().find(|disk| disk.path.as_os_str() == name.as_str() || hex::encode(disk.id) == *name),
    };
    let disk = found.ok_or_else(|| {
        let names: Vec<_> = disks.iter().map(|disk| disk.path.display().to_string()).collect();
        Failure(StatusCode::BAD_REQUEST, format!("`disk` must be one of: {}", names.join(", ")))
    })?;
    let (store, id) = (host.store.clone(), disk.id);
    let changed = tokio::task::spawn_blocking(move || store.set_capacity(&id, wanted.capacity.0)).await;
    changed.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
    tracing::info!(disk = %disk.path.display(), capacity = wanted.capacity.0, "capacity changed");
    host.wakes.fill.notify_one();
    Ok(Json(host.store.usage()))
}

/// Which disk is gone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Gone {
    /// The disk's id, as `disks.json` and `/v1/files` have it.
    disk: String,
}

#[derive(Serialize, ToSchema)]
struct GivenUp {
    /// Files that are lost with it.
    files: usize,
}

/// Gives up a disk that will not come back, with all that lay on it. It must be out of the configuration.
#[utoipa::path(post, path = "/v1/lost", request_body = Gone,
    responses((status = 200, body = GivenUp), (status = 400, body = Problem), (status = 503, body = Problem)))]
async fn lost(State(admin): State<Admin>, body: Result<Json<Gone>, JsonRejection>) -> Result<Json<GivenUp>, Failure> {
    let Json(Gone { disk }) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let host = admin.host()?;
    let bad = |text: String| Failure(StatusCode::BAD_REQUEST, text);
    let id = hex::decode(&disk).ok().and_then(|id| DiskId::try_from(id).ok());
    let id = id.ok_or_else(|| bad(format!("`disk`: `{disk}` is not the id of a disk")))?;
    if host.store.disk(&id).is_some() {
        return Err(bad("this disk is in the configuration: take it out and restart the daemon first".to_owned()));
    }
    match giving_up::disk(host, id).await {
        Ok(files) => Ok(Json(GivenUp { files })),
        Err(error) => Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Has the enclave's log begin anew with a snapshot, without waiting until it is worth it: what was deleted is on no disk
/// after it.
#[utoipa::path(post, path = "/v1/snapshot", responses((status = 200, body = LogStatus), (status = 503, body = Problem)))]
async fn snapshot(State(admin): State<Admin>) -> Result<Json<LogStatus>, Failure> {
    let host = admin.host()?;
    let taken = host.enclave.take_snapshot().await;
    taken.map_err(|error| Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    let overview = host.enclave.log().borrow().overview.clone();
    Ok(Json(overview.into()))
}

fn text(bytes: &[u8; 32]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// For metrics, which are floats by their format.
fn float(value: u64) -> f64 {
    value as f64
}

/// The recorder of all metrics: one a process.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is set already: /metrics stays empty");
        }
        describe();
        handle
    };
    RECORDER.get_or_init(install).clone()
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!("crust_best_block", "Newest best block of the chain");
    gauge!("crust_finalized_block", "Newest finalized block of the chain");
    gauge!("crust_registered_until", "Block before which the registration holds");
    gauge!("crust_leaves_block", "Block from which the node is out; 0 if it stays");
    gauge!("crust_last_report_slot", "Slot of the last report that the chain has");
    gauge!("crust_good_filler", "Of the filler sampled last, what was good; 255 is all");
    gauge!("crust_good_files", "Of the files sampled last, what was good; 255 is all");
    gauge!("crust_check_seconds", "How long the last slot's check took");
    gauge!("crust_capacity_bytes", "What the node may use of a disk");
    gauge!("crust_filler_bytes", "Filler on a disk");
    gauge!("crust_stored_bytes", "Bytes of the files kept on a disk");
    gauge!("crust_files", "Files kept on a disk");
    gauge!("crust_disk_present", "1 if the disk is mounted");
    gauge!("crust_log_copies", "Copies of the enclave's log that are kept: 2, or 1 where there is no second disk");
    gauge!("crust_log_bytes", "Bytes of the enclave's log");
    gauge!("crust_snapshot_bytes", "Bytes of the snapshot with which the enclave's log begins; 0 before the first");
    gauge!("crust_snapshot_time_seconds", "When that snapshot was taken, in seconds since 1970");
    gauge!("crust_enclave_sessions", "Times that an enclave process was opened");
    gauge!("crust_worker_queue", "Units of work that wait");
    gauge!("crust_worker_failing", "1 while the worker's last unit failed");
    counter!("crust_worker_errors_total", "Units of work that failed");
    counter!("crust_fetched_bytes_total", "Bytes of blocks fetched");
    counter!("crust_sealed_bytes_total", "Bytes of files sealed");
    counter!("crust_served_bytes_total", "Bytes of blocks read for others");
    counter!("crust_receipts_total", "Orders whose receipt the chain accepted");
    counter!("crust_reports_total", "Reports that the chain accepted");
    counter!("crust_damaged_chunks_total", "Chunks that proved damaged when they were read");
    gauge!("crust_scrubbed_until", "Slot shown when the oldest byte held was last written or read");
    counter!("crust_scrubbed_bytes_total", "Bytes that the scrub has read");
    counter!("crust_scrub_bad_total", "Chunks and pages that the scrub found bad");
    counter!("crust_mended_chunks_total", "Bad chunks that were mended out of their files' parity");
    counter!("crust_trees_made_anew_total", "Damaged hash trees that were made anew out of their files");
    counter!("crust_lost_files_total", "Files given up");
    counter!("crust_dropped_filler_bytes_total", "Filler that was bad again and again, or gone, and counts no more");
    counter!("crust_draws_answered_total", "Draws that reports have answered");
    gauge!("crust_probation", "Answers until the node earns again; 0 if it does");
    gauge!("crust_collateral_tokens", "The node's collateral: deposited, reserved, held by takes, free");
    gauge!("crust_orders_without_collateral", "Open orders passed over for want of collateral");
    counter!("crust_claimed_plancks_total", "Plancks that claims brought the provider");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn api(token: Option<&str>) -> (SocketAddr, CancellationToken) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storage.toml");
        let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("storage.example.toml");
        let text = std::fs::read_to_string(example).unwrap();
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(&path, text.replace("127.0.0.1:8900", &free.to_string())).unwrap();
        let mut config = Config::load(&path).unwrap();
        config.admin_token = token.map(str::to_owned);
        let stop = CancellationToken::new();
        let board = Board::default();
        board.set("report", "failing", 0, Some("the chain is away".to_owned()));
        Admin::start(&config, board, stop.clone()).await.unwrap().stage("waiting for the chain", None);
        (free, stop)
    }

    async fn ask(to: SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(to: SocketAddr, path: &str, more: &str) -> String {
        ask(to, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")).await
    }

    /// Logs are not the only monitoring, and nothing is sent to anyone: metrics and status are there to be asked for.
    #[tokio::test]
    async fn lesson_23_metrics_and_status_exist_before_the_node_is_up() {
        let (to, _stop) = api(None).await;
        assert!(get(to, "/health", "").await.starts_with("HTTP/1.1 200"));
        let ready = get(to, "/ready", "").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("waiting for the chain"), "{ready}");
        assert!(get(to, "/v1/status", "").await.contains("waiting for the chain"));
        assert!(get(to, "/metrics", "").await.contains("crust_worker_failing{worker=\"report\"} 1"));
        let openapi = get(to, "/openapi.json", "").await;
        let paths = ["/health", "/ready", "/metrics", "/v1/status", "/v1/files", "/v1/capacity", "/v1/retire"];
        let others = ["/v1/lost", "/v1/snapshot", "/v1/upgrade", "/v1/standby", "/v1/succeed", "/v1/succession/heir"];
        for path in paths.into_iter().chain(others) {
            assert!(openapi.contains(&format!("\"{path}\"")), "{path}");
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for() {
        let (to, _stop) = api(Some("secret")).await;
        assert!(get(to, "/health", "").await.starts_with("HTTP/1.1 200"));
        for header in ["", "authorization: Bearer wrong\r\n", "authorization: secret\r\n"] {
            assert!(get(to, "/metrics", header).await.starts_with("HTTP/1.1 401"), "{header}");
        }
        assert!(get(to, "/metrics", "authorization: Bearer secret\r\n").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn bad_input_gets_a_clear_answer() {
        let (to, _stop) = api(None).await;
        assert!(get(to, "/v1/files?after=zz", "").await.starts_with("HTTP/1.1 400"));
        assert!(get(to, "/v1/files?color=red", "").await.starts_with("HTTP/1.1 400"));
        assert!(get(to, "/nothing", "").await.starts_with("HTTP/1.1 404"));
        for (body, status) in [("{", "400"), ("{\"capacity\": \"many\"}", "422"), ("{\"capacity\": -1}", "422")] {
            let length = body.len();
            let head =
                "POST /v1/capacity HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
            let answer = ask(to, &format!("{head}content-length: {length}\r\n\r\n{body}")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
        }
        assert!(ask(to, "\0\x01rubbish\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        assert!(get(to, "/health", "").await.starts_with("HTTP/1.1 200"));
    }
}
