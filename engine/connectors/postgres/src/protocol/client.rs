//! A session that we speak ourselves: started, authenticated, asked in the simple protocol.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use sluice_types::{Error, ErrorKind, Result, Text};
use tokio::time::timeout;

use super::cursor::{Cursor, malformed};
use super::thread::OwnThread;
use super::wire::{Frame, Wire};
use crate::address::Host;
use crate::config::Server;
use crate::errors;
use crate::session::{self, Role};

/// A row of a simple query: its columns as text.
pub(crate) type TextRow = Vec<Option<Text>>;

/// A session.
pub(crate) struct Client {
    wire: Wire,
    server: Arc<Server>,
    /// The server process that serves it; 0 where the server did not say.
    pub pid: i32,
    /// Where its socket is looked after, if that is not the runtime of all.
    thread: Option<OwnThread>,
}

impl Client {
    /// A session for replication commands and queries in the configured database, on a thread of its own.
    pub async fn replication(server: &Arc<Server>) -> Result<Self> {
        let thread = OwnThread::start("sluice-pg-stream")?;
        let of = server.clone();
        let mut client = thread.run(async move { Self::connect(&of, true).await }).await?;
        client.thread = Some(thread);
        Ok(client)
    }

    /// A session for queries.
    pub async fn plain(server: &Arc<Server>) -> Result<Self> {
        Self::connect(server, false).await
    }

    /// With several hosts it is the primary's, as every session of ours ([`Server::connect`]).
    async fn connect(server: &Arc<Server>, replication: bool) -> Result<Self> {
        let mut last = None;
        for (host, port) in &server.address.0 {
            let connecting = Self::connect_one(server, host, *port, replication);
            match timeout(server.connect_timeout, connecting).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => last = Some(server.at(error)),
                Err(_) => last = Some(server.late()),
            }
        }
        Err(last.unwrap_or_else(|| server.nowhere()))
    }

    async fn connect_one(server: &Arc<Server>, host: &Host, port: u16, replication: bool) -> Result<Self> {
        let mut client = Self::start(server, host, port, replication).await?;
        client.query(&session::sql(Role::Reader, &server.settings)).await?;
        if server.has_several_hosts() {
            let rows = client.query("SELECT pg_catalog.pg_is_in_recovery()").await?;
            let says = rows.first().and_then(|row| row.first()).and_then(Option::as_ref);
            if says.is_some_and(|says| &**says == "t") {
                return Err(server.standby());
            }
        }
        Ok(client)
    }

    async fn start(server: &Arc<Server>, host: &Host, port: u16, replication: bool) -> Result<Self> {
        let wire = Wire::new(server.dial(host, port).await?);
        let mut client = Client { wire, server: server.clone(), pid: 0, thread: None };
        let mut parameters = vec![
            ("user", server.user.as_str()),
            ("database", server.dbname.as_str()),
            ("application_name", server.application_name.as_str()),
            ("client_encoding", "UTF8"),
        ];
        if replication {
            parameters.push(("replication", "database"));
        }
        client.say(|buffer| frontend::startup_message(parameters, buffer)).await?;
        client.authenticate().await?;
        loop {
            let Frame { tag, body } = client.wire.next().await?;
            match tag {
                b'K' => client.pid = Cursor::new(body).i32()?,
                b'Z' => return Ok(client),
                b'E' => return Err(client.refused(body, "the server did not let us in")),
                _ => {}
            }
        }
    }

    async fn authenticate(&mut self) -> Result<()> {
        let server = self.server.clone();
        let mut scram: Option<ScramSha256> = None;
        loop {
            let Frame { tag, body } = self.wire.next().await?;
            match tag {
                b'R' => {}
                b'E' => return Err(self.refused(body, "the server did not let us in")),
                // A newer server tells which options it does not know, notices may come at any time.
                b'v' | b'N' => continue,
                _ => return Err(malformed("the server did not ask who we are")),
            }
            let mut cursor = Cursor::new(body);
            let method = cursor.i32()?;
            let rest = || cursor.buffer().slice(4..);
            let password = || server.password.as_ref().map(|secret| secret.expose()).ok_or_else(no_password);
            match method {
                0 => return Ok(()),
                3 => {
                    let password = password()?.as_bytes();
                    self.say(|buffer| frontend::password_message(password, buffer)).await?;
                }
                5 => {
                    let salt: [u8; 4] =
                        rest()[..].try_into().map_err(|_| malformed("a salt of an odd size"))?;
                    let hash = md5_hash(server.user.as_bytes(), password()?.as_bytes(), salt);
                    self.say(|buffer| frontend::password_message(hash.as_bytes(), buffer)).await?;
                }
                10 => {
                    if !rest().split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                        return Err(Error::new(
                            ErrorKind::Authentication,
                            "the server wants a way of authentication that is not supported",
                        ));
                    }
                    let begun = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
                    let first = begun.message().to_vec();
                    scram = Some(begun);
                    self.say(|buffer| frontend::sasl_initial_response(SCRAM_SHA_256, &first, buffer)).await?;
                }
                11 => {
                    let scram = scram.as_mut().ok_or_else(|| malformed("an authentication out of order"))?;
                    scram.update(&rest()).map_err(not_proved)?;
                    let answer = scram.message().to_vec();
                    self.say(|buffer| frontend::sasl_response(&answer, buffer)).await?;
                }
                12 => {
                    let scram = scram.as_mut().ok_or_else(|| malformed("an authentication out of order"))?;
                    scram.finish(&rest()).map_err(not_proved)?;
                }
                _ => {
                    return Err(Error::new(
                        ErrorKind::Authentication,
                        "the server wants a way of authentication that is not supported",
                    )
                    .remedy("scram-sha-256, md5, password, cert and trust in pg_hba.conf are supported"));
                }
            }
        }
    }

    /// Runs statements; the rows of all of them. An error of the server leaves the session usable outside of a transaction.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        self.ask(sql).await?;
        let (mut rows, mut failed) = (vec![], None);
        loop {
            let Frame { tag, body } = self.wire.next().await?;
            match tag {
                b'D' => rows.push(text_row(body)?),
                b'E' => failed = Some(self.refused(body, "the server refused a statement")),
                b'Z' => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    /// Sends statements; what they answer comes by [`Client::block`].
    pub async fn ask(&mut self, sql: &str) -> Result<()> {
        self.say(|buffer| frontend::query(sql, buffer)).await
    }

    /// What the server has answered: whole messages.
    pub async fn block(&mut self) -> Result<Bytes> {
        self.wire.block().await.map_err(|error| self.server.at(error))
    }

    /// Starts the replication stream: from now on the wire speaks it. It is for the thread alone.
    pub async fn stream(mut self, command: &str) -> Result<(Wire, OwnThread)> {
        let lost = || Error::new(ErrorKind::Internal, "a stream without a thread");
        let thread = self.thread.take().ok_or_else(lost)?;
        self.ask(command).await?;
        loop {
            let Frame { tag, body } = self.wire.next().await?;
            match tag {
                b'W' => return Ok((self.wire, thread)),
                b'E' => return Err(self.refused(body, "the server did not start the replication stream")),
                b'N' | b'S' => {}
                _ => {
                    return Err(malformed(
                        "the server answered the start of replication with something else",
                    ));
                }
            }
        }
    }

    /// An `ErrorResponse` as an error.
    pub fn refused(&self, body: Bytes, what: &'static str) -> Error {
        refused(&self.server, body, what)
    }

    async fn say(&mut self, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<()> {
        let mut buffer = BytesMut::new();
        write(&mut buffer).map_err(|error| {
            Error::new(ErrorKind::Internal, "a message could not be written").because(error)
        })?;
        self.wire.send(&buffer).await.map_err(|error| self.server.at(error))
    }
}

fn no_password() -> Error {
    Error::new(ErrorKind::Authentication, "the server wants a password, and none is configured")
        .remedy("Set `password`, from the environment or a file")
}

fn not_proved(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Authentication, "the authentication failed")
        .because(error)
        .remedy("Is the password right?")
}

/// A `DataRow` in text format.
pub(crate) fn text_row(body: Bytes) -> Result<TextRow> {
    let mut cursor = Cursor::new(body);
    let count = cursor.count(4)?;
    let mut row = Vec::with_capacity(count);
    for _ in 0..count {
        let length = cursor.i32()?;
        row.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let range = cursor.range(length)?;
                let text = Text::try_from(cursor.buffer().slice(range));
                Some(text.map_err(|_| malformed("an answer of the server is not UTF-8"))?)
            }
        });
    }
    Ok(row)
}

