"""When a device's certificate ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from devices.events import CertificateExpiring

WARN_DAYS: Final = 30


def expires_at(certificate: Path) -> datetime | None:
    """When a certificate (PEM) ends; ``None`` when it cannot be read."""
    from cryptography import x509  # takes 0.1 s to import

    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def expiry_warning(
    device_id: str, certificate: Path, now: datetime | None = None
) -> CertificateExpiring | None:
    """An event when a certificate ends within :data:`WARN_DAYS` days, or has ended."""
    end = expires_at(certificate)
    if end is None:
        return None
    days = (end - (now or datetime.now(UTC))).days
    return CertificateExpiring(device_id, end, days) if days < WARN_DAYS else None
