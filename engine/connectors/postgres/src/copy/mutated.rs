//! Rows of a real server as COPY sends them, and frames of its streams, mutated: nothing panics, and nothing is made that is larger
//! than what came.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Reader, SIGNATURE};
use crate::codec::{Codec, Form, TypeInfo, Types};
use crate::protocol::{replication, wire};
use crate::relations::mutated::{messages, mutate, mutations};

/// What the catalogue of that server said of the types that are not in every server's own list: arrays, and an enumeration.
fn types() -> Types {
    let info = |oid, kind, element| TypeInfo {
        oid,
        name: format!("t{oid}"),
        kind,
        base: 0,
        element,
        delimiter: b',',
        is_text: false,
    };
    Types::new([info(1007, b'b', 23), info(1009, b'b', 25), info(1231, b'b', 1700), info(16_385, b'e', 0)])
}

/// The rows that the recorded messages insert, with the codecs of their columns, in one form: what the output functions made of a value
/// is the same in a COPY.
fn copies(form: Form) -> Vec<(Vec<Codec>, Vec<u8>)> {
    let types = types();
    let mut tables: Vec<(u32, Vec<Codec>)> = Vec::new();
    let (mut copies, mut head) = (Vec::new(), 1);
    for message in messages() {
        match message[0] {
            // Within a streamed transaction each message has the transaction's number in front.
            b'S' => head = 5,
            b'E' => head = 1,
            b'R' => tables.push(relation(&message[head..], &types)),
            b'I' => {
                let message = &message[head..];
                let oid = u32::from_be_bytes(message[..4].try_into().unwrap());
                let Some((_, codecs)) = tables.iter().rev().find(|(known, _)| *known == oid) else {
                    continue;
                };
                copies.push(copied(&message[5..], codecs, form));
            }
            _ => {}
        }
    }
    copies
}

/// Oid and codecs of a relation message, as the protocol's documentation lays it out.
fn relation(body: &[u8], types: &Types) -> (u32, Vec<Codec>) {
    let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
    let after_text = |at: usize| at + body[at..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let mut at = after_text(after_text(4)) + 1;
    let count = u16::from_be_bytes(body[at..at + 2].try_into().unwrap());
    at += 2;
    let codecs = (0..count).map(|_| {
        let name = after_text(at + 1);
        at = name + 8;
        types.codec(number(name))
    });
    (number(0), codecs.collect())
}

/// A tuple as a row of a COPY: those of its columns whose values have this form.
fn copied(tuple: &[u8], codecs: &[Codec], form: Form) -> (Vec<Codec>, Vec<u8>) {
    let (mut of, mut row, mut at) = (vec![], vec![], 2);
    for codec in codecs {
        let kind = tuple[at];
        at += 1;
        let value = if matches!(kind, b't' | b'b') {
            let length = u32::from_be_bytes(tuple[at..at + 4].try_into().unwrap()) as usize;
            at += 4 + length;
            &tuple[at - length..at]
        } else {
            &[]
        };
        match (form, kind) {
            (Form::Binary, _) if codec.form() != Form::Binary => continue, // asked for as text, and so a COPY of it would be
            (Form::Binary, b'n') => row.extend((-1i32).to_be_bytes()),
            (Form::Binary, b'b') => row.extend([&(value.len() as u32).to_be_bytes(), value].concat()),
            (Form::Text, b'n' | b't') => {
                if !of.is_empty() {
                    row.push(b'\t');
                }
                if kind == b'n' {
                    row.extend(b"\\N");
                }
                for byte in value {
                    let special = matches!(byte, b'\\' | b'\t' | b'\n');
                    row.extend(special.then_some(b'\\').into_iter().chain([*byte]));
                }
            }
            _ => continue,
        }
        of.push(codec.clone());
    }
    if form == Form::Binary {
        row.splice(0..0, [SIGNATURE, &[0; 8], &(of.len() as u16).to_be_bytes()].concat());
    }
    (of, row)
}

/// Reads rows, one COPY each. How many were good.
fn read_all(copies: &[(Vec<Codec>, Vec<u8>)], form: Form) -> usize {
    let mut good = 0;
    for (codecs, row) in copies {
        let mut reader = Reader::of(codecs.clone(), false);
        reader.form = form;
        if let Ok(Some(read)) = reader.row(Bytes::from(row.clone())) {
            good += 1;
            // Numerics are the one thing that is longer here than there: their zeros are not sent.
            assert!(read.row.weight() < 64 * row.len() + 200_000, "{} of {}", read.row.weight(), row.len());
        }
    }
    good
}

#[test]
fn real_rows_are_read() {
    for form in [Form::Binary, Form::Text] {
        let copies = copies(form);
        let columns: usize = copies.iter().map(|(codecs, _)| codecs.len()).sum();
        assert!(columns > 20, "{form:?}: {columns}");
        let arrays = copies.iter().flat_map(|(codecs, _)| codecs);
        assert!(arrays.filter(|codec| matches!(codec, Codec::Array(_))).count() > 2, "{form:?}");
        assert_eq!(read_all(&copies, form), copies.len(), "{form:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn mutated_rows_harm_nobody(mutations in mutations(), text in any::<bool>()) {
        let form = if text { Form::Text } else { Form::Binary };
        let (codecs, mut rows): (Vec<_>, Vec<_>) = copies(form).into_iter().unzip();
        mutate(&mut rows, mutations);
        let mutated: Vec<_> = codecs.into_iter().zip(rows).collect();
        read_all(&mutated, form);
    }

    /// Frames within a block, and what a replication stream holds: as the server would send them, then mutated.
    #[test]
    fn mutated_frames_harm_nobody(mutations in mutations(), end in any::<u64>(), ask in any::<u8>()) {
        let mut bodies: Vec<Vec<u8>> = messages().into_iter().take(20).collect();
        for body in &mut bodies {
            body.splice(0..0, [&b"w"[..], &[7; 24]].concat());
        }
        bodies.push([&b"k"[..], &end.to_be_bytes(), &[0; 8], &[ask]].concat());
        let mut frames: Vec<Vec<u8>> = bodies
            .iter()
            .map(|body| [&b"d"[..], &(body.len() as u32 + 4).to_be_bytes(), body].concat())
            .collect();
        mutate(&mut frames, mutations);
        let sent = frames.concat();
        let (mut block, mut taken) = (Bytes::from(sent.clone()), 0);
        while let Ok(Some(frame)) = wire::take(&mut block) {
            taken += frame.body.len() + wire::HEADER;
            prop_assert!(taken <= sent.len());
            if let Ok(replication::Streamed::Data { payload, .. }) = replication::read(frame.body) {
                prop_assert!(payload.len() < sent.len());
            }
        }
    }
}
