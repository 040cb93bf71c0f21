use super::*;
use sbft::types::{Number, View};

const LABEL: Label = Label { kind: Kind::Prepare, view: View(0), number: Number(1), tag: 9 };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Time {
    Time(ms(millis))
}

fn about(tag: u64) -> Label {
    Label { tag, ..LABEL }
}

fn network(conditions: Conditions) -> Network {
    Network::new(Draws::new(5), 4, conditions)
}

fn calm() -> Network {
    network(Conditions::steady(ms(1)))
}

/// How long each copy of a packet takes that is sent at `now`.
fn takes(network: &mut Network, now: Time, from: usize, to: usize, label: &Label) -> Vec<Duration> {
    network.send(now, from, to, label, 1000).legs().map(|leg| leg.takes).collect()
}

#[test]
fn a_cut_is_one_way_until_it_is_mended() {
    let mut network = calm();
    network.cut(0b0001, 0b0110);
    assert_eq!(network.send(at(0), 0, 1, &LABEL, 100), Fare::Lost(Lost::Partition));
    assert_eq!(takes(&mut network, at(0), 1, 0, &LABEL), [ms(1)]);
    assert!(network.connected(0, 3));
    network.mend(0b0001, 0b0010);
    assert!(network.connected(0, 1) && !network.connected(0, 2));
}

#[test]
fn the_first_rule_that_takes_a_packet_decides() {
    let mut network = calm();
    network.rules.push(Rule { kinds: Some(vec![Kind::Prepare]), left: Some(1), ..Rule::default() });
    assert_eq!(network.send(at(0), 0, 1, &LABEL, 100), Fare::Lost(Lost::Rule));
    assert_eq!(takes(&mut network, at(0), 0, 1, &LABEL), [ms(1)], "it took its one");
}

#[test]
fn a_given_cut_stops_its_phase_and_heals_with_the_rest() {
    let mut network = calm();
    network.rules.push(Rule::reaching_only(Kind::Prepare, None, Some(Number(1)), None, &[3], 4));
    assert_eq!(network.send(at(0), 0, 1, &LABEL, 100), Fare::Lost(Lost::Rule));
    assert_eq!(takes(&mut network, at(0), 0, 3, &LABEL), [ms(1)]);
    network.heal(Conditions::steady(ms(2)));
    assert_eq!(takes(&mut network, at(0), 0, 1, &LABEL), [ms(2)]);
}

#[test]
fn one_lost_packet_says_nothing_about_the_next_attempt() {
    let mut network = network(Conditions { loss: 0.5, ..Conditions::steady(ms(1)) });
    let arrived = (0..1000).filter(|_| !takes(&mut network, at(0), 0, 1, &LABEL).is_empty()).count();
    assert!((400..600).contains(&arrived), "{arrived} of 1000 at loss 0.5");
}

#[test]
fn one_fault_taken_away_leaves_all_others_where_they_were() {
    let all = Conditions {
        loss: 0.2,
        duplicate: 0.3,
        reorder: 0.3,
        reorder_by: ms(50),
        tail_chance: 0.2,
        tail: ms(100),
        ..Conditions::clean(Delay::Exponential { least: ms(1), mean: ms(5) })
    };
    let run = |conditions: Conditions| -> Vec<Vec<Duration>> {
        let mut network = network(conditions);
        (0..500).map(|tag| takes(&mut network, at(0), 0, 1, &about(tag))).collect()
    };
    let full = run(all.clone());
    let lossless = run(Conditions { loss: 0.0, ..all.clone() });
    let single = run(Conditions { duplicate: 0.0, ..all });
    let mut lost = 0;
    for ((full, lossless), single) in full.iter().zip(&lossless).zip(&single) {
        assert!(full.is_empty() || full == lossless);
        assert_eq!(full.first(), single.first());
        lost += usize::from(full.is_empty());
    }
    assert!((50..150).contains(&lost), "{lost} of 500 at loss 0.2");
}

