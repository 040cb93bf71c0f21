//! Lies about votes and complaints.

use super::attack::{Act, Attack, Scene};
use crate::pbft::Output;
use crate::pbft::message::{Message, Unsigned};

/// Its prepares reach nobody but itself.
pub(super) struct WithholdPrepare;

impl Attack for WithholdPrepare {
    fn say(&mut self, scene: &mut Scene, output: Output) -> Option<Output> {
        match output {
            Output::Broadcast(what @ Unsigned::Prepare(_)) => {
                scene.act(Act::Only { to: Vec::new(), what, own: true });
                None
            }
            Output::Repeat(_, Message::Prepare(prepare)) if prepare.signer == scene.me => None,
            output => Some(output),
        }
    }
}

/// Its commits reach nobody but itself.
pub(super) struct WithholdCommit;

impl Attack for WithholdCommit {
    fn say(&mut self, scene: &mut Scene, output: Output) -> Option<Output> {
        match output {
            Output::Broadcast(what @ Unsigned::Commit(_)) => {
                scene.act(Act::Only { to: Vec::new(), what, own: true });
                None
            }
            Output::Repeat(_, Message::Commit(commit)) if commit.signer == scene.me => None,
            output => Some(output),
        }
    }
}

/// Each of its statuses complains about the primary, unless that is the liar itself.
pub(super) struct ComplainBait;

impl Attack for ComplainBait {
    fn say(&mut self, scene: &mut Scene, mut output: Output) -> Option<Output> {
        if let Output::Tell(_, Message::Status(status)) | Output::TellAll(Message::Status(status)) =
            &mut output
            && !scene.leads
        {
            status.complains = true;
            scene.acted();
        }
        Some(output)
    }
}
