//! A mirror that speaks https: in front of one that does not, with a certificate of an authority of the tests' own.
//!
//! The key and the certificates in `tls/` are good for 127.0.43.20 to .23 and `mirror.example.org`, for a hundred years, and
//! for nothing else. The authority's own key is gone.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::daemon::BINARY;
use super::skip;

const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");
/// Who says that the certificate is right.
pub const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/authority.pem");

/// A listener on a port that only root may have; `None`, after a word of why, for others.
pub fn listen(address: &str) -> Option<TcpListener> {
    match TcpListener::bind(address) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            skip(&format!("{address}: {error}"));
            None
        }
        Err(error) => panic!("{address}: {error}"),
    }
}

/// Serves by https what `mirror` serves by http, one request on each connection to it.
pub fn serve(listener: TcpListener, mirror: SocketAddr) {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has them").with_no_client_auth().with_single_cert(chain, key);
    let config = Arc::new(config.expect("the key is the certificate's"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a right configuration");
            thread::spawn(move || while_it_lasts(StreamOwned::new(connection, stream), mirror));
        }
    });
}

fn while_it_lasts(mut client: StreamOwned<ServerConnection, TcpStream>, mirror: SocketAddr) {
    let mut head = Vec::new();
    let mut byte = [0];
    while matches!(client.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let mut plain = TcpStream::connect(mirror).expect("the mirror is there");
        plain.write_all(&std::mem::take(&mut head)).expect("it reads");
        plain.shutdown(std::net::Shutdown::Write).expect("connected");
        if std::io::copy(&mut plain, &mut client).is_err() || client.flush().is_err() {
            return;
        }
    }
}

/// The program where the tests' authority is the only one that is trusted.
pub fn trusting() -> Command {
    let mut command = Command::new("unshare");
    // As root of a user namespace nothing outside is touched.
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    let mount = "mkdir -p /etc/ssl; mount -t tmpfs tmpfs /etc/ssl && mkdir /etc/ssl/certs";
    command.arg(format!("{mount} && cp {AUTHORITY} /etc/ssl/certs/ca-certificates.crt && exec \"$0\" \"$@\""));
    command.arg(BINARY);
    command
}
