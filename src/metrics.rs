//! Names of all metrics, in one place; `describe_all` gives each its help text.
//!
//! Fabric's names (fabric-spec F.3) where they fit, and `sbft_*` for what Fabric does not have.
//! Values are recorded with the macros of the `metrics` crate; without a recorder they cost
//! next to nothing.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Histogram, seconds: from the first envelope of a candidate to its cut. Label channel.
pub const BLOCK_FILL_DURATION: &str = "blockcutter_block_fill_duration";
/// Histogram, seconds: validation of an envelope. Labels channel, type, status.
pub const BROADCAST_VALIDATE_DURATION: &str = "broadcast_validate_duration";
/// Histogram, seconds: from validated to accepted. Labels channel, type, status.
pub const BROADCAST_ENQUEUE_DURATION: &str = "broadcast_enqueue_duration";
/// Counter: envelopes answered. Labels channel, type, status.
pub const BROADCAST_PROCESSED_COUNT: &str = "broadcast_processed_count";
/// Counter: blocks sent to clients. Labels channel, filtered, data_type.
pub const DELIVER_BLOCKS_SENT: &str = "deliver_blocks_sent";
/// Counter: requests begun. Labels channel, filtered, data_type.
pub const DELIVER_REQUESTS_RECEIVED: &str = "deliver_requests_received";
/// Counter: requests ended. Labels channel, filtered, data_type, success.
pub const DELIVER_REQUESTS_COMPLETED: &str = "deliver_requests_completed";
/// Counter: deliver streams opened.
pub const DELIVER_STREAMS_OPENED: &str = "deliver_streams_opened";
/// Counter: deliver streams closed.
pub const DELIVER_STREAMS_CLOSED: &str = "deliver_streams_closed";
/// Gauge: consenters of the channel. Label channel.
pub const BFT_CLUSTER_SIZE: &str = "consensus_BFT_cluster_size";
/// Gauge: last committed block number. Label channel.
pub const BFT_COMMITTED_BLOCK_NUMBER: &str = "consensus_BFT_committed_block_number";
/// Gauge: 1 if this node is the primary. Label channel.
pub const BFT_IS_LEADER: &str = "consensus_BFT_is_leader";
/// Gauge: the primary's consenter id. Label channel.
pub const BFT_LEADER_ID: &str = "consensus_BFT_leader_id";
/// Gauge: blocks in the ledger. Label channel.
pub const LEDGER_BLOCKCHAIN_HEIGHT: &str = "ledger_blockchain_height";
/// Histogram, seconds: one block appended to the ledger. Label channel.
pub const LEDGER_COMMIT_TIME: &str = "ledger_blockstorage_commit_time";
/// Gauge: always 1. Label version.
pub const FABRIC_VERSION: &str = "fabric_version";
/// Gauge: consenter 1, follower 2. Label channel.
pub const PARTICIPATION_RELATION: &str = "participation_consensus_relation";
/// Gauge: inactive 0, active 1, onboarding 2, failed 3. Label channel.
pub const PARTICIPATION_STATUS: &str = "participation_status";

