"""Private keys, signing requests, and when certificates end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WARN_DAYS: Final = 30


def new_key() -> bytes:
    """A new P-256 key (PEM). P-256 costs a small device a fraction of what RSA does, at the
    handshake above all."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def request_for(key: bytes, name: str) -> str:
    """A signing request (PEM) for a key (PEM)."""
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def expires_at(certificate: Path) -> datetime | None:
    """When a certificate (PEM) ends; ``None`` when it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def expiry_warning(certificate: Path, now: datetime | None = None) -> str | None:
    """A sentence when a certificate ends within :data:`WARN_DAYS`, or has ended."""
    end = expires_at(certificate)
    if end is None:
        return None
    days = (end - (now or datetime.now(UTC))).days
    if days >= WARN_DAYS:
        return None
    name = certificate.parent.name
    when = f"expires in {days} days" if days >= 0 else "has expired"
    return f"the certificate of {name} {when} ({end:%Y-%m-%d}): `penstock device rotate {name}`"
