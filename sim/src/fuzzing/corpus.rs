//! Makes the corpora in `sim/fuzz/corpus`: real values from runs of the simulator and of the
//! encoders, and some mutations of each. `cargo run -p sbft-sim --example fuzz_corpus` writes them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use sbft::header::{data_hash, sha256};
use sbft::pbft::Record;
use sbft::pbft::message::Message;
use sbft::proto::common;
use sbft::types::{
    BlockCertificate, BlockSignature, CommittedBlock, Digest, Era, Header, Number, Place, Signature, View,
};
use sbft::wire::envelope::Parsed;
use sbft::wire::repair::Repair;
use sbft::wire::{self, NONCE_BYTES};

use super::decoders::CONSENTERS;
use super::{TARGETS, mutated, storage};
use crate::draw::{Draws, Purpose};
use crate::plan::{Plan, Show};
use crate::world::{Encodings, Through};

/// Real values that a target's corpus holds, at most.
const REAL: usize = 28;
/// Mutated ones that come on top.
const MUTATED: u64 = 12;

thread_local! {
    static FRAMES: RefCell<BTreeSet<Vec<u8>>> = const { RefCell::new(BTreeSet::new()) };
    static RECORDS: RefCell<BTreeSet<Vec<u8>>> = const { RefCell::new(BTreeSet::new()) };
}

/// All corpora, by target. `vectors` is the folder with blocks that Fabric made.
pub fn make(vectors: &Path) -> std::io::Result<BTreeMap<&'static str, BTreeSet<Vec<u8>>>> {
    let fabric = ["genesis.pb", "config-block4.pb", "block1.pb", "block2.pb"];
    let fabric: Vec<Vec<u8>> =
        fabric.iter().map(|name| std::fs::read(vectors.join(name))).collect::<Result<_, _>>()?;
    let (frames, records) = said_and_logged();
    let envelopes = envelopes(&fabric);
    let mut corpora = BTreeMap::new();
    for target in &TARGETS {
        let real: Vec<Vec<u8>> = match target.name {
            "message" => varied(&frames),
            "record" => varied(&records),
            "candidate" => candidates(&envelopes).into_iter().map(|candidate| candidate.to_vec()).collect(),
            "envelope" => envelopes.iter().map(|envelope| envelope.to_vec()).collect(),
            "block" => blocks(&envelopes).into_iter().map(|block| block.to_vec()).collect(),
            "repair" => repairs(&envelopes),
            "config" => fabric[..3].to_vec(),
            "log_files" => [0, 2, 15].into_iter().flat_map(storage::some_logs).collect(),
            "ledger_files" => [0, 1, 4, 30].map(storage::some_ledger).to_vec(),
            "hostile" => scripts(300),
            _ => scripts(120),
        };
        // Large files stay few.
        let rounds = if real.iter().any(|file| file.len() > 4000) { 4 } else { MUTATED };
        let mut files: BTreeSet<Vec<u8>> = real.iter().cloned().collect();
        for round in 0..rounds {
            let pick = |nth| &real[(round as usize * 7 + nth) % real.len()];
            files.insert(mutated(pick(0), pick(3), round));
        }
        corpora.insert(target.name, files);
    }
    Ok(corpora)
}

/// What replicas said and logged in some drawn runs, encoded.
fn said_and_logged() -> (BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>) {
    fn message(message: &Message) -> Result<Message, String> {
        let frame = wire::message::encode(message, Era(0)).to_vec();
        FRAMES.with_borrow_mut(|frames| frames.insert(frame));
        Ok(message.clone())
    }
    fn record(record: &Record) -> Result<Record, String> {
        let bytes = wire::record::encode(record).to_vec();
        // The simulator's candidates may have an encoding of their own.
        if wire::record::decode(bytes.clone().into()).is_ok() {
            RECORDS.with_borrow_mut(|records| records.insert(bytes));
        }
        Ok(record.clone())
    }
    let encodings = Encodings { message: Some(Through(message)), record: Some(Through(record)) };
    for seed in 0..40 {
        Plan::draw_with(seed, 4).run(Show { encodings, ..Show::default() });
    }
    (FRAMES.take(), RECORDS.take())
}

/// Some of them: of each kind (the first bytes say which) the shortest, the longest and some between.
fn varied(all: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut kinds: BTreeMap<Vec<u8>, Vec<&Vec<u8>>> = BTreeMap::new();
    for bytes in all {
        kinds.entry(bytes[..bytes.len().min(1)].to_vec()).or_default().push(bytes);
    }
    let each = (REAL / kinds.len().max(1)).max(2);
    let mut some = Vec::new();
    for mut of_kind in kinds.into_values() {
        of_kind.sort_by_key(|bytes| bytes.len());
        of_kind.retain(|bytes| bytes.len() < 6000);
        let step = (of_kind.len() / each).max(1);
        some.extend(of_kind.into_iter().step_by(step).take(each + 1).cloned());
    }
    some
}

