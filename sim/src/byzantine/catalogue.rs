//! Every attack by name: what it does, what bugs it aims at, and how it is made.

use std::fmt;

use super::{Attack, bodies, collude, floods, goals, primary, transfer, views, votes};

/// What an attack is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// What a primary proposes.
    Primary,
    /// Prepare and commit votes.
    Votes,
    /// View-changes and new-views.
    Views,
    /// Those who catch up.
    Transfer,
    /// Who and how many the liar is, and what it remembers.
    Identity,
    /// Too much of something.
    Resources,
    /// Liars that work together or search.
    Meta,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Votes => "votes",
            Self::Views => "views",
            Self::Transfer => "transfer",
            Self::Identity => "identity",
            Self::Resources => "resources",
            Self::Meta => "meta",
        })
    }
}

/// An attack of the catalogue.
#[derive(Clone, Copy)]
pub struct AttackInfo {
    /// `A01` to `A59`, `C1` to `C4`, and `B..` for those that the reference does not list.
    pub id: &'static str,
    /// Its name in plans and scenario files.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// What it is about.
    pub family: Family,
    /// What it does, in a sentence.
    pub does: &'static str,
    /// The bugs that it would show.
    pub aim: &'static str,
    /// At length, for people who want to use it.
    pub explain: &'static str,
    /// It has no meaning before the set of consenters can change.
    pub needs_reconfiguration: bool,
    /// Makes one; none where there is nothing to make.
    pub make: Option<fn() -> Box<dyn Attack>>,
}

impl fmt::Debug for AttackInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.name)
    }
}

/// All attacks, in order of id.
pub fn catalogue() -> &'static [AttackInfo] {
    &CATALOGUE
}

/// The attack of this name, alias or id.
pub fn find(name: &str) -> Option<&'static AttackInfo> {
    CATALOGUE.iter().find(|info| info.name == name || info.id == name || info.aliases.contains(&name))
}

