//! `Broadcast`: judges envelopes, hands them to their chain, answers each in order
//! (fabric-spec A.9).
//!
//! A stream's envelopes are taken up in batches: what has arrived is judged side by side, and
//! then handed over one after the other. So an envelope after a refused one is never ordered,
//! and a slow chain or a client that takes no answers stops the reading of that stream only.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{Stream, StreamExt as _};
use metrics::{Counter, Histogram, counter, histogram};
use rayon::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status as GrpcStatus, Streaming};
use tracing::debug;

use super::Shared;
use crate::consenter::{OrderError, Receipt};
use crate::metrics::{BROADCAST_ENQUEUE_DURATION, BROADCAST_PROCESSED_COUNT, BROADCAST_VALIDATE_DURATION};
use crate::msg_processor::Rejection;
use crate::node_config::Success;
use crate::proto::common::{HeaderType, Status};
use crate::proto::orderer::BroadcastResponse;
use crate::registrar::{Channel, Registrar};
use crate::wire::envelope::Parsed;

/// Batches up to this length are judged where they are: a hop to another thread costs more.
const JUDGED_IN_PLACE: usize = 2;

/// What [`serve`] has for the client, in the order of its envelopes.
pub(super) enum Answer {
    /// Known now.
    Now(BroadcastResponse),
    /// Known when the envelope is committed.
    WhenCommitted(Receipt),
}

/// Turns answers into responses, in order, and ends after the first that is not SUCCESS.
pub(super) fn in_order(
    answers: mpsc::Receiver<Result<Answer, GrpcStatus>>,
) -> impl Stream<Item = Result<BroadcastResponse, GrpcStatus>> {
    futures::stream::unfold(Some(answers), |answers| async move {
        let mut answers = answers?;
        let response = match answers.recv().await? {
            Err(status) => return Some((Err(status), None)),
            Ok(Answer::Now(response)) => response,
            Ok(Answer::WhenCommitted(receipt)) => match receipt.committed().await {
                Ok(number) => response(Status::Success, number.0.to_string()),
                Err(error) => response(Status::ServiceUnavailable, error.to_string()),
            },
        };
        let open = response.status == Status::Success as i32;
        Some((Ok(response), open.then_some(answers)))
    })
}

/// Serves one stream until the client is done, an envelope is refused or the service stops.
pub(super) async fn serve(
    shared: Arc<Shared>,
    mut requests: Streaming<Bytes>,
    answers: mpsc::Sender<Result<Answer, GrpcStatus>>,
) {
    let mut meters = Meters::default();
    loop {
        let first = tokio::select! {
            first = requests.next() => first,
            () = answers.closed() => return,
            () = shared.stopping.cancelled() => {
                return tell(&answers, Err(GrpcStatus::unavailable("the node is stopping"))).await;
            }
        };
        let (batch, end) = gather(&shared, first, &mut requests);
        for judged in judge_all(&shared, batch).await {
            let began = Instant::now();
            let (status, answer) = hand_over(&shared, &judged, &answers).await;
            meters.of(&judged, status).record(judged.took, began.elapsed());
            if answers.send(Ok(answer)).await.is_err() || status != Status::Success {
                return;
            }
        }
        match end {
            None => {}
            Some(None) => return,
            Some(Some(error)) => return tell(&answers, Err(error)).await,
        }
    }
}

async fn tell(answers: &mpsc::Sender<Result<Answer, GrpcStatus>>, what: Result<Answer, GrpcStatus>) {
    // Nobody is left to tell if the client is gone.
    let _gone = answers.send(what).await;
}

/// How a stream ended: with an error, or because the client is done.
type End = Option<GrpcStatus>;

/// `first` and what else of the stream has arrived already, up to the limits of a batch.
fn gather(
    shared: &Shared,
    first: Option<Result<Bytes, GrpcStatus>>,
    requests: &mut Streaming<Bytes>,
) -> (Vec<Bytes>, Option<End>) {
    let options = &shared.options.broadcast;
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut item = first;
    loop {
        match item {
            None => return (batch, Some(None)),
            Some(Err(error)) => return (batch, Some(Some(error))),
            Some(Ok(envelope)) => {
                bytes += envelope.len();
                batch.push(envelope);
            }
        }
        if batch.len() >= options.batch || bytes >= options.batch_bytes {
            return (batch, None);
        }
        match requests.next().now_or_never() {
            Some(next) => item = next,
            None => return (batch, None),
        }
    }
}

/// An envelope and what the filters said.
struct Judged {
    channel: Option<Arc<Channel>>,
    kind: Option<HeaderType>,
    verdict: Verdict,
    took: Duration,
}

enum Verdict {
    /// To be ordered; it was judged under this config sequence.
    Order(Box<Parsed>, u64),
    /// A config update that the filters allow, made into a config envelope.
    Configure(Box<Parsed>, u64),
    /// Not to be ordered.
    Refuse(Status, String),
}

async fn judge_all(shared: &Arc<Shared>, batch: Vec<Bytes>) -> Vec<Judged> {
    let now = shared.options.clock.now();
    if batch.len() <= JUDGED_IN_PLACE {
        return batch.into_iter().map(|envelope| judge(&shared.registrar, envelope, now)).collect();
    }
    let (done, judged) = oneshot::channel();
    let registrar = Arc::clone(&shared.registrar);
    rayon::spawn(move || {
        let work =
            || batch.into_par_iter().map(|envelope| judge(&registrar, envelope, now)).collect::<Vec<_>>();
        // A panic must end this stream, not the thread pool: it goes back to the stream's task.
        if done.send(catch_unwind(AssertUnwindSafe(work))).is_err() {
            debug!("a stream ended while its envelopes were judged");
        }
    });
    match judged.await.expect("the closure above always sends") {
        Ok(judged) => judged,
        Err(panic) => resume_unwind(panic),
    }
}

