//! https towards mirrors: rustls with ring, and the system's own certificate authorities, read when first needed.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider};

/// Where distributions keep the bundle: Debian and OpenWrt, Fedora, Alpine.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// TLS as every mirror connection uses it. Reads the authorities, about 200 KB, which stay in memory.
pub(super) fn config() -> TlsConfig {
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(provider()))
        .root_certs(system_roots())
        .build()
}

/// Ring's, without what signs for clients that have keys of their own: no mirror knows us.
fn provider() -> CryptoProvider {
    CryptoProvider { key_provider: &NoKeys, ..rustls::crypto::ring::default_provider() }
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no keys are used here".to_owned()))
    }
}

/// The system's authorities; none where no bundle is installed, and then no https mirror can be trusted.
fn system_roots() -> RootCerts {
    let bundle = BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    let certificates: Vec<_> = ureq::tls::parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        log::warn!(
            "no certificate authorities in {}: install ca-certificates to fetch from https mirrors",
            BUNDLES[0]
        );
    }
    RootCerts::new_with_certs(&certificates)
}
