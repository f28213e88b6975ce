//! I12: a target or a source that was restored from an older copy leaves no hole.

use sluice_e2e::compare::equal;
use sluice_e2e::serve::Serve;
use sluice_e2e::site::Site;
use sluice_e2e::wait;

const QUERY: &str = "SELECT id, body FROM events ORDER BY id";

fn site(on_position_lost: &str) -> Site {
    Site::with(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO events (body) VALUES ('first');",
        &format!("on_position_lost: {on_position_lost}\ntables: [events]"),
    )
}

fn insert(site: &Site, rows: usize) {
    let mut source = site.source();
    let transaction = source.transaction().expect("it begins");
    for _ in 0..rows {
        transaction.execute("INSERT INTO events (body) VALUES (hex(randomblob(8)))", []).expect("a row");
    }
    transaction.commit().expect("it commits");
}

/// Everything up to now is in the target; sluice doesn't run.
#[track_caller]
fn in_step(site: &Site) {
    site.sluice(&["sync"]).ended_with(0);
    equal(&site.source(), QUERY, &site.target(), QUERY).expect("both sides are equal");
}

/// In step, and the source has forgotten every change but the last: it does so after a run, but a run may also end before it
/// came to that, and the next one does it.
#[track_caller]
fn in_step_and_forgotten(site: &Site) {
    wait::until("the source to forget what was confirmed", || {
        insert(site, 1);
        in_step(site);
        let sql = "SELECT count(*) FROM sluice_change";
        let kept: i64 = site.source().query_row(sql, [], |row| row.get(0)).expect("the log can be read");
        if kept <= 1 { Ok(()) } else { Err(kept) }
    });
}

fn copy(site: &Site, from: &str, to: &str) {
    for suffix in ["-wal", "-shm", "-journal"] {
        // Nobody has the file open: what lies beside the old one is gone with it.
        let _ = std::fs::remove_file(site.path(&format!("{to}{suffix}")));
    }
    std::fs::copy(site.path(from), site.path(to)).expect("it can be copied");
}

#[test]
fn a_target_from_an_older_copy_is_noticed() {
    let site = site("fail");
    in_step(&site);
    copy(&site, "target.db", "backup.db");
    insert(&site, 100);
    in_step_and_forgotten(&site);
    copy(&site, "backup.db", "target.db");

    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert_eq!(code, "position-lost", "{what}");
    assert!(what.contains("resnapshot"), "it names the remedy: {what}");
    site.sluice(&["sync"]).ended_with(1);
    site.sluice(&["resnapshot", "copy"]).ended_with(0);
    site.sluice(&["resume", "copy"]).ended_with(0);
    wait::until("both sides to be equal", || equal(&site.source(), QUERY, &site.target(), QUERY));
    serve.stop();
}

#[test]
fn a_target_from_an_older_copy_is_made_again_where_wanted() {
    let site = site("resnapshot");
    in_step(&site);
    copy(&site, "target.db", "backup.db");
    insert(&site, 100);
    in_step(&site);
    site.source().execute("DELETE FROM events WHERE id < 50", []).expect("rows can be deleted");
    in_step_and_forgotten(&site);
    copy(&site, "backup.db", "target.db");
    in_step(&site);
}

#[test]
fn a_source_from_an_older_copy_is_noticed() {
    let site = site("fail");
    in_step(&site);
    copy(&site, "source.db", "backup.db");
    insert(&site, 100);
    in_step(&site);
    copy(&site, "backup.db", "source.db");
    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert!(["position-lost", "source-changed"].contains(&code.as_str()), "{code}: {what}");
    serve.stop();
}

#[test]
fn a_source_from_an_older_copy_is_noticed_even_when_it_has_gone_on_since() {
    let site = site("fail");
    in_step(&site);
    copy(&site, "source.db", "backup.db");
    insert(&site, 100);
    in_step(&site);
    copy(&site, "backup.db", "source.db");
    // Other rows, more than were lost: the change ids have passed the target's checkpoint again.
    insert(&site, 300);
    let serve = Serve::start(&site);
    let (code, what) = serve.paused();
    assert!(["position-lost", "source-changed"].contains(&code.as_str()), "{code}: {what}");
    serve.stop();
}
