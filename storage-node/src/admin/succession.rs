//! The admin API of a succession: what an operator asks for, and what the daemon of a standby asks of the node's.

use std::path::PathBuf;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    http::StatusCode,
    routing::{get, post},
};
use codec::{DecodeAll, Encode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Admin, Failure, Problem, bytes};
use crate::{
    enclave_client,
    succession::{
        Error, Progress,
        giver::{self, Answer, Ask, Challenge, Holder, Name},
        upgrade::Upgrade,
    },
};

/// Bytes of a hand-over: a quote, a vendor's collateral and a release, in hexadecimal.
const BODY: usize = 1 << 20;

pub(super) fn router() -> Router<Admin> {
    Router::new()
        .route("/v1/upgrade", get(upgrade).post(begin_upgrade))
        .route("/v1/standby", get(standby))
        .route("/v1/succeed", post(succeed))
        .route("/v1/succession/challenge", post(challenge))
        .route("/v1/succession/hand-over", post(hand_over).layer(DefaultBodyLimit::max(BODY)))
        .route("/v1/succession/heir", post(name))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Enclave(enclave_client::Error::Refused(_)) | Error::Release(_) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(status, error.to_string())
    }
}

/// The enclave to go to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    /// Its Unix socket; `null` gives an upgrade up that has not gone to the chain yet.
    #[schema(value_type = Option<String>, example = "/run/crust/enclave-2/enclave.sock")]
    enclave: Option<PathBuf>,
}

/// How far the upgrade to another enclave on this machine is.
#[utoipa::path(get, path = "/v1/upgrade",
    responses((status = 200, body = Progress), (status = 503, body = Problem)))]
pub(super) async fn upgrade(State(admin): State<Admin>) -> Result<Json<Progress>, Failure> {
    Ok(Json(admin.host()?.upgrade.progress()))
}

/// Hands the node over to another enclave on this machine, without losing a slot. Goes on by itself, also after a restart;
/// the daemon starts anew at its end.
#[utoipa::path(post, path = "/v1/upgrade", request_body = To, responses((status = 202, body = Progress),
    (status = 400, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn begin_upgrade(
    State(admin): State<Admin>,
    body: Result<Json<To>, JsonRejection>,
) -> Result<(StatusCode, Json<Progress>), Failure> {
    let Json(to) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let host = admin.host()?;
    if let Some(socket) = &to.enclave
        && !socket.is_absolute()
    {
        let text = format!("`enclave`: {} is not an absolute path", socket.display());
        return Err(Failure(StatusCode::BAD_REQUEST, text));
    }
    if !Upgrade::may_want(host, to.enclave.as_deref()).await? {
        let text = "the chain has put the next enclave in this one's place: the upgrade to it goes on by itself, and there \
                    is no other way any more";
        return Err(Failure(StatusCode::CONFLICT, text.to_owned()));
    }
    Upgrade::want(host, to.enclave).await?;
    Ok((StatusCode::ACCEPTED, Json(host.upgrade.progress())))
}

/// How far a standby is: `standing by` when it could follow its node.
#[utoipa::path(get, path = "/v1/standby",
    responses((status = 200, body = Progress), (status = 409, body = Problem)))]
pub(super) async fn standby(State(admin): State<Admin>) -> Result<Json<Progress>, Failure> {
    Ok(Json(admin.standby()?.progress()))
}

/// Which log to follow.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Follow {
    /// The newest copy of the node's `enclave.log`. Left out: whichever of those on the disks the chain agrees with.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    log: Option<PathBuf>,
}

/// Has a standby take its node's place. The node must be dead, and its disks mounted where the standby's configuration has
/// them. Goes on by itself; the daemon starts anew at its end.
#[utoipa::path(post, path = "/v1/succeed", request_body = Follow, responses((status = 202, body = Progress),
    (status = 409, body = Problem)))]
pub(super) async fn succeed(
    State(admin): State<Admin>,
    body: Result<Json<Follow>, JsonRejection>,
) -> Result<(StatusCode, Json<Progress>), Failure> {
    let Json(follow) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let standby = admin.standby()?;
    standby.succeed(follow.log);
    Ok((StatusCode::ACCEPTED, Json(standby.progress())))
}

/// Of another daemon of the provider: begins the hand-over of the node's key.
#[utoipa::path(post, path = "/v1/succession/challenge",
    responses((status = 200, body = Challenge), (status = 503, body = Problem)))]
pub(super) async fn challenge(State(admin): State<Admin>) -> Result<Json<Challenge>, Failure> {
    let challenge = admin.holder()?.challenge().await?;
    Ok(Json(Challenge { challenge: hex::encode(challenge) }))
}

/// Of another daemon of the provider: hands the node's key over, sealed for an enclave that this one finds worthy of it.
#[utoipa::path(post, path = "/v1/succession/hand-over", request_body = Ask, responses((status = 200, body = Answer),
    (status = 400, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn hand_over(
    State(admin): State<Admin>,
    body: Result<Json<Ask>, JsonRejection>,
) -> Result<Json<Answer>, Failure> {
    let Json(ask) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let (heir, shown) = (read("heir", &ask.heir)?, read("shown", &ask.shown)?);
    let given = admin.holder()?.hand_over(heir, shown).await?;
    Ok(Json(Answer {
        share: hex::encode(given.share),
        sealed: hex::encode(given.sealed),
        shown: hex::encode(given.shown.encode()),
    }))
}

/// Of a standby's daemon: has the node's enclave name that of the standby as its heir.
#[utoipa::path(post, path = "/v1/succession/heir", request_body = Name, responses((status = 200, body = Name),
    (status = 400, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn name(
    State(admin): State<Admin>,
    body: Result<Json<Name>, JsonRejection>,
) -> Result<Json<Name>, Failure> {
    let Json(name) = body.map_err(|rejection| Failure(rejection.status(), rejection.body_text()))?;
    let heir = read("heir", &name.heir)?;
    let host = admin.host()?;
    if Upgrade::wanted(host).await?.is_some() {
        // The one named last follows.
        let text = "an upgrade is under way, whose enclave must stay named; ask again after it";
        return Err(Failure(StatusCode::CONFLICT, text.to_owned()));
    }
    giver::name(host, heir).await?;
    Ok(Json(name))
}

/// A value in SCALE and hexadecimal.
fn read<T: DecodeAll>(key: &str, text: &str) -> Result<T, Failure> {
    let value = bytes(text).and_then(|bytes| T::decode_all(&mut bytes.as_slice()).ok());
    value.ok_or_else(|| Failure(StatusCode::BAD_REQUEST, format!("`{key}` is not what it should be")))
}

impl Admin {
    /// Who has the key here: the node's enclave, or its standby's.
    fn holder(&self) -> Result<Holder<'_>, Failure> {
        match self.inner.standby.get() {
            Some(standby) => standby.holder().ok_or_else(|| {
                Failure(StatusCode::SERVICE_UNAVAILABLE, "this standby does not have the node's key yet".to_owned())
            }),
            None => Ok(self.host()?.holder()),
        }
    }

    fn standby(&self) -> Result<&crate::succession::standby::Standby, Failure> {
        let none = || Failure(StatusCode::CONFLICT, "this daemon is no standby".to_owned());
        self.inner.standby.get().map(AsRef::as_ref).ok_or_else(none)
    }
}
