//! A random history of everything that clients do, a power failure at any write of it, and what the
//! next broker has: what was confirmed is there, what was taken for good does not come back, in order.
//!
//! `BATON_CRASH_SEEDS` runs more histories, `BATON_CRASH_SEED` a single one.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use openwire::XaTransactionId;
use storage::sim::Random;
use storage::testing::{Call, Effect, Fault, FaultyDisk};

use super::*;

/// In a debug build 10 to 20 seconds on two cores.
const SEEDS: u64 = 16;
const ACTIONS: u64 = 60;
/// Power failures in one history.
const CRASHES: u64 = 60;

const SMALL: JournalOptions = JournalOptions {
    segment_bytes: 16 << 10,
    checkpoint_bytes: 24 << 10,
    preallocate: false,
    in_flight: storage::journal::JournalOptions::IN_FLIGHT,
    sync: storage::journal::SyncMethod::Auto,
};

/// Where messages wait: a queue or a subscription, and its consumer's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    First,
    Second,
    Letters,
    Kept,
    Changing,
}

const QUEUES: [Place; 2] = [Place::First, Place::Second];
const PLACES: [Place; 5] = [
    Place::First,
    Place::Second,
    Place::Letters,
    Place::Kept,
    Place::Changing,
];

impl Place {
    fn number(self) -> i64 {
        self as i64 + 1
    }

    fn destination(self) -> Destination {
        match self {
            Place::First => Destination::queue("first"),
            Place::Second => Destination::queue("second"),
            Place::Letters => Destination::queue("ActiveMQ.DLQ"),
            Place::Kept | Place::Changing => topic(),
        }
    }

    fn open(self, peer: &Peer) {
        let name: Option<&str> = match self {
            Place::Kept => Some("kept"),
            Place::Changing => Some("changing"),
            _ => None,
        };
        let request = ConsumerRequest {
            prefetch: 1000,
            subscription_name: name.map(Into::into),
            ..peer.request(self.number(), &self.destination())
        };
        peer.settle(peer.connection.add_consumer(request).expect("a consumer"));
    }
}

fn place_of(number: ConsumerTag) -> Place {
    PLACES[number.0 as usize - 1]
}

/// What a prepared transaction will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Branch {
    sent: Vec<(Place, String)>,
    taken: Vec<(Place, String)>,
}

/// What must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    waiting: BTreeMap<Place, Vec<String>>,
    is_subscribed: bool,
    prepared: BTreeMap<u64, Branch>,
}

impl Model {
    /// Where a message that is sent now will wait.
    fn targets(&self, place: Place) -> Vec<Place> {
        match place {
            Place::Kept if self.is_subscribed => vec![Place::Kept, Place::Changing],
            _ => vec![place],
        }
    }

    fn send(&mut self, place: Place, text: &str) {
        for target in self.targets(place) {
            self.put(target, text);
        }
    }

    fn put(&mut self, place: Place, text: &str) {
        self.waiting.entry(place).or_default().push(text.into());
    }

    fn unsubscribe(&mut self) {
        self.is_subscribed = false;
        self.waiting.remove(&Place::Changing);
        for branch in self.prepared.values_mut() {
            branch.sent.retain(|(place, _)| *place != Place::Changing);
        }
    }

    fn take(&mut self, place: Place, text: &str) {
        let waiting = self.waiting.entry(place).or_default();
        waiting.retain(|one| one != text);
    }

    fn apply(&mut self, branch: &Branch) {
        for (place, text) in &branch.taken {
            self.take(*place, text);
        }
        for (place, text) in &branch.sent {
            self.put(*place, text);
        }
    }

    /// What consumers get while prepared transactions are undecided.
    fn offered(&self) -> BTreeMap<Place, Vec<String>> {
        let mut offered = self.waiting.clone();
        for (place, text) in self.prepared.values().flat_map(|branch| &branch.taken) {
            let waiting = offered.entry(*place).or_default();
            waiting.retain(|one| one != text);
        }
        offered.retain(|_, texts| !texts.is_empty());
        offered
    }
}

fn xid(number: u64) -> Xid {
    let id = XaTransactionId {
        format_id: 7,
        global_transaction_id: Some(format!("global {number}").into_bytes().into()),
        branch_qualifier: Some("branch".into()),
    };
    Xid::new(&id).expect("a short name")
}

/// The model after an action, and where in the disk's history it was begun and was certain.
struct Moment {
    began: usize,
    done: usize,
    model: Model,
    /// What a client sends again if nobody has told it that it arrived.
    sent: Option<openwire::Message>,
    what: String,
}

