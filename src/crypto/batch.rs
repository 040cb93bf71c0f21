//! Many envelopes' signatures at once, with the verdicts that single checks would give.

use rayon::prelude::*;

use super::PublicKey;

/// One envelope's signature to be checked.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeCheck<'a> {
    /// The creator's key.
    pub key: &'a PublicKey,
    /// What was signed: the envelope's payload.
    pub message: &'a [u8],
    /// The envelope's signature, as received.
    pub signature: &'a [u8],
}

impl EnvelopeCheck<'_> {
    fn verdict(&self) -> bool {
        self.key.verify_envelope(self.message, self.signature)
    }
}

/// The verdict on each of `checks`, in their order, each equal to what
/// [`PublicKey::verify_envelope`] says of it alone, whatever else is in the batch.
///
/// Ed25519 signatures share one equation per [`ED25519_CHUNK`]; if that fails, each of them is
/// checked alone. More work than fits one chunk is spread over rayon's threads. It blocks until
/// all is done, so an async caller wants it on a blocking thread.
pub fn verify_envelopes(checks: &[EnvelopeCheck<'_>]) -> Vec<bool> {
    in_chunks(checks, |chunk| verify_chunk(checks, chunk))
}

/// Has `judge` give its verdicts on the checks at the given indices, chunk by chunk as
/// [`verify_envelopes`] does, on rayon's threads if there is more than one; all verdicts, in the
/// order of the checks.
pub fn in_chunks(checks: &[EnvelopeCheck<'_>], judge: impl Fn(&[usize]) -> Vec<bool> + Sync) -> Vec<bool> {
    let (ed25519, ecdsa): (Vec<usize>, Vec<usize>) =
        (0..checks.len()).partition(|index| checks[*index].key.ed25519_bytes().is_some());
    let chunks: Vec<&[usize]> = ed25519.chunks(ED25519_CHUNK).chain(ecdsa.chunks(ECDSA_CHUNK)).collect();
    let judged: Vec<Vec<bool>> = if chunks.len() > 1 {
        chunks.par_iter().map(|chunk| judge(chunk)).collect()
    } else {
        chunks.iter().map(|chunk| judge(chunk)).collect()
    };
    let mut verdicts = vec![false; checks.len()];
    for (chunk, judged) in chunks.iter().zip(judged) {
        for (index, verdict) in chunk.iter().zip(judged) {
            verdicts[*index] = verdict;
        }
    }
    verdicts
}

/// The verdicts on the checks at these indices, found on this thread alone.
pub fn verify_chunk(checks: &[EnvelopeCheck<'_>], chunk: &[usize]) -> Vec<bool> {
    if chunk.len() >= WORTH_A_BATCH && all_hold(checks, chunk) {
        return vec![true; chunk.len()];
    }
    chunk.iter().map(|index| checks[*index].verdict()).collect()
}

/// Whether one equation shows that all are valid. `false` may also mean that there is a check
/// that no batch can hold, such as one of another kind of key.
fn all_hold(checks: &[EnvelopeCheck<'_>], chunk: &[usize]) -> bool {
    let mut batch = ed25519_zebra::batch::Verifier::new();
    for index in chunk {
        let check = &checks[*index];
        let (Some(key), Ok(signature)) =
            (check.key.ed25519_bytes(), ed25519_zebra::Signature::from_slice(check.signature))
        else {
            return false;
        };
        batch.queue((key, signature, check.message));
    }
    // The random coefficients decide only how unlikely (2^-128) it is that a batch with an
    // invalid signature passes; they never make a batch of valid ones fail.
    batch.verify(rand::rng()).is_ok()
}

/// Ed25519 signatures that share one equation; larger chunks gain little more.
pub const ED25519_CHUNK: usize = 256;

/// ECDSA signatures are checked one by one, so this is only a unit of work for a thread.
const ECDSA_CHUNK: usize = 32;

/// Below this many, single checks (with their keys already decompressed) are as fast.
const WORTH_A_BATCH: usize = 4;
