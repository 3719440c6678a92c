"""Private keys and signing requests."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_UNIT: Final = "penstock:"


def stack_of(certificate: str) -> str | None:
    """The stack that a certificate (PEM) was asked for; ``None`` when its subject names none."""
    subject = x509.load_pem_x509_certificate(certificate.encode()).subject
    for unit in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME):
        if str(unit.value).startswith(_UNIT):
            return str(unit.value).removeprefix(_UNIT)
    return None


def new_key() -> bytes:
    """A new P-256 key (PEM). A TLS handshake with P-256 costs a small device a fraction of the CPU
    that one with RSA costs."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def request_for(key: bytes, name: str, stack: str) -> str:
    """A certificate signing request (PEM) for a key (PEM). Its subject says whose the certificate
    is, also while it has no policy and no thing: see :func:`stack_of`."""
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, _UNIT + stack),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
