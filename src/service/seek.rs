//! From a `SeekInfo` to the block numbers it asks for (fabric-spec A.10, rows 6 to 8). Pure.

use crate::proto::orderer::seek_info::{SeekBehavior, SeekContentType, SeekErrorResponse};
use crate::proto::orderer::seek_position::Type;
use crate::proto::orderer::{SeekInfo, SeekPosition};

/// What one request asks for, with its positions resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seek {
    /// The first block to send.
    pub(super) first: u64,
    /// The block after which the request has been answered; `u64::MAX` means never.
    pub(super) last: u64,
    /// A block that is not there yet ends the request instead of being waited for.
    pub(super) fail_if_not_ready: bool,
    /// A chain in error is read all the same.
    pub(super) best_effort: bool,
    /// Blocks other than config blocks go without their data.
    pub(super) header_only: bool,
}

/// Why a request asks for nothing that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SeekFault {
    /// Answered BAD_REQUEST.
    #[error("the seek info has no {0} position")]
    Missing(&'static str),
    /// Answered BAD_REQUEST.
    #[error("start number {start} is greater than stop number {stop}")]
    Backwards {
        /// Where it starts.
        start: u64,
        /// Where it stops.
        stop: u64,
    },
    /// Answered NOT_FOUND.
    #[error("start number {start} is greater than the height {height}")]
    Beyond {
        /// Where it starts.
        start: u64,
        /// How many blocks there are.
        height: u64,
    },
}

impl Seek {
    /// Resolves `info` for a chain of `height` blocks.
    pub(super) fn resolve(info: &SeekInfo, height: u64) -> Result<Self, SeekFault> {
        let start = position(info.start.as_ref()).ok_or(SeekFault::Missing("start"))?;
        let stop = position(info.stop.as_ref()).ok_or(SeekFault::Missing("stop"))?;
        let newest = height.saturating_sub(1);
        let first = match start {
            Type::Oldest(_) => 0,
            Type::Newest(_) => newest,
            Type::NextCommit(_) => height,
            Type::Specified(specified) => specified.number,
        };
        // Fabric looks at the start alone first: beyond the chain no stop makes it a bad request.
        if first > height {
            return Err(SeekFault::Beyond { start: first, height });
        }
        let last = match stop {
            Type::Oldest(_) => first,
            // Newest to newest is one block, even if another one is committed meanwhile.
            Type::Newest(_) if start == stop => first,
            // Of a request that starts above it, it has been passed already.
            Type::Newest(_) if newest < first => u64::MAX,
            Type::Newest(_) => newest,
            Type::Specified(specified) if specified.number < first => {
                return Err(SeekFault::Backwards { start: first, stop: specified.number });
            }
            Type::Specified(specified) => specified.number,
            // As a stop it has no meaning of its own: Fabric's counts as block 0, which a request
            // that starts above it has passed already.
            Type::NextCommit(_) if first == 0 => 0,
            Type::NextCommit(_) => u64::MAX,
        };
        Ok(Self {
            first,
            last,
            fail_if_not_ready: info.behavior == SeekBehavior::FailIfNotReady as i32,
            best_effort: info.error_response == SeekErrorResponse::BestEffort as i32,
            header_only: info.content_type == SeekContentType::HeaderWithSig as i32,
        })
    }
}

