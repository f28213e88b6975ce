//! The server's wire protocol where the driver does not speak it: streaming replication, and COPY in blocks.
//!
//! [`wire`] frames bytes, [`client`] starts a session and asks questions, [`replication`] is what flows while a slot is streamed, and
//! [`pgoutput`] what the changes in it mean. The stream is read on a [`thread`] of its own. Framing constants, authentication and escaping are `postgres-protocol`'s.

pub mod client;
pub mod cursor;
pub mod pgoutput;
pub mod replication;
pub mod thread;
pub mod wire;
