//! `Broadcast`: judges envelopes, hands them to their chain, answers each in order
//! (fabric-spec A.9).
//!
//! A stream's envelopes are taken up in batches: what has arrived is judged side by side, and
//! then handed over one after the other. So an envelope after a refused one is never ordered,
//! and a slow chain or a client that takes no answers stops the reading of that stream only.

use std::collections::{BTreeMap, VecDeque};
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
use super::grpc::unreadable;
use crate::consenter::Receipt;
use crate::metrics::{BROADCAST_ENQUEUE_DURATION, BROADCAST_PROCESSED_COUNT, BROADCAST_VALIDATE_DURATION};
use crate::msg_processor::Rejection;
use crate::node_config::Success;
use crate::phases::{self, of_envelope};
use crate::proto::common::{HeaderType, Status};
use crate::proto::orderer::BroadcastResponse;
use crate::registrar::{Channel, Registrar};
use crate::wire::envelope::Parsed;

/// Batches up to this length are judged where they are: a hop to another thread costs more.
const JUDGED_IN_PLACE: usize = 2;
/// Envelopes of a batch that one worker judges together: as few as keep all workers busy, but
/// enough for their signatures to be cheaper than one by one.
const JUDGED_TOGETHER: std::ops::RangeInclusive<usize> = 8..=64;

/// A refusal leaves so many times as long after the envelopes came as it took to judge them: a client that
/// sends what must be refused has at most a ninth of a worker for each of its streams.
const REST: u32 = 8;
/// But no later than this.
const LONGEST_REST: Duration = Duration::from_millis(400);

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
        let mut judged = VecDeque::from(judge_all(&shared, batch).await);
        let work: Duration = judged.iter().map(|judged| judged.took).sum();
        while let Some(first) = judged.pop_front() {
            // No more are handed over than there is room for answers: it bounds what waits for its commit.
            // Only this task sends, so the room that there is now stays.
            if answers.reserve().await.is_err() {
                return;
            }
            let run = run_of(first, &mut judged, answers.capacity().max(1));
            let labels: Vec<_> =
                run.iter().map(|judged| ((judged.channel.clone(), judged.kind), judged.took)).collect();
            let began = Instant::now();
            let is_refused = matches!(run.first(), Some(Judged { verdict: Verdict::Refuse(_), .. }));
            let outcomes = hand_over(&shared, run, &answers).await;
            if is_refused {
                tokio::select! {
                    () = tokio::time::sleep(work.saturating_mul(REST).min(LONGEST_REST)) => {}
                    () = answers.closed() => return,
                    () = shared.stopping.cancelled() => {}
                }
            }
            // As with the checks: they are handed over together.
            let enqueue = began.elapsed() / u32::try_from(outcomes.len()).unwrap_or(u32::MAX).max(1);
            for ((labels, took), (answer, status)) in labels.into_iter().zip(outcomes) {
                meters.of(labels, status).record(took, enqueue);
                if answers.send(Ok(answer)).await.is_err() || status != Status::Success {
                    return;
                }
            }
        }
        match end {
            None => {}
            Some(None) => return,
            Some(Some(error)) => return tell(&answers, Err(unreadable(error))).await,
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
    /// Not to be ordered.
    Refuse(Rejection),
}

