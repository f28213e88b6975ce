//! What a transaction asks of the server, and what it answers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{ClientSession, Database};

use crate::plan::ID;
use crate::write::Reply;

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
            Answer::Claimed(document) => {
                let mut hasher = DefaultHasher::new();
                document.as_ref().map(|document| format!("{document:?}")).hash(&mut hasher);
                hasher.finish()
            }
            Answer::Found(documents) => {
                let mut hasher = DefaultHasher::new();
                documents.iter().for_each(|document| document.as_bytes().hash(&mut hasher));
                hasher.finish()
            }
        }
    }

    /// The server has refused a statement, and aborted the transaction.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Answer::Written(Reply { error: Some(_), .. }))
    }
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