struct Client {
    disk: FaultyDisk,
    fixture: Fixture,
    peer: Peer,
    random: Random,
    model: Model,
    moments: Vec<Moment>,
    /// Messages that it has and has not acknowledged.
    outstanding: Vec<(Place, String, Delivery)>,
    /// When a consumer first had it.
    seen: HashMap<(Place, String), usize>,
    number: u64,
}

impl Client {
    fn new(seed: u64) -> Client {
        let disk = FaultyDisk::default();
        let options = BrokerOptions::default();
        let fixture = Fixture::on(Arc::new(disk.clone()), 1, SMALL, options);
        let peer = reconnect(&fixture, 0);
        let mut client = Client {
            disk,
            fixture,
            peer,
            random: Random::new(seed),
            model: Model::default(),
            moments: Vec::new(),
            outstanding: Vec::new(),
            seen: HashMap::new(),
            number: 0,
        };
        client.model.is_subscribed = true;
        client.act("subscribe", |client| {
            for place in PLACES.into_iter().filter(|place| *place != Place::Letters) {
                place.open(&client.peer);
            }
        });
        client
    }

    fn act(&mut self, what: &str, action: impl FnOnce(&mut Self)) {
        let began = self.disk.change_count();
        if std::env::var_os("BATON_CRASH_SEED").is_some() {
            eprintln!("{began} {what}");
        }
        action(self);
        self.note(began, what, None);
        self.moments.last_mut().expect("noted").done = self.disk.change_count();
    }

    /// The action has begun; when it is certain is said later.
    fn note(&mut self, began: usize, what: &str, sent: Option<openwire::Message>) {
        self.moments.push(Moment {
            began,
            done: usize::MAX,
            model: self.model.clone(),
            sent,
            what: what.to_owned(),
        });
    }

    fn text(&mut self) -> String {
        self.number += 1;
        // Order must be told by content, and records be of many lengths.
        format!(
            "{:04}{}",
            self.number,
            ".".repeat(self.random.below(300) as usize)
        )
    }

    fn look(&mut self) {
        self.peer.look();
        let now = self.disk.change_count();
        for delivery in self.peer.got.drain(..) {
            let (place, text) = (place_of(delivery.consumer), text_of(&delivery));
            self.seen.entry((place, text.clone())).or_insert(now);
            self.outstanding
                .retain(|(at, one, _)| (*at, one) != (place, &text));
            self.outstanding.push((place, text, delivery));
        }
    }

    fn pick(&mut self) -> Option<(Place, String, Delivery)> {
        self.look();
        let count = self.outstanding.len() as u64;
        (count > 0).then(|| {
            let at = self.random.below(count) as usize;
            self.outstanding.remove(at)
        })
    }

    fn target(&mut self) -> Place {
        [Place::First, Place::Second, Place::Kept][self.random.below(3) as usize]
    }

