//! A chain that does what a test tells it to, behind the name "solo".

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sbft::consenter::{
    Chain, ChainStatus, Consenter, ConsenterSupport, Errored, HandleChainError, Health, NotReady, OrderError,
    Receipt, RoleStatus,
};
use sbft::proto::common::Metadata;
use sbft::types::{Number, View};
use sbft::wire::envelope::Parsed;
use tokio::sync::{oneshot, watch};

/// How the chain behaves now; shared with the test.
#[derive(Clone)]
pub(crate) struct Script(Arc<State>);

struct State {
    not_ready: Mutex<Option<String>>,
    order_error: Mutex<Option<OrderError>>,
    panics: Mutex<bool>,
    ordered: Mutex<Vec<Parsed>>,
    commits: Mutex<Vec<oneshot::Sender<Number>>>,
    health: watch::Sender<Health>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            not_ready: Mutex::default(),
            order_error: Mutex::default(),
            panics: Mutex::default(),
            ordered: Mutex::default(),
            commits: Mutex::default(),
            health: watch::Sender::new(Health::Good),
        }))
    }

    /// `wait_ready` fails from now on.
    pub(crate) fn not_ready(&self, text: &str) {
        *self.0.not_ready.lock().unwrap() = Some(text.to_owned());
    }

    /// `order` fails from now on.
    pub(crate) fn order_error(&self, error: OrderError) {
        *self.0.order_error.lock().unwrap() = Some(error);
    }

    /// `order` panics, or does so no more.
    pub(crate) fn panics(&self, yes: bool) {
        *self.0.panics.lock().unwrap() = yes;
    }

    /// What was ordered so far.
    pub(crate) fn ordered(&self) -> usize {
        self.0.ordered.lock().unwrap().len()
    }

    /// The data of what was ordered so far.
    pub(crate) fn data(&self) -> Vec<Vec<u8>> {
        self.0.ordered.lock().unwrap().iter().map(|parsed| parsed.data.to_vec()).collect()
    }

    /// Takes the promises to tell of commits, in order of acceptance.
    pub(crate) fn commits(&self) -> Vec<oneshot::Sender<Number>> {
        std::mem::take(&mut self.0.commits.lock().unwrap())
    }
}

#[async_trait]
impl Consenter for Script {
    async fn handle_chain(
        &self,
        _support: Arc<dyn ConsenterSupport>,
        _metadata: Metadata,
    ) -> Result<Arc<dyn Chain>, HandleChainError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Chain for Script {
    async fn order(&self, envelope: Parsed, _config_sequence: u64) -> Result<Receipt, OrderError> {
        assert!(!*self.0.panics.lock().unwrap(), "told to panic");
        if let Some(error) = self.0.order_error.lock().unwrap().clone() {
            return Err(error);
        }
        let (committed, commit) = oneshot::channel();
        self.0.ordered.lock().unwrap().push(envelope);
        self.0.commits.lock().unwrap().push(committed);
        Ok(Receipt::new(
            false,
            async move { commit.await.map_err(|_| sbft::consenter::NotCommitted::Stopped) },
        ))
    }

    async fn configure(&self, envelope: Parsed, config_sequence: u64) -> Result<Receipt, OrderError> {
        self.order(envelope, config_sequence).await
    }

    async fn wait_ready(&self) -> Result<(), NotReady> {
        match self.0.not_ready.lock().unwrap().clone() {
            Some(text) => Err(NotReady { text }),
            None => Ok(()),
        }
    }

    fn errored(&self) -> Errored {
        Errored::new(self.0.health.subscribe())
    }

    fn start(&self) {}

    fn halt(&self) {
        self.0.health.send_replace(Health::Halted);
    }

    async fn stopped(&self) {}

    fn status(&self) -> ChainStatus {
        let not_ready = self.0.not_ready.lock().unwrap().is_some();
        ChainStatus {
            view: View(0),
            primary: None,
            id: None,
            height: 1,
            active: !not_ready,
            role: RoleStatus::Voter,
            quorum: !not_ready,
            reachable: if not_ready { 2 } else { 4 },
            needed: 3,
            consenters: 4,
            peers: Vec::new(),
            in_flight: 0,
            pool: 0,
            failure: None,
        }
    }
}
