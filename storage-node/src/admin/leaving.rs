//! The admin API's way out: others take over what the node holds.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use crust_client::chain::{self, Call};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Admin, Failure, Problem, order_id};

/// What to give back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retire {
    /// This order's replica alone, by its id. Left out: the whole node, which takes nothing new from then on.
    #[serde(default)]
    order: Option<String>,
}

/// What the chain has accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct Retired {
    node: u32,
    order: Option<String>,
    /// Number of the block.
    block: u32,
}

/// Offers the node's places, or one of them, to others. Keep the node running until they are gone.
#[utoipa::path(post, path = "/v1/retire", request_body = Retire, responses((status = 200, body = Retired),
    (status = 400, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn retire(
    State(admin): State<Admin>,
    body: Result<Json<Retire>, JsonRejection>,
) -> Result<Json<Retired>, Failure> {
    let Json(wanted) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let order = wanted.order.as_deref().map(|text| order_id("order", text)).transpose()?;
    let host = admin.host()?;
    let unavailable = |error: String| Failure(StatusCode::SERVICE_UNAVAILABLE, error);
    let node = host.number().map_err(|error| unavailable(error.to_string()))?;
    let call = match order {
        Some(order) => Call::Retire { order, node },
        None => Call::RetireNode { node },
    };
    match host.chain.submit_finalized(call, &host.wallet).await {
        Ok(included) => {
            tracing::info!(block = included.block.number, order = wanted.order, "retired");
            Ok(Json(Retired { node, order: wanted.order, block: included.block.number }))
        }
        Err(error @ chain::Error::Refused { .. }) => Err(Failure(StatusCode::CONFLICT, error.to_string())),
        Err(error) => Err(unavailable(error.to_string())),
    }
}
