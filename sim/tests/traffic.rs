//! The data plane under real traffic, without the API: rules and targets are written into the region directly, a load
//! generator plays the users, and what it saw is compared with what AWS promises.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use cutover_sim::{
    load::{Load, Plan, Route, record::Record},
    model::{Action, Region, ServerKind, Shared, TargetState},
    options::Options,
    scene,
    servers::Servers,
    traffic::{STICKY_COOKIE, Traffic},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest that anything here may take; every wait ends earlier by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far enough from chance that a right program fails one run in ten thousand.
const DEVIATIONS_MAX: f64 = 4.0;

/// One listener, a rule for the host `web`, a blue and a green target group with servers.
struct World {
    shared: Shared,
    servers: Servers,
    traffic: Traffic,
    address: SocketAddr,
    _stop: DropGuard,
}

impl World {
    /// `servers` a side, at a hundredth of AWS's times: checks every 100 ms, three seconds of draining, and rules that take
    /// up to `propagation` to reach a node.
    async fn start(servers: usize, propagation: Duration) -> Self {
        let mut options = Options { scale: 0.01, seed: 42, ..Options::default() };
        options.clocks.propagation_max = propagation.div_f64(options.scale);
        let (shared, stop) = (Shared::default(), CancellationToken::new());
        let traffic = Traffic::start(shared.clone(), &options, stop.clone());
        cutover_sim::health::start(shared.clone(), &options, stop.clone());
        shared.change(|region| {
            region.listeners.insert("listener".to_owned(), scene::listener("listener"));
            for group in ["blue", "green"] {
                region.target_groups.insert(group.to_owned(), scene::target_group(group));
            }
            let base = scene::rule("base", "listener", 100, "web", scene::forward(&[("blue", 1)]));
            region.rules.insert("base".to_owned(), base);
        });
        let opened = until(&shared, |region| region.listeners["listener"].address).await;
        let world = Self { shared, servers: Servers::default(), traffic, address: opened, _stop: stop.drop_guard() };
        for (group, version) in [("blue", "v1"), ("green", "v2")] {
            for number in 0..servers {
                world.launch(&format!("i-{group}-{number}"), group, version).await;
            }
        }
        world
    }

    async fn launch(&self, id: &str, group: &str, version: &str) {
        let kind = ServerKind::BuiltIn { version: version.to_owned(), boot: Duration::ZERO, healthy: true };
        let address = self.servers.start(id, &kind).await.expect("a built-in server needs only a port");
        self.shared.change(|region| scene::register(region, group, scene::instance(id, address), TargetState::Unused));
    }

    /// What a deployment does: an extra rule above the base.
    fn overlay(&self, blue: u32, green: u32) {
        self.shared.change(|region| {
            let action = scene::forward(&[("blue", blue), ("green", green)]);
            region.rules.insert("overlay".to_owned(), scene::rule("overlay", "listener", 99, "web", action));
        });
    }

    fn delete_overlay(&self) {
        self.shared.change(|region| region.rules.remove("overlay"));
    }

    async fn all_in_state(&self, group: &str, state: TargetState) {
        until(&self.shared, |region| {
            region.target_groups[group].targets.values().all(|target| target.state == state).then_some(())
        })
        .await;
    }

    /// Until every node obeys the rules as they are now.
    async fn obeyed(&self) {
        let version = self.shared.now().version;
        eventually(|| {
            let figures = self.traffic.figures();
            figures.version >= version && figures.listeners.iter().all(|listener| listener.nodes_behind == 0)
        })
        .await;
    }

