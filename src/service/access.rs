//! Who may read a channel: the policy `/Channel/Readers` and the life of the reader's certificate.

use bytes::Bytes;

use super::Clock;
use crate::policy::SignedData;
use crate::registrar::Channel;
use crate::wire::envelope::Parsed;

/// The policy that readers must satisfy.
const READERS: &str = "/Channel/Readers";

/// One reader of one channel. [`Self::check`] is asked before every block: it evaluates the
/// policy again only when the configuration has changed, and looks at the expiry each time.
pub(super) struct Access<'a> {
    channel: &'a Channel,
    request: &'a Parsed,
    clock: &'a Clock,
    check_expiration: bool,
    allowed_at: Option<u64>,
}

impl<'a> Access<'a> {
    /// For the creator of `request`.
    pub(super) fn new(
        channel: &'a Channel,
        request: &'a Parsed,
        clock: &'a Clock,
        check_expiration: bool,
    ) -> Self {
        Self { channel, request, clock, check_expiration, allowed_at: None }
    }

    /// Whether the creator may read now; the error says why not.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let config = self.channel.config();
        let creator: &Bytes = &self.request.signature_header.creator;
        let identity = config.msps.identity(creator).map_err(|error| error.to_string())?;
        if self.check_expiration && identity.expired_at(self.clock.now()) {
            return Err("the client's certificate has expired".to_owned());
        }
        if self.allowed_at == Some(config.sequence) {
            return Ok(());
        }
        let signed =
            SignedData { data: &self.request.payload, identity: creator, signature: &self.request.signature };
        config.policies.check_signed(READERS, &config.msps, &[signed]).map_err(|error| error.to_string())?;
        self.allowed_at = Some(config.sequence);
        Ok(())
    }
}