/// Counter: envelopes accepted for ordering by this node. Label channel.
pub const ACCEPTED: &str = "sbft_envelopes_accepted_total";
/// Counter: envelopes answered as known already. Label channel.
pub const DUPLICATES: &str = "sbft_envelopes_duplicate_total";
/// Counter: envelopes in committed blocks. Label channel.
pub const ORDERED: &str = "sbft_envelopes_ordered_total";
/// Counter: blocks committed. Label channel.
pub const BLOCKS: &str = "sbft_blocks_total";
/// Gauge: the view. Label channel.
pub const VIEW: &str = "sbft_view";
/// Gauge: 1 if the replica votes in its view. Label channel.
pub const ACTIVE: &str = "sbft_active";
/// Gauge: block numbers in flight. Label channel.
pub const WINDOW_IN_USE: &str = "sbft_window_in_use";
/// Histogram, seconds, per phase (accept_to_prepared, prepared_to_committed). Labels channel, phase.
pub const PHASE_SECONDS: &str = "sbft_phase_seconds";
/// Histogram, seconds: from accepted here to committed here. Label channel.
pub const COMMIT_SECONDS: &str = "sbft_commit_seconds";
/// Gauge: entries in a queue. Labels channel, queue (pool, candidates, protocol, log, ledger, release).
pub const QUEUE_DEPTH: &str = "sbft_queue_depth";
/// Histogram, seconds: one sync to disk. Labels channel, file (log, ledger).
pub const SYNC_SECONDS: &str = "sbft_sync_seconds";
/// Counter: system calls that sync to disk (`fdatasync`, `fsync`). Label of (file, directory).
pub const DISK_SYNCS: &str = "sbft_disk_syncs_total";
/// Counter: records appended to the log. Label channel.
pub const LOG_RECORDS: &str = "sbft_log_records_total";
/// Counter: this replica asked for another view. Label channel.
pub const SUSPECTED: &str = "sbft_suspected_total";
/// Counter: proofs of misbehaviour. Label channel.
pub const OFFENCES: &str = "sbft_offences_total";
/// Counter: what peers sent and was refused. Labels channel, peer, reason.
pub const REFUSED: &str = "sbft_peer_messages_refused_total";
/// Gauge: consenters reachable, this one included. Label channel.
pub const REACHABLE: &str = "sbft_reachable";
/// Counter: frames dropped because a peer's queue was full or it was not connected. Labels peer, class.
pub const TRANSPORT_DROPPED: &str = "cluster_comm_msg_dropped_count";
/// Counter: frames handed to QUIC. Labels peer, class (votes, bulk, repair).
pub const TRANSPORT_FRAMES_SENT: &str = "sbft_transport_frames_sent_total";
/// Counter: bytes of those frames. Labels peer, class.
pub const TRANSPORT_BYTES_SENT: &str = "sbft_transport_bytes_sent_total";
/// Counter: frames received. Labels peer, class.
pub const TRANSPORT_FRAMES_RECEIVED: &str = "sbft_transport_frames_received_total";
/// Counter: bytes of those frames. Labels peer, class.
pub const TRANSPORT_BYTES_RECEIVED: &str = "sbft_transport_bytes_received_total";
/// Counter: streams reset because of what the peer sent. Labels peer, reason.
pub const TRANSPORT_STREAMS_RESET: &str = "sbft_transport_streams_reset_total";
/// Counter: connections that did not come about, dialled or dialling.
pub const TRANSPORT_HANDSHAKES_FAILED: &str = "sbft_transport_handshakes_failed_total";
/// Gauge: 1 while the peer is connected. Label peer.
pub const TRANSPORT_CONNECTED: &str = "sbft_transport_connected";
/// Gauge, seconds: QUIC's smoothed round-trip time. Label peer.
pub const TRANSPORT_ROUND_TRIP: &str = "sbft_transport_round_trip_seconds";
/// Gauge: packets lost on the present connection. Label peer.
pub const TRANSPORT_PACKETS_LOST: &str = "sbft_transport_packets_lost";
/// Gauge, bytes: QUIC's congestion window. Label peer.
pub const TRANSPORT_CONGESTION_WINDOW: &str = "sbft_transport_congestion_window_bytes";

