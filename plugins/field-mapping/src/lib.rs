//! Renames, drops, keeps, copies and adds columns. The README says how.

mod constant;

use constant::Constant;
use sluice_sdk::{Answer, Batch, Col, Columns, Json, Settings, Table, pointer, repeat};

struct FieldMapping {
    /// Original and copy.
    copies: Vec<(Col, Col)>,
    constants: Vec<(Col, Constant)>,
}

impl Columns for FieldMapping {
    type Config = Json;
    const SUMMARY: &'static str = "Renames, drops, keeps, copies and adds columns";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn open(table: &mut Table, config: Json) -> Self {
        let mut settings = Settings::new("", config);
        let rename = texts(&mut settings, "rename");
        let copy = texts(&mut settings, "copy");
        let constant = settings.take_map("constant").unwrap_or_default();
        let drop = settings.take_texts("drop").unwrap_or_default();
        let keep = settings.take_texts("keep");
        if keep.is_some() && !drop.is_empty() {
            settings
                .error("drop", "`keep` and `drop` exclude each other: what `keep` doesn't name is dropped");
        }
        table.errors(settings.finish());

        // Copies first, so that the copy of a dropped or renamed column is still known by the name that it came with.
        let copies = copy.iter().map(|(from, to)| {
            let original = table.read(&pointer(&["copy", from]), from);
            let copied = table.add(&pointer(&["copy", from]), to, original.column_type());
            table.computed_from(copied, &[original]);
            if let Some(info) = table.columns().get(original.index() as usize).cloned() {
                table.native(copied, &info.native);
                if !info.nullable {
                    table.never_null(copied);
                }
            }
            (original, copied)
        });
        let copies = copies.collect();
        let constants =
            constant.into_iter().filter_map(|(name, value)| constant::add(table, &name, value)).collect();
        for (from, to) in &rename {
            table.rename(&pointer(&["rename", from]), from, to);
        }
        for (at, name) in drop.iter().enumerate() {
            drop_column(table, &pointer(&["drop", &at.to_string()]), name, "it can be renamed, not dropped");
        }
        if let Some(keep) = keep {
            keep_only(table, &keep);
        }
        FieldMapping { copies, constants }
    }

    fn batch(&self, batch: &mut Batch, answer: &mut Answer) -> Result<(), String> {
        for (original, copied) in &self.copies {
            answer.put_column(*copied, batch.column(*original).clone());
        }
        for (column, constant) in &self.constants {
            let (data, state) = repeat(constant.value(), constant.ty, batch.rows());
            answer.put(*column, data, state);
        }
        Ok(())
    }
}

/// A mapping of names to names.
fn texts(settings: &mut Settings, key: &'static str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (from, to) in settings.take_map(key).unwrap_or_default() {
        match to {
            Json::String(to) if !to.is_empty() => pairs.push((from, to)),
            _ => settings.error_at(&pointer(&[key, &from]), "write the new name here, as text"),
        }
    }
    pairs
}

fn drop_column(table: &mut Table, path: &str, name: &str, remedy: &str) {
    if table.columns().iter().any(|column| column.name == name && column.key) {
        return table.error(path, format!("`{name}` is part of the key: {remedy}"));
    }
    table.drop(path, name);
}

/// Drops what isn't named. Columns go by the names that they come with; copies and constants stay anyway.
fn keep_only(table: &mut Table, keep: &[String]) {
    for (at, name) in keep.iter().enumerate() {
        table.find(&pointer(&["keep", &at.to_string()]), name);
    }
    let others: Vec<(String, bool)> = table
        .columns()
        .iter()
        .filter(|column| !keep.contains(&column.name))
        .map(|column| (column.name.clone(), column.key))
        .collect();
    for (name, key) in others {
        if key {
            table.error("/keep", format!("`{name}` is part of the key and must stay: add it to `keep`"));
        } else {
            table.drop("/keep", &name);
        }
    }
}

sluice_sdk::export_columns!(FieldMapping);
