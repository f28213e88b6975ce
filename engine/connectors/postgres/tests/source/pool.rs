//! Connections that are kept for a while, as the server sees them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sluice_types::TablePattern;
use sluice_types::ports::Endpoint;

use crate::harness::{DATABASE, Place, endpoint_with};
use crate::slot::eventually;

const NONE: &str = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pooled'";

/// An endpoint that has been used once.
async fn used(place: &Place, pool: Json) -> Arc<dyn Endpoint> {
    let url = place.server.url(DATABASE);
    let endpoint = endpoint_with(json!({ "url": url, "application_name": "pooled", "pool": pool }));
    ask(&*endpoint).await;
    endpoint
}

async fn ask(endpoint: &dyn Endpoint) {
    endpoint.discover(&[TablePattern::parse("public.*")]).await.unwrap();
}

fn pids(place: &Place) -> Vec<Vec<Option<String>>> {
    place.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'pooled' ORDER BY 1")
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_old_connections_are_closed_in_time_though_nobody_asks_again() {
    let place = Place::start();
    for pool in [json!({ "idle_secs": 1 }), json!({ "lifetime_secs": 1, "min": 1 })] {
        let endpoint = used(&place, pool.clone()).await;
        assert_eq!(pids(&place).len(), 1, "{pool}");
        eventually(&place, NONE).await;
        ask(&*endpoint).await;
        assert_eq!(pids(&place).len(), 1, "{pool}: again");
        eventually(&place, NONE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_is_kept_and_used_again_and_a_dead_one_is_not() {
    let place = Place::start();
    let endpoint = used(&place, json!({ "idle_secs": 1, "min": 1, "max": 1 })).await;
    let first = pids(&place);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    ask(&*endpoint).await;
    assert_eq!(pids(&place), first, "kept, though idle");
    place.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pooled'");
    eventually(&place, NONE).await;
    ask(&*endpoint).await;
    assert_ne!(pids(&place), first);
    // One after the other, not beside each other.
    let at_once: Vec<_> = (0..8)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { ask(&*endpoint).await })
        })
        .collect();
    for one in at_once {
        one.await.unwrap();
        assert!(pids(&place).len() <= 1);
    }
}
