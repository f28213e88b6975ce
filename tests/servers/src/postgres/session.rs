//! A connection over the socket that runs statements by the simple protocol: values come as the text that the server prints.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Rows as the server prints them; `None` is null.
pub type Rows = Vec<Vec<Option<String>>>;

/// What the server refused, or why it could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The SQLSTATE; empty where the connection failed.
    pub code: String,
    /// The server's words.
    pub message: String,
}

impl fmt::Display for SqlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for SqlError {}

impl From<io::Error> for SqlError {
    fn from(error: io::Error) -> Self {
        SqlError { code: String::new(), message: error.to_string() }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<UnixStream>,
    pid: u32,
}

impl Session {
    /// Connects to the server whose socket is in this folder, which trusts whoever comes that way.
    pub fn open(socket_dir: &Path, port: u16, role: &str, database: &str) -> Result<Session, SqlError> {
        let stream = UnixStream::connect(socket_dir.join(format!(".s.PGSQL.{port}")))?;
        let mut session = Session { stream: BufReader::new(stream), pid: 0 };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for text in ["user", role, "database", database, "application_name", "test", ""] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        session.send(&[], &body)?;
        session.until_ready()?;
        Ok(session)
    }

    /// The server's process for this connection.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Runs statements and answers the last one's rows. Several are one transaction, unless they begin and end their own.
    pub fn run(&mut self, statements: &str) -> Result<Rows, SqlError> {
        self.start(statements)?;
        self.finish()
    }

    /// The same for statements that must succeed.
    #[track_caller]
    pub fn sql(&mut self, statements: &str) -> Rows {
        self.run(statements).unwrap_or_else(|error| panic!("{error}, in: {statements}"))
    }

    /// Sends statements without waiting for their end: for a commit that waits, say.
    pub fn start(&mut self, statements: &str) -> Result<(), SqlError> {
        let mut body = statements.as_bytes().to_vec();
        body.push(0);
        self.send(b"Q", &body)
    }

    /// Waits for the end of what [`Session::start`] has sent.
    pub fn finish(&mut self) -> Result<Rows, SqlError> {
        self.until_ready()
    }

    fn send(&mut self, tag: &[u8], body: &[u8]) -> Result<(), SqlError> {
        let mut message = tag.to_vec();
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        Ok(self.stream.get_mut().write_all(&message)?)
    }

    /// Reads until the server waits for us; an error on the way is the answer then, an error that ends the connection at once.
    fn until_ready(&mut self) -> Result<Rows, SqlError> {
        let mut rows = Rows::new();
        let mut failed = None;
        loop {
            let (tag, body) = self.receive().map_err(|error| failed.take().unwrap_or(error.into()))?;
            match tag {
                b'Z' => return failed.map_or(Ok(rows), Err),
                b'R' if body[..4] != [0; 4] => {
                    return Err(SqlError { code: String::new(), message: "asked for a password".into() });
                }
                b'K' => self.pid = u32::from_be_bytes(body[..4].try_into().expect("four bytes")),
                b'T' => rows.clear(),
                b'D' => rows.push(row(&body)),
                b'E' => failed = failed.or(Some(error(&body))),
                b'G' | b'W' => panic!("COPY needs a client that speaks it: Postgres::program(\"psql\")"),
                // Notices, settings, command tags.
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut take = |bytes: usize| {
        let (taken, left) = rest.split_at(bytes);
        rest = left;
        taken
    };
    let columns = u16::from_be_bytes(body[..2].try_into().expect("two bytes"));
    (0..columns)
        .map(|_| {
            let length = i32::from_be_bytes(take(4).try_into().expect("four bytes"));
            let value = take(usize::try_from(length).ok()?);
            Some(String::from_utf8(value.to_vec()).expect("the server prints UTF-8"))
        })
        .collect()
}

fn error(body: &[u8]) -> SqlError {
    let field = |tag: u8| {
        let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&tag));
        found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    let detail = field(b'D');
    let message = if detail.is_empty() { field(b'M') } else { format!("{} ({detail})", field(b'M')) };
    SqlError { code: field(b'C'), message }
}
