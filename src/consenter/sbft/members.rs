//! Who is where: places and consenter ids of a channel, and the transport's ids of peers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::channel_config::ChannelConfig;
use crate::transport::{Peer, Transport, TransportError};
use crate::types::{ConsenterId, Place};

/// The consenters of one channel, by place.
#[derive(Clone, Debug)]
pub(super) struct Members {
    pub(super) me: Place,
    members: Vec<Member>,
    places: BTreeMap<u32, Place>,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What people and blocks call it.
    pub(super) id: ConsenterId,
    /// `host:port`.
    pub(super) address: String,
    /// What the transport calls it; none for this node itself.
    pub(super) peer: Option<u32>,
}

impl Members {
    pub(super) fn n(&self) -> usize {
        self.members.len()
    }

    pub(super) fn get(&self, place: Place) -> Option<&Member> {
        self.members.get(place.index())
    }

    /// The consenter id at `place`, which must be a place of the channel.
    pub(super) fn id(&self, place: Place) -> ConsenterId {
        self.members[place.index()].id
    }

    /// The place of the peer that the transport calls `peer`.
    pub(super) fn place(&self, peer: u32) -> Option<Place> {
        self.places.get(&peer).copied()
    }

    /// All others, with the transport's id.
    pub(super) fn others(&self) -> impl Iterator<Item = (Place, &Member, u32)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(place, member)| Some((Place(place as u16), member, member.peer?)))
    }

    /// The transport's ids of all others.
    pub(super) fn peer_ids(&self) -> Vec<u32> {
        self.others().map(|(_, _, peer)| peer).collect()
    }
}

/// The peers of all channels of this node. A consenter keeps its id with the transport over all
/// channels it shares with this node, so that there is one connection for all of them.
#[derive(Debug, Default)]
pub(super) struct PeerBook {
    peers: Mutex<BTreeMap<Vec<u8>, Peer>>,
}

impl PeerBook {
    /// The members of the channel with this configuration; tells the transport of new peers.
    pub(super) fn members(
        &self,
        transport: &Transport,
        config: &ChannelConfig,
        me: Place,
    ) -> Result<Members, TransportError> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = Vec::with_capacity(config.consenters.len());
        let mut places = BTreeMap::new();
        for (place, consenter) in config.consenters.iter().enumerate() {
            let place = Place(place as u16);
            let mut member = Member { id: consenter.id, address: consenter.address(), peer: None };
            if place != me {
                let known = peers.get(&consenter.client_tls_der).map(|peer| peer.id);
                let id = known.unwrap_or_else(|| free_id(&peers, consenter.id.0));
                let peer = Peer {
                    id,
                    address: consenter.address(),
                    server_cert_der: consenter.server_tls_der.clone(),
                    client_cert_der: consenter.client_tls_der.clone(),
                };
                peers.insert(consenter.client_tls_der.clone(), peer);
                places.insert(id, place);
                member.peer = Some(id);
            }
            members.push(member);
        }
        transport.set_peers(peers.values().cloned().collect())?;
        Ok(Members { me, members, places })
    }
}

/// The consenter id if no other peer has it (so that logs read well), else the next free one.
fn free_id(peers: &BTreeMap<Vec<u8>, Peer>, wanted: u32) -> u32 {
    let taken = |id: u32| peers.values().any(|peer| peer.id == id);
    let mut id = wanted;
    while taken(id) {
        id = id.wrapping_add(1);
    }
    id
}
