//! What every session of ours is set to, so that no server's, database's or role's default changes what rows mean.

use std::collections::BTreeMap;

use crate::errors::literal;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads tables and the catalogue.
    Reader,
    /// Writes a target.
    Writer,
}

/// Values have one text form, names one meaning, and nobody's policy hides rows.
const FIXED: &[(&str, &str)] = &[
    // Names are qualified; functions of a target's constraints run as under the server's own logical replication.
    ("search_path", ""),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    // Money is a whole number that the locale only dresses up: the same number at both ends.
    ("lc_monetary", "C"),
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("quote_all_identifiers", "off"),
    // That a publication is skipped, the stream tells only as a warning.
    ("client_min_messages", "warning"),
    // A row policy is an error, not a table with fewer rows.
    ("row_security", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    // A transaction lasts as long as its source's.
    ("idle_in_transaction_session_timeout", "0"),
];

/// The same, of servers that have them.
const FIXED_IF_THERE: &[(&str, &str)] = &[("idle_session_timeout", "0"), ("transaction_timeout", "0")];

/// A statement whose client is gone ends soon, and gives its locks back. Not every system of a server can do it.
const NOTICE_GONE: &str = "SELECT set_config(name, '2s', false) FROM pg_catalog.pg_settings \
    WHERE name = 'client_connection_check_interval' AND pg_catalog.version() LIKE '%linux%';";

/// A writer's, unless the user says otherwise: what the server cuts off comes again, and is cut off again; a lock that somebody
/// keeps is told.
const WRITING: &[(&str, &str)] = &[("statement_timeout", "0"), ("lock_timeout", "60s")];

/// Where a target's row is found by its key, whatever the statistics say: statements are planned once, and an empty table's plan
/// would be kept when it is large.
const PLANNING: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
];

/// What sluice depends on, so nobody else may set it; `synchronous_commit` only to something stronger.
const GUARDED: &[&str] = &[
    "client_encoding",
    "role",
    "session_authorization",
    "session_replication_role",
    "transaction_isolation",
    "transaction_read_only",
];

/// Whether a user's setting is fine; if not, what is wrong and what to do.
pub(crate) fn may_be_set(name: &str, value: &str) -> Result<(), (String, String)> {
    let good_name =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if !good_name {
        return Err((
            format!("`{name}` is not the name of a setting"),
            "as in the server's documentation".into(),
        ));
    }
    let mut fixed = FIXED.iter().chain(FIXED_IF_THERE).map(|(name, _)| *name).chain(GUARDED.iter().copied());
    if fixed.any(|fixed| fixed.eq_ignore_ascii_case(name)) {
        let remedy = match name {
            "session_replication_role" => "see `fire_triggers`",
            _ => "leave it out",
        };
        return Err((format!("`{name}` is set by sluice itself"), remedy.into()));
    }
    if name == "synchronous_commit" && !["on", "remote_apply"].contains(&value) {
        // I1: durable in the target means durable.
        return Err((
            format!("`synchronous_commit: {value}` could lose what was confirmed"),
            "on, or remote_apply".into(),
        ));
    }
    Ok(())
}

/// The statements that make a session ours. The user's settings come last.
pub(crate) fn sql(role: Role, own: &BTreeMap<String, String>) -> String {
    let mut sql = String::new();
    let mut set = |name: &str, value: &str| {
        sql.push_str(&format!("SELECT set_config({}, {}, false);", literal(name), literal(value)));
    };
    FIXED.iter().for_each(|(name, value)| set(name, value));
    if role == Role::Writer {
        PLANNING.iter().chain(WRITING).for_each(|(name, value)| set(name, value));
    }
    own.iter().for_each(|(name, value)| set(name, value));
    if role == Role::Reader {
        // What a source's session writes (heartbeats, the publication) is durable there before it goes on. It never waits for a
        // standby: our own stream may be the one that the server waits for, and it is confirmed only when we go on.
        set("synchronous_commit", "local");
    }
    if role == Role::Writer {
        // I1: at least `on`; what the server or the user has stronger stays.
        sql.push_str(
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') <> 'remote_apply';",
        );
    }
    for (name, value) in FIXED_IF_THERE {
        let (name, value) = (literal(name), literal(value));
        sql.push_str(&format!(
            "SELECT set_config(name, {value}, false) FROM pg_catalog.pg_settings WHERE name = {name};"
        ));
    }
    sql.push_str(NOTICE_GONE);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sluice_depends_on_is_its_own() {
        for (name, value, good) in [
            ("statement_timeout", "30s", true),
            ("my.setting", "x", true),
            ("timezone", "CET", false),
            ("client_min_messages", "error", false),
            ("session_replication_role", "replica", false),
            ("synchronous_commit", "local", false),
            ("synchronous_commit", "remote_apply", true),
            ("a'b", "x", false),
        ] {
            assert_eq!(may_be_set(name, value).is_ok(), good, "{name}={value}");
        }
    }

    #[test]
    fn only_writers_are_told_how_to_plan() {
        let own = BTreeMap::from([("work_mem".to_string(), "64MB".to_string())]);
        let writer = sql(Role::Writer, &own);
        assert!(writer.contains("force_generic_plan") && !writer.contains("'local'"));
        let reader = sql(Role::Reader, &own);
        assert!(reader.contains("'work_mem', '64MB'") && !reader.contains("force_generic_plan"));
        let strong = BTreeMap::from([("synchronous_commit".to_string(), "remote_apply".to_string())]);
        let reader = sql(Role::Reader, &strong);
        assert!(reader.find("'local'") > reader.find("'remote_apply'"), "a reader never waits for itself");
    }
}
