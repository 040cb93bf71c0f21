//! `sbft genesis`: the genesis block of a channel from a specification.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::genesis::{GenesisSpec, genesis_block, write_genesis};

/// Arguments of `sbft genesis`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A network on several hosts:
  1. one organization's authorities:   sbft keygen org --dir org --msp-id OrdererMSP
  2. for each replica, on a safe host: sbft keygen replica --org org --out replica-1 --host orderer1.example.com
  3. clients:                          sbft keygen client --org org1 --out client-1
  4. write genesis.toml (see `sbft genesis --example`), naming the certificates made above
  5. sbft genesis --spec genesis.toml --out genesis.block, and copy the block to every host
  6. on each host: sbft keygen node --dir replica-1 --id 1 --genesis genesis.block, then
     sbft node --config replica-1/node.toml")]
pub(super) struct Args {
    /// The specification (TOML)
    #[arg(long, value_name = "FILE", required_unless_present = "example")]
    spec: Option<PathBuf>,
    /// Where to write the block; must not exist
    #[arg(long, value_name = "FILE", default_value = "genesis.block")]
    out: PathBuf,
    /// Print an example of a specification with all defaults, and stop
    #[arg(long)]
    example: bool,
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(path) = args.spec.filter(|_| !args.example) else {
        print!("{EXAMPLE}");
        return Ok(ExitCode::SUCCESS);
    };
    let spec = GenesisSpec::load(&path)?;
    let block = genesis_block(&spec).with_context(|| format!("{} makes no channel", path.display()))?;
    write_genesis(&args.out, &block)?;
    println!(
        "genesis block of channel {} with {} replicas: {}",
        spec.channel,
        spec.replicas.len(),
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}

const EXAMPLE: &str = r#"# Paths are relative to this file. What is left out has its default.
channel = "sbft"
# consensus = "BFT"            # or "solo": one replica, for development
# writers = "signed"           # or "open": anyone may submit

[batch]
# max_message_count = 500
# absolute_max_bytes = 10485760
# preferred_max_bytes = 2097152
# timeout = "200ms"

[options]                      # rules and timers; over wide areas raise all timeouts
# forward_timeout = "200ms"
# complain_timeout = "500ms"
# view_change_timeout = "1s"
# view_change_timeout_cap = "8s"
# resend_interval = "100ms"
# window = 10
# dedup_blocks = 1000          # an envelope is ordered once within so many blocks, and within
# dedup_envelopes = 200000      # as many as have so many envelopes

[[organization]]
role = "orderer"
name = "OrdererOrg"
msp_id = "OrdererMSP"
ca = ["org/ca/cert.pem"]
tls_ca = ["org/tls-ca/cert.pem"]

[[organization]]
role = "application"
name = "Org1"
msp_id = "Org1MSP"
ca = ["org1/ca/cert.pem"]
tls_ca = ["org1/tls-ca/cert.pem"]

# One table for each replica; their order is their place.
[[replica]]
id = 1
msp_id = "OrdererMSP"
host = "orderer1.example.com"
port = 7051                    # QUIC
endpoint = "orderer1.example.com:7050"
identity = "replica-1/identity/cert.pem"
cluster = "replica-1/cluster/cert.pem"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_specification() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("genesis.toml");
        std::fs::write(&path, EXAMPLE).unwrap();
        let spec = GenesisSpec::load(&path).unwrap();
        assert_eq!((spec.channel.as_str(), spec.replicas.len(), spec.organizations.len()), ("sbft", 1, 2));
    }
}
