//! Keys, the local signer, and which signatures count.