fn position(position: Option<&SeekPosition>) -> Option<&Type> {
    position?.r#type.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::orderer::{SeekNewest, SeekNextCommit, SeekOldest, SeekSpecified};

    const OLDEST: Type = Type::Oldest(SeekOldest {});
    const NEWEST: Type = Type::Newest(SeekNewest {});
    const NEXT: Type = Type::NextCommit(SeekNextCommit {});

    fn at(number: u64) -> Type {
        Type::Specified(SeekSpecified { number })
    }

    fn info(start: Type, stop: Type) -> SeekInfo {
        let position = |r#type| Some(SeekPosition { r#type: Some(r#type) });
        SeekInfo { start: position(start), stop: position(stop), ..SeekInfo::default() }
    }

    fn range(start: Type, stop: Type, height: u64) -> Result<(u64, u64), SeekFault> {
        Seek::resolve(&info(start, stop), height).map(|seek| (seek.first, seek.last))
    }

    #[test]
    fn every_pair_of_positions_resolves_as_fabric_resolves_it() {
        let rows = [
            (OLDEST, OLDEST, (0, 0)),
            (OLDEST, NEWEST, (0, 4)),
            (OLDEST, at(2), (0, 2)),
            (OLDEST, at(u64::MAX), (0, u64::MAX)),
            (OLDEST, NEXT, (0, 0)),
            (NEWEST, OLDEST, (4, 4)),
            (NEWEST, NEWEST, (4, 4)),
            (NEWEST, at(4), (4, 4)),
            (NEWEST, at(9), (4, 9)),
            (NEWEST, NEXT, (4, u64::MAX)),
            (at(3), OLDEST, (3, 3)),
            (at(3), NEWEST, (3, 4)),
            (at(3), at(3), (3, 3)),
            (at(5), at(5), (5, 5)),
            (at(0), NEXT, (0, 0)),
            (NEXT, OLDEST, (5, 5)),
            (NEXT, at(7), (5, 7)),
            (NEXT, NEXT, (5, u64::MAX)),
            (NEXT, NEWEST, (5, u64::MAX)),
            (at(5), NEWEST, (5, u64::MAX)),
        ];
        for (start, stop, expected) in rows {
            assert_eq!(range(start, stop, 5), Ok(expected), "{start:?}..{stop:?}");
        }
    }

    #[test]
    fn a_stop_below_the_start_is_refused() {
        assert_eq!(range(at(3), at(2), 5), Err(SeekFault::Backwards { start: 3, stop: 2 }));
        assert_eq!(range(NEWEST, at(0), 5), Err(SeekFault::Backwards { start: 4, stop: 0 }));
        assert_eq!(range(NEXT, at(4), 5), Err(SeekFault::Backwards { start: 5, stop: 4 }));
    }

    #[test]
    fn a_start_above_the_height_is_not_found_whatever_the_stop() {
        for stop in [OLDEST, NEWEST, at(0), at(6), at(u64::MAX), NEXT] {
            assert_eq!(range(at(6), stop, 5), Err(SeekFault::Beyond { start: 6, height: 5 }), "{stop:?}");
        }
        assert_eq!(
            range(at(u64::MAX), at(u64::MAX), 5).unwrap_err(),
            SeekFault::Beyond { start: u64::MAX, height: 5 }
        );
    }

    #[test]
    fn a_missing_position_is_named() {
        let mut request = info(OLDEST, NEWEST);
        request.start = None;
        assert_eq!(Seek::resolve(&request, 5), Err(SeekFault::Missing("start")));
        request = info(OLDEST, NEWEST);
        request.stop = Some(SeekPosition { r#type: None });
        assert_eq!(Seek::resolve(&request, 5), Err(SeekFault::Missing("stop")));
    }

    #[test]
    fn options_are_read_and_unknown_ones_count_as_the_default() {
        let mut request = info(OLDEST, NEWEST);
        let seek = Seek::resolve(&request, 5).unwrap();
        assert!(!seek.fail_if_not_ready && !seek.best_effort && !seek.header_only);
        (request.behavior, request.error_response, request.content_type) = (1, 1, 1);
        let seek = Seek::resolve(&request, 5).unwrap();
        assert!(seek.fail_if_not_ready && seek.best_effort && seek.header_only);
        (request.behavior, request.error_response, request.content_type) = (9, -1, i32::MAX);
        let seek = Seek::resolve(&request, 5).unwrap();
        assert!(!seek.fail_if_not_ready && !seek.best_effort && !seek.header_only);
    }
}
