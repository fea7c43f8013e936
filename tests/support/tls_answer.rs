//! A mirror that speaks TLS. Its key and certificates are public, and nobody's: for 127.0.0.1 in these tests.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::daemon::BINARY;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls_answer").join(name)
}

/// Answers each request with these bytes, over TLS.
pub fn start(answer: Vec<u8>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("ring speaks them").with_no_client_auth();
    let chain = vec![CertificateDer::from_pem_file(file("leaf.pem")).expect("our own")];
    let key = PrivateKeyDer::from_pem_file(file("leaf.key")).expect("our own");
    let config = Arc::new(builder.with_single_cert(chain, key).expect("they fit"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, answer) = (Arc::clone(&config), answer.clone());
            thread::spawn(move || serve(stream, config, &answer));
        }
    });
    address
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, answer: &[u8]) {
    let connection = ServerConnection::new(config).expect("a whole configuration");
    let mut lines = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|len| len > 0) {
        if line == "\r\n" && lines.get_mut().write_all(answer).is_err() {
            return;
        }
        line.clear();
    }
}

/// The program where these tests' authority is the only one that the system trusts.
pub fn trusting() -> Command {
    let mut command = Command::new("unshare");
    // As root of a user namespace nothing outside is touched.
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    let script = "mount -t tmpfs tmpfs /etc && mkdir -p /etc/ssl/certs && \
                  cp \"$0\" /etc/ssl/certs/ca-certificates.crt && exec \"$@\"";
    command.arg(script).arg(file("ca.pem")).arg(BINARY);
    command
}