/// An `ErrorResponse` as an error: its code and words, nothing that may hold a value of a row.
pub(crate) fn refused(server: &Server, body: Bytes, what: &'static str) -> Error {
    let (code, message) = said(body);
    server.at(errors::of_state(&code, &message, what, &server.user, &server.dbname))
}

/// Since 18 a publication that is not there is no error of the stream but a notice: it says so, and leaves its tables out. The name
/// is in the message in every language.
pub(crate) fn is_skipped_publication(body: Bytes) -> bool {
    let (code, message) = said(body);
    &*code == "55000" && message.contains(crate::names::OWN_SCHEMA)
}

/// Code and words of an `ErrorResponse` or a `NoticeResponse`.
fn said(body: Bytes) -> (Text, Text) {
    let mut cursor = Cursor::new(body);
    let (mut code, mut message) = (Text::new(), Text::new());
    while let Ok(field) = cursor.u8() {
        let Ok(text) = cursor.text() else { break };
        match field {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    (code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_a_skipped_publication_is_known_in_every_language() {
        let notice = |code: &str, message: &str| {
            Bytes::from(format!("SWARNING\0VWARNING\0C{code}\0M{message}\0DIt is not there.\0\0"))
        };
        assert!(is_skipped_publication(notice("55000", "skipped loading publication \"sluice_01234567_p\"")));
        assert!(is_skipped_publication(notice("55000", "Publikation »sluice_01234567_p« übersprungen")));
        assert!(!is_skipped_publication(notice("01000", "sluice_01234567_p")));
        assert!(!is_skipped_publication(notice("55000", "something else")));
    }
}