    /// Sends some, and only then waits until all of them are certain.
    fn send_some(&mut self) {
        let first = self.moments.len();
        let mut receipts = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let (place, text) = (self.target(), self.text());
            let message = self.peer.message(&place.destination(), &text);
            let began = self.disk.change_count();
            receipts.push(self.peer.try_send(&message, None).expect("accepted"));
            self.model.send(place, &text);
            self.note(
                began,
                &format!("send {text:.4} to {place:?}"),
                Some(message),
            );
        }
        for (receipt, moment) in receipts.into_iter().zip(first..) {
            self.peer.settle(receipt);
            self.moments[moment].done = self.disk.change_count();
        }
    }

    fn acknowledge(&mut self) {
        let Some((place, text, delivery)) = self.pick() else {
            return;
        };
        let is_poison = QUEUES.contains(&place) && self.random.chance(250);
        self.act(
            &format!("take {text:.4} from {place:?}, {is_poison}"),
            |client| {
                client.model.take(place, &text);
                if is_poison {
                    client.model.send(Place::Letters, &text);
                    client.peer.give_up_one(place.number(), &delivery);
                    client.wait_for_letters();
                } else {
                    client.peer.acknowledge(place.number(), &delivery);
                }
            },
        );
    }

    /// Letters are buried behind the answer: until then the message stays where it was.
    fn wait_for_letters(&self) {
        let count = self.model.waiting[&Place::Letters].len() as u64;
        let buried = || {
            let all = self.fixture.broker.status().destinations;
            let mut all = all.into_iter();
            all.any(|one| one.name == "ActiveMQ.DLQ" && one.pending as u64 == count)
        };
        wait_for("the letter", buried);
        let lsn = self.fixture.store.appended();
        wait_for("the journal", || self.fixture.broker.released() >= lsn);
    }

    /// Sends and takes within a transaction; answers what it will do.
    fn work(&mut self, name: &TransactionName) -> (Branch, Vec<(Place, String, Delivery)>) {
        let (mut branch, mut taken) = (Branch::default(), Vec::new());
        for _ in 0..1 + self.random.below(3) {
            let (place, text) = (self.target(), self.text());
            let message = self.peer.message(&place.destination(), &text);
            let sent = self.peer.try_send_in(&message, Some(name.clone()));
            self.peer.settle(sent.expect("accepted"));
            for target in self.model.targets(place) {
                branch.sent.push((target, text.clone()));
            }
        }
        for _ in 0..self.random.below(3) {
            let Some((place, text, delivery)) = self.pick() else {
                break;
            };
            let one = Peer::acknowledgement(AckKind::Individual, &id_of(&delivery), 1);
            let consumer = self.peer.consumer(place.number());
            let connection = &self.peer.connection;
            let done = connection.acknowledge(&consumer, &one, Some(name.clone()));
            self.peer.settle(done.expect("outstanding"));
            branch.taken.push((place, text.clone()));
            taken.push((place, text, delivery));
        }
        (branch, taken)
    }

    fn transact(&mut self) {
        self.number += 1;
        let number = self.number as i64;
        self.peer.connection.begin(number);
        let (branch, taken) = self.work(&TransactionName::Local(number));
        if self.random.chance(300) {
            self.act("roll back", |client| {
                client.peer.connection.roll_back(number).expect("open");
            });
            self.outstanding.extend(taken);
            return;
        }
        self.act(&format!("commit {branch:?}"), |client| {
            client.model.apply(&branch);
            let receipt = client.peer.connection.commit(number).expect("open");
            client.peer.settle(receipt);
        });
    }

    fn prepare(&mut self) {
        self.number += 1;
        let (number, xid) = (self.number, xid(self.number));
        self.peer.connection.xa_begin(&xid).expect("open");
        let (branch, _) = self.work(&xid.clone().into());
        self.act(&format!("prepare {number}: {branch:?}"), |client| {
            match client.peer.connection.xa_prepare(&xid) {
                Ok((_, receipt)) => {
                    client.model.prepared.insert(number, branch);
                    client.peer.settle(receipt);
                }
                // Right after it came back it may have acknowledged something before.
                Err(Refusal::Xa { error, .. }) => assert_eq!(error, XaError::LostParts),
                Err(other) => panic!("{other}"),
            }
        });
    }

    fn decide(&mut self) {
        let Some((&number, _)) = self.model.prepared.iter().next() else {
            return;
        };
        let is_commit = self.random.chance(600);
        self.act(&format!("decide {number}: {is_commit}"), |client| {
            let branch = client.model.prepared.remove(&number).expect("prepared");
            if is_commit {
                client.model.apply(&branch);
            }
            client.peer.decide(number, is_commit);
        });
    }

    fn change_subscription(&mut self) {
        let place = Place::Changing;
        let is_held = |branch: &Branch| branch.taken.iter().any(|(at, _)| *at == place);
        if self.model.prepared.values().any(is_held) {
            return;
        }
        if self.model.is_subscribed {
            self.act("unsubscribe", |client| {
                client.model.unsubscribe();
                let connection = &client.peer.connection;
                let id = client.peer.consumer(place.number());
                connection.remove_consumer(&id, LastDelivered::Nothing);
                let gone = connection.unsubscribe(None, &"changing".into());
                client.peer.settle(gone.expect("free"));
            });
            self.look();
            self.outstanding.retain(|(at, ..)| *at != place);
            self.seen.retain(|(at, _), _| *at != place);
        } else {
            self.act("subscribe again", |client| {
                client.model.is_subscribed = true;
                place.open(&client.peer);
            });
        }
    }

    fn take_over(&mut self) {
        self.look();
        self.outstanding.clear();
        self.act("take over", |client| {
            client.fixture.take_over();
            client.peer = reconnect(&client.fixture, client.peer.sequence);
            let is_open = |place: &Place| match place {
                Place::Letters => false,
                Place::Changing => client.model.is_subscribed,
                _ => true,
            };
            for place in PLACES.into_iter().filter(is_open) {
                place.open(&client.peer);
            }
        });
    }

    fn run(&mut self) {
        for _ in 0..ACTIONS {
            match self.random.below(100) {
                0..35 => self.send_some(),
                35..65 => self.acknowledge(),
                65..78 => self.transact(),
                78..85 => self.prepare(),
                85..92 => self.decide(),
                92..96 => self.change_subscription(),
                _ => self.take_over(),
            }
        }
    }
}

