//! Acceptance cases of fabric-spec G9 for the `sbft` chain; those that need no network of its
//! own are in `solo`.

use std::time::Duration;

use sbft::consenter::{Health, OrderError};

use crate::network::{LIMIT, Network};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_108_and_109_order_after_halt_is_an_error_and_halting_twice_is_none() {
    let mut network = Network::create(4).await;
    network.start_all().await;
    let chain = network.chain(2);
    let envelope = network.envelope(100).await;
    chain.halt();
    chain.halt();
    tokio::time::timeout(LIMIT, chain.stopped()).await.expect("it stops");
    let refused = tokio::time::timeout(Duration::from_secs(5), chain.order(envelope.clone(), 0)).await;
    let error = refused.expect("never a hang").expect_err("halted");
    assert!(matches!(error, OrderError::Stopped { .. }), "{error}");
    let refused = tokio::time::timeout(Duration::from_secs(5), chain.configure(envelope, 0)).await;
    assert!(refused.expect("never a hang").is_err());
    assert!(chain.wait_ready().await.is_err());
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_110_errored_is_open_while_healthy_and_closed_after_halt() {
    let mut network = Network::create(1).await;
    network.start_all().await;
    let chain = network.chain(1);
    let mut errored = chain.errored();
    assert!(!errored.is_errored());
    let waiting = tokio::spawn(async move { errored.wait().await });
    network.order_some(1, 2).await;
    assert!(!waiting.is_finished());
    chain.halt();
    tokio::time::timeout(LIMIT, waiting).await.expect("it wakes").expect("it ends");
    assert_eq!(chain.errored().health(), Health::Halted);
    network.stop_all().await;
}
