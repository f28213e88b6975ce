//! Messages over a byte stream: one tag byte, four bytes of length, a body.

use std::io;

use bytes::{Bytes, BytesMut};
use sluice_types::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cursor::malformed;
use crate::connection::Stream;

/// How much room is made for what the server sends. Rows are slices of it: it lives as long as the last of them.
const BLOCK_BYTES: usize = 128 << 10;
/// Room below which a new block is begun rather than the old one filled up.
const BLOCK_LEFT_MIN: usize = 16 << 10;
/// No message of a server is longer: a value has at most 1 GiB, and a row of values not much more.
const MESSAGE_BYTES_MAX: usize = 0x7fff_fffe;
/// Tag and length.
pub(crate) const HEADER: usize = 5;

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// A connection on which messages are framed.
pub(crate) struct Wire {
    io: Stream,
    read: BytesMut,
    /// The last read has taken all that there was.
    drained: bool,
}

/// The length of the first message in `bytes`, header included; `None`: not even its header has come.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(header) = bytes.get(1..HEADER) else { return Ok(None) };
    let mut length = [0; 4];
    length.copy_from_slice(header);
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(malformed("a message of the server has an impossible length"));
    }
    Ok(Some(length + 1))
}

/// Takes the first message off a block of whole ones.
pub(crate) fn take(block: &mut Bytes) -> Result<Option<Frame>> {
    match length(block)? {
        Some(whole) if whole <= block.len() => {
            let mut message = block.split_to(whole);
            let tag = message[0];
            Ok(Some(Frame { tag, body: message.split_off(HEADER) }))
        }
        _ => Ok(None),
    }
}

/// An error of the socket: the server is gone, or the way to it.
pub(crate) fn broken(error: io::Error) -> Error {
    Error::new(ErrorKind::Unreachable, "the connection to the server broke").because(error)
}

impl Wire {
    pub fn new(io: Stream) -> Self {
        Wire { io, read: BytesMut::with_capacity(BLOCK_BYTES), drained: false }
    }

    /// Sends bytes that are whole messages.
    pub async fn send(&mut self, messages: &[u8]) -> Result<()> {
        self.io.write_all(messages).await.map_err(broken)?;
        self.io.flush().await.map_err(broken)
    }

    /// The next message. Cancel safe.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(whole) = length(&self.read)?
                && whole <= self.read.len()
            {
                let mut block = self.read.split_to(whole).freeze();
                if let Some(frame) = take(&mut block)? {
                    return Ok(frame);
                }
            }
            self.fill().await?;
        }
    }

    /// Every whole message that has come, at least one, as one block. Cancel safe.
    pub async fn block(&mut self) -> Result<Bytes> {
        loop {
            let whole = self.whole()?;
            if whole > 0 {
                return Ok(self.read.split_to(whole).freeze());
            }
            self.fill().await?;
        }
    }

    /// Whether the last read has taken all that had come by then.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// The length of the whole messages at the beginning of what was read.
    fn whole(&self) -> Result<usize> {
        let mut whole = 0;
        while let Some(next) = length(&self.read[whole..])? {
            if whole + next > self.read.len() {
                break;
            }
            whole += next;
        }
        Ok(whole)
    }

    async fn fill(&mut self) -> Result<()> {
        // Room grows with what has come, not with what a header promises.
        if self.read.capacity() - self.read.len() < BLOCK_LEFT_MIN {
            self.read.reserve(BLOCK_BYTES.max(self.read.len()));
        }
        let room = self.read.capacity() - self.read.len();
        let read = self.io.read_buf(&mut self.read).await.map_err(broken)?;
        self.drained = read < room;
        match read {
            0 => Err(Error::new(ErrorKind::Unreachable, "the server closed the connection")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_off_a_block() {
        let mut block = Bytes::from_static(b"A\0\0\0\x04B\xff\0\0\0\x06hi");
        assert_eq!(take(&mut block).unwrap().unwrap().tag, b'A');
        assert!(take(&mut block).is_err());
        let mut block = Bytes::from_static(b"B\0\0\0\x06hiC\0\0");
        let frame = take(&mut block).unwrap().unwrap();
        assert_eq!((frame.tag, &frame.body[..]), (b'B', &b"hi"[..]));
        assert!(take(&mut block).unwrap().is_none(), "not whole yet");
        assert!(length(b"Z\0\0\0\x03").is_err() && length(b"Z\xff\xff\xff\xff").is_err());
    }
}
