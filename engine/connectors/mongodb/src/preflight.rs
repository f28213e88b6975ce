//! What can be said of a server and its collections before a row flows, and what stands in the way.

use std::collections::HashMap;

use mongodb::bson::{Bson, Document, doc};
use sluice_types::ports::TargetTable;
use sluice_types::{ColumnType, Error, ErrorKind, Finding, Result, TableSchema};

use crate::connection::{Connected, Hello, Server};
use crate::errors::{self, quoted};
use crate::plan::{self, ID, collection_of};
use crate::sink::CHECKPOINTS;
use crate::values::Microseconds;

/// Bytes of a collection's name with its database's.
const NAMESPACE_BYTES_MAX: usize = 255;

/// A collection as `listCollections` tells of it.
pub(crate) type Collections = HashMap<String, Document>;

/// The collections of the database, by name.
pub(crate) async fn collections(server: &Server, connected: &Connected) -> Result<Collections> {
    let mut found = Collections::new();
    let what = "the collections can't be listed";
    let mut cursor =
        server.within(what, connected.database.run_cursor_command(doc! { "listCollections": 1 })).await?;
    while server.within(what, cursor.advance()).await? {
        let one = cursor.deserialize_current().map_err(|error| server.failed(&error, what))?;
        if let Ok(name) = one.get_str("name") {
            found.insert(name.to_string(), one);
        }
    }
    Ok(found)
}

/// Two tables in one collection: what is wrong, what to do, and where in the configuration.
pub(crate) fn collision<'a>(
    tables: &'a [TargetTable],
    database: &str,
) -> Option<(String, &'static str, &'a str)> {
    let (one, other) = plan::collision(tables, database)?;
    let (one, table) = (&one.schema.table, &other.schema.table);
    let what = format!(
        "`{one}` and `{table}` would both be the collection {}",
        plan::collection_of(table, database)
    );
    Some((what, "Give each table a collection of its own: `to:`", &other.path))
}

/// Looks whether these tables can be written or made.
pub(crate) async fn check_target(server: &Server, tables: &[TargetTable]) -> Result<Vec<Finding>> {
    let connected = server.connect().await;
    let mut findings: Vec<Finding> = match &connected {
        Ok(connected) => sharded(&connected.hello).into_iter().collect(),
        Err(error) => vec![of_error(error, "url")],
    };
    let database = &server.config.database;
    findings.extend(
        collision(tables, database)
            .map(|(what, remedy, path)| Finding::error(ErrorKind::TargetSchema, path, what, remedy)),
    );
    for table in tables {
        let own = plan::misfits(&table.schema).into_iter().chain(name_misfits(&table.schema, database));
        findings.extend(
            own.map(|(what, remedy)| Finding::error(ErrorKind::TargetSchema, &table.path, what, remedy)),
        );
        findings.extend(moments(server, table));
    }
    let Ok(connected) = connected else { return Ok(findings) };
    let there = match collections(server, connected).await {
        Ok(there) => there,
        Err(error) => {
            findings.push(of_error(&error, "url"));
            return Ok(findings);
        }
    };
    match privileges(server, connected).await {
        Ok(missing) => findings.extend(missing),
        Err(error) => findings.push(of_error(&error, "url")),
    }
    for table in tables {
        let name = collection_of(&table.schema.table, database);
        let Some(collection) = there.get(&name) else { continue };
        findings.extend(misfits(collection, &table.schema, database).into_iter().map(|(what, remedy)| {
            Finding::error(ErrorKind::TargetSchema, &table.path, format!("{name} {what}"), remedy)
        }));
    }
    Ok(findings)
}

fn sharded(hello: &Hello) -> Option<Finding> {
    hello.is_router.then(|| {
        let what = "this is a sharded cluster, with which sluice has not been tried";
        let remedy = "keep the target's collections unsharded, or sharded by `_id`: elsewhere `_id` is unique in one shard only";
        Finding::warning("sharded-cluster", "url", what, remedy)
    })
}