/// As a client does it: what it has is said again.
fn reconnect(fixture: &Fixture, sequence: i64) -> Peer {
    let mut peer = fixture.connect_as("one", true);
    peer.sequence = sequence;
    let producer = peer.connection.id().session(1).producer(1);
    let added = peer
        .connection
        .add_producer(&producer, None, &Command::Null);
    added.expect("a producer");
    peer
}

impl Peer {
    /// Gives up this message and none before it.
    fn give_up_one(&self, number: i64, delivery: &Delivery) {
        let id = id_of(delivery);
        let poison = Acknowledgement {
            first: Some(id.clone()),
            ..Self::acknowledgement(AckKind::Poison, &id, 1)
        };
        let consumer = self.consumer(number);
        let done = self.connection.acknowledge(&consumer, &poison, None);
        self.settle(done.expect("outstanding"));
    }

    fn decide(&self, number: u64, is_commit: bool) {
        let xid = xid(number);
        let decided = match is_commit {
            true => self.connection.xa_commit(&xid, false),
            false => self.connection.xa_roll_back(&xid),
        };
        self.settle(decided.expect("prepared"));
    }

    /// Everything that its consumers get, until a message that is sent now.
    fn drain(&mut self, places: &[Place], marker: &str) -> BTreeMap<Place, Vec<(String, u32)>> {
        // Two subscriptions have one topic.
        for place in places.iter().filter(|place| **place != Place::Changing) {
            self.send(&place.destination(), marker);
        }
        let mut got: BTreeMap<Place, Vec<(String, u32)>> = BTreeMap::new();
        for place in places {
            loop {
                let delivery = self.next(place.number() as u32);
                let text = text_of(&delivery);
                if text == marker {
                    break;
                }
                got.entry(*place)
                    .or_default()
                    .push((text, delivery.redeliveries));
            }
        }
        got
    }
}

/// What a power failure after `changes` may leave: the models from the last action that was certain
/// to the last that had begun.
fn possible(moments: &[Moment], changes: usize) -> (usize, usize) {
    let least = moments.iter().rposition(|moment| moment.done <= changes);
    let most = moments.iter().rposition(|moment| moment.began < changes);
    // Some actions write nothing.
    (least.unwrap_or(0), most.max(least).unwrap_or(0))
}

struct Judge<'a> {
    client: &'a Client,
    seed: u64,
}

