//! The suite that makes a connector; its sink, for there is no source yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use sluice_kit::Statement;
use sluice_kit::conformance::{Harness, NativeValue};
use sluice_servers::bson::{Bson, Document, doc};
use sluice_servers::{Mongo, Proxy};
use sluice_types::ports::Endpoint;
use sluice_types::{ColumnType, TableId, Value};

use crate::harness;

struct MongoDb {
    server: &'static Mongo,
    proxy: Proxy,
    database: String,
    copy: Mutex<HashMap<String, Vec<Document>>>,
}

fn field(name: &str) -> &str {
    if name == "id" { "_id" } else { name }
}

fn bson(value: &Value) -> Bson {
    match value {
        Value::Int64(number) => Bson::Int64(*number),
        Value::Text(text) => Bson::String(text.to_string()),
        _ => Bson::Null,
    }
}

fn fields(of: &[(String, Value)]) -> Document {
    of.iter().map(|(name, value)| (field(name).to_string(), bson(value))).collect()
}

impl MongoDb {
    fn command(&self, command: Document) -> Document {
        self.server.command(&self.database, command)
    }

    fn run(&self, statement: &Statement) {
        match statement {
            // A table of fixed columns is a collection that allows no other field.
            Statement::CreateTable(def) => {
                let name = &*def.table.name;
                let properties: Document = def
                    .columns
                    .iter()
                    .map(|column| (field(&column.0).into(), Bson::Document(doc! {})))
                    .collect();
                let rule = doc! { "additionalProperties": false, "properties": properties };
                self.command(doc! { "create": name, "validator": { "$jsonSchema": rule } });
                for (number, unique) in def.unique.iter().enumerate() {
                    let key: Document =
                        unique.iter().map(|column| (column.clone(), Bson::Int32(1))).collect();
                    let index = doc! { "key": key, "name": format!("unique_{number}"), "unique": true };
                    self.command(doc! { "createIndexes": name, "indexes": [index] });
                }
            }
            Statement::Insert { table, row } => {
                self.command(doc! { "insert": &*table.name, "documents": [fields(row)] });
            }
            Statement::Update { table, key, set } => {
                let update = doc! { "q": fields(key), "u": { "$set": fields(set) } };
                self.command(doc! { "update": &*table.name, "updates": [update] });
            }
            Statement::Delete { table, key } => {
                self.command(doc! { "delete": &*table.name, "deletes": [{ "q": fields(key), "limit": 0 }] });
            }
            Statement::Truncate { table } => {
                self.command(doc! { "delete": &*table.name, "deletes": [{ "q": {}, "limit": 0 }] });
            }
        }
    }

    fn collections(&self) -> Vec<String> {
        let answer = self.command(doc! { "listCollections": 1, "nameOnly": true });
        let batch = answer.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
        batch.iter().map(|one| one.as_document().unwrap().get_str("name").unwrap().to_string()).collect()
    }
}

#[async_trait]
impl Harness for MongoDb {
    async fn start() -> Self {
        let server = Mongo::shared();
        let database = server.database("c");
        MongoDb { server, proxy: Proxy::to(server.port()), database, copy: Mutex::default() }
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        let url = self.server.url_at(self.proxy.port());
        harness::endpoint(&url, &self.database, json!({ "application_name": self.database }))
    }

    async fn transaction(&self, statements: &[Statement]) {
        statements.iter().for_each(|statement| self.run(statement));
    }

    async fn rolled_back(&self, _statements: &[Statement]) {
        unreachable!("only sources are asked what they see of it");
    }

    async fn rows(&self, table: &TableId) -> Vec<Vec<Value>> {
        let value = |value: Bson| match value {
            Bson::Int64(number) => Value::Int64(number),
            Bson::String(text) => Value::Text(text.into()),
            Bson::Null => Value::Null,
            other => panic!("{other}"),
        };
        let documents = self.server.find(&self.database, &table.name);
        documents
            .into_iter()
            .map(|document| document.into_iter().map(|(_, one)| value(one)).collect())
            .collect()
    }

    async fn keep_copy(&self) {
        let read = |name: String| (name.clone(), self.server.find(&self.database, &name));
        *self.copy.lock().unwrap() = self.collections().into_iter().map(read).collect();
    }

    async fn restore_copy(&self) {
        for name in self.collections() {
            self.command(doc! { "delete": &name, "deletes": [{ "q": {}, "limit": 0 }] });
            let kept = self.copy.lock().unwrap().get(&name).cloned().unwrap_or_default();
            if !kept.is_empty() {
                self.command(doc! { "insert": &name, "documents": kept });
            }
        }
    }

    /// What a restart does to this client: its transactions are gone, and its connections.
    async fn interrupt(&self) -> bool {
        let sessions =
            doc! { "currentOp": true, "type": "idleSession", "$all": true, "appName": &self.database };
        let found = self.server.command("admin", sessions);
        let mut killed = 0;
        for session in found.get_array("inprog").unwrap() {
            let id = session.as_document().unwrap().get_document("lsid").unwrap().get("id").unwrap();
            self.server.command("admin", doc! { "killSessions": [{ "id": id }] });
            killed += 1;
        }
        assert!(killed > 0, "{found}");
        self.proxy.cut();
        true
    }

    async fn traces(&self) -> Vec<String> {
        vec![]
    }

    fn values() -> Vec<NativeValue> {
        // What is written is read back by a source; without one, `values.rs` compares the documents.
        vec![]
    }

    async fn insert_literal(&self, _table: &TableId, _id: i64, _literal: &str) {
        unreachable!("there is no source yet");
    }

    fn unrepresentable() -> Option<(ColumnType, String, Value)> {
        Some((ColumnType::Timestamptz, "timestamptz".into(), Value::Timestamptz(1)))
    }
}

sluice_kit::sink_conformance!(MongoDb);
