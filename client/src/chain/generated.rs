//! The code that the checked-in metadata describes. A runtime with another interface is refused at the first call.

// The macro does not tell the compiler which file it reads: without this, changed metadata would not be compiled in.
const _: &[u8] = include_bytes!("../../../chain/metadata.scale");

#[subxt::subxt(
    runtime_metadata_path = "../chain/metadata.scale",
    substitute_type(path = "crust_protocol::file::Cid", with = "::subxt::utils::Static<::crust_protocol::file::Cid>"),
    substitute_type(
        path = "crust_protocol::draw::Drawn",
        with = "::subxt::utils::Static<::crust_protocol::draw::Drawn>"
    ),
    substitute_type(
        path = "crust_protocol::parameters::Parameters",
        with = "::subxt::utils::Static<::crust_protocol::parameters::Parameters>"
    ),
    substitute_type(
        path = "crust_protocol::attestation::Evidence",
        with = "::subxt::utils::Static<::crust_protocol::attestation::Evidence>"
    ),
    substitute_type(
        path = "crust_protocol::attestation::Collateral",
        with = "::subxt::utils::Static<::crust_protocol::attestation::Collateral>"
    ),
    substitute_type(
        path = "crust_protocol::statement::Receipts",
        with = "::subxt::utils::Static<::crust_protocol::statement::Receipts>"
    ),
    substitute_type(
        path = "crust_protocol::statement::Gone",
        with = "::subxt::utils::Static<::crust_protocol::statement::Gone>"
    ),
    substitute_type(
        path = "crust_protocol::statement::Heir",
        with = "::subxt::utils::Static<::crust_protocol::statement::Heir>"
    ),
    substitute_type(
        path = "crust_protocol::statement::Report",
        with = "::subxt::utils::Static<::crust_protocol::statement::Report>"
    )
)]
mod code {}

pub use code::*;