impl Judge<'_> {
    fn judge(&self, disk: &FaultyDisk, changes: usize, random: &mut Random) {
        let moments = &self.client.moments;
        let (least, most) = possible(moments, changes);
        let at = format!(
            "seed {}, {changes} changes, between `{}` and `{}`",
            self.seed, moments[least].what, moments[most].what
        );
        let options = BrokerOptions::default();
        let mut fixture = Fixture::on(Arc::new(disk.clone()), 1000, SMALL, options);
        if random.chance(200) {
            // What a takeover writes is as good at the next one.
            fixture.take_over();
        }
        let mut peer = reconnect(&fixture, self.client.peer.sequence);
        let prepared = peer.prepared();
        // A client that comes back repeats what nobody has confirmed.
        for moment in &moments[least + 1..=most] {
            if let Some(message) = &moment.sent {
                peer.send_message(message);
            }
        }
        let candidates = (least..=most).map(|index| self.repeated(index, most));
        let fits = |model: &Model| {
            model.prepared.len() == prepared.len()
                && model
                    .prepared
                    .keys()
                    .all(|number| prepared.contains(&xid(*number)))
        };
        let candidates: Vec<Model> = candidates.filter(fits).collect();
        assert!(!candidates.is_empty(), "{at}: prepared {prepared:?}");
        let places: Vec<Place> = PLACES
            .into_iter()
            .filter(|place| *place != Place::Changing || candidates.iter().all(|m| m.is_subscribed))
            .collect();
        for place in &places {
            place.open(&peer);
        }
        let got = peer.drain(&places, "marker");
        let texts: BTreeMap<Place, Vec<String>> = got
            .iter()
            .map(|(place, all)| (*place, all.iter().map(|(text, _)| text.clone()).collect()))
            .collect();
        let expected = |model: &Model| {
            let mut offered = model.offered();
            offered.retain(|place, _| places.contains(place));
            offered
        };
        let found = candidates.iter().find(|model| expected(model) == texts);
        let Some(model) = found else {
            let differences = candidates.iter().map(|model| {
                let expected = expected(model);
                let differs = |place: &&Place| texts.get(place) != expected.get(place);
                let places = places.iter().filter(differs);
                let both = |place: &Place| {
                    (
                        *place,
                        texts.get(place).cloned(),
                        expected.get(place).cloned(),
                    )
                };
                places.map(both).collect::<Vec<_>>()
            });
            let differences: Vec<_> = differences.collect();
            panic!("{at}: there is, and should be: {differences:#?}");
        };
        for (place, all) in &got {
            for (text, redeliveries) in all {
                let seen = self.client.seen.get(&(*place, text.clone()));
                let is_flagged = *redeliveries > 0 || seen.is_none_or(|seen| *seen > changes);
                assert!(
                    is_flagged,
                    "{at}: {text:.4} of {place:?} was with a consumer"
                );
            }
        }
        self.decide_all(&at, model.clone(), &mut peer, &places, random);
    }

    /// The model `index`, and all that the client repeats behind it.
    fn repeated(&self, index: usize, most: usize) -> Model {
        let mut model = self.client.moments[index].model.clone();
        for moment in &self.client.moments[index + 1..=most] {
            let Some(message) = &moment.sent else {
                continue;
            };
            let destination = message.destination.clone().expect("a destination");
            let places = [Place::First, Place::Second, Place::Kept];
            let place = places
                .into_iter()
                .find(|one| one.destination() == destination);
            let text = message.text().ok().flatten().expect("a text").to_string();
            model.send(place.expect("one of them"), &text);
        }
        model
    }

    /// What is prepared can be decided, and does what it should.
    fn decide_all(
        &self,
        at: &str,
        model: Model,
        peer: &mut Peer,
        places: &[Place],
        random: &mut Random,
    ) {
        if model.prepared.is_empty() {
            return;
        }
        let mut expected: Vec<(Place, String)> = Vec::new();
        for (number, branch) in model.prepared {
            let is_commit = random.chance(500);
            peer.decide(number, is_commit);
            if !is_commit {
                expected.extend(branch.taken);
                continue;
            }
            expected.extend(branch.sent);
        }
        expected.retain(|(place, _)| places.contains(place));
        expected.sort();
        let got = peer.drain(places, "second marker").into_iter();
        let got = got.flat_map(|(place, all)| all.into_iter().map(move |(text, _)| (place, text)));
        let mut got: Vec<(Place, String)> = got.collect();
        got.sort();
        assert_eq!(got, expected, "{at}: after the decisions");
    }
}

fn run(seed: u64, fault: Option<Fault>) -> (usize, usize) {
    let mut client = Client::new(seed);
    if let Some(fault) = fault {
        client.disk.inject(fault);
    }
    client.run();
    client.fixture.end();
    let changes = client.disk.changes();
    let mut random = Random::new(seed ^ 0xC4A5);
    let first = client.moments[0].done as u64;
    let mut points: Vec<usize> = (0..CRASHES)
        .map(|_| (first + random.below(changes.len() as u64 + 1 - first)) as usize)
        .collect();
    points.sort_unstable();
    points.dedup();
    let (disk, mut replayed) = (FaultyDisk::default(), 0);
    let judge = Judge {
        client: &client,
        seed,
    };
    for point in &points {
        disk.replay(&changes[replayed..*point]);
        replayed = *point;
        judge.judge(&disk.crash(&mut random), *point, &mut random);
    }
    (changes.len(), points.len())
}

#[test]
fn after_a_power_failure_at_any_write_a_broker_has_what_clients_were_told() {
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let seeds = match number("BATON_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BATON_CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let (mut changes, mut crashes) = (0, 0);
    for seed in seeds {
        let ran = run(seed, None);
        changes += ran.0;
        crashes += ran.1;
    }
    println!("{crashes} power failures in histories of {changes} changes");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_noticed() {
    let lie = || Fault::on(&[Call::Sync]).of("journal/").with(Effect::Lie);
    let is_noticed = |seed| {
        let ran = AssertUnwindSafe(|| run(seed, Some(lie())));
        catch_unwind(ran).is_err()
    };
    assert!((0..5).any(is_noticed));
}
