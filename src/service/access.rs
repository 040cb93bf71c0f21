//! Who may read a channel, asked before every block.

use super::Clock;
use crate::msg_processor::Rejection;
use crate::registrar::Channel;
use crate::wire::envelope::Parsed;

/// One reader of one channel: evaluates the readers policy again only when the configuration has
/// changed, and looks at the expiry of the reader's certificate each time.
pub(super) struct Access<'a> {
    channel: &'a Channel,
    request: &'a Parsed,
    clock: &'a Clock,
    allowed_at: Option<u64>,
}

impl<'a> Access<'a> {
    /// For the signer of `request`.
    pub(super) fn new(channel: &'a Channel, request: &'a Parsed, clock: &'a Clock) -> Self {
        Self { channel, request, clock, allowed_at: None }
    }

    /// Whether the reader may have the next block; the rejection says why not.
    pub(super) fn check(&mut self) -> Result<(), Rejection> {
        let processor = self.channel.processor();
        let now = self.clock.now();
        if self.allowed_at == Some(processor.sequence()) {
            return processor.check_reader_expiry(self.request, now);
        }
        self.allowed_at = Some(processor.check_reader(self.request, now)?);
        Ok(())
    }
}
