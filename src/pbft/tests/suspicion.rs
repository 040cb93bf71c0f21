//! suspicion