    fn load(&self, requests_per_second: u32) -> Load {
        Load::start(Plan {
            requests_per_second,
            routes: vec![Route { address: self.address, host: "web".to_owned(), path: "/".to_owned() }],
            fresh_share: 0.2,
            sessions: 0,
            timeout: Duration::from_secs(10),
            seed: 42,
        })
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> reqwest::Response {
        client.get(format!("http://{}{path}", self.address)).header("host", "web").send().await.expect("the listener answers")
    }
}

/// The first answer that `look` finds in a snapshot, now or later.
async fn until<T>(shared: &Shared, look: impl Fn(&Region) -> Option<T>) -> T {
    let mut regions = shared.subscribe();
    let waiting = async {
        loop {
            let found = look(&regions.borrow_and_update());
            match found {
                Some(found) => return found,
                None => regions.changed().await.expect("the region outlives the test"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it was to happen within the test's patience")
}

/// Until `holds`, looking again every few milliseconds: for what no snapshot shows.
async fn eventually(holds: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it was to happen within the test's patience");
}

/// Until the load generator has sent `requests` more than now, and has been answered as often as it had sent by then;
/// returns the time in which it sent them.
async fn window(record: &Record, requests: u64) -> (Instant, Instant) {
    let (from, before) = (Instant::now(), record.totals().sent);
    eventually(|| record.totals().sent >= before + requests).await;
    let (to, sent) = (Instant::now(), record.totals().sent);
    eventually(|| record.totals().answered + record.totals().lost >= sent).await;
    (from, to)
}

fn assert_nothing_lost(record: &Record) {
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!(record.totals().answered, record.totals().sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_follows_the_weights_and_nothing_is_lost_while_they_change() {
    let world = World::start(3, Duration::from_millis(100)).await;
    world.overlay(999, 0);
    world.all_in_state("green", TargetState::Healthy).await;
    let load = world.load(250);
    for (blue, green) in [(950, 50), (875, 125), (500, 500), (0, 999)] {
        world.overlay(blue, green);
        world.obeyed().await;
        let (from, to) = window(load.record(), 500).await;
        let share = load.record().share("v2", from, to);
        let weight = f64::from(green) / f64::from(blue + green);
        let off = share.deviations_from(weight).unwrap();
        assert!(off <= DEVIATIONS_MAX, "{share:?} at {green} of {}: {off} deviations", blue + green);
    }
    let record = load.finish().await;
    assert_nothing_lost(&record);
    assert!(record.totals().fresh > 0, "some came on connections of their own");
    let figures = world.traffic.figures();
    assert_eq!(figures.slots.iter().map(|slot| slot.requests).sum::<u64>(), record.totals().sent);
    assert!(figures.slots.iter().all(|slot| slot.in_flight == 0 && slot.elb_5xx == 0 && slot.target_5xx == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_drains_loses_nothing_though_its_servers_stop() {
    let world = World::start(3, Duration::from_millis(100)).await;
    world.overlay(0, 999);
    world.all_in_state("green", TargetState::Healthy).await;
    world.obeyed().await;
    // One user's long request is with a green server when everything is taken from under it.
    let (address, client) = (world.address, reqwest::Client::new());
    let slow = client.get(format!("http://{address}/?delay_ms=2500")).header("host", "web").send();
    let slow = tokio::spawn(slow);
    eventually(|| world.traffic.figures().slots.iter().any(|slot| slot.slot == "green" && slot.in_flight > 0)).await;
    world.overlay(500, 500);
    let load = world.load(200);
    let _ = window(load.record(), 200).await;
    world.overlay(999, 0);
    world.obeyed().await;
    world.shared.change(|region| {
        region.rules.remove("overlay");
        let targets = region.target_groups.get_mut("green").expect("green is still there").targets.values_mut();
        targets.for_each(|target| target.state = TargetState::Draining);
    });
    until(&world.shared, |region| region.target_groups["green"].targets.is_empty().then_some(())).await;
    for number in 0..3 {
        world.servers.stop(&format!("i-green-{number}")).await;
    }
    let slow = slow.await.unwrap().expect("its server was draining, not dead");
    assert_eq!((slow.status().as_u16(), &slow.headers()["x-version"]), (200, &"v2".parse().unwrap()));
    let _ = window(load.record(), 100).await;
    assert_nothing_lost(&*load.finish().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_target_gets_no_new_request_from_the_first_moment_on() {
    let world = World::start(2, Duration::ZERO).await;
    world.all_in_state("blue", TargetState::Healthy).await;
    let client = reqwest::Client::new();
    world.shared.change(|region| {
        let target = region.target_groups.get_mut("blue").and_then(|group| group.targets.get_mut("i-blue-0"));
        target.expect("it was registered").state = TargetState::Draining;
    });
    world.obeyed().await;
    for _ in 0..50 {
        assert_eq!(world.get(&client, "/").await.headers()["x-instance"], "i-blue-1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_healthy_target_a_group_fails_open_and_with_none_at_all_it_answers_503() {
    let world = World::start(2, Duration::ZERO).await;
    world.all_in_state("blue", TargetState::Healthy).await;
    let client = reqwest::Client::new();
    assert!(world.servers.set_sick("i-blue-0", true));
    eventually(|| world.shared.now().target_groups["blue"].targets["i-blue-0"].state == TargetState::Unhealthy).await;
    world.obeyed().await;
    for _ in 0..20 {
        assert_eq!(world.get(&client, "/").await.headers()["x-instance"], "i-blue-1", "only the healthy one serves");
    }
    assert!(world.servers.set_sick("i-blue-1", true));
    world.all_in_state("blue", TargetState::Unhealthy).await;
    world.obeyed().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = world.get(&client, "/").await;
        assert_eq!(answer.status(), 200);
        seen.insert(answer.headers()["x-instance"].clone());
    }
    assert_eq!(seen.len(), 2, "both serve");
    world.shared.change(|region| region.target_groups.get_mut("blue").expect("it is there").targets.clear());
    world.obeyed().await;
    assert_eq!(world.get(&client, "/").await.status(), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_costs_errors_until_the_checks_have_seen_it() {
    let world = World::start(2, Duration::ZERO).await;
    world.all_in_state("blue", TargetState::Healthy).await;
    let client = reqwest::Client::new();
    assert!(world.servers.kill("i-blue-0"));
    eventually(|| world.shared.now().target_groups["blue"].targets["i-blue-0"].state == TargetState::Unhealthy).await;
    world.obeyed().await;
    for _ in 0..20 {
        assert_eq!(world.get(&client, "/").await.headers()["x-instance"], "i-blue-1");
    }
    world.shared.change(|region| region.target_groups.get_mut("blue").expect("it is there").targets.remove("i-blue-1"));
    world.obeyed().await;
    assert_eq!(
        world.get(&client, "/").await.status(),
        502,
        "failing open to a dead server is an error of the load balancer's own"
    );
    let blue = world.traffic.figures().slots.into_iter().find(|slot| slot.slot == "blue").unwrap();
    assert!(blue.elb_5xx > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_rule_is_obeyed_by_every_node_once_its_delay_is_over() {
    let world = World::start(2, Duration::from_millis(300)).await;
    world.overlay(0, 999);
    world.all_in_state("green", TargetState::Healthy).await;
    world.obeyed().await;
    let load = world.load(200);
    let (from, to) = window(load.record(), 200).await;
    assert_eq!(load.record().share("v2", from, to).percent(), Some(100.0));
    world.delete_overlay();
    world.obeyed().await;
    let obeyed = Instant::now();
    let _ = window(load.record(), 200).await;
    let record = load.finish().await;
    assert_nothing_lost(&record);
    assert_eq!(record.answers_to_requests_sent_after("v2", obeyed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_then_users_are_sent_where_the_old_rules_led() {
    // The listener opens with the base alone, and no node hears of anything else within the hour.
    let world = World::start(1, Duration::from_secs(3600)).await;
    world.overlay(0, 999);
    world.all_in_state("green", TargetState::Healthy).await;
    let version = world.shared.now().version;
    eventually(|| world.traffic.figures().version >= version).await;
    assert_eq!(world.traffic.figures().listeners[0].nodes_behind, 2);
    for _ in 0..20 {
        // A client each, and so a connection each: both nodes are asked.
        let answer = world.get(&reqwest::Client::new(), "/").await;
        assert_eq!(answer.headers()["x-version"], "v1", "accepted is not observed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_session_ends_when_its_group_leaves_the_rule() {
    let world = World::start(1, Duration::ZERO).await;
    let sticky = |groups: &[(&str, u32)]| {
        let Action::Forward { groups, .. } = scene::forward(groups) else { unreachable!("a forward is a forward") };
        let action = Action::Forward { groups, stickiness: Some(Duration::from_secs(3600)) };
        world.shared.change(|region| {
            region.rules.insert("overlay".to_owned(), scene::rule("overlay", "listener", 99, "web", action));
        });
    };
    sticky(&[("blue", 0), ("green", 999)]);
    world.obeyed().await;
    let client = reqwest::Client::new();
    let answer = world.get(&client, "/").await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let pair = cookie.split(';').next().unwrap().to_owned();
    assert!(pair.starts_with(STICKY_COOKIE), "{cookie}");
    let versions = async |n: usize, pair: &str| {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..n {
            let request = client.get(format!("http://{}/", world.address)).header("host", "web").header("cookie", pair);
            seen.insert(request.send().await.unwrap().headers()["x-version"].to_str().unwrap().to_owned());
        }
        seen
    };
    sticky(&[("blue", 500), ("green", 500)]);
    world.obeyed().await;
    assert_eq!(versions(50, &pair).await, ["v2".to_owned()].into(), "the session stays");
    world.delete_overlay();
    world.obeyed().await;
    assert_eq!(versions(50, &pair).await, ["v1".to_owned()].into(), "green is in no rule: the session is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_are_checked_only_where_a_rule_leads() {
    let world = World::start(1, Duration::ZERO).await;
    world.all_in_state("blue", TargetState::Healthy).await;
    let state = || world.shared.now().target_groups["green"].targets["i-green-0"].state;
    assert_eq!(state(), TargetState::Unused, "green is registered, alive, and in no rule");
    // Weight 0 is enough: this is how green is checked before anybody is sent to it.
    world.overlay(999, 0);
    world.all_in_state("green", TargetState::Healthy).await;
    assert!(world.servers.set_sick("i-green-0", true));
    world.all_in_state("green", TargetState::Unhealthy).await;
    assert!(world.servers.set_sick("i-green-0", false));
    world.all_in_state("green", TargetState::Healthy).await;
    world.delete_overlay();
    world.all_in_state("green", TargetState::Unused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_can_be_a_command_and_its_server_finishes_what_it_has_begun() {
    let program = env!("CARGO_BIN_EXE_cutover-demo");
    let words = [program, "server", "--port", "{port}", "--instance", "{instance}", "--version", "v9"];
    let kind = ServerKind::Command(words.map(str::to_owned).into());
    let servers = Servers::default();
    let address = servers.start("i-child", &kind).await.expect("the program is built with this test");
    let client = reqwest::Client::new();
    let mut answer = None;
    eventually_asking(async || {
        answer = client.get(format!("http://{address}/")).send().await.ok();
        answer.is_some()
    })
    .await;
    let answer = answer.expect("it has answered");
    assert_eq!(
        (&answer.headers()["x-version"], &answer.headers()["x-instance"]),
        (&"v9".parse().unwrap(), &"i-child".parse().unwrap())
    );

    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /?delay_ms=500 HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    // Connections are accepted in order: with this one answered, the slow one has been taken.
    reqwest::get(format!("http://{address}/")).await.unwrap();
    servers.stop("i-child").await;
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(TcpStream::connect(address).await.is_err(), "the process is gone");
}

/// [`eventually`] for a look that asks over the network.
async fn eventually_asking(mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !holds().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it was to happen within the test's patience");
}
