//! One command over a connection of its own: an OP_MSG and its answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use bson::Document;

const OP_MSG: i32 = 2013;

/// Answers the server's document, or why there is none, or what it refused.
pub fn run(port: u16, database: &str, mut command: Document) -> Result<Document, String> {
    let broken = |error: &dyn std::fmt::Display| format!("no answer from mongod: {error}");
    if !command.contains_key("$db") {
        command.insert("$db", database);
    }
    let body = bson::to_vec(&command).map_err(|error| broken(&error))?;
    let mut message = Vec::new();
    for number in [body.len() as i32 + 21, 1, 0, OP_MSG, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    // One section of kind 0: the document.
    message.push(0);
    message.extend_from_slice(&body);

    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| broken(&error))?;
    stream.write_all(&message).map_err(|error| broken(&error))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|error| broken(&error))?;
    let mut answer = vec![0; i32::from_le_bytes(length) as usize - 4];
    stream.read_exact(&mut answer).map_err(|error| broken(&error))?;
    // After the header's other three numbers, the flags and the section's kind.
    let answer = Document::from_reader(&answer[17..]).map_err(|error| broken(&error))?;
    let fine = answer.get_f64("ok").is_ok_and(|ok| ok == 1.0)
        && !answer.contains_key("writeErrors")
        && !answer.contains_key("writeConcernError");
    if fine { Ok(answer) } else { Err(answer.to_string()) }
}