/// Envelopes of every kind: ordinary ones of several sizes, a config envelope, Fabric's own.
fn envelopes(fabric: &[Vec<u8>]) -> Vec<Bytes> {
    let mut all: Vec<Bytes> = (0..6u8).map(|which| envelope(which, usize::from(which) * 60, false)).collect();
    all.push(envelope(7, 40, true));
    for block in &fabric[2..] {
        let block = common::Block::decode(&block[..]).expect("a block of Fabric's");
        let frames = block.data.unwrap_or_default().data;
        all.extend(frames.into_iter().filter(|frame| Parsed::from_frame(frame.clone()).is_ok()).take(2));
    }
    all
}

fn envelope(which: u8, length: usize, is_config: bool) -> Bytes {
    let kind = if is_config { common::HeaderType::Config } else { common::HeaderType::EndorserTransaction };
    let data = if is_config {
        let payload = Bytes::from(vec![which; length]);
        let last_update = Some(common::Envelope { payload, signature: Bytes::from_static(b"an admin's") });
        common::ConfigEnvelope { config: None, last_update }.encode_to_vec()
    } else {
        vec![which; length]
    };
    let channel_header =
        common::ChannelHeader { r#type: kind as i32, channel_id: "orders".to_owned(), ..Default::default() };
    let signature_header =
        common::SignatureHeader { creator: vec![which; 20].into(), nonce: vec![which; NONCE_BYTES].into() };
    let header = common::Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = common::Payload { header: Some(header), data: data.into() };
    let signature = Bytes::from(vec![which; 64]);
    common::Envelope { payload: payload.encode_to_vec().into(), signature }.encode_to_vec().into()
}

fn candidates(envelopes: &[Bytes]) -> Vec<Bytes> {
    let made = |origin, sequence, envelopes: &[Bytes]| {
        wire::candidate::encode(Place(origin), sequence, envelopes.to_vec()).expect("good envelopes").encoding
    };
    vec![
        made(0, 0, &envelopes[..1]),
        made(1, 1, &envelopes[..6]),
        made(3, 300, &envelopes[2..4]),
        made(u16::MAX, u64::MAX, &envelopes[1..2]),
        made(2, 7, &envelopes[6..7]),
        made(0, 9, &[envelopes[1].clone(), envelopes[1].clone()]),
    ]
}

fn blocks(envelopes: &[Bytes]) -> Vec<Bytes> {
    let block = |number: u64, data: &[Bytes], is_config: bool| {
        let last_config = Number(if is_config { number } else { 0 });
        let signature = |place: u16| {
            let id = CONSENTERS[usize::from(place)];
            let identifier_header = wire::block::identifier_header(id, &[place as u8 + 1; NONCE_BYTES]);
            let signature = Signature(Bytes::from(vec![place as u8; 64]));
            (Place(place), BlockSignature { identifier_header, signature })
        };
        let header = Header {
            number: Number(number),
            previous_hash: Some(Digest([number as u8; 32])),
            data_hash: data_hash(data),
        };
        let certificate = BlockCertificate {
            view: View(number % 3),
            header,
            proposal: sha256(b"a proposal"),
            last_config,
            signatures: (0..3).map(signature).collect(),
        };
        let ids = data.iter().map(|frame| Parsed::from_frame(frame.clone()).expect("canonical").id).collect();
        wire::block::encode(&CommittedBlock { certificate, data: data.to_vec(), ids, is_config })
    };
    vec![
        block(1, &envelopes[..1], false),
        block(2, &envelopes[..6], false),
        block(900, &envelopes[1..3], false),
        block(9, &envelopes[6..7], true),
    ]
}

fn repairs(envelopes: &[Bytes]) -> Vec<Vec<u8>> {
    let blocks = blocks(envelopes);
    let digests = |count: u8| (0..count).map(|which| Digest([which; 32])).collect();
    let all = [
        Repair::FetchCandidates(digests(1)),
        Repair::FetchCandidates(digests(5)),
        Repair::Candidate(candidates(envelopes)[0].clone()),
        Repair::FetchBlocks { first: Number(1), last: Number(1) },
        Repair::FetchBlocks { first: Number(3), last: Number(u64::MAX) },
        Repair::Blocks(blocks[..1].to_vec()),
        Repair::Blocks(blocks),
    ];
    all.iter().map(|repair| wire::repair::encode(repair).to_vec()).collect()
}

/// Scripts drawn at random; every string of bytes is one.
fn scripts(length: u64) -> Vec<Vec<u8>> {
    let script = |which| {
        let draws = Draws::new(which);
        let length = length / 4 + draws.below(Purpose::Mutation, &[7], length);
        (0..length).map(|at| draws.below(Purpose::Mutation, &[8, at], 256) as u8).collect()
    };
    (0..REAL as u64).map(script).collect()
}
