//! What can go wrong between a client and the chain, and what to do about it.

use subxt::error::{BackendError, DispatchError};

/// Why something with the chain failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers, or the connection was lost.
    #[error(
        "the chain at {url} cannot be reached: {reason}. Is it running, and is the address right (--chain, CRUST_CHAIN)?"
    )]
    Unreachable { url: String, reason: String },
    /// The address itself is wrong.
    #[error("{url} is not the address of a chain: {reason}. Give one like ws://127.0.0.1:9944")]
    Address { url: String, reason: String },
    /// A connection that worked is gone, or a request was not answered.
    #[error("the connection to the chain was lost: {0}. Try again")]
    Lost(String),
    /// The chain's runtime is not the one that this program was built for.
    #[error("the chain's runtime and this program do not fit together ({0}): use the release that the chain runs")]
    Incompatible(String),
    /// The answer makes no sense.
    #[error("the chain gave an answer that cannot be used: {0}. Use another chain node")]
    Answer(String),
    /// The pool did not take the transaction, and it is in no block and will be in none.
    #[error("the chain did not accept `{call}`: {reason}")]
    Invalid { call: &'static str, reason: String },
    /// The transaction is in a block and did nothing.
    #[error("`{call}` failed: {reason}")]
    Refused { call: &'static str, reason: String },
    /// The transaction is not known to be in a block, or in a final one: it may be, and may still get into one.
    #[error(
        "nothing was heard of `{0}` for a long time: it may be in a block, or still get into one. Look before you try again"
    )]
    NotIncluded(&'static str),
    /// `quote` has no price for this.
    #[error("no such order can be placed: {0}")]
    NoQuote(String),
    /// An argument that the chain has no room for.
    #[error("{0} is too long for the chain")]
    TooLong(&'static str),
}

impl Error {
    /// Whether the same may succeed later without a change on this side.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Lost(_) | Error::NotIncluded(_))
    }

    pub(super) fn from_rpc(error: subxt::rpcs::Error) -> Error {
        use subxt::rpcs::Error as Rpc;
        match error {
            Rpc::Client(inner) => match inner.downcast::<super::connection::Failure>() {
                Ok(failure) => failure.into(),
                Err(inner) => Error::Lost(inner.to_string()),
            },
            Rpc::DisconnectedWillReconnect(reason) => Error::Lost(reason),
            Rpc::InsecureUrl(url) => Error::Address { url, reason: "not a secure address".into() },
            Rpc::User(error) => Error::Answer(user_error(&error)),
            other => Error::Answer(other.to_string()),
        }
    }

    /// Any of the library's many error types.
    pub(super) fn from_subxt(error: impl Into<subxt::Error>) -> Error {
        let error = error.into();
        if let Some(failure) = connection_failure(&error) {
            return failure;
        }
        let text = describe(&error);
        if is_incompatible(&error) { Error::Incompatible(text) } else { Error::Answer(text) }
    }
}

/// The text of a dispatch error: for a pallet's error `Pallet::Name` and what the runtime says about it.
pub(super) fn dispatch(error: &DispatchError) -> String {
    match error {
        DispatchError::Module(module) => {
            let docs = module.details().map(|details| details.variant.docs.join(" ")).unwrap_or_default();
            let name = module.details_string();
            if docs.is_empty() { name } else { format!("{name}. {}", docs.trim()) }
        }
        DispatchError::Token(subxt::error::TokenError::FundsUnavailable) => {
            "the account has too little free money".into()
        }
        other => other.to_string(),
    }
}

/// What the node itself says, with the detail that it keeps apart.
pub(super) fn user_error(error: &subxt::rpcs::UserError) -> String {
    match &error.data {
        Some(data) => format!("{}: {}", error.message, data.get().trim_matches('"')),
        None => error.message.clone(),
    }
}

/// The causes of an error in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Finds the failure of the connection below an error.
fn connection_failure(error: &subxt::Error) -> Option<Error> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = cause {
        if let Some(failure) = current.downcast_ref::<super::connection::Failure>() {
            return Some(failure.clone().into());
        }
        if let Some(subxt::rpcs::Error::Client(inner)) = current.downcast_ref::<subxt::rpcs::Error>() {
            let failure = inner.downcast_ref::<super::connection::Failure>();
            return Some(failure.map_or_else(|| Error::Lost(inner.to_string()), |failure| failure.clone().into()));
        }
        cause = current.source();
    }
    let text = describe(error);
    text.contains(super::connection::MARK).then_some(Error::Lost(text))
}

fn is_incompatible(error: &subxt::Error) -> bool {
    let text = describe(error);
    ["not compatible", "not found", "NotFound"].iter().any(|sign| text.contains(sign))
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Rpc(subxt::error::RpcError::ClientError(error)) => Error::from_rpc(error),
            other => Error::Answer(other.to_string()),
        }
    }
}