async fn judge_all(shared: &Arc<Shared>, batch: Vec<Bytes>) -> Vec<Judged> {
    let now = shared.options.clock.now();
    if batch.len() <= JUDGED_IN_PLACE {
        return judge(&shared.registrar, &batch, now);
    }
    let (done, judged) = oneshot::channel();
    let registrar = Arc::clone(&shared.registrar);
    rayon::spawn(move || {
        let share = batch.len().div_ceil(rayon::current_num_threads());
        let share = share.clamp(*JUDGED_TOGETHER.start(), *JUDGED_TOGETHER.end());
        let work = || -> Vec<Judged> {
            batch.par_chunks(share).flat_map_iter(|chunk| judge(&registrar, chunk, now)).collect()
        };
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

/// Judges envelopes side by side: those of one channel together, which makes signatures cheaper.
fn judge(registrar: &Registrar, envelopes: &[Bytes], now: SystemTime) -> Vec<Judged> {
    let began = Instant::now();
    let parsed: Vec<Result<Parsed, Rejection>> =
        envelopes.iter().map(|envelope| Parsed::decode(envelope.clone()).map_err(Rejection::from)).collect();
    let mut by_channel: BTreeMap<&str, Vec<(usize, &Parsed)>> = BTreeMap::new();
    for (index, parsed) in parsed.iter().enumerate() {
        if let Ok(parsed) = parsed {
            of_envelope(phases::envelope::RECEIVED, &parsed.id);
            by_channel.entry(&parsed.channel_header.channel_id).or_default().push((index, parsed));
        }
    }
    let mut verdicts = vec![(None, Err(no_channel())); envelopes.len()];
    for (id, members) in by_channel {
        let Some(channel) = registrar.get(id) else { continue };
        let envelopes: Vec<&Parsed> = members.iter().map(|(_, parsed)| *parsed).collect();
        for ((index, parsed), verdict) in members.iter().zip(channel.processor().process_all(&envelopes, now))
        {
            of_envelope(phases::envelope::FILTERED, &parsed.id);
            verdicts[*index] = (Some(Arc::clone(&channel)), verdict);
        }
    }
    // What one envelope took cannot be told when signatures are checked together.
    let took = began.elapsed() / u32::try_from(envelopes.len()).unwrap_or(u32::MAX).max(1);
    let judged = parsed.into_iter().zip(verdicts).map(|(parsed, (channel, verdict))| {
        let kind =
            parsed.as_ref().ok().and_then(|parsed| HeaderType::try_from(parsed.channel_header.r#type).ok());
        let verdict = match (parsed, verdict) {
            (Ok(parsed), Ok(sequence)) => Verdict::Order(Box::new(parsed), sequence),
            (Err(rejection), _) | (_, Err(rejection)) => Verdict::Refuse(rejection),
        };
        Judged { channel, kind, verdict, took }
    });
    judged.collect()
}

fn no_channel() -> Rejection {
    Rejection::new(Status::BadRequest, "channel does not exist")
}

/// `first` and those of `rest` that follow it to the same chain, at most so many.
fn run_of(first: Judged, rest: &mut VecDeque<Judged>, most: usize) -> Vec<Judged> {
    let mut run = vec![first];
    while run.len() < most
        && let Some(next) = rest.front()
        && next.goes_with(&run[0])
    {
        run.extend(rest.pop_front());
    }
    run
}

impl Judged {
    /// Both are to be ordered, on one channel.
    fn goes_with(&self, other: &Self) -> bool {
        let ordered = |judged: &Self| matches!(judged.verdict, Verdict::Order(..));
        let same = match (&self.channel, &other.channel) {
            (Some(this), Some(other)) => Arc::ptr_eq(this, other),
            _ => false,
        };
        same && ordered(self) && ordered(other)
    }
}

/// Hands envelopes of one channel that passed the filters to its chain, or one that did not to
/// nobody. The answers, up to the first that is not SUCCESS, each with what is for [`Meters`].
async fn hand_over(
    shared: &Shared,
    run: Vec<Judged>,
    answers: &mpsc::Sender<Result<Answer, GrpcStatus>>,
) -> Vec<(Answer, Status)> {
    let now = |status, info: String| (Answer::Now(response(status, info)), status);
    // Only envelopes of a channel that is served are to be ordered.
    let channel = run.first().and_then(|judged| judged.channel.clone());
    let mut envelopes = Vec::with_capacity(run.len());
    for judged in run {
        match judged.verdict {
            Verdict::Order(parsed, sequence) => envelopes.push((*parsed, sequence)),
            Verdict::Refuse(Rejection { status, info }) => {
                debug!(status = status.as_str_name(), info, "envelope refused");
                return vec![now(status, info)];
            }
        }
    }
    let Some(channel) = channel else { return vec![now(Status::BadRequest, no_channel().info)] };
    let chain = channel.chain();
    let ready = tokio::select! {
        ready = chain.wait_ready() => ready,
        () = answers.closed() => return vec![now(Status::ServiceUnavailable, "the client is gone".to_owned())],
        () = shared.stopping.cancelled() => {
            return vec![now(Status::ServiceUnavailable, "the node is stopping".to_owned())];
        }
    };
    if let Err(not_ready) = ready {
        return vec![now(Status::ServiceUnavailable, not_ready.to_string())];
    }
    let outcomes = chain.order_all(envelopes).await.into_iter().map(|outcome| match outcome {
        Ok(receipt) => match shared.options.broadcast.success {
            Success::Accepted => now(Status::Success, String::new()),
            Success::Committed => (Answer::WhenCommitted(receipt), Status::Success),
        },
        Err(error) => now(Status::ServiceUnavailable, error.to_string()),
    });
    outcomes.collect()
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
    fn of(&mut self, (channel, kind): (Option<Arc<Channel>>, Option<HeaderType>), status: Status) -> &Meter {
        // Names that clients make up are no labels: there would be no end of them.
        let channel = channel.as_ref().map_or("unknown", |channel| channel.id());
        let known = |meter: &Meter| meter.kind == kind && meter.status == status && meter.channel == channel;
        let index = self.0.iter().position(known).unwrap_or_else(|| {
            self.0.push(Meter::new(channel, kind, status));
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
