//! Real messages of a server, mutated: nothing panics, and nothing is made that is larger than what came.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use sluice_types::TableId;

use super::{Followed, Plan, Relations};
use crate::codec::Types;
use crate::decode::Arena;
use crate::protocol::pgoutput::{self, Message, Relation};
use crate::schema::{Identity, Table, TableColumn};

/// What PostgreSQL 15 sent: every built-in type in both forms, a streamed transaction with a rolled back savepoint.
const MESSAGES: &str = include_str!("../protocol/pgoutput.hex");

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    MESSAGES.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// The table that a relation is of, as the catalogue would have it.
fn followed(relation: &Relation) -> Followed {
    let types = Types::default();
    let columns: Vec<TableColumn> = relation
        .columns
        .iter()
        .map(|column| TableColumn {
            name: (&*column.name).into(),
            type_oid: column.type_oid,
            modifier: column.modifier,
            native: "".into(),
            not_null: false,
            codec: types.codec(column.type_oid),
            order: None,
        })
        .collect();
    let table = Table {
        oid: relation.oid,
        id: TableId::new(&relation.schema, &relation.name),
        kind: b'r',
        persistence: b'p',
        has_children: false,
        identity: Identity::Full,
        columns,
        generated: vec![],
        key: vec![0],
        unique: vec![],
        seen: Default::default(),
    };
    let schema = std::sync::Arc::new(table.schema("d"));
    Followed { table, schema }
}

/// Reads messages as the stream does. How many changes came of them.
fn read_all(messages: &[Vec<u8>]) -> usize {
    let (mut relations, mut arena, mut changes, mut streamed) =
        (Relations::default(), Arena::default(), 0, false);
    let mut tables: HashMap<u32, Followed> = HashMap::new();
    for message in messages {
        let Ok((_, message)) = pgoutput::read(Bytes::from(message.clone()), streamed) else { continue };
        match message {
            Message::StreamStart { .. } => streamed = true,
            Message::StreamStop => streamed = false,
            Message::Relation(relation) => {
                let followed = tables.entry(relation.oid).or_insert_with(|| followed(&relation));
                let codecs = followed.table.columns.iter().map(|column| column.codec.clone()).collect();
                let plan = Plan::new(&relation, followed, codecs);
                relations.set(relation.oid, plan.ok());
            }
            Message::Row(row) => {
                let length = row.images.buffer().len();
                let Ok(Some(plan)) = relations.plan(row.relation) else { continue };
                if let Ok(change) = plan.change(row, &mut arena) {
                    changes += 1;
                    // Numerics are the one thing that is longer here than there: their zeros are not sent.
                    assert!(change.weight() < 64 * length + 200_000, "{} of {length}", change.weight());
                }
            }
            _ => {}
        }
    }
    changes
}

#[test]
fn real_messages_are_read() {
    let messages = messages();
    let rows = messages.iter().filter(|message| matches!(message[0], b'I' | b'U' | b'D')).count();
    let arrays = messages.iter().filter(|message| message[0] == b'R').count();
    assert!(arrays > 0 && read_all(&messages) > rows / 2, "{} of {rows}", read_all(&messages));
}

/// What is done to messages: to which, where, what.
pub(crate) type Mutation = (prop::sample::Index, prop::sample::Index, u8, u8);

pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5_u8, any::<u8>()),
        1..12,
    )
}

/// Changes a byte, cuts off, inserts, or exchanges two messages.
pub(crate) fn mutate(messages: &mut [Vec<u8>], mutations: Vec<Mutation>) {
    for (which, place, how, byte) in mutations {
        let which = which.index(messages.len());
        let message = &mut messages[which];
        if message.is_empty() {
            continue;
        }
        let at = place.index(message.len());
        match how {
            0 => message[at] = byte,
            1 => message[at] = if byte & 1 == 0 { 0xff } else { 0x7f },
            2 => message.truncate(at),
            3 => message.insert(at, byte),
            _ => {
                let other = place.index(messages.len());
                messages.swap(which, other);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutated_messages_harm_nobody(mutations in mutations()) {
        let mut messages = messages();
        mutate(&mut messages, mutations);
        read_all(&messages);
    }
}
