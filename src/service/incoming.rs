//! Clients' connections: accepted up to a limit, with a word to those beyond it.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// Pause after the system refuses a connection (no file descriptors left, for instance).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the limit that are kept just long enough to be told so.
const OVER_LIMIT: usize = 64;

/// How long an operator's new connection may say nothing.
const OPERATORS_OPENING: Duration = Duration::from_secs(20);

/// What is known of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientInfo {
    /// The connection is one too many: every call is answered RESOURCE_EXHAUSTED.
    pub(super) over_limit: bool,
}

/// One client's connection; counts against the limit until it is dropped.
pub(super) struct Connection {
    stream: TcpStream,
    over_limit: bool,
    /// Done when the connection must end, whatever its client does.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until when the client must have said something; none once it has.
    opening: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

/// What [`accept`] lets in.
pub(super) struct Admission {
    /// Connections at once.
    pub(super) limit: usize,
    /// How long a new connection may say nothing.
    pub(super) opening: Duration,
    /// Once cancelled, all connections fail.
    pub(super) cut: CancellationToken,
}

/// The connections of `listener`, as many as are admitted and a few more to be told so, for as
/// long as it is polled. Never ends and never fails: what the system refuses is logged and tried
/// again.
pub(super) fn accept(
    listener: TcpListener,
    admission: Admission,
) -> impl Stream<Item = io::Result<Connection>> {
    let acceptor = Acceptor {
        places: Arc::new(Semaphore::new(admission.limit)),
        spare: Arc::new(Semaphore::new(OVER_LIMIT)),
        listener,
        admission,
    };
    Box::pin(futures::stream::unfold(acceptor, async |acceptor| {
        let connection = acceptor.next().await;
        Some((Ok(connection), acceptor))
    }))
}

struct Acceptor {
    listener: TcpListener,
    admission: Admission,
    places: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

impl Acceptor {
    async fn next(&self) -> Connection {
        loop {
            let (stream, client) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a client's connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = Arc::clone(&self.places).try_acquire_owned().map(|permit| (permit, false));
            let place =
                place.or_else(|_| Arc::clone(&self.spare).try_acquire_owned().map(|permit| (permit, true)));
            let Ok((permit, over_limit)) = place else {
                debug!(%client, "connection closed: far too many");
                continue;
            };
            if over_limit {
                debug!(%client, "connection beyond the limit");
            }
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%client, %error, "TCP_NODELAY");
            }
            return Connection {
                stream,
                over_limit,
                cut: Box::pin(self.admission.cut.clone().cancelled_owned()),
                opening: Some(Box::pin(tokio::time::sleep(self.admission.opening))),
                _permit: permit,
            };
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ClientInfo;

    fn connect_info(&self) -> ClientInfo {
        ClientInfo { over_limit: self.over_limit }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if outcome.is_ready() {
            self.opening = None;
            return outcome;
        }
        // Every connection reads whenever it waits, so this is where its task is woken.
        if self.cut.as_mut().poll(cx).is_ready() {
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, "the node has stopped");
            return Poll::Ready(Err(error));
        }
        if let Some(opening) = &mut self.opening
            && opening.as_mut().poll(cx).is_ready()
        {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client said nothing");
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A listener that has at most a number of connections open and lets the others wait.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    cut: CancellationToken,
}

impl Bounded {
    /// `limit` connections of `listener` at once; all fail once `cut` is cancelled.
    pub(super) fn new(listener: TcpListener, limit: usize, cut: CancellationToken) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(limit)), cut }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let cut = Box::pin(self.cut.clone().cancelled_owned());
                    let opening = Some(Box::pin(tokio::time::sleep(OPERATORS_OPENING)));
                    return (Connection { stream, over_limit: false, cut, opening, _permit: permit }, client);
                }
                Err(error) => {
                    warn!(%error, "an operator's connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Binds a TCP listener; the error names the address and what to do.
///
/// # Errors
/// The port is in use, or the address is not this machine's.
pub fn bind(what: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let explain = |error: io::Error| {
        let hint = listen_hint(&error);
        io::Error::new(error.kind(), format!("cannot listen for {what} on {address}: {error}{hint}"))
    };
    let listener = std::net::TcpListener::bind(address).map_err(explain)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What to do about an address that cannot be listened on, to be put after the error.
pub fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; the port is in use: stop the other program or configure another port",
        io::ErrorKind::AddrNotAvailable => "; the address is none of this machine's",
        io::ErrorKind::PermissionDenied => "; this port needs more rights than the process has",
        _ => "",
    }
}
