//! Makes the files in `sim/channel` anew, with the node's own tools: genesis blocks of the
//! simulated channel and its clients' identities. They are part of the repository because keys
//! and certificates are random, and a seed must mean the same run for ever.
//!
//! `cargo run -p sbft-sim --example make_channel -- DIRECTORY` writes them to a new directory.

use std::path::Path;

use sbft::crypto::KeyKind;
use sbft::genesis::{
    BatchSpec, ConsensusKind, NetworkMaterial, NetworkSpec, OptionsSpec, ReplicaAddress, Writers,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let to = std::env::args().nth(1).ok_or("name the directory to write to")?;
    let to = Path::new(&to);
    std::fs::create_dir_all(to)?;
    for (name, key_kind, writers) in [
        ("open", KeyKind::Ed25519, Writers::Open),
        ("ed25519", KeyKind::Ed25519, Writers::Signed),
        ("ecdsa", KeyKind::EcdsaP256, Writers::Signed),
    ] {
        let network = to.join(format!("{name}.network"));
        let replica = |id: u16| ReplicaAddress {
            host: format!("replica-{id}.example.com"),
            quic_port: 7051,
            grpc_port: 7050,
        };
        let made = NetworkMaterial::create(
            &NetworkSpec {
                channel: "sim".to_owned(),
                key_kind,
                consensus: ConsensusKind::Bft,
                replicas: (1..=4).map(replica).collect(),
                clients: 1,
                writers,
                batch: BatchSpec::default(),
                options: OptionsSpec::default(),
            },
            &network,
        )?;
        std::fs::rename(made.layout.genesis_block(), to.join(format!("{name}.block")))?;
        if matches!(writers, Writers::Signed) {
            let client = made.layout.application().client(1);
            std::fs::rename(&client.certificate, to.join(format!("{name}-client.pem")))?;
            std::fs::rename(&client.key, to.join(format!("{name}-client.key")))?;
        }
        std::fs::remove_dir_all(network)?;
    }
    Ok(())
}