/// Gives every metric its help text. Call once, after a recorder is installed.
pub fn describe_all() {
    describe_histogram!(
        BLOCK_FILL_DURATION,
        Unit::Seconds,
        "From the first envelope of a candidate to its cut."
    );
    describe_histogram!(BROADCAST_VALIDATE_DURATION, Unit::Seconds, "Validation of one envelope.");
    describe_histogram!(
        BROADCAST_ENQUEUE_DURATION,
        Unit::Seconds,
        "From validated to accepted for ordering."
    );
    describe_counter!(BROADCAST_PROCESSED_COUNT, "Envelopes answered.");
    describe_counter!(DELIVER_BLOCKS_SENT, "Blocks sent to clients.");
    describe_counter!(DELIVER_REQUESTS_RECEIVED, "Deliver requests begun.");
    describe_counter!(DELIVER_REQUESTS_COMPLETED, "Deliver requests ended.");
    describe_counter!(DELIVER_STREAMS_OPENED, "Deliver streams opened.");
    describe_counter!(DELIVER_STREAMS_CLOSED, "Deliver streams closed.");
    describe_gauge!(BFT_CLUSTER_SIZE, "Consenters of the channel.");
    describe_gauge!(BFT_COMMITTED_BLOCK_NUMBER, "Last committed block number.");
    describe_gauge!(BFT_IS_LEADER, "1 if this node is the primary.");
    describe_gauge!(BFT_LEADER_ID, "The primary's consenter id.");
    describe_gauge!(LEDGER_BLOCKCHAIN_HEIGHT, "Blocks in the ledger.");
    describe_histogram!(LEDGER_COMMIT_TIME, Unit::Seconds, "One block appended to the ledger.");
    describe_gauge!(FABRIC_VERSION, "Always 1; the label is the version.");
    describe_gauge!(PARTICIPATION_RELATION, "Consenter 1, follower 2.");
    describe_gauge!(PARTICIPATION_STATUS, "Inactive 0, active 1, onboarding 2, failed 3.");
    describe_counter!(ACCEPTED, "Envelopes accepted for ordering by this node.");
    describe_counter!(DUPLICATES, "Envelopes answered as known already.");
    describe_counter!(ORDERED, "Envelopes in committed blocks.");
    describe_counter!(BLOCKS, "Blocks committed.");
    describe_gauge!(VIEW, "The view.");
    describe_gauge!(ACTIVE, "1 if the replica votes in its view.");
    describe_gauge!(WINDOW_IN_USE, "Block numbers in flight.");
    describe_histogram!(PHASE_SECONDS, Unit::Seconds, "Time of one phase of one block.");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "From accepted here to committed here, per envelope.");
    describe_gauge!(QUEUE_DEPTH, "Entries in a queue.");
    describe_histogram!(SYNC_SECONDS, Unit::Seconds, "One sync to disk.");
    describe_counter!(DISK_SYNCS, "System calls that sync to disk.");
    describe_counter!(LOG_RECORDS, "Records appended to the log.");
    describe_counter!(SUSPECTED, "Times this replica asked for another view.");
    describe_counter!(OFFENCES, "Proofs of misbehaviour.");
    describe_counter!(REFUSED, "What peers sent and was refused.");
    describe_gauge!(REACHABLE, "Consenters reachable, this one included.");
    describe_counter!(TRANSPORT_DROPPED, "Frames dropped for a peer that is slow or down.");
    describe_counter!(TRANSPORT_FRAMES_SENT, "Frames handed to QUIC.");
    describe_counter!(TRANSPORT_BYTES_SENT, Unit::Bytes, "Bytes of frames handed to QUIC.");
    describe_counter!(TRANSPORT_FRAMES_RECEIVED, "Frames received from a peer.");
    describe_counter!(TRANSPORT_BYTES_RECEIVED, Unit::Bytes, "Bytes of frames received from a peer.");
    describe_counter!(TRANSPORT_STREAMS_RESET, "Streams reset because of what the peer sent.");
    describe_counter!(TRANSPORT_HANDSHAKES_FAILED, "Connections between replicas that did not come about.");
    describe_gauge!(TRANSPORT_CONNECTED, "1 while the peer is connected.");
    describe_gauge!(TRANSPORT_ROUND_TRIP, Unit::Seconds, "Smoothed round-trip time to the peer.");
    describe_gauge!(TRANSPORT_PACKETS_LOST, "Packets lost on the present connection to the peer.");
    describe_gauge!(
        TRANSPORT_CONGESTION_WINDOW,
        Unit::Bytes,
        "What may be on its way to the peer unacknowledged."
    );
}