#[test]
fn packets_arrive_twice_as_often_as_asked() {
    let mut network = network(Conditions { duplicate: 0.3, ..Conditions::steady(ms(1)) });
    let twice = (0..1000).filter(|tag| takes(&mut network, at(0), 0, 1, &about(*tag)).len() == 2).count();
    assert!((250..350).contains(&twice), "{twice} of 1000");
}

#[test]
fn packets_of_one_stream_keep_their_order_and_of_two_streams_do_not() {
    let wild = Delay::Uniform { least: ms(1), most: ms(100) };
    let mut ordered = network(Conditions { fifo: true, ..Conditions::clean(wild.clone()) });
    let mut last = Duration::ZERO;
    for tag in 0..100 {
        let arrives = takes(&mut ordered, at(0), 0, 1, &about(tag))[0];
        assert!(arrives > last, "{arrives:?} after {last:?}");
        last = arrives;
    }
    let bulk = Label { kind: Kind::Candidate, ..LABEL };
    assert!(takes(&mut ordered, at(0), 0, 1, &bulk)[0] < last, "another stream does not wait");
    let mut free = network(Conditions::clean(wild.clone()));
    let all: Vec<_> = (0..100).map(|tag| takes(&mut free, at(0), 0, 1, &about(tag))[0]).collect();
    assert!(!all.is_sorted(), "without order they overtake each other");
    let held = Conditions { fifo: true, reorder: 0.2, reorder_by: ms(300), ..Conditions::clean(wild) };
    let mut held = network(held);
    let all: Vec<_> = (0..100).map(|tag| takes(&mut held, at(0), 0, 1, &about(tag))[0]).collect();
    assert!(!all.is_sorted(), "those kept back are overtaken");
}

#[test]
fn a_narrow_link_makes_packets_wait_for_each_other() {
    let mut network = network(Conditions { bandwidth: Some(100_000), ..Conditions::steady(ms(1)) });
    // 1000 bytes take 10 ms at 100,000 bytes a second.
    let all: Vec<_> = (0..3).map(|tag| takes(&mut network, at(0), 0, 1, &about(tag))[0]).collect();
    assert_eq!(all, [ms(11), ms(21), ms(31)]);
    assert_eq!(takes(&mut network, at(0), 1, 0, &LABEL), [ms(11)], "the other direction is free");
    assert_eq!(takes(&mut network, at(500), 0, 1, &about(9)), [ms(11)], "and so is this one later");
}

