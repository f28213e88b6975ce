//! What a transaction asks of the server, and what it answers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{ClientSession, Database};

use crate::plan::ID;
use crate::write::Reply;

/// The field of a checkpoint's document that is counted up to hold it.
pub(crate) const CLAIMS: &str = "claims";

/// Something that the server was asked to do.
#[derive(Clone)]
pub(crate) enum Work {
    Write(RawDocumentBuf),
    /// `findAndModify`.
    Claim(RawDocumentBuf),
    Find {
        collection: Arc<str>,
        filter: Document,
        ids_only: bool,
    },
}

/// What it answered.
pub(crate) enum Answer {
    Written(Reply),
    Claimed(Option<Document>),
    Found(Vec<RawDocumentBuf>),
}

impl Answer {
    /// What must come out again when the work is done again.
    pub fn digest(&self) -> u64 {
        match self {
            Answer::Written(reply) => reply.count,
            // The counter is how the document is held; what it says is the rest.
            Answer::Claimed(document) => digest_of(|hasher| {
                let fields = document.iter().flatten().filter(|(name, _)| *name != CLAIMS);
                fields.for_each(|(name, value)| format!("{name} {value:?}").hash(hasher));
            }),
            // A query for ids answers in no order.
            Answer::Found(documents) => documents
                .iter()
                .map(|document| digest_of(|hasher| document.as_bytes().hash(hasher)))
                .fold(documents.len() as u64, u64::wrapping_add),
        }
    }

    /// The server has refused a statement, and aborted the transaction.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Answer::Written(Reply { error: Some(_), .. }))
    }
}

fn digest_of(content: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    content(&mut hasher);
    hasher.finish()
}

/// Asks within the session's transaction.
pub(crate) async fn ask(
    database: &Database,
    session: &mut ClientSession,
    work: &Work,
) -> mongodb::error::Result<Answer> {
    match work {
        Work::Write(body) => {
            let reply = database.run_raw_command(body.clone()).session(session).await?;
            Ok(Answer::Written(Reply::read(&reply)))
        }
        Work::Claim(body) => {
            let reply = database.run_raw_command(body.clone()).session(session).await?;
            Ok(Answer::Claimed(reply.get_document("value").ok().cloned()))
        }
        Work::Find { collection, filter, ids_only } => {
            let collection = database.collection::<RawDocumentBuf>(collection);
            let mut find = collection.find(filter.clone());
            if *ids_only {
                find = find.projection(doc! { ID: 1 });
            }
            let mut cursor = find.session(&mut *session).await?;
            let mut found = vec![];
            while cursor.advance(session).await? {
                found.push(cursor.current().to_owned());
            }
            Ok(Answer::Found(found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ids: &[i64]) -> u64 {
        let documents = ids.iter().map(|id| RawDocumentBuf::try_from(&doc! { ID: *id, "a": "x" }).unwrap());
        Answer::Found(documents.collect()).digest()
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        assert_eq!(found(&[1, 2, 3]), found(&[3, 1, 2]));
        assert_ne!(found(&[1, 2, 3]), found(&[1, 2, 4]));
        assert_ne!(found(&[1, 2]), found(&[1, 2, 2]));
        assert_ne!(found(&[1, 1]), found(&[2, 2]));
    }

    #[test]
    fn a_checkpoint_s_document_that_was_only_held_is_the_same() {
        let claimed = |epoch: i64, claims: i64| {
            Answer::Claimed(Some(doc! { ID: "p", "epoch": epoch, "claims": claims })).digest()
        };
        assert_eq!(claimed(1, 1), claimed(1, 7));
        assert_ne!(claimed(1, 1), claimed(2, 1));
        assert_ne!(claimed(1, 1), Answer::Claimed(None).digest());
    }
}
