//! Random schedules in which every message and every log record goes through its real encoding.

use sbft::pbft::Record;
use sbft::pbft::message::Message;
use sbft::types::Era;
use sbft::wire;
use sbft_sim::plan::{Plan, Show};
use sbft_sim::world::{Encodings, Through};

fn message(message: &Message) -> Result<Message, String> {
    let (era, decoded) =
        wire::message::decode(wire::message::encode(message, Era(3))).map_err(|e| e.to_string())?;
    if era != Era(3) {
        return Err(format!("the era became {era:?}"));
    }
    Ok(decoded)
}

fn record(record: &Record) -> Result<Record, String> {
    // The simulator's candidates have an encoding of their own, so theirs is left out.
    if matches!(record, Record::Payload(_)) {
        return Ok(record.clone());
    }
    let decoded = wire::record::decode(wire::record::encode(record)).map_err(|e| e.to_string())?;
    if decoded != *record {
        return Err(format!("{record:?} became {decoded:?}"));
    }
    Ok(decoded)
}

#[test]
fn what_replicas_say_and_log_survives_its_encoding() {
    let encodings = Encodings { message: Some(Through(message)), record: Some(Through(record)) };
    for seed in 0..60 {
        let report = Plan::draw(seed).run(Show { encodings, ..Show::default() });
        assert_eq!(report.violation, None, "seed {seed}");
    }
}
