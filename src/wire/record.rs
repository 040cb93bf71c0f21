//! Log records (`sbft.LogRecord`) to and from [`Record`].

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::candidate::{self, Limits};
use super::error::{Problem, WireError};
use super::message::{
    from_new_view, from_new_view_body, from_prepared, from_proposal, required, to_new_view, to_new_view_body,
    to_prepared, to_proposal, undecodable,
};
use super::{schema, shape};
use crate::pbft::Record;
use crate::proto::sbft as proto;
use crate::proto::sbft::log_record::Body;
use crate::types::{Number, View};

/// The bytes of a record.
pub fn encode(record: &Record) -> Bytes {
    let body = match record {
        Record::Payload(candidate) => Body::Payload(candidate.encoding.clone()),
        Record::Bound { view, upto } => Body::Bound(proto::BoundRecord { view: view.0, upto: upto.0 }),
        Record::Accepted { view, proposal } => {
            Body::Accepted(proto::AcceptedRecord { view: view.0, proposal: Some(from_proposal(proposal)) })
        }
        Record::Prepared(certificate) => Body::Prepared(from_prepared(certificate)),
        Record::ViewChange(view) => Body::ViewChange(view.0),
        Record::NewViewChosen(body) => Body::NewViewChosen(from_new_view_body(body, Bytes::new())),
        Record::NewView(message) => Body::NewView(from_new_view(message)),
    };
    proto::LogRecord { body: Some(body) }.encode_to_vec().into()
}

/// Reads a record. Signatures in it are not verified: the log holds what was.
pub fn decode(bytes: Bytes) -> Result<Record, WireError> {
    shape::check(&bytes, &schema::LOG_RECORD)?;
    let record = proto::LogRecord::decode(bytes).map_err(undecodable)?;
    match required("body", record.body)? {
        Body::Payload(encoding) => candidate::decode(encoding, &Limits::NONE)
            .map(|candidate| Record::Payload(Arc::new(candidate)))
            .map_err(|error| WireError::at("payload", Problem::Invalid(error.to_string()))),
        Body::Bound(record) => Ok(Record::Bound { view: View(record.view), upto: Number(record.upto) }),
        Body::Accepted(record) => to_proposal(record.proposal)
            .map(|proposal| Record::Accepted { view: View(record.view), proposal })
            .map_err(|error| error.inside("accepted")),
        Body::Prepared(certificate) => {
            to_prepared(certificate).map(Record::Prepared).map_err(|error| error.inside("prepared"))
        }
        Body::ViewChange(view) => Ok(Record::ViewChange(View(view))),
        Body::NewViewChosen(message) if !message.signature.is_empty() => {
            let problem = Problem::Invalid("a choice is recorded before it is signed".to_owned());
            Err(WireError::at("new_view_chosen.signature", problem))
        }
        Body::NewViewChosen(message) => to_new_view_body(message.view, message.view_changes)
            .map(|body| Record::NewViewChosen(Arc::new(body)))
            .map_err(|error| error.inside("new_view_chosen")),
        Body::NewView(message) => to_new_view(message).map(|message| Record::NewView(Arc::new(message))),
    }
}
