//! Random schedules in small: any order, losses, repetitions and restarts, then calm. The broad
//! testing of this kind is the simulator's.

use std::time::Duration;

use super::harness::{World, candidate};

/// A xorshift generator: enough for orders of messages.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn schedule(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let n = [4, 4, 4, 5, 7][random.below(5) as usize];
    let mut world = World::new(n);
    let loss = random.below(20);
    let mut sent = Vec::new();
    for step in 0..1_500u64 {
        if random.below(40) == 0 && sent.len() < 24 {
            let name = format!("e{}", sent.len());
            world.submit(&candidate(random.below(n as u64) as u16, step, &[&name]));
            sent.push(name);
        }
        match random.below(400) {
            0 => {
                let me = random.below(n as u64) as usize;
                world.stop(me);
                world.start(me);
            }
            1..30 => {
                world.now = world.now.after(Duration::from_millis(10));
                for me in 0..n {
                    world.step(me, crate::pbft::Input::Tick);
                }
            }
            _ => {
                let waiting = world.queue.len() as u64;
                if waiting > 0
                    && let Some((from, to, input)) = world.queue.remove(random.below(waiting) as usize)
                {
                    if random.below(10) == 0 {
                        world.queue.push_back((from, to, input.clone()));
                    }
                    if from == to || random.below(100) >= loss {
                        world.step(to.index(), input);
                    }
                }
            }
        }
    }
    // Restarts lose what only waited in memory: the clients submit again.
    for (nth, name) in sent.iter().enumerate() {
        world.submit(&candidate((nth % n) as u16, 10_000 + nth as u64, &[name]));
        world.run(Duration::from_millis(5));
    }
    world.run(Duration::from_secs(60));
    for me in 0..n {
        let mut chain = world.chain(me);
        chain.sort();
        sent.sort();
        assert_eq!(chain, sent, "seed {seed}: chain of r{me}");
    }
}

#[test]
fn any_order_with_losses_repetitions_and_restarts_ends_in_one_chain_with_everything_once() {
    for seed in 0..150 {
        schedule(seed);
    }
}
