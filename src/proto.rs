//! Messages generated from `proto/`. Their meaning stands in the `.proto` files.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::or_fun_call, clippy::use_self)]
#![allow(clippy::manual_let_else, unused_qualifications, elided_lifetimes_in_paths)]

pub mod common {
    tonic::include_proto!("common");
}

pub mod msp {
    tonic::include_proto!("msp");
}

pub mod orderer {
    tonic::include_proto!("orderer");

    pub mod smartbft {
        tonic::include_proto!("orderer.smartbft");
    }
}

pub mod sbft {
    tonic::include_proto!("sbft");
}

/// Serialized `FileDescriptorSet` of everything that clients may call, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
