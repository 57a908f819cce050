//! Every scenario, as a test: over a few fixed seeds, and `STARLING_SIM_SEEDS` more.

use sim::{Origin, scenario};

/// Seeds that every run tries.
const SEEDS: u64 = 2;

fn holds(name: &str) {
    let scenario = scenario::find(name).expect("the list of scenarios has it");
    let more = std::env::var("STARLING_SIM_SEEDS").ok();
    let more: u64 = more.map_or(0, |n| n.parse().expect("STARLING_SIM_SEEDS is a number"));
    for seed in 1..=SEEDS + more {
        let report = (scenario.run)(Origin {
            scenario: scenario.name,
            seed,
            print: false,
        });
        println!("{name} with seed {seed}: {report}");
    }
}

/// One test for each scenario, and one that none is forgotten.
macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                holds($name);
            }
        )*

        #[test]
        fn every_scenario_has_its_test() {
            let tested = [$($name),*];
            let names: Vec<&str> = scenario::ALL.iter().map(|s| s.name).collect();
            assert_eq!(names, tested);
        }
    };
}

scenarios! {
    a_peer_fetches_a_v1_torrent: "two-peers-v1",
    a_peer_fetches_a_v2_torrent: "two-peers-v2",
    a_peer_fetches_a_hybrid_torrent: "two-peers-hybrid",
    piece_layers_come_from_peers: "v2-without-layers",
    a_v1_info_hash_is_enough: "magnet-v1",
    a_v2_info_hash_is_enough: "magnet-v2",
    the_info_hashes_of_a_hybrid_are_enough: "magnet-hybrid",
    the_link_is_the_limit: "links",
    few_slots_and_a_slow_disk_lose_nothing: "few-slots",
    a_seed_behind_a_nat_serves_whom_it_dials: "nat",
    those_behind_routers_reach_each_other: "nats",
    a_super_seed_sends_little_more_than_one_copy: "super-seed",
    selected_files_come_first_and_others_when_asked_for: "selected-files",
    after_a_power_cut_no_recorded_piece_is_fetched_again: "power-cut",
    a_download_survives_ten_kills: "ten-kills",
    what_a_check_found_is_recorded_once_it_is_durable: "kill-then-power-cut",
    a_full_disk_pauses_until_there_is_room: "disk-full",
    a_silent_outage_does_not_end_a_download: "outage",
    rate_limits_cost_nothing_beyond: "limits",
    rate_limits_hold_over_any_ten_seconds: "limits-hold",
    limits_hold_within_limits: "limits-within-limits",
    a_jump_into_a_film_plays_soon: "seek",
    pieces_that_go_bad_are_fetched_anew: "rot",
    fifty_peers_share_one_seed: "fifty-peers",
    two_hundred_peers_share_one_seed: "two-hundred-peers",
    a_seed_hardly_sends_anything_twice_to_four: "one-to-four",
    four_seeds_fill_one_link: "four-to-one",
    when_the_only_seed_leaves_all_finish_v1: "seed-leaves-v1",
    when_the_only_seed_leaves_all_finish_v2: "seed-leaves-v2",
    when_the_only_seed_leaves_all_finish_hybrid: "seed-leaves-hybrid",
    a_hybrid_of_two_names_is_one_swarm: "two-names",
    crossed_dials_end_in_one_connection: "crossed-dials",
    peers_that_come_and_go_all_finish: "churn",
    who_gives_more_gets_more: "fairness",
    one_process_carries_a_thousand_torrents: "thousand-torrents",
    liars_are_found_and_nobody_else_is_banned_v1: "liars-v1",
    liars_are_found_and_nobody_else_is_banned_v2: "liars-v2",
    liars_are_found_and_nobody_else_is_banned_hybrid: "liars-hybrid",
    one_honest_seed_among_twenty_liars_is_enough: "outnumbered",
    silent_promises_cost_little: "snubbing",
    slow_peers_do_not_hold_up_the_end: "slow-tail",
    a_peer_that_falls_silent_does_not_hold_up_the_end: "stalled-tail",
    no_mischief_stops_a_download: "eve",
    whatever_happens_what_is_reachable_arrives: "anything",
    dht_nodes_find_what_others_offer: "dht-finds",
    dht_nodes_that_stay_keep_their_tables: "dht-endures",
    dht_nodes_find_each_other_among_liars: "dht-lies",
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for name in ["two-peers-v1", "liars-hybrid", "churn", "seed-leaves-v2"] {
        let scenario = scenario::find(name).expect("the list of scenarios has it");
        let run = |seed| {
            (scenario.run)(Origin {
                scenario: scenario.name,
                seed,
                print: false,
            })
        };
        assert_eq!(run(7), run(7), "{name}");
        assert_ne!(run(7).trace, run(8).trace, "{name}");
    }
}
