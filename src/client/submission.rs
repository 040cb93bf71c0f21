//! Submits many envelopes over Broadcast streams, to one replica, to any that answer, or to all.
//!
//! Lanes (one stream to one replica each) take envelopes from a [`Queue`]. What a broken stream
//! left unanswered goes back to the queue and is sent again, here or elsewhere: replicas
//! recognise an envelope that they have seen by its request id, so that is harmless.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::broadcast::{self, Answers, Envelopes};
use super::connect::{Security, connect};
use super::envelope::Made;
use crate::proto::common;
use crate::types::RequestId;

/// Envelopes in one lane that were sent and not yet answered.
const UNANSWERED: usize = 500;
/// Pause before a lane tries a replica again that refused it or could not be reached.
const RETRY: Duration = Duration::from_millis(200);

/// An envelope on its way.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its identity; `None` for given bytes that do not decode so far.
    pub id: Option<RequestId>,
    /// The envelope.
    pub envelope: common::Envelope,
}

impl From<Made> for Item {
    fn from(made: Made) -> Self {
        Self { id: Some(made.id), envelope: made.envelope }
    }
}

/// What lanes report.
#[derive(Clone, Debug)]
pub enum Event {
    /// An envelope was handed to a stream.
    Sent {
        /// Which.
        id: Option<RequestId>,
        /// The envelope itself, for who may want to send it again.
        envelope: common::Envelope,
        /// When.
        at: Instant,
    },
    /// A replica answered.
    Answered {
        /// Which envelope.
        id: Option<RequestId>,
        /// Consenter id.
        replica: u32,
        /// The answer.
        status: common::Status,
        /// Its text.
        info: String,
        /// The envelope will be sent again.
        again: bool,
    },
    /// A replica cannot be reached, or closed the stream.
    Down {
        /// Consenter id.
        replica: u32,
        /// Why.
        reason: String,
    },
}

/// Envelopes waiting for a lane. Bounded: pushing waits while `capacity` are waiting.
pub struct Queue {
    state: Mutex<State>,
    capacity: usize,
    /// Woken when something was put in, resolved or closed.
    work: Notify,
    /// Woken when something was taken out.
    room: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Item>,
    /// Pushed and neither answered for good nor given up.
    open: usize,
    closed: bool,
}