/// What to say about a name that is not there.
pub(super) fn no_such(name: &str) -> String {
    let near = CATALOGUE.iter().filter(|info| {
        info.name.split('-').any(|part| part.len() > 3 && name.contains(part)) || info.name.contains(name)
    });
    let near: Vec<_> = near.map(|info| info.name).take(5).collect();
    let hint = if near.is_empty() {
        "`sbft-sim attacks --list` shows them all".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    format!("no attack is called \"{name}\"; {hint}")
}

type Make = fn() -> Box<dyn Attack>;

const fn entry(
    id: &'static str,
    name: &'static str,
    family: Family,
    make: Make,
    [does, aim, explain]: [&'static str; 3],
) -> AttackInfo {
    let (aliases, needs_reconfiguration) = (&[] as &[&str], false);
    AttackInfo { id, name, aliases, family, does, aim, explain, needs_reconfiguration, make: Some(make) }
}

impl AttackInfo {
    const fn or(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
}

const fn later(
    id: &'static str,
    name: &'static str,
    family: Family,
    [does, aim, explain]: [&'static str; 3],
) -> AttackInfo {
    let aliases = &[] as &[&str];
    AttackInfo { id, name, aliases, family, does, aim, explain, needs_reconfiguration: true, make: None }
}

use Family::{Identity, Meta, Primary, Resources, Transfer, Views, Votes};

#[rustfmt::skip]
static CATALOGUE: [AttackInfo; 76] = [
    entry("A01", "equivocate-halves", Primary, primary::equivocate_halves, [
        "As primary, proposes one block to some and another to the rest, and votes for both.",
        "A second proposal accepted at one view and number; quorums that need not meet; a new view that drops what was prepared.",
        "The classic lie. Half of the others (or those in `against`) get a different, perfectly valid block for the same view and number, with the candidate it names and the liar's own prepare and commit. The core's votes go only to those who heard the core's story. No quorum can form for both; honest replicas find the two signatures as soon as they exchange proposals, accuse the primary and change the view. With f + 1 liars, two of them primaries or voters for all, it forks the chain, as it must.",
    ]),
    entry("A02", "equivocate-one", Primary, primary::equivocate_one, [
        "As primary, proposes another block to one victim, and votes for both.",
        "A replica that is alone with its prepared block; catching up from a wrong branch.",
        "Like equivocate-halves with a single victim: the rest reach a quorum without it, and the victim has to find out that what it accepted will never commit, abandon it and fetch the real block.",
    ]),
    entry("A03", "equivocate-late", Primary, primary::equivocate_late, [
        "As primary, tells the other story only when the first has all but one of the votes it needs.",
        "Votes counted for the wrong digest; certificates made of mixed votes.",
        "The primary waits until it has heard of q - 1 prepares for its block and then sends a second proposal to half of the others, some of which have prepared by then and some not. What is prepared anywhere must survive.",
    ]),
    entry("A04", "skip-number", Primary, primary::skip_number, [
        "As primary, proposes the number after the one that is due.",
        "A prepared block above a gap; gaps in the chain.",
        "The proposal has the right parent hash and a number one too high. It must be kept aside for ever or found wrong, never voted on, and the primary is given up when nothing commits.",
    ]).or(&["skip-seq"]),
    entry("A05", "reuse-number", Primary, primary::reuse_number, [
        "As primary, sends everybody a second proposal for the same view and number.",
        "The second proposal replacing the first; the offence going unnoticed.",
        "Everybody gets both, in whatever order the network likes. Each replica votes for the one it saw first, notices the second and accuses.",
    ]).or(&["reuse-seq"]),
    entry("A06", "wrong-prev", Primary, primary::wrong_previous, [
        "As primary, proposes a block whose previous hash is that of no block.",
        "The hash chain not being checked.",
        "Everything else about the block is right. A replica that accepted it would build a chain that no verifier accepts.",
    ]),
    entry("A07", "bad-body", Primary, primary::bad_body, [
        "As primary, proposes a header whose data hash is not that of the candidates.",
        "Voting before looking at the payload.",
        "The candidates are fine and everybody has them; only the header lies. Whoever computes the hash sees it, whoever trusts the header does not.",
    ]),
    entry("A08", "invalid-envelope", Primary, primary::invalid_envelope, [
        "As primary, proposes blocks with an envelope that is malformed, that no client submitted, or that is in the chain already.",
        "Filters skipped for what a primary proposes; de-duplication missing on the path of a proposal.",
        "The liar makes a candidate of its own with such an envelope and sends it along. It must fail validation at every honest replica, or turn out to be empty after duplicates fall out.",
    ]),
    entry("A09", "oversize", Primary, primary::oversize, [
        "As primary, proposes more envelopes or more candidates than a block may have.",
        "Limits checked after duplicates fall out, or only on arrival of a candidate.",
        "Two candidates that are each as they should be and too many together, one with an envelope too many, or a list of candidates longer than any block could have.",
    ]),
    entry("A10", "empty-blocks", Primary, primary::empty_blocks, [
        "As primary, proposes blocks with nothing in them.",
        "Empty blocks filling the chain; progress that is none resetting the patience of the others.",
        "No candidates at all, or one of whose envelopes every one is in the chain already.",
    ]),
    entry("A11", "censor-client", Primary, primary::censor_client, [
        "Never lets its core see candidates that hold envelopes of one client.",
        "Work that waits for ever under a primary that is busy with other work.",
        "A quarter of all envelopes, told apart by their ids, count as the victim's. The primary goes on ordering everything else, so a complaint timer that any commit resets never ends its reign.",
    ]),
    entry("A12", "censor-half", Primary, primary::censor_half, [
        "As primary, proposes to just enough others for a quorum with itself.",
        "Replicas that are left out and never catch up; repair that only the primary does.",
        "The rest of the replicas hear votes for a proposal that they have not seen. They must get it from the others, who hold the primary's signed proposal.",
    ]).or(&["propose-to-few"]),
    entry("A13", "slow-primary", Primary, primary::slow_primary, [
        "As primary, proposes at 0.95 of the others' patience.",
        "Throughput that a primary can hold at almost nothing without being deposed.",
        "Each proposal waits until just before the complain timeout. It should be found slow by its delay from candidate to proposal, measured against the round time.",
    ]),
    entry("A14", "staircase", Primary, primary::staircase, [
        "As primary, proposes a little later each time, and steps back when a view change shows that it went too far.",
        "Slowness that creeps in below every threshold that adapts to it.",
        "Each delay is a quarter longer than the last. What the others measure of their own rounds must not grow along with it.",
    ]),
    entry("A15", "future-number", Primary, primary::future_number, [
        "As primary, proposes numbers beyond the window, up to the highest there is.",
        "The window not being enforced; arithmetic that overflows; memory held for numbers far away.",
        "The window here is what watermarks are elsewhere: how many numbers may be in flight above the last committed one.",
    ]).or(&["future-seq"]),
    entry("A16", "reorder-fifo", Primary, primary::reorder_fifo, [
        "As primary, proposes an origin's candidates in another order than it made them.",
        "Bookkeeping per origin that relies on the order; a candidate left behind for ever.",
        "The order is a courtesy of honest primaries and no rule that blocks are refused by, so such blocks commit. Nothing may be lost by it.",
    ]),
    entry("A17", "withhold-prepare", Votes, votes::withhold_prepare, [
        "Never sends a prepare vote.",
        "Quorums that count on every replica.",
        "The honest replicas alone are a quorum, so this costs nothing but a vote.",
    ]),
    entry("A18", "withhold-commit", Votes, votes::withhold_commit, [
        "Never sends a commit vote.",
        "Certificates that need more than the honest replicas.",
        "It prepares like everybody and never commits.",
    ]),
    entry("A19", "vote-for-all", Votes, votes::vote_for_all, [
        "Votes prepare and commit for every proposal that anybody mentions.",
        "Quorums that are too small; votes of one signer counted twice; two certificates at one number.",
        "The natural partner of an equivocating primary: whatever story somebody has heard, this liar's votes support it, in the current view and, when a view starts, for everything that was ever proposed.",
    ]),
    entry("A20", "commit-without-prepare", Votes, votes::commit_without_prepare, [
        "Commits at once on a proposal and never prepares.",
        "Commits counted before the block is prepared.",
        "Its commits arrive before those who count them are prepared, and stand for a certificate that it does not have.",
    ]),
    entry("A21", "vote-spam", Votes, votes::vote_spam, [
        "Sends every vote eight times.",
        "The same vote counted twice; work for each copy.",
        "The copies are the same bytes, so nothing about them is an offence.",
    ]),
    entry("A22", "selective-vote", Votes, votes::selective_vote, [
        "Lets only one other replica hear its votes.",
        "A block committed at exactly one replica, and lost in the next view.",
        "The same one for prepare and commit of a number: with luck exactly one honest replica commits. If it then goes away, the view change must bring the same block back.",
    ]),
    entry("A23", "late-vote", Votes, votes::late_vote, [
        "Keeps its votes until their view is over.",
        "Votes of an old view counted in a new one.",
        "When its core has left a view, all votes it kept of that view go out at once.",
    ]),
    entry("A24", "vote-other-view", Votes, votes::vote_other_view, [
        "Votes in the view below or above the one it is in.",
        "Votes counted across views.",
        "Small steps are what finds slips: a vote for the next view is kept by those who are not there yet, and must count there only.",
    ]),
    entry("A25", "vote-other-number", Votes, votes::vote_other_number, [
        "Votes for the number below or above.",
        "Votes counted for a digest without its number.",
        "The digest is a real one, of another number.",
    ]).or(&["vote-other-seq"]),
    entry("A26", "bad-sig", Votes, votes::bad_signature, [
        "Signs its votes wrongly.",
        "Signatures not checked, or checked after counting.",
        "One bit of each signature is flipped. To everybody else it is as if the liar did not vote.",
    ]),
    entry("A27", "borrowed-sig", Votes, votes::borrowed_signature, [
        "Sends each of its votes a second time under another replica's name.",
        "The name in a message taken for that of the signer; votes charged to the wrong one.",
        "Nobody may be accused because of it, and no vote of the named replica may be displaced.",
    ]),
    entry("A28", "malleable-sig", Votes, votes::malleable_signature, [
        "Sends its signatures in an encoding that only a lax verifier accepts.",
        "Verifiers that disagree, alone and in a batch; certificates that some replicas refuse.",
        "With real Ed25519 keys the group order is added to S; a simulated signature gets a byte more. The rule here is strict: everybody must refuse it.",
    ]),
    entry("A29", "stale-vc", Views, views::stale_view_change, [
        "Hides certificates and blocks in its view-changes.",
        "A new view that trusts a single view-change; too small a quorum of them.",
        "Nothing prepared, or the highest or lowest certificate left out, or an older block as its last. A quorum of view-changes has an honest one for everything that may have committed, so it must not matter.",
    ]).or(&["stale-view-change"]),
    entry("A30", "forged-vc-cert", Views, views::forged_certificate, [
        "Carries certificates that no quorum made.",
        "Certificates inside view-changes taken on trust.",
        "A signature too few, one signer twice, the signatures of another proposal, or its own signature under everybody's name.",
    ]),
    entry("A31", "old-cert-replay", Views, views::old_certificate, [
        "Carries genuine certificates in the wrong place.",
        "Certificates of lower views or committed numbers given weight.",
        "A certificate of a lower view in place of a higher one it holds, or one for a number at or below the base. One of another channel cannot be had: its signatures are over another genesis hash.",
    ]),
    entry("A32", "vc-equivocate", Views, views::split_view_change, [
        "Sends different view-changes for one view to different replicas.",
        "A replica and the new primary reckoning with different sets.",
        "Both are properly signed, and it is no offence: what counts is the set inside the new-view.",
    ]).or(&["split-view-change"]),
    entry("A33", "nv-ignore-cert", Views, views::ignore_certificates, [
        "As new primary, proposes something new for a number that its own new-view proposes again.",
        "Backups that believe the primary instead of computing what follows from the new-view.",
        "What is proposed again is computed here and not stated, so the lie is a fresh proposal at that number. Acts only when a certificate was carried over.",
    ]),
    entry("A34", "nv-dup-signers", Views, views::new_view_of_doubles, [
        "As new primary, starts the view with one view-change counted twice.",
        "Distinct senders not being required.",
        "Signed by the primary itself, so it is proof of its offence.",
    ]),
    entry("A35", "nv-subset", Views, views::new_view_subset, [
        "As new primary, uses the view-changes that say least.",
        "A new view that drops a committed block when the primary may choose.",
        "It is free to choose any quorum of those it has, and uses one of its own that says nothing. Safety must hold for every choice.",
    ]).or(&["new-view-subset"]),
    entry("A36", "nv-split", Views, views::new_view_split, [
        "As new primary, sends some replicas another new-view.",
        "Replicas that vote in one view for two different sets of blocks.",
        "Both new-views follow the rules. What is proposed again may differ; two quorums must not.",
    ]).or(&["new-view-split"]),
    entry("A37", "nv-silent", Views, views::new_view_silent, [
        "Takes part in electing itself and then says nothing as primary.",
        "The timer of a view that did not start; replicas that wait for ever.",
        "No new-view and no proposals in views above 0 that it leads.",
    ]).or(&["silent-new-primary"]),
    entry("A38", "vc-spam", Views, views::view_change_spam, [
        "Asks for the next views all the time, now and then for one far away.",
        "One liar deposing honest primaries; view numbers that run away.",
        "Every 25 ms, to everybody. f replicas that ask for views must move nobody.",
    ]).or(&["view-change-spam"]),
    entry("A39", "future-view-flood", Views, views::future_view_flood, [
        "Sends view-changes for views up to 2^63.",
        "Memory held for each view that somebody names; arithmetic that overflows.",
        "Four at a time, each for another power of two. One view-change is kept of each sender.",
    ]),
    entry("A40", "join-bait", Views, views::join_bait, [
        "Asks for the next view as soon as one begins.",
        "Joining at f instead of f + 1.",
        "One view-change from each liar for each view: exactly f of them stand ready, and any honest replica's impatience makes it f + 1, which moves everybody.",
    ]),
    entry("A41", "lying-checkpoint", Transfer, transfer::lying_checkpoint, [
        "Lies in its status about how far it is.",
        "Replicas that fetch what does not exist, or stop fetching; answers without a limit.",
        "There are no checkpoint messages here: a committed block with its certificate is the checkpoint, and the status is where it is claimed. Views, numbers up to 2^60, active or not, all at random.",
    ]).or(&["lying-status"]),
    entry("A42", "lying-block", Transfer, transfer::lying_block, [
        "Serves altered blocks to those who catch up.",
        "Fetched blocks taken on trust; bodies not compared with the header.",
        "Another body under the real certificate, an envelope more, wrong ids, the view of the certificate changed, or a signature missing.",
    ]).or(&["lying-blocks"]),
    entry("A43", "cert-f+1", Transfer, transfer::short_certificate, [
        "Serves blocks with f + 1 signatures.",
        "The size of a block certificate not being checked for fetched blocks.",
        "The block and the signatures are genuine; there are only too few of them.",
    ]).or(&["cert-f-plus-1"]),
    entry("A44", "stall-transfer", Transfer, transfer::stall_transfer, [
        "Answers for blocks one at a time and late.",
        "A replica that stays with a slow source for ever.",
        "Each answer comes after 350 ms with a single block. Whoever catches up must turn to somebody else.",
    ]).or(&["drip-blocks"]),
    entry("A45", "zip-bomb", Transfer, transfer::zip_bomb, [
        "Sends far more than was asked for: huge candidates, huge blocks, blocks over and over.",
        "Limits checked after the work was done, or not at all.",
        "Blocks with ten thousand envelopes, one block sixty-four times in an answer, candidates a hundred times larger than a block may be. Forty times at most, which is enough to see what it does.",
    ]),
    entry("A46", "old-snapshot", Transfer, transfer::old_snapshot, [
        "Serves genuine but old blocks, and says that there are no others.",
        "A replica that goes back, or takes what it has for news.",
        "In place of the blocks asked for it sends those before them, and its status claims half of what it has.",
    ]),
    later("A47", "conflicting-config", Identity, [
        "Proposes two config blocks, or serves a block with the certificate of another set of consenters.",
        "Certificates judged by the wrong set of consenters.",
        "The set of consenters cannot change yet; this attack comes with reconfiguration.",
    ]),
    later("A48", "removed-member", Identity, [
        "Votes after it was removed from the channel.",
        "Votes of a former member counted.",
        "Nobody can be removed yet; this attack comes with reconfiguration.",
    ]),
    later("A49", "not-yet-member", Identity, [
        "Votes before it was added to the channel.",
        "Votes of a future member counted.",
        "Nobody can be added yet; this attack comes with reconfiguration.",
    ]),
    entry("A50", "twins", Identity, bodies::twins, [
        "Runs two copies of the real core with one key, each with its own disk and network links.",
        "Anything that assumes one voice per key: most Byzantine behaviour that matters comes out of two honest halves.",
        "Nobody writes a lie: the two cores follow the protocol and contradict each other because they hear different things. Combine it with partitions. The second body's votes are what is counted.",
    ]),
    entry("A51", "rollback", Identity, bodies::rollback, [
        "Crashes now and then and comes back with an older state of its log.",
        "Quorums that need the memory of more than the honest replicas.",
        "Any prefix of the records, by a draw. It then votes again where it had voted, with the real core doing so in good faith.",
    ]),
    entry("A52", "amnesia", Identity, bodies::amnesia, [
        "Forgets which votes it cast, and goes on voting.",
        "A block committed with its vote and replaced with its other vote.",
        "Its core starts again at once from a log without acceptances and certificates, views kept. This cannot be done from outside: the lie is in the state.",
    ]),
    entry("A53", "sybil-links", Identity, bodies::sybil_links, [
        "Makes its links go down and up all the time.",
        "Work or messages for each connect; a link's state that is never right.",
        "The transport keeps one connection for each known key, so many connections under one name show as one that is displaced again and again. Each connect is answered by a status.",
    ]),
    entry("A54", "mem-flood", Resources, floods::memory_flood, [
        "Votes for numbers in the window, each time for another digest.",
        "Votes kept by digest without a bound.",
        "One prepare and one commit of each sender, view and number may be kept; the second is an offence.",
    ]),
    entry("A55", "client-dup", Resources, floods::client_duplicates, [
        "A client submits one request to every replica, at each in other bytes.",
        "De-duplication by bytes instead of by request id.",
        "The same nonce and creator, another signature: it must be in the chain once. Ends when the network heals, or nothing would ever be settled.",
    ]),
    entry("A56", "replay-all", Resources, floods::replay_all, [
        "Says again what it said or heard, just now or long ago.",
        "Old messages given new meaning; answers to answers.",
        "The last 64 packets and the first 32 ever, also from before its own restarts. Replays from another channel carry signatures over another genesis hash and are noise.",
    ]).or(&["replay"]),
    entry("A57", "storm-bait", Resources, floods::storm_bait, [
        "Sends everybody statuses that make them answer with everything they have.",
        "Answers that are not limited in rate; messages that answer each other without end.",
        "It claims to have nothing, sometimes in view 0, three times every 25 ms.",
    ]),
    entry("A58", "silent", Identity, bodies::silent, [
        "Says nothing at all.",
        "Anything that needs all replicas.",
        "Its core hears and does everything, and nobody hears of it.",
    ]),
    entry("A59", "flapping", Identity, bodies::flapping, [
        "Is silent and not by turns of 180 ms.",
        "Timers that a short sign of life resets.",
        "As primary it is there just often enough to be given another chance.",
    ]),
    entry("B01", "silent-primary", Primary, primary::silent_primary, [
        "As primary, never proposes.",
        "The complaint timer.",
        "It votes and answers like everybody, and starts views; it only never proposes.",
    ]),
    entry("B02", "bad-proposals", Primary, primary::bad_proposals, [
        "As primary, breaks another rule with every other proposal.",
        "Any check of a proposal that is missing.",
        "A random pick of skip-number, wrong-prev, bad-body, invalid-envelope, oversize, empty-blocks, future-number, a candidate named twice, and a proposal for the next view.",
    ]),
    entry("B03", "censor-origin", Primary, primary::censor_origin, [
        "Never lets its core see the candidates of one origin.",
        "Replicas whose work waits for ever under a primary that is busy with others'.",
        "The victim is the first of `against`, or drawn. It goes on ordering everything else.",
    ]).or(&["censor"]),
    entry("B04", "delayed-vote", Votes, votes::delayed_vote, [
        "Lets each vote take up to a second and a half.",
        "Votes that arrive in every possible order.",
        "The delay is drawn for each receiver and number.",
    ]),
    entry("B05", "forge", Votes, floods::forge, [
        "Sends votes with bad signatures and under others' names, out of nothing.",
        "Signatures or names not checked.",
        "For whatever is proposed, a prepare in the name of every other replica; and one under a name that does not exist.",
    ]),
    entry("B06", "flood", Resources, floods::far_flood, [
        "Floods one replica after another with votes for numbers and views near and far.",
        "Arithmetic at the edges; memory held for what is far away.",
        "Numbers up to the highest there is, views up to 2^41.",
    ]),
    entry("B07", "forge-origin", Resources, floods::forge_origin, [
        "Passes on valid candidates of its own making as another origin's.",
        "An origin's quota or place in line that others can use up.",
        "Of low sequence, so that they would stand at the head of the victim's line if that could be believed. Ends when the network heals.",
    ]),
    entry("B08", "late-to-primary", Resources, floods::late_to_primary, [
        "Lets the primary have its candidates long after the others.",
        "An honest primary suspected for what it never had.",
        "The others see a candidate wait that the primary does not know; they must make sure that it has it before they complain.",
    ]),
    entry("B09", "shun", Identity, floods::shun, [
        "Sends one replica nothing, and everybody else everything.",
        "A replica that depends on each single link.",
        "The victim is the first of `against`, or drawn. Like a broken cable that only the liar has.",
    ]),
    entry("B10", "complain-bait", Views, views::complain_bait, [
        "Complains about every primary but itself, all the time.",
        "f complaints that move somebody; one honest replica's hiccup that deposes an honest primary.",
        "A complaint is a flag in the status. f of them must move nobody; with one honest replica's they are f + 1, which all honest replicas join.",
    ]),
    entry("B11", "usurp", Primary, primary::usurp, [
        "As a backup, proposes blocks as if it were the primary.",
        "A proposal accepted whoever signed it.",
        "A valid block of a client of its own, at the next number of the current view, with the liar's signature and its commit. Only the signature is the wrong one.",
    ]),
    entry("B12", "wrong-view", Primary, primary::wrong_view, [
        "As primary, proposes in a view that is not its own.",
        "A proposal accepted in whatever view it names.",
        "The block is a good one and the signature too; only the view is wrong. Whoever accepts it votes in a view that nobody has entered. SmartBFT has it among the five mutations of its tests.",
    ]),
    entry("B13", "crawl", Primary, primary::crawl, [
        "As primary, proposes one candidate every 100 ms, and leaves the others waiting.",
        "A backlog that nobody looks at: a primary that is never silent, never slow, and lets hardly anything through.",
        "Its core is given one candidate at a time, oldest first, as long as it leads. Each proposal comes before it would be found slow, and each block is a reason to be patient. What gives it away is what waits on, though there was room for it in the block.",
    ]),
    entry("C1", "collude", Meta, collude::collude, [
        "Shares one memory with all other colluders, and votes for what only they have heard of.",
        "Bounds that hold for one liar and not for f of them.",
        "Give it to two or more liars (n = 7 and up). What one hears or says all know: a colluder votes for a story told to somebody else only, and a new primary uses view-changes sent to another. Where one tells two stories, the others vote for each only towards those who were told it, so that nothing gives the lie away. With f + 1 of them an equivocating primary forks the chain within a few schedules.",
    ]),
    entry("C2", "goal:fork", Meta, goals::fork, [
        "Searches for a fork: keeps two digests as near to a quorum as it can.",
        "Forks that need the right votes at the right replica, which chance rarely finds.",
        "As primary it tells a second story to just the part of the others that brings both stories nearest to a quorum, asking copies of their cores who would accept it. It votes for a digest at a replica when a copy of that replica's core would then prepare or commit it, the more so if others are at another digest; and in view changes it says what makes the next primary propose least again.",
    ]).or(&["goal-fork"]),
    entry("C3", "goal:stall", Meta, goals::stall, [
        "Searches for a stall: keeps back just the votes that matter, and pushes replicas out of their views one at a time.",
        "Liveness that depends on the liars' votes or on everybody being in one view.",
        "It asks a copy of each receiver's core whether a vote would let it prepare or commit, and sends only those that would not. Of all replicas that one view-change would move, it moves the one that leaves the others furthest apart.",
    ]).or(&["goal-stall"]),
    entry("C4", "goal:bloat", Meta, goals::bloat, [
        "Searches for what makes a replica hold or say most, and sends more of it.",
        "Memory or answers without a bound.",
        "Every 25 ms it tries a new piece of each kind of junk on a copy of one replica's core, and sends the three that grew its memory or its output most.",
    ]).or(&["goal-bloat"]),
];