#[test]
fn a_full_queue_loses_a_random_one_of_what_is_under_way() {
    let mut network = network(Conditions { queue: Some(10), ..Conditions::steady(ms(50)) });
    let mut legs = Vec::new();
    let mut refused = 0;
    for tag in 0..100 {
        match network.send(at(0), 0, 1, &about(tag), 100) {
            Fare::Goes(leg, None) => legs.push(leg),
            Fare::Lost(Lost::Queue) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    let arrived: Vec<usize> =
        (0..legs.len()).filter(|which| network.arrives(0, 1, legs[*which].ticket).is_ok()).collect();
    assert_eq!(arrived.len(), 10, "as many as fit");
    assert!(refused > 0 && refused < 90, "{refused} refused, the others crowded out older ones");
    assert!(arrived[0] < 90 - refused, "not just the newest");
    assert!(network.send(at(60), 0, 1, &about(200), 100).lost().is_none(), "room again");
}

#[test]
fn a_clogged_link_holds_everything_back_until_it_is_free() {
    let mut network = calm();
    network.clog(0b0001, 0b0010, at(100));
    assert_eq!(takes(&mut network, at(30), 0, 1, &LABEL), [ms(70)]);
    assert_eq!(takes(&mut network, at(30), 1, 0, &LABEL), [ms(1)]);
    assert_eq!(takes(&mut network, at(100), 0, 1, &LABEL), [ms(1)]);
    let drawn = Conditions { clog: 0.5, clog_for: ms(100), ..Conditions::steady(ms(1)) };
    let mut drawn = self::network(drawn);
    let clogged =
        (0..100).filter(|span| takes(&mut drawn, at(span * 100), 0, 1, &LABEL) == [ms(100)]).count();
    assert!((30..70).contains(&clogged), "{clogged} of 100 spans");
}

#[test]
fn a_link_may_have_conditions_of_its_own() {
    let mut network = calm();
    network.set_links(0b0001, 0b1100, Some(Conditions::steady(ms(80))));
    assert_eq!(takes(&mut network, at(0), 0, 2, &LABEL), [ms(80)]);
    assert_eq!(takes(&mut network, at(0), 2, 0, &LABEL), [ms(1)]);
    network.set_links(0b0001, 0b0100, None);
    assert_eq!(takes(&mut network, at(0), 0, 2, &LABEL), [ms(1)]);
    assert_eq!(takes(&mut network, at(0), 0, 3, &LABEL), [ms(80)]);
}

#[test]
fn a_reset_loses_what_is_under_way_and_nothing_sent_afterwards() {
    let mut network = calm();
    let under_way: Vec<Leg> = network.send(at(0), 0, 1, &LABEL, 100).legs().collect();
    let elsewhere: Vec<Leg> = network.send(at(0), 0, 2, &LABEL, 100).legs().collect();
    network.reset(1, 0);
    let afterwards: Vec<Leg> = network.send(at(0), 0, 1, &LABEL, 100).legs().collect();
    assert_eq!(network.arrives(0, 1, under_way[0].ticket), Err(Lost::Reset));
    assert_eq!(network.arrives(0, 2, elsewhere[0].ticket), Ok(()));
    assert_eq!(network.arrives(0, 1, afterwards[0].ticket), Ok(()));
    assert_eq!(network.arrives(0, 1, Ticket::SURE), Ok(()));
}

#[test]
fn partitions_that_overlap_end_each_by_itself() {
    let mut network = calm();
    network.part(1, Partition { noticed: true, ..Partition::steady(Shape::Isolate(0b0001), ms(100)) }, at(0));
    let turned = network.turn(1, at(0));
    assert_eq!(turned.down, [(0, 1), (0, 2), (0, 3)]);
    assert_eq!(turned.next, Some(at(100)));
    let split = Shape::Split { groups: vec![0b0011, 0b1100], one_way: false };
    network.part(2, Partition::steady(split, ms(200)), at(50));
    assert_eq!(network.turn(2, at(50)), Turned { next: Some(at(250)), ..Turned::default() });
    assert!(!network.connected(0, 1) && !network.connected(1, 2));
    let turned = network.turn(1, at(100));
    assert_eq!((turned.up.len(), turned.next), (3, None));
    assert!(network.connected(0, 1) && !network.connected(1, 2) && !network.connected(0, 2));
    network.heal(Conditions::steady(ms(1)));
    assert!(network.connected(1, 2));
    assert_eq!(network.turn(2, at(250)), Turned::default(), "healed before its end");
}

#[test]
fn a_drawn_phase_cut_is_the_same_for_a_phase_or_for_a_sender_in_it() {
    let mut network = network(Conditions { phase_cut: 0.3, ..Conditions::steady(ms(1)) });
    let (mut cut, mut by_sender) = (0, 0);
    for number in 1..400 {
        let label = Label { number: Number(number), ..LABEL };
        let reached: Vec<Vec<bool>> = (0..2)
            .map(|from| {
                let reaches = |to| network.send(at(0), from, to, &label, 100).lost().is_none();
                [2, 3].map(reaches).into()
            })
            .collect();
        cut += u32::from(reached.iter().flatten().any(|reached| !reached));
        by_sender += u32::from(reached[0] != reached[1]);
    }
    assert!((60..140).contains(&cut), "{cut} of 399 phases cut");
    assert!((15..80).contains(&by_sender), "{by_sender} of them by sender");
    let status = Label { kind: Kind::Status, ..LABEL };
    assert!((0..400).all(|tag| network.send(at(0), 0, 1, &Label { tag, ..status }, 9).lost().is_none()));
}
