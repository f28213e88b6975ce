//! Reaching a server, and making a session of ours out of a connection.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use sluice_types::{Error, ErrorKind, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::Host;
use crate::config::Server;
use crate::errors;
use crate::session::{self, Role};
use crate::tls::TlsMode;

/// The oldest server whose stream is understood (binary values, transactions that are streamed before they end), as
/// `server_version_num`. Of a target as much is asked: there is one line to draw, and nobody maintains older ones.
const VERSION_MIN: u32 = 140_000;

/// What may be on its way to a server over a unix socket, in bytes; the system may grant less. Its own default holds about 2 ms of
/// a copy: the server would stand still whenever we are not scheduled for longer.
const UNIX_BUFFER_BYTES: usize = 1 << 20;

/// A connection to a server, encrypted or not, before anything was said.
pub(crate) enum Stream {
    /// Plain.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// A unix socket.
    Unix(UnixStream),
}

macro_rules! on_stream {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => $body,
            Stream::Tls($inner) => $body,
            Stream::Unix($inner) => $body,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, inner => Pin::new(inner).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

/// A session: a client of the driver, set up by [`session`], and what the server said of itself.
pub(crate) struct Session {
    client: Client,
    /// `server_version_num`.
    pub version: u32,
    /// The server is a standby.
    pub in_recovery: bool,
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Server {
    /// Reaches one of the server's hosts: the connection, encrypted as configured, at which the startup message comes next. For a
    /// replication connection, too.
    pub async fn dial(&self, host: &Host, port: u16) -> Result<Stream> {
        let reached = timeout(self.connect_timeout, self.reach(host, port)).await;
        let reached = reached.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "the server did not answer in time")
                .remedy("Is the address right, and does a firewall let it through? It is tried again"))
        });
        reached.map_err(|error| self.at(error))
    }

    async fn reach(&self, host: &Host, port: u16) -> Result<Stream> {
        let unreachable = |error: io::Error| {
            Error::new(ErrorKind::Unreachable, format!("the server at {} can't be reached", self.address))
                .because(error)
                .remedy("Is the server running, and the address right? It is tried again")
        };
        match host {
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                let unix = UnixStream::connect(path).await.map_err(unreachable)?;
                if let Err(error) = SockRef::from(&unix).set_send_buffer_size(UNIX_BUFFER_BYTES) {
                    tracing::debug!(%error, "the system's own buffer will do");
                }
                Ok(Stream::Unix(unix))
            }
            Host::Tcp(name) => {
                let tcp = TcpStream::connect((name.as_str(), port)).await.map_err(unreachable)?;
                self.tune(&tcp).map_err(unreachable)?;
                self.encrypt(tcp, name).await
            }
        }
    }

    /// A dead peer is noticed, and small messages go at once.
    fn tune(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let keepalives = &self.keepalives;
        let socket = SockRef::from(tcp);
        let probes = TcpKeepalive::new().with_time(keepalives.idle).with_interval(keepalives.interval);
        socket.set_tcp_keepalive(&probes.with_retries(keepalives.count))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(keepalives.user_timeout))?;
        Ok(())
    }

    async fn encrypt(&self, mut tcp: TcpStream, host: &str) -> Result<Stream> {
        if self.tls.mode == TlsMode::Disable {
            return Ok(Stream::Tcp(tcp));
        }
        let broken = |error: io::Error| {
            Error::new(ErrorKind::Unreachable, "the server broke the connection off").because(error)
        };
        // SSLRequest; the answer is one byte, before which nothing else may come.
        tcp.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.map_err(broken)?;
        match tcp.read_u8().await.map_err(broken)? {
            b'S' => {}
            b'N' if self.tls.mode == TlsMode::Prefer => return Ok(Stream::Tcp(tcp)),
            _ => {
                let what =
                    format!("the server does not offer TLS, and `tls.mode` is {}", self.tls.mode.word());
                return Err(Error::new(ErrorKind::Authentication, what).remedy(
                    "Set `ssl = on` in postgresql.conf with a certificate, or `tls: { mode: prefer }`",
                ));
            }
        }
        let config = self.tls.client_config()?;
        let refused = |error: io::Error| {
            // The peer that goes away is a server's fault, everything else is about certificates.
            let kind = match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => ErrorKind::Unreachable,
                _ => ErrorKind::Authentication,
            };
            Error::new(kind, "the TLS handshake failed")
                .because(error)
                .remedy("Compare `tls.ca` and the host's name with the server's certificate (ssl_cert_file)")
        };
        let name = ServerName::try_from(host.to_string()).map_err(|error| {
            Error::new(ErrorKind::Config, "the host's name can't be verified").because(error)
        })?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(refused)?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// A session for this role. With several hosts it is the primary's, whoever that is now: slots and heartbeats are there as well
    /// as what takes writes, and a session of one host would know nothing of another's.
    pub async fn connect(&self, role: Role) -> Result<Session> {
        let mut last = None;
        for (host, port) in &self.address.0 {
            match timeout(self.connect_timeout, self.connect_one(host, *port, role)).await {
                Ok(Ok(session)) if session.in_recovery && self.has_several_hosts() => {
                    last = Some(self.standby());
                }
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(self.late()),
            }
        }
        Err(last.unwrap_or_else(|| self.nowhere()))
    }

    /// Whether there is a choice.
    pub fn has_several_hosts(&self) -> bool {
        self.address.0.len() > 1
    }

    /// No host was the primary. After a failover one will be: it is tried again.
    pub fn standby(&self) -> Error {
        let standby = Error::new(ErrorKind::Unreachable, "every host that answered is a standby");
        self.at(standby.remedy("Name the primary among the hosts, or promote one of them; it is tried again"))
    }

    /// A host took too long.
    pub fn late(&self) -> Error {
        let late = Error::new(ErrorKind::Timeout, "the server did not let us in in time");
        self.at(late.remedy("It is tried again"))
    }

    /// There was no host to ask.
    pub fn nowhere(&self) -> Error {
        self.at(Error::new(ErrorKind::Config, "no host is configured"))
    }

    async fn connect_one(&self, host: &Host, port: u16, role: Role) -> Result<Session> {
        let stream = self.dial(host, port).await?;
        let mut config = tokio_postgres::Config::new();
        config.user(&self.user).dbname(&self.dbname).application_name(&self.application_name);
        config.ssl_mode(SslMode::Disable); // the stream is encrypted already
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        let failed = |error: tokio_postgres::Error| self.failed(&error, "the server did not let us in");
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(failed)?;
        // It ends with the client, and its error is told by the client's next call.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %errors::Cause::of(&error), "a connection ended");
            }
        });
        let own = session::sql(role, &self.settings);
        client
            .batch_execute(&own)
            .await
            .map_err(|error| self.failed(&error, "the session can't be set up"))?;
        let says = "SELECT current_setting('server_version_num'), pg_catalog.pg_is_in_recovery()";
        let answer = client.simple_query(says).await.map_err(failed)?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse::<u32>().ok()?, row.get(1)? == "t")),
            _ => None,
        });
        let odd = || self.at(Error::new(ErrorKind::Corrupt, "the server did not tell its version"));
        let (version, in_recovery) = row.ok_or_else(odd)?;
        if let Some(error) = too_old(version) {
            return Err(self.at(error));
        }
        Ok(Session { client, version, in_recovery })
    }

    /// An error of this server.
    pub fn failed(
        &self,
        error: &tokio_postgres::Error,
        what: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Error {
        self.at(errors::of_server(error, what, &self.user, &self.dbname))
    }

    /// With the database's name.
    pub fn at(&self, error: Error) -> Error {
        error.at(|place| place.database = Some(self.name.clone()))
    }
}

/// Why a server of this `server_version_num` is refused, if it is.
fn too_old(version: u32) -> Option<Error> {
    let oldest = VERSION_MIN / 10_000;
    let what =
        || format!("the server is PostgreSQL {}, and {oldest} is the oldest that will do", version / 10_000);
    let remedy = || format!("Upgrade the server to PostgreSQL {oldest} or newer");
    (version < VERSION_MIN).then(|| Error::new(ErrorKind::Config, what()).remedy(remedy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_are_refused_with_their_version() {
        let error = too_old(130_023).unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.what().contains("PostgreSQL 13,") && error.remedy_text().unwrap().contains("14 or newer")
        );
        assert!(too_old(140_000).is_none() && too_old(180_001).is_none());
    }
}
