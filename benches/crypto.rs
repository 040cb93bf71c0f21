//! Signatures and hashes: `cargo bench --bench crypto`.
//!
//! Votes are checked by the strict rule, one by one; clients' envelopes by ZIP-215, in batches that spread
//! over all cores (so a batch's figure depends on how many there are, and what else runs). Figures of
//! batches are for the whole batch.

#[path = "support/terms.rs"]
mod terms;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use sbft::crypto::{EnvelopeCheck, KeyKind, PublicKey, SecretKey, generate_key_pem, verify_envelopes};
use sbft::header::{data_hash, header_bytes, header_hash, sha256};
use sbft::pbft::message::CommitVote;
use sbft::types::{ConsenterId, Digest, Header, Number, View};
use sbft::wire::block::{commit_signing_bytes, identifier_header};
use terms::Terms;

/// What is signed: the payload of an envelope of 1 KiB, about.
const MESSAGE: usize = 960;
/// Client identities.
const CLIENTS: usize = 8;

fn main() {
    let terms = Terms {
        n: 1,
        payload: format!("messages of {MESSAGE} B, envelopes of 1024 B"),
        signatures: "Ed25519 and ECDSA P-256 over SHA-256, as the benchmark's name says",
        sync: "none: nothing is stored",
        transport: "none: one thread, batches on all cores",
    };
    println!("\nsignatures and hashes\n{terms}");
    let mut criterion = Criterion::default()
        .configure_from_args()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    signatures(&mut criterion);
    hashes(&mut criterion);
    criterion.final_summary();
}

fn key(kind: KeyKind) -> (SecretKey, PublicKey) {
    let pem = generate_key_pem(kind).expect("the system has random bytes");
    let secret = SecretKey::from_pem(&pem).expect("a key that was just made");
    let public = secret.public_key().expect("its public half");
    (secret, public)
}

fn message(index: usize) -> Vec<u8> {
    (0..MESSAGE).map(|byte| (byte * 31 + index * 7) as u8).collect()
}

fn signatures(criterion: &mut Criterion) {
    for (kind, name) in [(KeyKind::Ed25519, "Ed25519"), (KeyKind::EcdsaP256, "P-256")] {
        let (secret, public) = key(kind);
        let message_one = message(0);
        let signature = secret.sign(&message_one).expect("a signature");
        assert!(public.verify_vote(&message_one, &signature), "what was signed holds");
        assert!(!public.verify_vote(&message(1), &signature), "what was not signed does not hold");
        let mut group = criterion.benchmark_group(name);
        group.bench_function("sign", |bencher| {
            bencher.iter(|| secret.sign(black_box(&message_one)).expect("a signature"));
        });
        group.bench_function("verify a vote", |bencher| {
            bencher.iter(|| assert!(public.verify_vote(black_box(&message_one), &signature)));
        });
        group.bench_function("verify an envelope alone", |bencher| {
            bencher.iter(|| assert!(public.verify_envelope(black_box(&message_one), &signature)));
        });
        let clients: Vec<_> = (0..CLIENTS).map(|_| key(kind)).collect();
        for size in [8, 64, 256, 500] {
            let signed: Vec<(usize, Vec<u8>, Bytes)> = (0..size)
                .map(|index| {
                    let (client, text) = (index % CLIENTS, message(index));
                    let signature = clients[client].0.sign(&text).expect("a signature");
                    (client, text, signature)
                })
                .collect();
            let checks: Vec<EnvelopeCheck<'_>> = signed
                .iter()
                .map(|(client, message, signature)| EnvelopeCheck {
                    key: &clients[*client].1,
                    message,
                    signature,
                })
                .collect();
            group.throughput(Throughput::Elements(size as u64));
            group.bench_with_input(BenchmarkId::new("verify a batch", size), &checks, |bencher, checks| {
                bencher.iter(|| assert!(verify_envelopes(black_box(checks)).into_iter().all(|holds| holds)));
            });
        }
        group.finish();
    }
}

fn hashes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    for envelopes in [1, 10, 100, 500] {
        let data: Vec<Bytes> = (0..envelopes).map(|_| Bytes::from(vec![7; 1024])).collect();
        group.throughput(Throughput::Bytes(envelopes * 1024));
        group.bench_with_input(
            BenchmarkId::new("data of a block, KiB", envelopes),
            &data,
            |bencher, data| {
                bencher.iter(|| data_hash(black_box(data)));
            },
        );
    }
    group.finish();

    let header =
        Header { number: Number(123_456), previous_hash: Some(Digest([1; 32])), data_hash: sha256(b"data") };
    let vote =
        CommitVote { view: View(3), header: header.clone(), digest: Digest([2; 32]), last_config: Number(0) };
    let signer = identifier_header(ConsenterId(2), &[9; sbft::wire::NONCE_BYTES]);
    let mut group = criterion.benchmark_group("header");
    group.bench_function("bytes", |bencher| bencher.iter(|| header_bytes(black_box(&header))));
    group.bench_function("hash", |bencher| bencher.iter(|| header_hash(black_box(&header))));
    group.bench_function("what a commit signs", |bencher| {
        bencher.iter(|| commit_signing_bytes(black_box(&vote), &signer));
    });
    group.finish();
}
