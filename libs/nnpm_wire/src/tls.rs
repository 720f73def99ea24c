//! TLS from PEM files, by rustls. What it trusts is what OpenSSL, and so grpc.aio, trusts with the same files.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_name, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;

/// Certificate chain, key, and the authorities of clients, PEM.
pub type ServerPem = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);
/// Authorities, own certificate chain and key, PEM.
pub type ClientPem = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

type Checked<T> = std::result::Result<T, rustls::Error>;

pub fn acceptor((chain, key, authorities): &ServerPem) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(invalid)?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let (named, roots) = authorities_of(pem)?;
            let inner = WebPkiClientVerifier::builder_with_provider(roots, provider).build().map_err(invalid)?;
            builder.with_client_cert_verifier(Arc::new(Trusting { inner, named }))
        }
    };
    let mut config = builder.with_single_cert(certificates(chain)?, private(key)?).map_err(invalid)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub fn connector((authorities, chain, key): &ClientPem) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (named, roots) = authorities_of(authorities)?;
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().map_err(invalid)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // Not dangerous: `Trusting` asks rustls's own verifier.
    let builder = builder.map_err(invalid)?.dangerous();
    let builder = builder.with_custom_certificate_verifier(Arc::new(Trusting { inner, named }));
    let mut config = match (chain, key) {
        (Some(chain), Some(key)) => {
            builder.with_client_auth_cert(certificates(chain)?, private(key)?).map_err(invalid)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn private(pem: &[u8]) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).map_err(invalid)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<_, _>>().map_err(invalid)
}

fn authorities_of(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Arc<RootCertStore>)> {
    let named = certificates(pem)?;
    let mut roots = RootCertStore::empty();
    for certificate in &named {
        roots.add(certificate.clone()).map_err(invalid)?;
    }
    Ok((named, Arc::new(roots)))
}

pub fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, error.to_string())
}

/// rustls's verifier, except that a certificate which is itself named as an authority is trusted: that is how a
/// self-signed one is used, and rustls alone refuses it where it may also sign.
#[derive(Debug)]
struct Trusting<V: ?Sized> {
    named: Vec<CertificateDer<'static>>,
    inner: Arc<V>,
}

impl ServerCertVerifier for Trusting<WebPkiServerVerifier> {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Checked<ServerCertVerified> {
        if self.named.contains(own) {
            verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.inner.verify_server_cert(own, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Checked<HandshakeSignatureValid> {
        self.inner.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Checked<HandshakeSignatureValid> {
        self.inner.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Trusting<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Checked<ClientCertVerified> {
        if self.named.contains(own) {
            return Ok(ClientCertVerified::assertion());
        }
        self.inner.verify_client_cert(own, chain, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Checked<HandshakeSignatureValid> {
        self.inner.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Checked<HandshakeSignatureValid> {
        self.inner.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
