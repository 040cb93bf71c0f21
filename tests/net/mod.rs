//! A simulated network with the verbs that test stories are told in.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part of it

use std::time::Duration;

use sbft::types::{Number, Place, Time, View};
use sbft_sim::byzantine::{AttackSpec, Liar};
use sbft_sim::network::{Conditions, Fate, Kind, Rule};
use sbft_sim::workload::index_of;
use sbft_sim::world::{CrashWhen, Fault, Settings, World};

pub struct Net {
    pub world: World,
}

/// Links of 20 ms, as in the historical suite; `change` may change anything before it starts.
pub fn settings(n: usize) -> Settings {
    Settings { conditions: Conditions::steady(Duration::from_millis(20)), ..Settings::calm(1, n) }
}

/// A liar with these attacks, against these replicas (or whom it likes).
pub fn liar(place: u16, attacks: &[&str], against: &[u16]) -> Liar {
    let specs: Vec<_> = attacks.iter().map(|name| AttackSpec::named(name).against(against)).collect();
    Liar::of(Place(place), &specs).expect("attacks of the catalogue")
}

impl Net {
    pub fn new(n: usize) -> Self {
        Self::with(settings(n), Vec::new())
    }

    pub fn with_liar(n: usize, place: u16, attacks: &[&str]) -> Self {
        Self::with(settings(n), vec![liar(place, attacks, &[])])
    }

    pub fn with(settings: Settings, liars: Vec<Liar>) -> Self {
        let mut settings = settings;
        settings.restarts = false;
        let liars = liars.into_iter().map(|liar| (liar.place(), liar)).collect();
        let mut world = World::new(settings, liars, &[]);
        world.start();
        Self { world }
    }

    /// A client hands the envelope `name` to each of these replicas.
    pub fn submit(&mut self, name: &str, to: &[u16]) -> &mut Self {
        let index = self.world.workload.submit(name);
        for place in to {
            self.world.submit(Place(*place), index, 0);
        }
        self.check()
    }

    /// Lets virtual time pass.
    pub fn run(&mut self, millis: u64) -> &mut Self {
        let until = self.world.now.after(Duration::from_millis(millis));
        self.world.run_until(until);
        self.check()
    }

    /// Every check of the simulator still holds.
    pub fn check(&mut self) -> &mut Self {
        assert_eq!(self.world.violation(), None, "the simulator's checks");
        self
    }

    /// Loses these kinds on the links from `from` to `to`; empty means all.
    pub fn drop(&mut self, kinds: &[Kind], from: &[usize], to: &[usize]) -> &mut Self {
        self.rule(kinds, from, to, None, Fate::Drop)
    }

    /// Loses these kinds in one view.
    pub fn drop_in_view(&mut self, kinds: &[Kind], view: u64) -> &mut Self {
        self.rule(kinds, &[], &[], Some(View(view)), Fate::Drop)
    }

    /// Delays these kinds on the links from `from` to `to`.
    pub fn delay(&mut self, millis: u64, kinds: &[Kind], from: &[usize], to: &[usize]) -> &mut Self {
        self.rule(kinds, from, to, None, Fate::Delay(Duration::from_millis(millis)))
    }

    pub fn rule(
        &mut self,
        kinds: &[Kind],
        from: &[usize],
        to: &[usize],
        view: Option<View>,
        fate: Fate,
    ) -> &mut Self {
        let some = |list: &[usize]| (!list.is_empty()).then(|| list.to_vec());
        self.world.network.rules.push(Rule {
            from: some(from),
            to: some(to),
            kinds: (!kinds.is_empty()).then(|| kinds.to_vec()),
            view,
            number: None,
            skip: 0,
            left: None,
            fate,
        });
        self
    }

    /// Takes all rules and cuts away.
    pub fn mend(&mut self) -> &mut Self {
        self.world.network.rules.clear();
        self.world.network.mend(u64::MAX, u64::MAX);
        self
    }

    /// Cuts a replica off from all others.
    pub fn cut(&mut self, place: usize) -> &mut Self {
        self.world.network.cut(1 << place, !(1 << place));
        self.world.network.cut(!(1 << place), 1 << place);
        self
    }

    pub fn crash(&mut self, place: usize) -> &mut Self {
        self.world.plan(self.world.now, Fault::Crash(place));
        self.run(0)
    }

    pub fn restart(&mut self, place: usize) -> &mut Self {
        self.world.plan(self.world.now, Fault::Restart(place));
        self.run(0)
    }

    /// The replica will crash when it is about to send this, or just after.
    pub fn crash_at(&mut self, body: usize, kind: Kind, number: u64, after: bool) -> &mut Self {
        let number = Some(Number(number));
        self.world.crash_when.push(CrashWhen { body, kind, view: None, number, after, down_for: None });
        self
    }

    pub fn is_up(&self, place: usize) -> bool {
        self.world.bodies[place].is_up()
    }

    /// The names of the envelopes in a replica's chain, in order.
    pub fn chain(&self, place: usize) -> Vec<String> {
        let store = &self.world.bodies[place].store;
        let mut names = Vec::new();
        for number in 1..=store.last().0 {
            let block = store.block(Number(number)).expect("numbers up to the last are held");
            names.extend(block.data.iter().filter_map(index_of).map(|index| self.world.workload.name(index)));
        }
        names
    }

    /// How many blocks a replica has.
    pub fn blocks(&self, place: usize) -> u64 {
        self.world.bodies[place].store.last().0
    }

    pub fn view(&self, place: usize) -> u64 {
        self.world.bodies[place].core.as_ref().expect("the replica is up").probe().view.0
    }

    /// The chain of each of these replicas has exactly these envelopes in this order.
    pub fn expect(&mut self, places: impl IntoIterator<Item = usize>, names: &[&str]) -> &mut Self {
        for place in places {
            assert_eq!(self.chain(place), names, "chain of replica {place}");
        }
        self.check()
    }

    /// The chain of each of these replicas has each of these envelopes exactly once.
    pub fn expect_each_once(&mut self, places: impl IntoIterator<Item = usize>, names: &[&str]) -> &mut Self {
        for place in places {
            let chain = self.chain(place);
            for name in names {
                let times = chain.iter().filter(|known| known == name).count();
                assert_eq!(times, 1, "{name} in the chain of replica {place}: {chain:?}");
            }
        }
        self.check()
    }

    /// Runs until `done`, at most this long.
    pub fn run_until(&mut self, millis: u64, done: impl Fn(&Self) -> bool) -> &mut Self {
        let end = self.world.now.after(Duration::from_millis(millis));
        while !done(self) {
            assert!(self.world.now < end, "not within {millis} ms, at {}", self.world.now);
            self.run(10);
        }
        self
    }

    pub fn now(&self) -> Time {
        self.world.now
    }
}
