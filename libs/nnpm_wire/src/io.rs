//! Byte streams under HTTP/2: TCP, unix sockets, TLS over either, and a look at what passes.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::limits::Connection;
use crate::tls::invalid;

/// What a TLS or HTTP/2 handshake, and a dial, may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
pub type Io = Box<dyn Stream>;

pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// `host:port` or `unix:/path`.
    pub fn bind(address: &str) -> Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Self::Unix(UnixListener::bind(path)?));
        }
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        // Rust's own backlog is 128; a thousand clients may well dial at once.
        rustix::net::listen(&socket, 4096)?;
        Ok(Self::Tcp(TcpListener::from_std(socket)?))
    }

    pub fn address(&self) -> Result<String> {
        Ok(match self {
            Self::Tcp(socket) => socket.local_addr()?.to_string(),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                format!("unix:{}", address.as_pathname().unwrap_or(Path::new("")).display())
            }
        })
    }

    pub async fn accept(&self) -> Result<Io> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(socket) => Box::new(socket.accept().await?.0),
        })
    }
}

pub async fn dial(address: &str, tls: Option<Arc<ClientConfig>>) -> Result<Io> {
    let dialling = async {
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Box::new(UnixStream::connect(path).await?) as Io);
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Box::new(stream) as Io) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?) as Io)
    };
    timeout(HANDSHAKE, dialling).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
}

pub async fn accept_tls(io: Io, acceptor: Option<TlsAcceptor>) -> Result<Io> {
    match acceptor {
        None => Ok(io),
        Some(acceptor) => Ok(Box::new(timeout(HANDSHAKE, acceptor.accept(io)).await??)),
    }
}

/// Notes which streams the peer resets. h2 tells it only to who polls every open stream, a thousand at each wake-up;
/// here it costs a look at each frame's nine bytes of header.
pub struct Watched {
    io: Io,
    connection: Arc<Connection>,
    /// Bytes until the next frame's header; at first, the client's preface.
    skip: usize,
    header: [u8; 9],
    filled: usize,
    /// The stream whose RST_STREAM is being passed.
    reset: Option<u32>,
}

const PREFACE: usize = 24;
const RST_STREAM: u8 = 3;

impl Watched {
    pub fn new(io: Io, connection: Arc<Connection>) -> Self {
        Self { io, connection, skip: PREFACE, header: [0; 9], filled: 0, reset: None }
    }

    fn watch(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = &bytes[passed..];
                if self.skip == 0 {
                    if let Some(stream) = self.reset.take() {
                        self.connection.reset(stream);
                    }
                }
                continue;
            }
            let part = (9 - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + part].copy_from_slice(&bytes[..part]);
            self.filled += part;
            bytes = &bytes[part..];
            if self.filled == 9 {
                self.filled = 0;
                let [a, b, c, kind, _, s, t, u, v] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.reset = (kind == RST_STREAM).then(|| u32::from_be_bytes([s & 127, t, u, v]));
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.watch(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