impl Queue {
    /// An empty queue.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), capacity, work: Notify::new(), room: Notify::new() })
    }

    /// Adds an envelope; waits while the queue is full.
    pub async fn push(&self, item: Item) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.lock();
                if state.waiting.len() < self.capacity {
                    state.waiting.push_back(item);
                    state.open += 1;
                    break;
                }
            }
            room.await;
        }
        self.work.notify_one();
    }

    /// Adds an envelope unless the queue is full; says whether it did.
    pub fn try_push(&self, item: Item) -> bool {
        {
            let mut state = self.lock();
            if state.waiting.len() >= self.capacity {
                return false;
            }
            state.waiting.push_back(item);
            state.open += 1;
        }
        self.work.notify_one();
        true
    }

    /// No more envelopes will come: lanes end when all are answered.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_waiters();
    }

    /// Nothing waits here and nothing that was taken is unanswered.
    pub fn is_idle(&self) -> bool {
        self.lock().open == 0
    }

    /// Lanes stop as soon as they can, whatever is unanswered.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.open = 0;
        state.waiting.clear();
        drop(state);
        self.work.notify_waiters();
    }

    /// The next envelope; waits for one; `None` when all have been answered and none will come.
    async fn take(&self) -> Option<Item> {
        loop {
            let work = self.work.notified();
            tokio::pin!(work);
            work.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(item) = state.waiting.pop_front() {
                    let more = !state.waiting.is_empty();
                    drop(state);
                    self.room.notify_one();
                    if more {
                        self.work.notify_one();
                    }
                    return Some(item);
                }
                if state.closed && state.open == 0 {
                    return None;
                }
            }
            work.await;
        }
    }

    fn put_back(&self, items: impl DoubleEndedIterator<Item = Item>) {
        {
            let mut state = self.lock();
            for item in items.rev() {
                state.waiting.push_front(item);
            }
        }
        self.work.notify_one();
    }

    fn resolve(&self) {
        let finished = {
            let mut state = self.lock();
            state.open = state.open.saturating_sub(1);
            state.closed && state.open == 0
        };
        if finished {
            self.work.notify_waiters();
        }
    }

    fn finished(&self) -> bool {
        let state = self.lock();
        state.closed && state.open == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

/// One stream after another to one replica, until the queue is closed and all is answered.
///
/// `events` being dropped ends the lane too.
pub async fn lane(
    replica: u32,
    address: String,
    security: Security,
    queue: Arc<Queue>,
    events: mpsc::Sender<Event>,
) {
    while !queue.finished() && !events.is_closed() {
        // Wait for work before connecting, so that an idle lane does not hold a connection.
        let Some(first) = queue.take().await else { return };
        let opened = match connect(&address, &security).await {
            Ok(channel) => broadcast::open(channel).await.map_err(|status| status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let reason = match opened {
            Ok((envelopes, answers)) => stream(replica, first, envelopes, answers, &queue, &events).await,
            Err(reason) => {
                queue.put_back(std::iter::once(first));
                Some(reason)
            }
        };
        let Some(reason) = reason else { return };
        if events.send(Event::Down { replica, reason }).await.is_err() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Runs one stream; returns why it ended, or `None` when all work is done.
async fn stream(
    replica: u32,
    first: Item,
    envelopes: Envelopes,
    mut answers: Answers,
    queue: &Queue,
    events: &mpsc::Sender<Event>,
) -> Option<String> {
    let mut unanswered: VecDeque<Item> = VecDeque::new();
    let mut next = Some(first);
    let reason = loop {
        if let Some(item) = next.take() {
            // Reported before it is sent, so that nobody sees its block first.
            let sent = Event::Sent { id: item.id, envelope: item.envelope.clone(), at: Instant::now() };
            if events.send(sent).await.is_err() {
                break None;
            }
            let closed = envelopes.send(item.envelope.clone()).await.is_err();
            unanswered.push_back(item);
            if closed {
                // The answer that explains it, if any, still comes.
                break drain(replica, &mut answers, &mut unanswered, queue, events).await;
            }
        }
        tokio::select! {
            biased;
            answer = answers.next(), if !unanswered.is_empty() => match answer {
                Ok(Some(answer)) => {
                    if let Some(reason) = answered(replica, answer, &mut unanswered, queue, events).await {
                        break Some(reason);
                    }
                }
                Ok(None) => break Some("closed the stream".to_owned()),
                Err(status) => break Some(status.message().to_owned()),
            },
            item = queue.take(), if unanswered.len() < UNANSWERED => match item {
                Some(item) => next = Some(item),
                None => break None,
            },
        }
    };
    queue.put_back(unanswered.into_iter());
    reason
}

async fn drain(
    replica: u32,
    answers: &mut Answers,
    unanswered: &mut VecDeque<Item>,
    queue: &Queue,
    events: &mpsc::Sender<Event>,
) -> Option<String> {
    loop {
        match answers.next().await {
            Ok(Some(answer)) => {
                if let Some(reason) = answered(replica, answer, unanswered, queue, events).await {
                    return Some(reason);
                }
            }
            Ok(None) => return Some("closed the stream".to_owned()),
            Err(status) => return Some(status.message().to_owned()),
        }
    }
}

/// Notes an answer; returns a reason when the stream is of no more use.
async fn answered(
    replica: u32,
    answer: crate::proto::orderer::BroadcastResponse,
    unanswered: &mut VecDeque<Item>,
    queue: &Queue,
    events: &mpsc::Sender<Event>,
) -> Option<String> {
    let status = common::Status::try_from(answer.status).unwrap_or(common::Status::Unknown);
    let Some(item) = unanswered.pop_front() else {
        return Some(format!("answered {status:?} to nothing"));
    };
    let again = status == common::Status::ServiceUnavailable;
    let event = Event::Answered { id: item.id, replica, status, info: answer.info.clone(), again };
    if again {
        queue.put_back(std::iter::once(item));
    } else {
        queue.resolve();
    }
    if events.send(event).await.is_err() {
        return Some("nobody listens".to_owned());
    }
    again.then(|| format!("{status:?}: {}", answer.info))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(byte: u8) -> Item {
        Item { id: Some(RequestId([byte; 32])), envelope: common::Envelope::default() }
    }

    #[tokio::test]
    async fn what_is_put_back_comes_first_and_the_end_waits_for_all_answers() {
        let queue = Queue::new(2);
        queue.push(item(1)).await;
        queue.push(item(2)).await;
        assert!(!queue.try_push(item(3)), "the queue is full");
        let first = queue.take().await.unwrap();
        queue.put_back(std::iter::once(first));
        queue.close();
        assert_eq!(queue.take().await.unwrap().id, item(1).id);
        assert_eq!(queue.take().await.unwrap().id, item(2).id);
        queue.resolve();
        assert!(!queue.finished());
        queue.resolve();
        assert!(queue.take().await.is_none());
    }
}
