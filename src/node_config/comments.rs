//! What a written configuration says about each field, so that the file explains itself.

/// Dotted field, and the comment above it.
const COMMENTS: &[(&str, &str)] = &[
    ("id", "This node's consenter id, as the channel's consenter mapping gives it; from 1."),
    ("genesis", "The channel's genesis block. Relative paths start from this file's directory."),
    ("data_dir", "Ledgers and logs. Every block is synced to it: a disk of its own pays."),
    (
        "threads",
        "Threads that run this node's tasks; without it one for each core. Fewer where nodes share a machine.",
    ),
    ("identity", "Who this node is to other replicas and to verifiers of blocks."),
    ("identity.msp_id", "The MSP the certificate belongs to."),
    ("identity.certificate", "X.509 certificate (PEM); must be the one in this node's consenter entry."),
    ("identity.key", "Its private key (PKCS#8 PEM, Ed25519 or ECDSA P-256); readable by the owner only."),
    ("listen", "Addresses to listen on; port 0 takes a free one."),
    ("listen.grpc", "Clients: AtomicBroadcast, health and reflection."),
    ("listen.quic", "Other replicas (UDP)."),
    (
        "listen.ops",
        "Health, metrics, log filter, status over plain HTTP, without authentication: loopback or\nan operators' network.",
    ),
    ("tls", "TLS towards clients; without this table it is plain text."),
    ("tls.certificate", "The server's certificate and its intermediates (PEM)."),
    ("tls.key", "Its private key (PEM)."),
    (
        "tls.client_ca",
        "CAs of clients (PEM). With it every client must show a certificate of theirs, and name its\nhash in Deliver requests.",
    ),
    ("cluster", "Connections between replicas; certificates are pinned by the channel configuration."),
    (
        "cluster.certificate",
        "The certificate (PEM) that this node's consenter entry names for server and client.",
    ),
    ("cluster.key", "Its private key (PKCS#8 PEM)."),
    (
        "cluster.max_mtu",
        "Largest UDP payload to try, 1200 to 6500 bytes. Above 1452 throughput doubles, but only where\nevery hop takes such packets: the loopback, networks with jumbo frames.",
    ),
    (
        "cluster.socket_buffer_bytes",
        "UDP buffers. Smaller ones lose packets under load, larger ones cost memory.",
    ),
    ("broadcast", "How Broadcast answers."),
    (
        "broadcast.success",
        "What SUCCESS means: \"accepted\" for ordering, or \"committed\", with the block's number; then\neach envelope's answer takes the commit latency.",
    ),
    (
        "broadcast.pipeline",
        "Answers of one stream that may be outstanding. Raising it lets a stream have more envelopes\nwaiting for their commit, and costs memory per stream.",
    ),
    (
        "broadcast.batch",
        "Envelopes of one stream that are checked side by side. Raising it makes signatures cheaper and\nholds more undecided envelopes in memory.",
    ),
    (
        "broadcast.batch_bytes",
        "Bytes of undecided envelopes per stream. Raising it costs that much memory per stream.",
    ),
    (
        "broadcast.check_expiration",
        "Refuse creators and readers whose certificate has expired, by this node's clock.",
    ),
    ("deliver", "How Deliver judges requests."),
    (
        "deliver.time_window",
        "How far a request's timestamp may be from this node's clock. Raising it lets a captured request\nbe replayed for longer.",
    ),
    (
        "deliver.read_ahead_bytes",
        "Blocks read ahead for one stream. Raising it speeds up catching up and costs that much memory\nper stream.",
    ),
    ("limits", "What clients may use; beyond it they are answered RESOURCE_EXHAUSTED."),
    (
        "limits.max_message_bytes",
        "Largest gRPC message. The worst case of memory is this times streams; must exceed the channel's\nabsolute_max_bytes by a MiB.",
    ),
    ("limits.connections", "Clients' connections. Each costs a socket and some 100 KiB."),
    (
        "limits.streams_per_connection",
        "Streams on one connection. Raising it lets one client take more of limits.streams.",
    ),
    (
        "limits.streams",
        "Broadcast and Deliver streams of all clients. Raising it raises the worst case of memory.",
    ),
    (
        "limits.stream_window_bytes",
        "HTTP/2 window of a stream. Smaller costs throughput, larger memory per stream.",
    ),
    ("limits.connection_window_bytes", "The same for all streams of one connection."),
    (
        "limits.keepalive_interval",
        "A silent connection is probed after this long. Raising it keeps dead clients' streams longer.",
    ),
    (
        "limits.keepalive_timeout",
        "How long a probe may go unanswered, a TLS handshake may take, and a new connection may say\nnothing. Raising it keeps dead clients' connections longer.",
    ),
    (
        "limits.shutdown_grace",
        "How long open streams may take to end when the node stops. Raising it may delay the stop.",
    ),
    ("log", "What is logged, to standard error."),
    (
        "log.filter",
        "Directives, each a level or target=level (\"info,sbft=debug\"); changeable by PUT /logspec.\nFrom debug on there are several lines per block.",
    ),
    ("log.format", "\"human\" or \"json\"."),
    ("storage", "How the data directory is written, and what waits to be written."),
    (
        "storage.sync",
        "\"always\": nothing leaves before what it promises is on the disk. There is no other policy.",
    ),
    (
        "storage.block_sync_interval",
        "How long an appended block may wait for the ledger's sync (the log recovers it). Raising it\nsaves syncs and lengthens the log.",
    ),
    (
        "storage.compact_bytes",
        "The log is rewritten after this many bytes. Raising it costs disk space and a longer restart.",
    ),
    (
        "storage.pool_bytes",
        "Accepted envelopes that wait to be ordered. Raising it takes more memory under overload, and\nclients wait longer before they are told.",
    ),
];

/// Puts its comment above each field and table of `toml`.
pub(super) fn annotate(toml: &str) -> String {
    let mut table = String::new();
    let mut out = String::new();
    for line in toml.lines() {
        let field = match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => {
                name.clone_into(&mut table);
                Some(table.clone())
            }
            None => line.split_once(" = ").map(|(key, _)| super::text::join(&table, key)),
        };
        let comment = field.and_then(|field| COMMENTS.iter().find(|(name, _)| *name == field));
        for comment in comment.into_iter().flat_map(|(_, comment)| comment.lines()) {
            out.push_str("# ");
            out.push_str(comment);
            out.push('\n');
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}
