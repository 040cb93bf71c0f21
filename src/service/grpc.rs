//! The gRPC face of `orderer.AtomicBroadcast`: routes the two calls and guards their streams.
//!
//! Each stream is served by one task that answers over a bounded channel. A panic in it ends that
//! stream and nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::error;

use super::codec::{RawCodec, Reply};
use super::incoming::ClientInfo;
use super::{Shared, broadcast, deliver};
use crate::header::sha256;
use crate::proto::orderer::BroadcastResponse;
use crate::types::Digest;

/// The service's name, for routing, health and reflection.
pub(super) const NAME: &str = "orderer.AtomicBroadcast";

/// Answers that wait for a client to take them; beyond it the stream's work stops.
const DELIVER_QUEUE: usize = 2;

/// `orderer.AtomicBroadcast`.
#[derive(Clone)]
pub(super) struct AtomicBroadcast(pub(super) Arc<Shared>);

impl NamedService for AtomicBroadcast {
    const NAME: &'static str = NAME;
}

impl<B> Service<http::Request<B>> for AtomicBroadcast
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let limit = Some(shared.options.limits.max_message_bytes);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/orderer.AtomicBroadcast/Broadcast" => {
                    let mut grpc = Grpc::new(RawCodec::<BroadcastResponse>::default())
                        .apply_max_message_size_config(limit, limit);
                    grpc.streaming(Broadcast(shared), request).await
                }
                "/orderer.AtomicBroadcast/Deliver" => {
                    let mut grpc =
                        Grpc::new(RawCodec::<Reply>::default()).apply_max_message_size_config(limit, limit);
                    grpc.streaming(Deliver(shared), request).await
                }
                _ => Status::new(Code::Unimplemented, "no such method").into_http(),
            })
        })
    }
}

struct Broadcast(Arc<Shared>);

impl StreamingService<Bytes> for Broadcast {
    type Response = BroadcastResponse;
    type ResponseStream = BoxStream<'static, Result<BroadcastResponse, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = admit(&shared, &request)?;
            let (sender, answers) = mpsc::channel(shared.options.broadcast.pipeline);
            guard(
                "Broadcast",
                permit,
                sender.clone(),
                broadcast::serve(shared, request.into_inner(), sender),
            );
            Ok(Response::new(broadcast::in_order(answers).boxed()))
        })
    }
}

struct Deliver(Arc<Shared>);

impl StreamingService<Bytes> for Deliver {
    type Response = Reply;
    type ResponseStream = BoxStream<'static, Result<Reply, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = admit(&shared, &request)?;
            let certificate = client_certificate(&request);
            let (sender, replies) = mpsc::channel(DELIVER_QUEUE);
            let work = deliver::serve(shared, certificate, request.into_inner(), sender.clone());
            guard("Deliver", permit, sender, work);
            Ok(Response::new(ReceiverStream::new(replies).boxed()))
        })
    }
}

/// What ends a stream whose next message cannot be taken, in Fabric's terms: a message above the
/// limit exhausts a resource. tonic calls it out of range.
pub(super) fn unreadable(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        _ => status,
    }
}

/// Lets a stream in, or says which limit is reached.
fn admit(shared: &Shared, request: &Request<Streaming<Bytes>>) -> Result<OwnedSemaphorePermit, Status> {
    let limits = &shared.options.limits;
    if shared.stopping.is_cancelled() {
        return Err(Status::unavailable("the node is stopping"));
    }
    if client_info(request).is_some_and(|client| client.over_limit) {
        return Err(Status::resource_exhausted(format!(
            "too many connections: the node serves {} at once (limits.connections)",
            limits.connections
        )));
    }
    Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
        Status::resource_exhausted(format!(
            "too many streams: the node serves {} at once (limits.streams)",
            limits.streams
        ))
    })
}

fn client_info<T>(request: &Request<T>) -> Option<&ClientInfo> {
    let extensions = request.extensions();
    let over_tls = extensions.get::<TlsConnectInfo<ClientInfo>>().map(TlsConnectInfo::get_ref);
    over_tls.or_else(|| extensions.get::<ClientInfo>())
}

/// SHA-256 of the client's TLS certificate (DER), if it showed one.
fn client_certificate<T>(request: &Request<T>) -> Option<Digest> {
    let tls = request.extensions().get::<TlsConnectInfo<ClientInfo>>()?;
    Some(sha256(tls.peer_certs()?.first()?))
}

/// Runs a stream's work in a task of its own, which holds `permit` until it ends.
fn guard<T: Send + 'static>(
    call: &'static str,
    permit: OwnedSemaphorePermit,
    sender: mpsc::Sender<Result<T, Status>>,
    work: impl Future<Output = ()> + Send + 'static,
) {
    tokio::spawn(async move {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            error!(call, "serving a stream panicked; please report this with the lines above");
            // The receiver is gone if the client is; nobody is left to tell then.
            let _told =
                sender.send(Err(Status::internal("the node failed while it served this stream"))).await;
        }
        drop(permit);
    });
}
