"""Private keys and signing requests."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def new_key() -> bytes:
    """A new P-256 key (PEM). A TLS handshake with P-256 costs a small device a fraction of the CPU
    that one with RSA costs."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def request_for(key: bytes, name: str) -> str:
    """A certificate signing request (PEM) for a key (PEM)."""
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
