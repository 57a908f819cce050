//! TLS 1.3 between two devices: raw Ed25519 keys on both sides (RFC 7250), nothing else to trust.
//!
//! No tickets, no early data, no server name. AES-128-GCM where the processor helps with it, ChaCha20 elsewhere.

use std::io;
use std::sync::Arc;

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, ServerConnection, SignatureScheme,
};

use super::PROTOCOL;

/// How an Ed25519 public key begins as SubjectPublicKeyInfo (RFC 8410 §4).
const PUBLIC: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// How an Ed25519 seed begins as PKCS #8 (RFC 8410 §7).
const PRIVATE: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// This device's key, ready for handshakes.
pub struct Keys {
    provider: Arc<CryptoProvider>,
    own: Arc<CertifiedKey>,
    server: Arc<ServerConfig>,
}

impl Keys {
    /// From the seed of the key and the key itself.
    pub fn new(secret: &[u8; 32], public: &[u8; 32]) -> Result<Keys, Error> {
        let provider = Arc::new(provider());
        let private = [&PRIVATE[..], secret].concat();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(private));
        let private = provider.key_provider.load_private_key(private)?;
        let public = CertificateDer::from(spki(public));
        let own = Arc::new(CertifiedKey::new(vec![public], private));
        let anyone = Arc::new(Verifier::new(&provider, None));
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(anyone)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                own.clone(),
            )));
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Keys {
            provider,
            own,
            server: Arc::new(server),
        })
    }

    /// The side that dials, and wants to reach this key.
    pub fn dial(&self, key: &[u8; 32]) -> Result<Connection, Error> {
        let only = Arc::new(Verifier::new(&self.provider, Some(spki(key))));
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(only)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.own.clone(),
            )));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.enable_sni = false;
        config.resumption = rustls::client::Resumption::disabled();
        let nameless = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
        let client = ClientConnection::new(Arc::new(config), nameless)?;
        Ok(Connection::Client(client))
    }

    /// The side that was dialled, by anyone who has a key.
    pub fn accept(&self) -> Result<Connection, Error> {
        Ok(Connection::Server(ServerConnection::new(
            self.server.clone(),
        )?))
    }
}

/// The key of the other side, once it has proved to have it.
pub fn peer(tls: &Connection) -> io::Result<[u8; 32]> {
    let raw = tls.peer_certificates().and_then(|raw| raw.first());
    let key = raw.and_then(|raw| raw.strip_prefix(&PUBLIC)?.try_into().ok());
    key.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it showed no Ed25519 key"))
}

fn provider() -> CryptoProvider {
    let mut suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    if !has_aes() {
        suites.reverse();
    }
    CryptoProvider {
        cipher_suites: suites,
        ..default_provider()
    }
}

/// The processor computes AES itself.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn spki(key: &[u8; 32]) -> Vec<u8> {
    [&PUBLIC[..], key].concat()
}

/// Takes one key, or any; the handshake proves that the other side has it.
#[derive(Debug)]
struct Verifier {
    wanted: Option<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(provider: &CryptoProvider, wanted: Option<Vec<u8>>) -> Verifier {
        Verifier {
            wanted,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, shown: &[u8]) -> Result<(), Error> {
        let sound = shown.len() == PUBLIC.len() + 32 && shown.starts_with(&PUBLIC);
        match &self.wanted {
            _ if !sound => Err(Error::General("the key is not an Ed25519 key".to_owned())),
            Some(wanted) if wanted != shown => Err(Error::General(
                "another device answered at this address".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signed,
            &self.algorithms,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