/// A user that may not write is told before the first row.
async fn privileges(server: &Server, connected: &Connected) -> Result<Vec<Finding>> {
    let command = doc! { "connectionStatus": 1, "showPrivileges": true };
    let status =
        server.within("the user's privileges can't be read", connected.database.run_command(command)).await?;
    let Ok(info) = status.get_document("authInfo") else { return Ok(vec![]) };
    let empty = vec![];
    // Without access control there are no users, and everybody may do everything.
    if info.get_array("authenticatedUsers").unwrap_or(&empty).is_empty() {
        return Ok(vec![]);
    }
    let database = &server.config.database;
    let granted = info.get_array("authenticatedUserPrivileges").unwrap_or(&empty);
    let everywhere = |resource: &Document| {
        let names = |name| resource.get_str(name).ok();
        let all = resource.get_bool("anyResource") == Ok(true);
        all || (matches!(names("db"), Some("")) || names("db") == Some(database))
            && names("collection") == Some("")
    };
    let actions: Vec<&str> = granted
        .iter()
        .filter_map(Bson::as_document)
        .filter(|privilege| privilege.get_document("resource").is_ok_and(everywhere))
        .flat_map(|privilege| privilege.get_array("actions").into_iter().flatten())
        .filter_map(Bson::as_str)
        .collect();
    let wanted = ["find", "insert", "update", "remove", "createCollection"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|action| !actions.contains(action) && !actions.contains(&"anyAction"))
        .collect();
    if missing.is_empty() {
        return Ok(vec![]);
    }
    let what = format!("the user may not {} in every collection of {database}", missing.join(", "));
    // In the database that the user is of, which need not be the target's.
    let user = info.get_array("authenticatedUsers").unwrap_or(&empty).first().and_then(Bson::as_document);
    let text = |name| user.and_then(|user| user.get_str(name).ok()).unwrap_or_default();
    let remedy = errors::grant(text("user"), text("db"), database);
    // A user with rights on single collections may do well.
    Ok(vec![Finding::warning("privileges", "url", what, remedy)])
}

/// A date of MongoDB has milliseconds.
fn moments(server: &Server, table: &TargetTable) -> Option<Finding> {
    if server.config.microseconds == Microseconds::Truncate {
        return None;
    }
    let columns: Vec<&str> = table
        .schema
        .columns
        .iter()
        .filter(|column| matches!(column.ty, ColumnType::Timestamp | ColumnType::Timestamptz))
        .filter(|column| {
            !["(0)", "(1)", "(2)", "(3)"].iter().any(|precision| column.native.contains(precision))
        })
        .map(|column| &*column.name)
        .collect();
    let what = format!(
        "{} may have microseconds, and a date of MongoDB has milliseconds: such rows become dead letters",
        columns.join(", ")
    );
    let remedy = "set `microseconds: truncate` on the target's database to cut them off, or convert the columns to text (type-conversion)";
    (!columns.is_empty()).then(|| Finding::warning("microseconds", &table.path, what, remedy))
}

/// Why a collection can't have the name that the table gives it.
fn name_misfits(schema: &TableSchema, database: &str) -> Option<(String, String)> {
    let name = collection_of(&schema.table, database);
    let why = if name == CHECKPOINTS || name.starts_with("sluice_") || name.starts_with("system.") {
        "is reserved"
    } else if name.is_empty() || name.contains('$') || name.contains('\0') || name.starts_with('.') {
        "can't be the name of a collection"
    } else if database.len() + 1 + name.len() > NAMESPACE_BYTES_MAX {
        "is too long"
    } else {
        return None;
    };
    Some((format!("the name {} {why}", name.escape_debug()), "choose another with `to:`".into()))
}

/// Why a collection can't take documents of this shape, each with a remedy.
pub(crate) fn misfits(collection: &Document, schema: &TableSchema, database: &str) -> Vec<(String, String)> {
    let elsewhere = || "choose another name with `to:`".to_string();
    match collection.get_str("type") {
        Ok("view") => return vec![("is a view".into(), elsewhere())],
        Ok("timeseries") => {
            return vec![("is a time series, whose rows can't be changed".into(), elsewhere())];
        }
        _ => {}
    }
    let mut misfits = Vec::new();
    let Ok(options) = collection.get_document("options") else { return misfits };
    if options.get_bool("capped") == Ok(true) {
        misfits.push(("is capped: it loses old rows, and none can be deleted".into(), elsewhere()));
    }
    if let Ok(collation) = options.get_document("collation")
        && collation.get_str("locale") != Ok("simple")
    {
        let what = "compares by a collation of its own: keys that differ for the source may be one for it";
        misfits.push((
            what.into(),
            "make it again without a collation, or choose another name with `to:`".into(),
        ));
    }
    let strict =
        options.get_str("validationAction") != Ok("warn") && options.get_str("validationLevel") != Ok("off");
    if let Ok(validator) = options.get_document("validator")
        && let Ok(rule) = validator.get_document("$jsonSchema")
        && strict
    {
        let name = quoted(collection.get_str("name").unwrap_or_default());
        let database = quoted(database);
        let warn = format!(
            "db.getSiblingDB({database}).runCommand({{ \"collMod\": {name}, \"validationAction\": \"warn\" }})"
        );
        let with =
            |(what, remedy): (String, String)| (what, format!("{remedy}; or have it warn only: {warn}"));
        misfits.extend(rule_misfits(rule, schema).into_iter().map(with));
    }
    misfits
}

