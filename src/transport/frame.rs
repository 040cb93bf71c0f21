//! Frames on a stream: a length of four bytes, big-endian, then that many bytes.
//!
//! The first frame of a stream is its preamble: protocol version, what the stream is for, and for
//! a channel's stream the channel's name.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::link::Class;

/// What the preamble says this end speaks.
pub(super) const VERSION: u8 = 1;
/// Longest name of a channel, bytes.
pub(super) const MAX_CHANNEL_NAME: usize = 249;
/// Longest preamble, bytes.
pub(super) const MAX_PREAMBLE: usize = 2 + MAX_CHANNEL_NAME;

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// The first stream of a connection: tells this process from the one before a restart.
    Greeting {
        /// Random for each process.
        incarnation: u64,
    },
    /// Frames of a class on a channel.
    Channel {
        /// Which class.
        class: Class,
        /// Which channel.
        channel: String,
    },
}

/// Why a preamble cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PreambleError {
    /// Another version of the protocol.
    #[error("peer speaks version {0} of the replica protocol, this is version {VERSION}")]
    Version(u8),
    /// Anything else.
    #[error("garbled preamble")]
    Garbled,
}

impl Preamble {
    /// The preamble as a frame.
    pub(super) fn encode(&self) -> Bytes {
        let mut body = vec![VERSION];
        match self {
            Self::Greeting { incarnation } => {
                body.push(GREETING);
                body.extend(incarnation.to_be_bytes());
            }
            Self::Channel { class, channel } => {
                body.push(kind(*class));
                body.extend(channel.as_bytes());
            }
        }
        let mut frame = BytesMut::with_capacity(HEADER + body.len());
        frame.put_u32(body.len() as u32);
        frame.put_slice(&body);
        frame.freeze()
    }

    /// Reads a preamble's body.
    pub(super) fn decode(body: &[u8]) -> Result<Self, PreambleError> {
        let [version, kind, rest @ ..] = body else { return Err(PreambleError::Garbled) };
        if *version != VERSION {
            return Err(PreambleError::Version(*version));
        }
        let class = match *kind {
            GREETING => {
                let incarnation = rest.try_into().map_err(|_| PreambleError::Garbled)?;
                return Ok(Self::Greeting { incarnation: u64::from_be_bytes(incarnation) });
            }
            VOTES => Class::Votes,
            BULK => Class::Bulk,
            REPAIR => Class::Repair,
            _ => return Err(PreambleError::Garbled),
        };
        match std::str::from_utf8(rest) {
            Ok(channel) if (1..=MAX_CHANNEL_NAME).contains(&channel.len()) => {
                Ok(Self::Channel { class, channel: channel.to_owned() })
            }
            _ => Err(PreambleError::Garbled),
        }
    }
}

/// What goes to the stream in one write: small frames are copied together, a large one keeps its
/// own bytes.
pub(super) fn pack(frames: Vec<Bytes>) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut small = BytesMut::new();
    for frame in frames {
        small.put_u32(frame.len() as u32);
        if frame.len() <= COPY_UP_TO {
            small.put_slice(&frame);
        } else {
            chunks.push(small.split().freeze());
            chunks.push(frame);
        }
    }
    if !small.is_empty() {
        chunks.push(small.freeze());
    }
    chunks
}

/// Why no frame can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream or connection is gone.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream ends inside a frame.
    #[error("stream ends inside a frame")]
    Truncated,
    /// Longer than its class allows.
    #[error("frame of {length} bytes, at most {max} are allowed")]
    TooLong {
        /// What it says.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}

/// Reads frames.
pub(super) struct FrameReader {
    stream: RecvStream,
    chunk: Bytes,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, chunk: Bytes::new() }
    }

    /// Tells the sender to stop, and why.
    pub(super) fn stop(&mut self, code: u32) {
        // An error says that the stream is closed already, which is what is wanted.
        let _ = self.stream.stop(code.into());
    }

    /// The next frame, of at most `max` bytes; `None` at the end of the stream. Every frame gets
    /// memory of its own, which grows with what has arrived and not with what was promised.
    pub(super) async fn next(&mut self, max: usize) -> Result<Option<Bytes>, FrameError> {
        let mut header = [0; HEADER];
        let mut have = 0;
        while have < HEADER {
            if !self.fill().await? {
                return if have == 0 { Ok(None) } else { Err(FrameError::Truncated) };
            }
            let take = self.chunk.len().min(HEADER - have);
            self.chunk.copy_to_slice(&mut header[have..have + take]);
            have += take;
        }
        let length = u32::from_be_bytes(header) as usize;
        if length > max {
            return Err(FrameError::TooLong { length, max });
        }
        let mut frame = Vec::new();
        while frame.len() < length {
            if !self.fill().await? {
                return Err(FrameError::Truncated);
            }
            if frame.len() == frame.capacity() {
                // Doubles, but ends at the exact length.
                frame.reserve_exact(frame.len().max(FIRST_ALLOCATION).min(length - frame.len()));
            }
            let take = self.chunk.len().min(frame.capacity() - frame.len());
            frame.extend_from_slice(&self.chunk.split_to(take));
        }
        Ok(Some(frame.into()))
    }

    /// Makes sure that there are bytes; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool, ReadError> {
        while self.chunk.is_empty() {
            match self.stream.read_chunk(READ, true).await? {
                Some(chunk) => self.chunk = chunk.bytes,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn kind(class: Class) -> u8 {
    match class {
        Class::Votes => VOTES,
        Class::Bulk => BULK,
        Class::Repair => REPAIR,
    }
}

const HEADER: usize = 4;
const GREETING: u8 = 0;
const VOTES: u8 = 1;
const BULK: u8 = 2;
const REPAIR: u8 = 3;
/// Frames up to this are copied together; above it a copy costs more than a write of its own.
const COPY_UP_TO: usize = 8 << 10;
/// Allocated for a frame before any of it has arrived, at most.
const FIRST_ALLOCATION: usize = 64 << 10;
/// Taken from the stream at once, at most.
const READ: usize = 256 << 10;
