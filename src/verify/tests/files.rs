//! Ledgers, directories and files: what is found in them, and how it is reported.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::network::{Network, chain, envelope, header_hash};
use crate::ledger::{Ledger, LedgerOptions};
use crate::proto::common::Block;
use crate::types::{Digest, Number};
use crate::verify::{Report, Tail, VerifyError, VerifyOptions, verify_paths};

/// Writes a ledger, the genesis file, and each block as a file.
fn write_all(dir: &Path, blocks: &[Bytes]) -> (PathBuf, PathBuf, Vec<PathBuf>) {
    let (ledger, _) = Ledger::open(dir.join("ledger"), LedgerOptions { file_bytes: 5000 }).expect("open");
    let mut files = Vec::new();
    for (number, bytes) in (0..).zip(blocks) {
        let header = Block::decode(bytes.clone()).expect("a block").header.expect("a header");
        let hash = Digest::from_slice(&header_hash(&header)).expect("32 bytes");
        ledger.append(Number(number), &hash, bytes).expect("append");
        let file = dir.join(format!("{number}.block"));
        std::fs::write(&file, bytes).expect("write");
        files.push(file);
    }
    ledger.sync().expect("sync");
    (dir.join("ledger"), dir.join("0.block"), files)
}

fn verify(paths: &[PathBuf], genesis: &Path, strict_tail: bool) -> Vec<Report> {
    verify_paths(paths, genesis, VerifyOptions { strict_tail }).expect("a verdict")
}

fn failure(report: &Report) -> (u64, &str) {
    assert!(!report.ok);
    let failure = report.failure.as_ref().expect("a failure");
    assert!(failure.reason.starts_with(&format!("block {}", failure.block)), "{}", failure.reason);
    (failure.block, &failure.reason)
}

#[test]
fn a_ledger_a_directory_of_block_files_and_files_in_any_order_are_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, genesis, mut files) = write_all(dir.path(), &chain(&mut network, 12));
    files.reverse();
    let all = [vec![ledger, dir.path().to_owned()], files.clone()].concat();
    let reports = verify(&all, &genesis, true);
    assert_eq!(reports.len(), 3);
    for report in &reports {
        assert!(report.ok, "{report:?}");
        assert_eq!((report.blocks, report.min_signatures, report.quorum), (13, Some(3), 3));
    }
    files.pop(); // the genesis block is known
    assert!(verify(&files, &genesis, true)[0].ok);
}

#[test]
fn a_missing_block_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (_, genesis, mut files) = write_all(dir.path(), &chain(&mut network, 5));
    files.remove(3);
    let report = &verify(&files, &genesis, false)[0];
    assert_eq!(failure(report), (3, "block 3: it is missing"));
    assert_eq!(report.blocks, 3);
    let twice = [files[1].clone(), files[1].clone()];
    assert_eq!(failure(&verify(&twice, &genesis, false)[0]).0, 1);
}

#[test]
fn two_properly_signed_chains_that_differ_are_a_fork() {
    let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let mut network = Network::new(4);
    let mut blocks = chain(&mut network, 3);
    let (first, genesis, _) = write_all(one.path(), &blocks);
    let third = Block::decode(blocks.pop().expect("a block")).expect("a block");
    network.tip = Block::decode(blocks[2].clone()).expect("a block");
    let other = network.next(vec![envelope(b"something else")]);
    assert_ne!(third.header, other.header);
    blocks.push(network.signed_by(other, &[0, 1, 2]).encode_to_vec().into());
    let (second, ..) = write_all(two.path(), &blocks);
    let reports = verify(&[first.clone(), second], &genesis, false);
    assert!(reports[0].ok);
    let (number, reason) = failure(&reports[1]);
    assert!(number == 3 && reason.contains(&first.display().to_string()), "{reason}");
}

#[test]
fn an_unfinished_tail_is_reported_and_refused_only_when_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, genesis, _) = write_all(dir.path(), &chain(&mut network, 5));
    let last = std::fs::read_dir(&ledger).expect("list").map(|entry| entry.expect("an entry").path());
    let last = last.filter(|path| path.extension().is_some_and(|extension| extension == "bin")).max();
    let path = last.expect("a block file");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes.extend([1; 77]);
    std::fs::write(&path, &bytes).expect("write");
    let report = &verify(std::slice::from_ref(&ledger), &genesis, false)[0];
    let offset = bytes.len() as u64 - 77;
    assert_eq!(report.unfinished_tail, Some(Tail { file: path, offset, bytes: 77 }));
    assert!(report.ok && report.blocks == 6);
    let report = &verify(&[ledger], &genesis, true)[0];
    assert_eq!(failure(report).0, 6);
}

#[test]
fn a_corrupt_ledger_names_the_block_the_file_and_the_offset() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, genesis, _) = write_all(dir.path(), &chain(&mut network, 12));
    let path = ledger.join("blocks_000000.bin");
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let report = &verify(&[ledger], &genesis, false)[0];
    let (number, reason) = failure(report);
    assert_eq!(number, report.blocks, "all before it are good");
    assert!(
        reason.contains(&format!("(block {number})")) && reason.contains("blocks_000000.bin"),
        "{reason}"
    );
}

#[test]
fn another_genesis_block_or_a_ledger_of_another_channel_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut network = Network::new(4);
    let (ledger, ..) = write_all(dir.path(), &chain(&mut network, 2));
    let other = dir.path().join("other.pb");
    std::fs::write(&other, Network::new(4).genesis.encode_to_vec()).expect("write");
    let report = &verify(std::slice::from_ref(&ledger), &other, false)[0];
    assert_eq!(failure(report).0, 0);
    std::fs::write(&other, b"\xff no block").expect("write");
    let options = VerifyOptions::default();
    assert!(matches!(
        verify_paths(std::slice::from_ref(&ledger), &other, options),
        Err(VerifyError::NotABlock { .. })
    ));
    let ordinary = network.tip.encode_to_vec();
    std::fs::write(&other, ordinary).expect("write");
    assert!(matches!(verify_paths(&[ledger], &other, options), Err(VerifyError::Genesis { .. })));
}

#[test]
fn a_directory_with_no_more_than_a_genesis_block_is_not_called_good() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = chain(&mut Network::new(4), 2);
    let (_, genesis, _) = write_all(dir.path(), &blocks);
    let network = dir.path().join("network");
    std::fs::create_dir(&network).unwrap();
    std::fs::copy(&genesis, network.join("genesis.block")).unwrap();
    let reports = verify(std::slice::from_ref(&network), &genesis, false);
    assert!(!reports[0].ok);
    assert!(failure(&reports[0]).1.contains("neither a ledger nor N.block files"));
}