/// What a collection's `$jsonSchema` says of fields, as far as it can be told without a row.
fn rule_misfits(rule: &Document, schema: &TableSchema) -> Vec<(String, String)> {
    let names: Vec<&str> = (0..schema.columns.len())
        .filter(|&index| !schema.is_key(index))
        .map(|index| &*schema.columns[index].name)
        .chain([ID])
        .collect();
    let mut misfits = Vec::new();
    for wanted in rule.get_array("required").into_iter().flatten().filter_map(Bson::as_str) {
        if !names.contains(&wanted) {
            let what = format!("requires the field {wanted}, which is not among the columns");
            misfits.push((what, "produce the column, or take it from the collection's `$jsonSchema`".into()));
        }
    }
    let closed =
        rule.get_bool("additionalProperties") == Ok(false) && !rule.contains_key("patternProperties");
    if closed {
        let known = rule.get_document("properties").cloned().unwrap_or_default();
        for name in names.into_iter().filter(|name| !known.contains_key(name)) {
            let what = format!("allows no field {name}: its `$jsonSchema` has `additionalProperties: false`");
            misfits.push((
                what,
                format!("add {name} to the collection's `$jsonSchema`, or leave the column out"),
            ));
        }
    }
    misfits
}

fn of_error(error: &Error, path: &str) -> Finding {
    let mut what = error.what().to_string();
    if let Some(cause) = std::error::Error::source(error) {
        what = format!("{what}: {cause}");
    }
    Finding::error(error.kind(), path, what, error.remedy_text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use sluice_kit::statement::TableDef;
    use sluice_types::TableId;

    use super::*;

    fn found(collection: Document) -> Vec<String> {
        let table = TableDef::new(&TableId::new("", "t")).column("id", ColumnType::Int64);
        let schema = table.column("a", ColumnType::Text).key(&["id"]).schema("d", "k");
        misfits(&collection, &schema, "d").into_iter().map(|(what, _)| what).collect()
    }

    #[test]
    fn a_collection_that_does_not_fit_says_why() {
        assert_eq!(found(doc! { "type": "collection", "options": {} }), [""; 0]);
        assert_eq!(found(doc! { "type": "view", "options": {} }).len(), 1);
        assert_eq!(found(doc! { "type": "collection", "options": { "capped": true } }).len(), 1);
        assert_eq!(found(doc! { "options": { "collation": { "locale": "en", "strength": 2 } } }).len(), 1);
        let rule = |rule: Document| doc! { "options": { "validator": { "$jsonSchema": rule } } };
        assert_eq!(found(rule(doc! { "required": ["_id", "a"] })), [""; 0]);
        assert_eq!(found(rule(doc! { "required": ["id", "b"] })).len(), 2);
        let closed = doc! { "additionalProperties": false, "properties": { "_id": {} } };
        assert!(found(rule(closed))[0].contains("no field a"));
        let warns = doc! { "options": { "validationAction": "warn", "validator": { "$jsonSchema": { "required": ["x"] } } } };
        assert_eq!(found(warns), [""; 0]);
    }

    #[test]
    fn a_sharded_cluster_is_told_and_not_refused() {
        let hello = |is_router| Hello { set_name: None, is_router, is_initiated: true, wire_version: 17 };
        let found = sharded(&hello(true)).unwrap();
        assert_eq!((&*found.code, found.severity), ("sharded-cluster", sluice_types::Severity::Warning));
        assert!(hello(true).unfit().is_none() && sharded(&hello(false)).is_none());
    }

    #[test]
    fn reserved_names_are_told() {
        let of = |name: &str| {
            let schema = TableDef::new(&TableId::new("", name)).schema("d", "k");
            name_misfits(&schema, "app").is_some()
        };
        assert!(of("sluice_checkpoint") && of("system.users") && of("a$b") && of("") && of(&"x".repeat(300)));
        assert!(!of("orders") && !of("a.b"));
    }
}
