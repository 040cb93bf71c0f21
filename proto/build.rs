//! Compiles the protobuf files without a system `protoc`: protox is a protobuf compiler in Rust.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 10] = [
    "common/common.proto",
    "common/configtx.proto",
    "common/configuration.proto",
    "common/policies.proto",
    "msp/identities.proto",
    "msp/msp_config.proto",
    "msp/msp_principal.proto",
    "orderer/ab.proto",
    "orderer/configuration.proto",
    "orderer/smartbft/configuration.proto",
];
const OWN: [&str; 1] = ["sbft/replica.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES.iter().chain(&OWN), ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Server reflection shows clients what they may call; replicas' messages are not part of it.
    let public = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
