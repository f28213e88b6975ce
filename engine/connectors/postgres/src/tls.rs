//! TLS to the server, in the modes that PostgreSQL's own clients have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use serde_json::Value as Json;
use sluice_types::{Error, ErrorKind, Result, Settings};

/// How much of TLS is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Never.
    Disable,
    /// Where the server has it; the server is not verified.
    #[default]
    Prefer,
    /// Always; the server is verified only where `ca` is given, as PostgreSQL's own clients do.
    Require,
    /// Always, and the server's certificate comes from a trusted authority.
    VerifyCa,
    /// And it is for the host that we connect to.
    VerifyFull,
}

impl TlsMode {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, TlsMode); 5] = [
        ("disable", TlsMode::Disable),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];

    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}

/// What is configured. Files are read with each connection, so that renewed ones need no restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub mode: TlsMode,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Reads `tls`; `url` are the parameters of the URL, for what `tls` does not say.
    pub fn take(settings: &mut Settings, base: &Path, url: Option<&Vec<(String, String)>>) -> Option<Tls> {
        let mut tls = Tls::default();
        let mut good = true;
        for (key, value) in url.into_iter().flatten() {
            let file = || Some(base.join(value));
            match key.as_str() {
                "sslmode" => match TlsMode::WORDS.iter().find(|(word, _)| word == value) {
                    Some((_, mode)) => tls.mode = *mode,
                    None => {
                        settings.reject(
                            "url",
                            "an unknown `sslmode`",
                            "verify-full, verify-ca, require, prefer or disable",
                        );
                        good = false;
                    }
                },
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => tls.ca = file(),
                "sslcert" => tls.cert = file(),
                "sslkey" => tls.key = file(),
                other => {
                    settings.reject("url", format!("unknown parameter `{other}`"), "leave it out");
                    good = false;
                }
            }
        }
        let mut own = settings.take_settings("tls").unwrap_or_else(|| Settings::new("", Json::Null));
        good &= !own.has("mode") || {
            let mode = own.take_word("mode", &TlsMode::WORDS);
            tls.mode = mode.unwrap_or_default();
            mode.is_some()
        };
        own.take("mode");
        for (key, place) in [("ca", &mut tls.ca), ("cert", &mut tls.cert), ("key", &mut tls.key)] {
            let there = own.has(key);
            let file = own.take_text(key).map(|file| base.join(file));
            good &= file.is_some() || !there;
            *place = file.or(place.take());
        }
        if tls.cert.is_some() != tls.key.is_some() {
            let missing = if tls.key.is_none() { "key" } else { "cert" };
            own.reject(
                missing,
                format!("`{missing}` is missing"),
                "a client certificate needs both `cert` and `key`",
            );
            good = false;
        }
        settings.absorb(own);
        good.then_some(tls)
    }

    /// What the handshake needs.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| broken("TLS can't be set up", error))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier(provider)?);
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| broken("the client's certificate and key don't fit", error))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<Verifier>> {
        let name = self.mode == TlsMode::VerifyFull;
        let chain =
            name || self.mode == TlsMode::VerifyCa || (self.mode == TlsMode::Require && self.ca.is_some());
        if !chain {
            return Ok(Arc::new(Verifier { provider, trust: None }));
        }
        let mut roots = RootCertStore::empty();
        let trusted = match &self.ca {
            Some(file) => certificates(file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(trusted.iter().cloned());
        if roots.is_empty() {
            let error = Error::new(ErrorKind::Authentication, "no certificate authority to trust was found");
            return Err(error.remedy("Name a PEM file with `tls: { ca: ... }`"));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| broken("the certificate authorities can't be used", error))?;
        Ok(Arc::new(Verifier { provider, trust: Some(Trust { chain, name, trusted }) }))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| unreadable(file, error))
}

fn unreadable(file: &Path, error: rustls::pki_types::pem::Error) -> Error {
    Error::new(ErrorKind::Authentication, format!("{} can't be read", file.display()))
        .because(error)
        .remedy("It must be a PEM file that this user may read")
}

fn broken(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Authentication, what).because(error)
}

/// Verifies as much as the mode wants. The handshake's signature always.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    chain: Arc<WebPkiServerVerifier>,
    /// The host's name counts too.
    name: bool,
    /// One of them may be the server's own certificate.
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        // A self-signed certificate that is itself the authority, as small installations have it.
        if trust.trusted.iter().any(|one| one == end_entity) {
            if trust.name {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match trust.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !trust.name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