fn judge(registrar: &Registrar, envelope: Bytes, now: SystemTime) -> Judged {
    let began = Instant::now();
    let mut judged =
        Judged { channel: None, kind: None, verdict: refuse_bad(String::new()), took: Duration::ZERO };
    judged.verdict = match Parsed::decode(envelope) {
        Err(error) => refuse_bad(error.to_string()),
        Ok(parsed) => {
            judged.kind = HeaderType::try_from(parsed.channel_header.r#type).ok();
            judged.channel = registrar.get(&parsed.channel_header.channel_id);
            match &judged.channel {
                None => refuse_bad("channel does not exist".to_owned()),
                Some(channel) => filter(channel, parsed, now),
            }
        }
    };
    judged.took = began.elapsed();
    judged
}

fn filter(channel: &Channel, parsed: Parsed, now: SystemTime) -> Verdict {
    let processor = channel.processor();
    let refuse = |Rejection { status, info }| Verdict::Refuse(status, info);
    match HeaderType::try_from(parsed.channel_header.r#type) {
        Ok(HeaderType::ConfigUpdate) => match processor.process_normal(&parsed, now) {
            Ok(sequence) => Verdict::Configure(Box::new(parsed), sequence),
            Err(rejection) => refuse(rejection),
        },
        Ok(HeaderType::Config | HeaderType::OrdererTransaction) => {
            refuse_bad("message is of a type that cannot be processed directly".to_owned())
        }
        _ => match processor.process_normal(&parsed, now) {
            Ok(sequence) => Verdict::Order(Box::new(parsed), sequence),
            Err(rejection) => refuse(rejection),
        },
    }
}

fn refuse_bad(info: String) -> Verdict {
    Verdict::Refuse(Status::BadRequest, info)
}

/// Hands an envelope that passed the filters to its chain.
async fn hand_over(
    shared: &Shared,
    judged: &Judged,
    answers: &mpsc::Sender<Result<Answer, GrpcStatus>>,
) -> (Status, Answer) {
    let now = |status, info| (status, Answer::Now(response(status, info)));
    let (Some(channel), Verdict::Order(parsed, sequence) | Verdict::Configure(parsed, sequence)) =
        (&judged.channel, &judged.verdict)
    else {
        let Verdict::Refuse(status, info) = &judged.verdict else {
            return now(Status::BadRequest, "channel does not exist".to_owned());
        };
        debug!(status = status.as_str_name(), info, "envelope refused");
        return now(*status, info.clone());
    };
    let chain = channel.chain();
    let ready = tokio::select! {
        ready = chain.wait_ready() => ready,
        () = answers.closed() => return now(Status::ServiceUnavailable, "the client is gone".to_owned()),
        () = shared.stopping.cancelled() => {
            return now(Status::ServiceUnavailable, "the node is stopping".to_owned());
        }
    };
    if let Err(not_ready) = ready {
        return now(Status::ServiceUnavailable, not_ready.to_string());
    }
    let ordered = match &judged.verdict {
        Verdict::Configure(..) => chain.configure(parsed.as_ref().clone(), *sequence).await,
        _ => chain.order(parsed.as_ref().clone(), *sequence).await,
    };
    match ordered {
        Ok(receipt) => match shared.options.broadcast.success {
            Success::Accepted => now(Status::Success, String::new()),
            Success::Committed => (Status::Success, Answer::WhenCommitted(receipt)),
        },
        Err(error @ OrderError::ConfigUpdatesNotServed) => now(Status::NotImplemented, error.to_string()),
        Err(error) => now(Status::ServiceUnavailable, error.to_string()),
    }
}

fn response(status: Status, info: String) -> BroadcastResponse {
    BroadcastResponse { status: status as i32, info }
}

/// One stream's handles on Fabric's three metrics, by channel, type and status.
#[derive(Default)]
struct Meters(Vec<Meter>);

struct Meter {
    channel: String,
    kind: Option<HeaderType>,
    status: Status,
    processed: Counter,
    validate: Histogram,
    enqueue: Histogram,
}

impl Meters {
    fn of(&mut self, judged: &Judged, status: Status) -> &Meter {
        // Names that clients make up are no labels: there would be no end of them.
        let channel = judged.channel.as_ref().map_or("unknown", |channel| channel.id());
        let known =
            |meter: &Meter| meter.kind == judged.kind && meter.status == status && meter.channel == channel;
        let index = self.0.iter().position(known).unwrap_or_else(|| {
            self.0.push(Meter::new(channel, judged.kind, status));
            self.0.len() - 1
        });
        &self.0[index]
    }
}

impl Meter {
    fn new(channel: &str, kind: Option<HeaderType>, status: Status) -> Self {
        let labels = [
            ("channel", channel.to_owned()),
            ("type", kind.map_or("unknown", |kind| kind.as_str_name()).to_owned()),
            ("status", status.as_str_name().to_owned()),
        ];
        Self {
            channel: channel.to_owned(),
            kind,
            status,
            processed: counter!(BROADCAST_PROCESSED_COUNT, &labels),
            validate: histogram!(BROADCAST_VALIDATE_DURATION, &labels),
            enqueue: histogram!(BROADCAST_ENQUEUE_DURATION, &labels),
        }
    }

    fn record(&self, validate: Duration, enqueue: Duration) {
        self.processed.increment(1);
        self.validate.record(validate);
        if self.status == Status::Success {
            self.enqueue.record(enqueue);
        }
    }
}
